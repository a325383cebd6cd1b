//! The readers-writer lock: data, the mark of poison, and the lock below ([`raw_rwlock`](super::raw_rwlock)).

use super::poison::{Entered, Poison, describe};
use super::raw_rwlock::{Access, RawRwLock};
use super::{LockResult, TryLockResult};
use crate::base::sync::const_fn;
use crate::sched;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;

/// A lock for many readers or one writer, as [`std::sync::RwLock`], that parks a coroutine.
///
/// # Fairness
///
/// Nobody starves. One who comes while the lock can be had takes it, although others wait: a lock that is
/// busy then costs little more than one that is not. But readers do not join those who read while a writer
/// waits, save while it is being woken. When a writer is done, all readers that wait by then are woken
/// together; when the last reader is done, the first writer. They try again; once one of them has been
/// overtaken and has waited for more than a millisecond by then, nobody overtakes it any more: the lock is
/// handed to all readers and to one writer in turns, until nobody waits for whom that is so. An uncontended
/// lock and its release take one atomic operation each.
///
/// As with std, one who holds the lock for reading must not ask for it again: if a writer waits in
/// between, both wait for ever.
///
/// # Poisoning
///
/// Only a writer's panic poisons, as in std, and a cancellation does not; see [the module](super).
///
/// ```
/// let lock = sward::sync::RwLock::new(5);
/// {
///     let (one, other) = (lock.read().unwrap(), lock.try_read().unwrap());
///     assert_eq!(*one + *other, 10);
/// }
/// *lock.write().unwrap() += 1;
/// assert_eq!(*lock.read().unwrap(), 6);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    poison: Poison,
    data: UnsafeCell<T>,
}

// SAFETY: the data goes from one thread to another, one at a time.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: a writer has the data as if it were sent to it, readers share it.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// A lock that is free.
        pub fn new(value: T) -> RwLock<T> {
            RwLock { raw: RawRwLock::new(), poison: Poison::new(), data: UnsafeCell::new(value) }
        }
    }

    /// The data of a lock that is owned. Does not park.
    ///
    /// # Errors
    ///
    /// The lock is poisoned; the error holds the data.
    pub fn into_inner(self) -> LockResult<T> {
        let RwLock { poison, data, .. } = self;
        poison.checked(data.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock for reading, parking the coroutine or blocking the thread while somebody writes or
    /// waits to. A cancelled coroutine unwinds out of the wait, without the lock.
    ///
    /// # Errors
    ///
    /// A writer's panic has poisoned the lock. The error holds the guard: the lock was taken.
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        sched::consume_budget();
        self.raw.lock(Access::Read);
        self.poison.checked(self.reading())
    }

    /// Takes the lock for reading if that needs no wait. Does not park.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if somebody writes or waits to; `Poisoned`, with the guard, if the lock is poisoned.
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        self.poison.attempted(self.raw.try_lock(Access::Read).then(|| self.reading()))
    }

    /// Takes the lock for writing, parking the coroutine or blocking the thread until nobody else has it.
    /// A cancelled coroutine unwinds out of the wait, without the lock.
    ///
    /// # Errors
    ///
    /// A writer's panic has poisoned the lock. The error holds the guard: the lock was taken.
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        sched::consume_budget();
        self.raw.lock(Access::Write);
        self.poison.checked(self.writing())
    }

    /// Takes the lock for writing if it is free now. Does not park.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it is not free; `Poisoned`, with the guard, if the lock is poisoned.
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        self.poison.attempted(self.raw.try_lock(Access::Write).then(|| self.writing()))
    }

    /// The guard of the lock that the caller has just taken.
    fn reading(&self) -> RwLockReadGuard<'_, T> {
        // SAFETY: the pointer in a cell is not null.
        RwLockReadGuard { data: unsafe { NonNull::new_unchecked(self.data.get()) }, raw: &self.raw }
    }

    /// The guard of the lock that the caller has just taken.
    fn writing(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard { lock: self, entered: Poison::enter(), not_send: PhantomData }
    }

    /// Whether a writer's panic has poisoned the lock.
    pub fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// Declares the data sound again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The data of a lock that is borrowed exclusively. Does not park.
    ///
    /// # Errors
    ///
    /// The lock is poisoned; the error holds the reference.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.checked(self.data.get_mut())
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> Self {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "RwLock", self.try_read(), &self.poison)
    }
}

/// An [`RwLock`] held for reading; dropping it releases the lock, which does not park.
///
/// It is not `Send`, but a coroutine may wait for anything while it holds it.
#[must_use = "if unused the lock is released at once"]
pub struct RwLockReadGuard<'a, T: ?Sized + 'a> {
    /// Into the lock, which the guard borrows for `'a`. Not a reference to the lock itself: the guard would
    /// be invariant in `T` then, though it only reads. Not a reference to the data: as an argument of a
    /// function that would be promised to stay valid until the function returns, but the guard may be dropped
    /// before.
    data: NonNull<T>,
    raw: &'a RawRwLock,
}

// SAFETY: a shared guard gives shared references to the data, and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

impl<T: ?Sized + RefUnwindSafe> UnwindSafe for RwLockReadGuard<'_, T> {}
impl<T: ?Sized + RefUnwindSafe> RefUnwindSafe for RwLockReadGuard<'_, T> {}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock for reading, which keeps writers from the data; and borrows it, so
        // the data is alive.
        unsafe { self.data.as_ref() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.raw.unlock(Access::Read);
    }
}

/// An [`RwLock`] held for writing; dropping it releases the lock, which does not park.
///
/// It is not `Send`, but a coroutine may wait for anything while it holds it.
#[must_use = "if unused the lock is released at once"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    entered: Entered,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared references to the data, and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Turns the lock for writing into one for reading; no writer comes in between. Readers that wait come
    /// in as well. Does not park.
    ///
    /// ```
    /// use sward::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut writing = lock.write().unwrap();
    /// *writing = 2;
    /// let reading = RwLockWriteGuard::downgrade(writing);
    /// assert_eq!(*reading + *lock.read().unwrap(), 4);
    /// ```
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        let lock = guard.lock;
        lock.poison.leave(guard.entered);
        mem::forget(guard);
        lock.raw.downgrade();
        lock.reading()
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock for writing, which keeps all others from the data.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.leave(self.entered);
        self.lock.raw.unlock(Access::Write);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
