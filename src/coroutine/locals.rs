//! The values of task locals of one coroutine or one plain thread.
//!
//! A local's value is made at its first use and destroyed when its owner ends. It is counted (`Rc`), so
//! whoever reads it keeps it where it is: it may be replaced, or destroyed, while a reader further down the
//! stack still looks at it, and then goes with that reader. No borrow of the table is held while a user's
//! code runs.
//!
//! Invariant: only the owner touches the table, and its values are gone when the owner has ended. So a value
//! that is not `Send` never meets another thread, except in migrating mode, where the coroutine takes its
//! locals along: its contract covers them like all else that it holds over a wait.

use super::contain::{contain_panic, drop_one};
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Names a local: the address of its key and the type of its value. Keys of different types may share an
/// address if they are constants, not statics.
pub(crate) type LocalId = (usize, TypeId);

/// A local's value, shared with those who read it.
pub(crate) type Value = Rc<dyn Any>;

/// The local is being destroyed, or has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The values, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    /// `None` once the value has been destroyed: it is not made again, so the end comes to an end.
    entries: RefCell<Vec<(LocalId, Option<Value>)>>,
    closed: Cell<bool>,
}

impl Locals {
    /// The value of a local; `None` if it is yet to be made.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub(crate) fn get(&self, id: LocalId) -> Result<Option<Value>, Gone> {
        match self.entries.borrow().iter().find(|entry| entry.0 == id) {
            Some((_, Some(value))) => Ok(Some(Rc::clone(value))),
            Some((_, None)) => Err(Gone),
            None if self.closed.get() => Err(Gone),
            None => Ok(None),
        }
    }

    /// Puts another value in a local's place, or makes it one that is yet to be made, and gives the former.
    ///
    /// # Errors
    ///
    /// It is gone.
    pub(crate) fn replace(&self, id: LocalId, mut value: Option<Value>) -> Result<Option<Value>, Gone> {
        let mut entries = self.entries.borrow_mut();
        let outcome = match entries.iter().position(|entry| entry.0 == id) {
            Some(place) if entries[place].1.is_none() => Err(Gone),
            Some(place) if value.is_none() => Ok(entries.remove(place).1),
            Some(place) => Ok(std::mem::replace(&mut entries[place].1, value.take())),
            None if self.closed.get() => Err(Gone),
            None => {
                entries.extend(value.take().map(|value| (id, Some(value))));
                Ok(None)
            }
        };
        drop(entries);
        // A value that was not put there is dropped here: its destructor may use other locals.
        drop_one(value);
        outcome
    }

    /// Destroys the values, the last one first, and those that destructors make meanwhile. Called by the
    /// owner where its destructors may still wait.
    pub(super) fn end(&self) {
        while let Some(value) = self.take_last() {
            contain_panic(|| drop(value));
        }
    }

    fn take_last(&self) -> Option<Value> {
        self.entries.borrow_mut().iter_mut().rev().find_map(|entry| entry.1.take())
    }

    /// No local can be made from now on.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// As new, for the next thread. The values are gone already.
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
    fn what_was_destroyed_is_not_made_again() {
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
