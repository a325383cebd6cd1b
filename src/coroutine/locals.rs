//! The values of task locals of one coroutine or one plain thread.
//!
//! The value of a local is made at its first use and destroyed when its owner ends. It has a reference count
//! (`Rc`): it may be replaced or destroyed while a reader further down the stack still uses it, and is then
//! dropped when that reader is done. No borrow of the table is held while a user's code runs.
//!
//! Invariant: only the owner touches the table, and its values are dropped before the owner has ended. So
//! another thread never sees a value that is not `Send`, except in migrating mode, where a coroutine takes
//! its locals along: its contract covers them like everything else that it holds over a wait.

use super::contain::{contain_panic, drop_one};
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Names a local: the address of its key and the type of its value. Keys of different types may share an
/// address if they are constants, not statics.
pub(crate) type LocalId = (usize, TypeId);

/// The value of a local, shared with its readers.
pub(crate) type Value = Rc<dyn Any>;

/// The local is being destroyed, or is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The values, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    /// `None` once the value was destroyed. It is not made again, so `end` terminates.
    entries: RefCell<Vec<(LocalId, Option<Value>)>>,
    closed: Cell<bool>,
}

impl Locals {
    /// The value of a local; `None` if it was not made yet.
    ///
    /// # Errors
    ///
    /// The local is destroyed.
    pub(crate) fn get(&self, id: LocalId) -> Result<Option<Value>, Gone> {
        match self.entries.borrow().iter().find(|entry| entry.0 == id) {
            Some((_, Some(value))) => Ok(Some(Rc::clone(value))),
            Some((_, None)) => Err(Gone),
            None if self.closed.get() => Err(Gone),
            None => Ok(None),
        }
    }

    /// Replaces the value of a local, and returns the former one. With `None` the local is made anew at its
    /// next use.
    ///
    /// # Errors
    ///
    /// The local is destroyed.
    pub(crate) fn replace(&self, id: LocalId, mut value: Option<Value>) -> Result<Option<Value>, Gone> {
        let mut entries = self.entries.borrow_mut();
        let outcome = match entries.iter().position(|entry| entry.0 == id) {
            Some(at) if entries[at].1.is_none() => Err(Gone),
            Some(at) if value.is_none() => Ok(entries.remove(at).1),
            Some(at) => Ok(std::mem::replace(&mut entries[at].1, value.take())),
            None if self.closed.get() => Err(Gone),
            None => {
                entries.extend(value.take().map(|value| (id, Some(value))));
                Ok(None)
            }
        };
        drop(entries);
        // A value that was not stored is dropped here, without a borrow: its destructor may use other locals.
        drop_one(value);
        outcome
    }

    /// Destroys the values, the last one first, including values that destructors make meanwhile. The owner
    /// calls it where destructors may still wait.
    pub(super) fn end(&self) {
        while let Some(value) = self.take_last() {
            contain_panic(|| drop(value));
        }
    }

    fn take_last(&self) -> Option<Value> {
        self.entries.borrow_mut().iter_mut().rev().find_map(|entry| entry.1.take())
    }

    /// From now on no local can be made.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// Resets the table for the next thread. All values were destroyed before.
    pub(super) fn reset(&self) {
        debug_assert!(self.is_empty());
        self.entries.take();
        self.closed.set(false);
    }

    /// Whether no value is left.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.borrow().iter().all(|entry| entry.1.is_none())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn number() -> LocalId {
        (8, TypeId::of::<u32>())
    }

    fn text() -> LocalId {
        (8, TypeId::of::<&str>())
    }

    #[test]
    fn a_key_is_an_address_and_a_type() {
        let locals = Locals::default();
        assert!(locals.replace(number(), Some(Rc::new(5u32))).unwrap().is_none());
        assert!(locals.get(text()).unwrap().is_none());
        assert!(locals.get(number()).unwrap().unwrap().is::<u32>());
        let former = locals.replace(number(), None).unwrap().unwrap();
        assert_eq!(former.downcast_ref(), Some(&5u32));
        assert!(locals.get(number()).unwrap().is_none());
    }

    #[test]
    fn a_destroyed_local_is_not_made_again() {
        let locals = Locals::default();
        let value: Value = Rc::new(5u32);
        let weak = Rc::downgrade(&value);
        locals.replace(number(), Some(value)).unwrap();
        let reader = locals.get(number()).unwrap();
        locals.end();
        assert!(weak.upgrade().is_some(), "a reader keeps it");
        drop(reader);
        assert!(weak.upgrade().is_none());
        assert_eq!(locals.get(number()).unwrap_err(), Gone);
        assert_eq!(locals.replace(number(), None).unwrap_err(), Gone);
        assert!(locals.get(text()).unwrap().is_none());
        locals.close();
        assert_eq!(locals.get(text()).unwrap_err(), Gone);
        locals.reset();
        assert!(locals.get(number()).unwrap().is_none());
    }
}
