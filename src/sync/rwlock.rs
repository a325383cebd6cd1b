//! The readers-writer lock: data and the mark of poison ([`protected`](super::protected)) under a
//! [`RawRwLock`].

use super::holder::HolderWord;
use super::lock_future::LockFuture;
use super::protected::{
    ExclusiveGuard, Protected, RawLock, exclusive_guard_traits, guard_traits, lock_traits,
};
use super::raw_rwlock::{Access, RawRwLock};
use super::{LockResult, TryLockResult};
use crate::base::sync::const_fn;
use crate::sched;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;

/// [`std::sync::RwLock`], whose [`read`](Self::read) and [`write`](Self::write) park the coroutine.
///
/// # Fairness
///
/// Nobody starves. A new locker may take the lock ahead of queued waiters (barging), so a contended lock
/// costs little more than an uncontended one. But new readers do not join the present readers while a writer
/// is queued, except while the writer is just being woken. A writer's unlock wakes all queued readers, the
/// last reader's unlock the first writer; they compete. A waiter that loses more than a millisecond after it
/// began to wait switches the lock to starvation mode: the lock is then handed off, alternately to all queued
/// readers and to one writer, and new lockers queue, until no such waiter is queued. Without contention,
/// locking and unlocking are one atomic operation each.
///
/// # Poisoning
///
/// Only the panic of a writer poisons, as in std, and a cancellation does not; see
/// [the module](super#poisoning).
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
#[doc(alias = "RWMutex")]
pub struct RwLock<T: ?Sized>(Protected<RawRwLock, T>);

// SAFETY: the data moves from one thread to another, and is used by one at a time.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: a writer has the data as if it were sent to its thread; readers share the data.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

lock_traits!(RwLock, try_read);

impl RawLock for RawRwLock {
    #[inline]
    fn unlock_exclusive(&self) {
        self.unlock(Access::Write);
    }

    #[inline]
    fn holder(&self) -> &HolderWord {
        &self.holder
    }
}

impl<T> RwLock<T> {
    const_fn! {
        /// A free lock.
        pub fn new(value: T) -> RwLock<T> {
            RwLock(Protected::new(RawRwLock::new(), value))
        }
    }

    /// The data; see [`std::sync::RwLock::into_inner`]. Does not park.
    ///
    /// # Errors
    ///
    /// The lock is poisoned; the error holds the data.
    pub fn into_inner(self) -> LockResult<T> {
        self.0.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock for reading. Parks the coroutine, or blocks the plain thread, while a writer holds the
    /// lock or is queued.
    ///
    /// Deadlocks if the caller already holds the lock for writing. May deadlock if the caller already holds
    /// it for reading, as in std: if a writer queues in between, each waits for the other. A cancelled
    /// coroutine unwinds out of the wait, without the lock.
    ///
    /// # Errors
    ///
    /// A writer's panic has poisoned the lock. The error holds the guard: the lock is taken.
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        sched::consume_budget();
        self.0.raw.lock(Access::Read);
        self.0.poison.checked(RwLockReadGuard::new(&self.0))
    }

    /// As [`read`](Self::read), as a future, for code on any executor; otherwise as
    /// [`Mutex::lock_async`](super::Mutex::lock_async).
    ///
    /// # Errors
    ///
    /// A writer's panic has poisoned the lock. The error holds the guard: the lock is taken.
    ///
    /// ```
    /// let lock = sward::sync::RwLock::new(1);
    /// let sum = sward::block_on(async {
    ///     *lock.write_async().await.unwrap() += 1;
    ///     let (one, other) = (lock.read_async().await.unwrap(), lock.read_async().await.unwrap());
    ///     *one + *other
    /// });
    /// assert_eq!(sum, 4);
    /// ```
    pub async fn read_async(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        LockFuture::new(&self.0.raw, Access::Read).await;
        self.0.poison.checked(RwLockReadGuard::new(&self.0))
    }

    /// Takes the lock for reading if that is possible at once. Does not park.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if a writer holds the lock or is queued; `Poisoned`, with the guard, if the lock is
    /// poisoned.
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let taken = self.0.raw.try_lock(Access::Read);
        self.0.poison.attempted(taken.then(|| RwLockReadGuard::new(&self.0)))
    }

    /// Takes the lock for writing. Parks the coroutine, or blocks the plain thread, until nobody else holds
    /// it.
    ///
    /// Deadlocks if the caller already holds the lock. A cancelled coroutine unwinds out of the wait, without
    /// the lock.
    ///
    /// # Errors
    ///
    /// A writer's panic has poisoned the lock. The error holds the guard: the lock is taken.
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        sched::consume_budget();
        self.0.raw.lock(Access::Write);
        self.0.poison.checked(RwLockWriteGuard(self.0.exclusive()))
    }

    /// As [`write`](Self::write), as a future, for code on any executor; otherwise as
    /// [`Mutex::lock_async`](super::Mutex::lock_async).
    ///
    /// # Errors
    ///
    /// A writer's panic has poisoned the lock. The error holds the guard: the lock is taken.
    pub async fn write_async(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        LockFuture::new(&self.0.raw, Access::Write).await;
        self.0.poison.checked(RwLockWriteGuard(self.0.exclusive()))
    }

    /// Takes the lock for writing if that is possible at once. Does not park.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the lock is held, or is being handed off; `Poisoned`, with the guard, if it is
    /// poisoned.
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let taken = self.0.raw.try_lock(Access::Write);
        self.0.poison.attempted(taken.then(|| RwLockWriteGuard(self.0.exclusive())))
    }

    /// Whether a writer's panic has poisoned the lock.
    pub fn is_poisoned(&self) -> bool {
        self.0.poison.get()
    }

    /// Removes the poison: the caller has made sure that the data is consistent.
    pub fn clear_poison(&self) {
        self.0.poison.clear();
    }

    /// A reference to the data; see [`std::sync::RwLock::get_mut`]. Does not park.
    ///
    /// # Errors
    ///
    /// The lock is poisoned; the error holds the reference.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
    }
}

/// An [`RwLock`] held for reading. Dropping the guard releases the lock, which does not park.
///
/// It is not `Send`, but a coroutine may wait for anything while it has a guard.
#[must_use = "if unused the lock is released at once"]
pub struct RwLockReadGuard<'a, T: ?Sized + 'a> {
    /// Into the lock, which the guard borrows for `'a`. Not a reference to the lock itself: then the guard
    /// would be invariant in `T`, though it only reads. Not a reference to the data: as an argument of a
    /// function it would be promised to stay valid until the function returns, but the guard may be dropped
    /// before.
    data: NonNull<T>,
    raw: &'a RawRwLock,
}

guard_traits!(RwLockReadGuard);

impl<T: ?Sized + RefUnwindSafe> UnwindSafe for RwLockReadGuard<'_, T> {}
impl<T: ?Sized + RefUnwindSafe> RefUnwindSafe for RwLockReadGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// The guard of a lock that the caller has just taken for reading.
    fn new(lock: &'a Protected<RawRwLock, T>) -> Self {
        // SAFETY: the pointer into a cell is not null.
        RwLockReadGuard { data: unsafe { NonNull::new_unchecked(lock.data()) }, raw: &lock.raw }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock for reading, which excludes writers; and it borrows the lock, so
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

/// An [`RwLock`] held for writing. Dropping the guard releases the lock, which does not park.
///
/// It is not `Send`, but a coroutine may wait for anything while it has a guard.
#[must_use = "if unused the lock is released at once"]
pub struct RwLockWriteGuard<'a, T: ?Sized>(ExclusiveGuard<'a, RawRwLock, T>);

exclusive_guard_traits!(RwLockWriteGuard);

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Makes the writer a reader, without releasing the lock in between. Lets queued readers in as well. Does
    /// not park.
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
        let lock = guard.0.leave();
        lock.raw.downgrade();
        RwLockReadGuard::new(lock)
    }
}
