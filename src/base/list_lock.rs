//! The lock of a wait list: a spin lock, and loom's mutex in models.
//!
//! It is held for a few instructions. Under it no code of a user runs, and no other lock of the runtime is
//! taken, except other lists' locks in the order of their addresses (`select!` takes several).

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(not(loom))]
mod real {
    use crate::base::lock::{Held, Rank};
    use crate::base::spin_lock::{SpinGuard, SpinLock};
    use std::ops::{Deref, DerefMut};

    /// The lock of a wait list.
    #[derive(Debug)]
    pub(crate) struct ListLock<T>(SpinLock<T>);

    /// The held lock of a list.
    pub(crate) struct ListGuard<'a, T> {
        // In this order: the lock is released, and then it no longer counts as held.
        value: SpinGuard<'a, T>,
        _held: Held,
    }

    impl<T> ListLock<T> {
        pub(crate) const fn new(value: T) -> ListLock<T> {
            ListLock(SpinLock::new(value))
        }

        #[inline]
        #[track_caller]
        pub(crate) fn lock(&self) -> ListGuard<'_, T> {
            let held = Held::enter(Rank::List);
            ListGuard { value: self.0.lock(), _held: held }
        }
    }

    impl<T> Deref for ListGuard<'_, T> {
        type Target = T;
        #[inline]
        fn deref(&self) -> &T {
            &self.value
        }
    }

    impl<T> DerefMut for ListGuard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            &mut self.value
        }
    }
}

#[cfg(loom)]
mod modelled {
    #[derive(Debug)]
    pub(crate) struct ListLock<T>(loom::sync::Mutex<T>);

    pub(crate) type ListGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

    impl<T> ListLock<T> {
        pub(crate) fn new(value: T) -> ListLock<T> {
            ListLock(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> ListGuard<'_, T> {
            self.0.lock().expect("nothing panics under it")
        }
    }
}
