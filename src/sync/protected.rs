//! Data under a raw lock: what [`Mutex`](super::Mutex) and [`RwLock`](super::RwLock) have in common.
//!
//! Invariant: a reference into `data` exists only while a guard holds the raw lock, or where the whole lock
//! is owned or borrowed exclusively. An [`ExclusiveGuard`] has the only one.

use super::holder::HolderWord;
use super::poison::{Entered, Poison};
use super::{LockResult, TryLockError, TryLockResult};
use crate::base::sync::const_fn;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A lock without data.
pub(super) trait RawLock {
    /// Releases the lock, which the caller holds exclusively.
    fn unlock_exclusive(&self);

    /// The word for who holds the lock exclusively. Releasing the lock clears it.
    fn holder(&self) -> &HolderWord;
}

/// Data, its raw lock, and whether a panic has poisoned it.
pub(super) struct Protected<R, T: ?Sized> {
    pub(super) raw: R,
    pub(super) poison: Poison,
    data: UnsafeCell<T>,
}

// As std: a panic in a section poisons the lock, so that data in doubt is not used unnoticed.
impl<R, T: ?Sized> UnwindSafe for Protected<R, T> {}
impl<R, T: ?Sized> RefUnwindSafe for Protected<R, T> {}

impl<R, T> Protected<R, T> {
    const_fn! {
        /// Data under a lock that is free.
        pub(super) fn new(raw: R, value: T) -> Protected<R, T> {
            Protected { raw, poison: Poison::new(), data: UnsafeCell::new(value) }
        }
    }

    pub(super) fn into_inner(self) -> LockResult<T> {
        let Protected { poison, data, .. } = self;
        poison.checked(data.into_inner())
    }
}

impl<R, T: ?Sized> Protected<R, T> {
    pub(super) fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.checked(self.data.get_mut())
    }

    /// A pointer to the data, for a guard.
    pub(super) fn data(&self) -> *mut T {
        self.data.get()
    }

    /// The guard of a lock that the caller has just taken exclusively.
    pub(super) fn exclusive(&self) -> ExclusiveGuard<'_, R, T>
    where
        R: RawLock,
    {
        self.raw.holder().set();
        ExclusiveGuard { lock: self, entered: Poison::enter(), not_send: PhantomData }
    }

    /// The `Debug` output of a lock: with its data if an attempt to take the lock has succeeded.
    pub(super) fn describe<G: Deref<Target: fmt::Debug>>(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        attempt: TryLockResult<G>,
    ) -> fmt::Result {
        let mut debug = f.debug_struct(name);
        match attempt {
            Ok(guard) => debug.field("data", &&*guard),
            Err(TryLockError::Poisoned(error)) => debug.field("data", &&**error.get_ref()),
            Err(TryLockError::WouldBlock) => debug.field("data", &format_args!("<locked>")),
        };
        debug.field("poisoned", &self.poison.get()).finish_non_exhaustive()
    }
}

/// What makes a guard stay where it was made: it is not `Send`. The name stands in the compiler's message
/// when a guard is sent to another coroutine or thread.
pub(super) struct GuardsStayInTheirCoroutine(#[allow(dead_code, reason = "it is never made")] *const ());

/// Holds the lock exclusively. Dropping it releases the lock, and poisons it if a panic ends the section.
pub(super) struct ExclusiveGuard<'a, R: RawLock, T: ?Sized> {
    lock: &'a Protected<R, T>,
    entered: Entered,
    not_send: PhantomData<GuardsStayInTheirCoroutine>,
}

impl<'a, R: RawLock, T: ?Sized> ExclusiveGuard<'a, R, T> {
    /// The lock, which the caller has to release. Does not poison it.
    pub(super) fn into_lock(self) -> &'a Protected<R, T> {
        ManuallyDrop::new(self).lock
    }

    /// The lock, which the caller has to release. Poisons it as the guard's drop does.
    pub(super) fn leave(self) -> &'a Protected<R, T> {
        self.lock.poison.leave(self.entered);
        self.into_lock()
    }
}

impl<R: RawLock, T: ?Sized> Deref for ExclusiveGuard<'_, R, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock, which excludes all other references to the data.
        unsafe { &*self.lock.data.get() }
    }
}

impl<R: RawLock, T: ?Sized> DerefMut for ExclusiveGuard<'_, R, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<R: RawLock, T: ?Sized> Drop for ExclusiveGuard<'_, R, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.leave(self.entered);
        self.lock.raw.unlock_exclusive();
    }
}

/// The traits of a public lock, which wraps [`Protected`]. Its `Send` and `Sync` depend on the kind of lock.
macro_rules! lock_traits {
    ($lock:ident, $try_lock:ident) => {
        impl<T: Default> Default for $lock<T> {
            fn default() -> Self {
                $lock::new(T::default())
            }
        }

        impl<T> From<T> for $lock<T> {
            fn from(value: T) -> Self {
                $lock::new(value)
            }
        }

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $lock<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.describe(f, stringify!($lock), self.$try_lock())
            }
        }
    };
}
pub(super) use lock_traits;

/// The traits of a public guard that dereferences to the data.
macro_rules! guard_traits {
    ($guard:ident) => {
        // SAFETY: a shared reference to a guard gives shared references to the data, and nothing else.
        unsafe impl<T: ?Sized + Sync> Sync for $guard<'_, T> {}

        impl<T: ?Sized + fmt::Debug> fmt::Debug for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&**self, f)
            }
        }

        impl<T: ?Sized + fmt::Display> fmt::Display for $guard<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&**self, f)
            }
        }
    };
}
pub(super) use guard_traits;

/// The traits of a public guard that wraps an [`ExclusiveGuard`].
macro_rules! exclusive_guard_traits {
    ($guard:ident) => {
        guard_traits!($guard);

        impl<T: ?Sized> Deref for $guard<'_, T> {
            type Target = T;
            #[inline]
            fn deref(&self) -> &T {
                &self.0
            }
        }

        impl<T: ?Sized> DerefMut for $guard<'_, T> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                &mut self.0
            }
        }
    };
}
pub(super) use exclusive_guard_traits;
