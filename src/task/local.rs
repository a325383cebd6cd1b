//! Task locals: variables of which each coroutine has its own, as each thread has of a thread-local.

use crate::coroutine::{Gone, LocalId, Value, drop_one};
use crate::sched::with_local_record;
use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::ptr;
use std::rc::Rc;

/// Declares task locals: variables of which each coroutine, and each plain thread, has its own. In the shape
/// of [`std::thread_local!`], and each is a [`task::LocalKey`](crate::task::LocalKey).
///
/// A coroutine of this crate shares its thread with others, so a thread-local that it sets is read by its
/// neighbours; a task local is not. A value is made by its expression at the coroutine's first use of it,
/// or, with `const { … }`, by a constant. It need not be `Send`. The coroutines that are spawned inherit it
/// only where [`inherit`](crate::task::LocalKey::inherit) says so.
///
/// Values are destroyed when the coroutine ends, on its own stack, the last made first, before anybody who
/// joins it returns. Their destructors may wait and use other locals; one that is destroyed already, or is
/// just being so, cannot be used any more. A panic in such a destructor is reported by the panic hook and
/// ends there. In a coroutine that was cancelled the waits of these destructors unwind, as any wait does.
/// On a plain thread the values are destroyed as the thread ends, under the rules that
/// [`std::thread::LocalKey`] states for thread-locals.
///
/// In a runtime whose coroutines migrate (`migrate_started`), a coroutine takes its locals to its next
/// thread: a value that is bound to a thread must not be kept in one there.
///
/// ```
/// use std::cell::{Cell, RefCell};
///
/// sward::task_local! {
///     static REQUEST: Cell<u64> = const { Cell::new(0) };
///     /// What has been said so far.
///     pub static LOG: RefCell<Vec<String>> = RefCell::new(vec!["begin".into()]);
/// }
///
/// sward::run(|| {
///     REQUEST.set(7);
///     let other = sward::spawn(|| {
///         LOG.with_borrow_mut(|log| log.push("other".into()));
///         (REQUEST.get(), LOG.take())
///     });
///     assert_eq!(other.join().unwrap(), (0, vec!["begin".to_string(), "other".to_string()]));
///     assert_eq!((REQUEST.get(), LOG.take().len()), (7, 1));
/// });
/// ```
#[macro_export]
macro_rules! task_local {
    () => {};
    ($(#[$attribute:meta])* $visible:vis static $name:ident: $type:ty = const $init:block) => {
        $(#[$attribute])*
        $visible static $name: $crate::task::LocalKey<$type> = {
            fn init() -> $type {
                const { $init }
            }
            $crate::task::LocalKey::new(init)
        };
    };
    ($(#[$attribute:meta])* $visible:vis static $name:ident: $type:ty = const $init:block; $($rest:tt)*) => {
        $crate::task_local!($(#[$attribute])* $visible static $name: $type = const $init);
        $crate::task_local!($($rest)*);
    };
    ($(#[$attribute:meta])* $visible:vis static $name:ident: $type:ty = $init:expr) => {
        $(#[$attribute])*
        $visible static $name: $crate::task::LocalKey<$type> = {
            fn init() -> $type {
                $init
            }
            $crate::task::LocalKey::new(init)
        };
    };
    ($(#[$attribute:meta])* $visible:vis static $name:ident: $type:ty = $init:expr; $($rest:tt)*) => {
        $crate::task_local!($(#[$attribute])* $visible static $name: $type = $init);
        $crate::task_local!($($rest)*);
    };
}

/// A task local, declared with [`task_local!`](crate::task_local). Its functions are those of
/// [`std::thread::LocalKey`], `scope` and `inherit`. None of them parks by itself.
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

/// The local is being destroyed, or has been: its coroutine or thread is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError(());

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task local has been destroyed, or is being so")
    }
}

impl Error for AccessError {}

impl From<Gone> for AccessError {
    fn from(_: Gone) -> AccessError {
        AccessError(())
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

#[track_caller]
fn alive<R>(outcome: Result<R, AccessError>) -> R {
    outcome.unwrap_or_else(|error| panic!("sward: {error}"))
}

impl<T: 'static> LocalKey<T> {
    /// For [`task_local!`](crate::task_local) alone.
    #[doc(hidden)]
    pub const fn new(init: fn() -> T) -> LocalKey<T> {
        LocalKey { init }
    }

    /// Calls the closure with the caller's value, which is made now if this is its first use. The closure may
    /// park, and may use this local again.
    ///
    /// # Panics
    ///
    /// If the value is being destroyed, or has been.
    ///
    /// ```
    /// sward::task_local!(static NAME: String = "nobody".to_owned());
    ///
    /// sward::run(|| assert_eq!(NAME.with(|name| name.len()), 6));
    /// ```
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        alive(self.try_with(f))
    }

    /// As [`with`](Self::with), without its panic.
    ///
    /// # Errors
    ///
    /// The value is being destroyed, or has been; the closure was not called.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let value = match self.made()? {
            Some(value) => value,
            None => self.put((self.init)())?,
        };
        Ok(f(&value))
    }

    /// Calls the closure with that value in the caller's local, and puts the former one back when the closure
    /// has returned or unwound. As the function of that name of tokio's task locals. Who is inside
    /// of [`with`](Self::with) keeps the value that it has.
    ///
    /// # Panics
    ///
    /// If the closure does, or if the former value is being destroyed or has been.
    ///
    /// ```
    /// sward::task_local!(static USER: String = "nobody".to_owned());
    ///
    /// sward::run(|| {
    ///     let inside = USER.scope("ada".to_owned(), || USER.with(|user| user.clone()));
    ///     assert_eq!(inside, "ada");
    ///     assert_eq!(USER.with(|user| user.clone()), "nobody");
    /// });
    /// ```
    #[track_caller]
    pub fn scope<R>(&'static self, value: T, f: impl FnOnce() -> R) -> R {
        struct Restore(LocalId, Option<Value>);

        impl Drop for Restore {
            fn drop(&mut self) {
                // The value goes where no table is borrowed.
                drop_one(with_local_record(|own| own.locals.replace(self.0, self.1.take())));
            }
        }

        let value: Value = Rc::new(value);
        let former = with_local_record(|own| own.locals.replace(self.id(), Some(value)));
        let _restore = Restore(self.id(), alive(former.map_err(AccessError::from)));
        f()
    }

    /// A closure that calls `f` with a copy of the caller's present value in the local of whoever runs it:
    /// how a coroutine inherits the value of the one that spawns it. What either of the two sets afterwards,
    /// the other one does not see. Calls [`with`](Self::with) for the copy now, and [`scope`](Self::scope)
    /// when the closure runs.
    ///
    /// # Panics
    ///
    /// If the value is being destroyed or has been, or if its `clone` panics. The closure panics as `scope`
    /// does.
    ///
    /// ```
    /// sward::task_local!(static REQUEST: u64 = 0);
    ///
    /// sward::run(|| {
    ///     let log = |text: &str| format!("[{}] {text}", REQUEST.with(|request| *request));
    ///     REQUEST.scope(7, || {
    ///         sward::scope(|s| {
    ///             let inherits = s.spawn(REQUEST.inherit(|| log("parsed")));
    ///             let does_not = s.spawn(|| log("parsed"));
    ///             assert_eq!(inherits.join().unwrap(), "[7] parsed");
    ///             assert_eq!(does_not.join().unwrap(), "[0] parsed");
    ///         });
    ///     });
    /// });
    /// ```
    #[track_caller]
    pub fn inherit<R>(&'static self, f: impl FnOnce() -> R + Send) -> impl FnOnce() -> R + Send
    where
        T: Clone + Send,
    {
        let value = self.with(T::clone);
        move || self.scope(value, f)
    }

    fn id(&'static self) -> LocalId {
        (ptr::from_ref(self).addr(), TypeId::of::<T>())
    }

    /// The caller's value, if it has been made.
    fn made(&'static self) -> Result<Option<Rc<T>>, AccessError> {
        let value = with_local_record(|own| own.locals.get(self.id()))?;
        Ok(value.map(|value| value.downcast().expect("the type is part of the name")))
    }

    /// Makes that the caller's value. One that its own making has made in the meantime is dropped, as std
    /// does.
    fn put(&'static self, value: T) -> Result<Rc<T>, AccessError> {
        let value = Rc::new(value);
        let counted: Value = value.clone();
        let _former = with_local_record(|own| own.locals.replace(self.id(), Some(counted)))?;
        Ok(value)
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the value; the key's own first value is not made for that.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn set(&'static self, value: T) {
        match alive(self.made()) {
            Some(cell) => cell.set(value),
            None => drop(alive(self.put(Cell::new(value)))),
        }
    }

    /// A copy of the value.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value and leaves the default.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value and gives the former one.
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Calls the closure with the value, borrowed.
    ///
    /// # Panics
    ///
    /// If the value is borrowed mutably, and as [`with`](Self::with).
    #[track_caller]
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls the closure with the value, borrowed mutably.
    ///
    /// # Panics
    ///
    /// If the value is borrowed, and as [`with`](Self::with).
    ///
    /// ```
    /// use std::cell::RefCell;
    ///
    /// sward::task_local!(static SEEN: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) });
    ///
    /// sward::run(|| {
    ///     SEEN.with_borrow_mut(|seen| seen.push(3));
    ///     assert_eq!(SEEN.with_borrow(Vec::len), 1);
    /// });
    /// ```
    #[track_caller]
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value; the key's own first value is not made for that.
    ///
    /// # Panics
    ///
    /// If the value is borrowed, and as [`with`](Self::with).
    #[track_caller]
    pub fn set(&'static self, value: T) {
        match alive(self.made()) {
            Some(cell) => drop(cell.replace(value)),
            None => drop(alive(self.put(RefCell::new(value)))),
        }
    }

    /// Takes the value and leaves the default.
    ///
    /// # Panics
    ///
    /// If the value is borrowed, and as [`with`](Self::with).
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value and gives the former one.
    ///
    /// # Panics
    ///
    /// If the value is borrowed, and as [`with`](Self::with).
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}
