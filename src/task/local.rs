//! Task locals: variables with one value for each coroutine, as a thread-local has one for each thread.

use crate::coroutine::{Gone, LocalId, Value, drop_one};
use crate::sched::with_local_record;
use std::any::TypeId;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::ptr;
use std::rc::Rc;

/// Declares task locals: variables with a value for each coroutine and each plain thread. The syntax is that
/// of [`std::thread_local!`], and each variable is a [`task::LocalKey`](crate::task::LocalKey).
///
/// A coroutine shares its thread with others, so its neighbours read a thread-local that it sets. They do not
/// read its task locals. A value is made by its expression when the coroutine first uses it, or, with `const
/// { … }`, by a constant. It need not be `Send`. A spawned coroutine inherits it only through
/// [`inherit`](crate::task::LocalKey::inherit).
///
/// Values are destroyed when the coroutine ends, on its own stack, the last made first, before a join
/// returns. Their destructors may wait and use other locals, but not one that is destroyed already or is just
/// being destroyed. The panic hook reports a panic in such a destructor, and the panic ends there. In a
/// cancelled coroutine the waits of these destructors unwind, as any wait does. On a plain thread the values
/// are destroyed as the thread ends, under the rules that [`std::thread::LocalKey`] states for thread-locals.
///
/// In a runtime whose coroutines migrate (`migrate_started`), a coroutine takes its locals to its next
/// thread. A value that is bound to a thread must not be kept in one there.
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

/// A task local, declared with [`task_local!`](crate::task_local). Its methods are those of
/// [`std::thread::LocalKey`], and [`scope`](Self::scope) and [`inherit`](Self::inherit). None of them parks
/// by itself. Unless they return an [`AccessError`], they panic if the value is being destroyed or has been:
/// its coroutine or thread is about to end.
pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

/// The local is being destroyed, or has been: its coroutine or thread is about to end. As
/// [`std::thread::AccessError`].
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

    /// Calls the closure with the caller's value, which is made now if this is its first use; as
    /// [`std::thread::LocalKey::with`]. The closure may park, and may use this local again.
    ///
    /// # Panics
    ///
    /// If the value is being destroyed, or has been.
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        alive(self.try_with(f))
    }

    /// As [`with`](Self::with), without its panic; as [`std::thread::LocalKey::try_with`].
    ///
    /// # Errors
    ///
    /// The value is being destroyed, or has been. The closure was not called.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let value = match self.existing()? {
            Some(value) => value,
            None => self.store((self.init)())?,
        };
        Ok(f(&value))
    }

    /// Calls the closure with that value in the caller's local, and restores the former value when the
    /// closure has returned or unwound. As the method of that name of tokio's task locals. A
    /// [`with`](Self::with) around this call keeps its value.
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
                // Dropped here, where no table is borrowed.
                drop_one(with_local_record(|record| record.locals.replace(self.0, self.1.take())));
            }
        }

        let value: Value = Rc::new(value);
        let former = with_local_record(|record| record.locals.replace(self.id(), Some(value)));
        let _restore = Restore(self.id(), alive(former.map_err(AccessError::from)));
        f()
    }

    /// A closure that runs `f` with a copy of the caller's present value in the local of the coroutine that
    /// calls it. A coroutine inherits a value from its spawner in this way. Later changes of one do not
    /// affect the other. It calls [`with`](Self::with) for the copy now, and [`scope`](Self::scope) when the
    /// closure runs.
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
    fn existing(&'static self) -> Result<Option<Rc<T>>, AccessError> {
        let value = with_local_record(|record| record.locals.get(self.id()))?;
        Ok(value.map(|value| value.downcast().expect("the type is part of the id")))
    }

    /// Makes that the caller's value. If the expression of this local has itself made a value meanwhile, that
    /// one is dropped, as std does.
    fn store(&'static self, value: T) -> Result<Rc<T>, AccessError> {
        let value = Rc::new(value);
        let counted: Value = value.clone();
        let _former = with_local_record(|record| record.locals.replace(self.id(), Some(counted)))?;
        Ok(value)
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the value, without making the initial one; as [`std::thread::LocalKey::set`].
    ///
    /// # Panics
    ///
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn set(&'static self, value: T) {
        match alive(self.existing()) {
            Some(cell) => cell.set(value),
            None => drop(alive(self.store(Cell::new(value)))),
        }
    }

    /// A copy of the value; as [`std::thread::LocalKey::get`].
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

    /// Takes the value and leaves the default; as [`std::thread::LocalKey::take`].
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

    /// Sets the value and returns the former one; as [`std::thread::LocalKey::replace`].
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
    /// Calls the closure with the value, borrowed; as [`std::thread::LocalKey::with_borrow`].
    ///
    /// # Panics
    ///
    /// If the value is borrowed mutably, and as [`with`](Self::with).
    #[track_caller]
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls the closure with the value, borrowed mutably; as [`std::thread::LocalKey::with_borrow_mut`].
    ///
    /// # Panics
    ///
    /// If the value is borrowed, and as [`with`](Self::with).
    #[track_caller]
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value, without making the initial one; as [`std::thread::LocalKey::set`].
    ///
    /// # Panics
    ///
    /// If the value is borrowed, and as [`with`](Self::with).
    #[track_caller]
    pub fn set(&'static self, value: T) {
        match alive(self.existing()) {
            Some(cell) => drop(cell.replace(value)),
            None => drop(alive(self.store(RefCell::new(value)))),
        }
    }

    /// Takes the value and leaves the default; as [`std::thread::LocalKey::take`].
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

    /// Sets the value and returns the former one; as [`std::thread::LocalKey::replace`].
    ///
    /// # Panics
    ///
    /// If the value is borrowed, and as [`with`](Self::with).
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}
