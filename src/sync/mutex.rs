//! The mutex: data and the mark of poison ([`protected`](super::protected)) under a
//! [`RawMutex`].

use super::holder::HolderWord;
use super::lock_future::LockFuture;
use super::protected::{
    ExclusiveGuard, Protected, RawLock, exclusive_guard_traits, guard_traits, lock_traits,
};
use super::raw_mutex::RawMutex;
use super::{LockResult, TryLockResult};
use crate::base::sync::const_fn;
use crate::coroutine::WaitReason;
use crate::sched::{self, Cancel};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// [`std::sync::Mutex`], whose [`lock`](Self::lock) parks the coroutine.
///
/// A coroutine may wait for anything while it holds the guard: other coroutines that lock the mutex park, and
/// no worker is blocked.
///
/// # Fairness
///
/// Nobody starves. A new locker may take a free mutex ahead of queued waiters (barging), so a contended mutex
/// costs little more than an uncontended one. Waiters are woken in FIFO order, and compete. A waiter that
/// loses more than a millisecond after it began to wait switches the mutex to starvation mode: each release
/// then reserves the mutex for the first waiter, and new lockers queue. The mutex leaves this mode when a
/// waiter gets it that has waited for less, or is the last one. (Go's `sync.Mutex` has the same modes.)
/// Without contention, locking and unlocking are one atomic operation each.
///
/// # Poisoning
///
/// As in std, except that a cancellation does not poison; see [the module](super#poisoning).
///
/// ```
/// use std::sync::Arc;
/// use sward::sync::Mutex;
///
/// sward::run(|| {
///     let sum = Arc::new(Mutex::new(0));
///     let adders: Vec<_> = (1..=10)
///         .map(|n| {
///             let sum = sum.clone();
///             sward::spawn(move || {
///                 let mut sum = sum.lock().unwrap();
///                 sward::yield_now(); // a wait with the guard is fine
///                 *sum += n;
///             })
///         })
///         .collect();
///     for adder in adders {
///         adder.join().unwrap();
///     }
///     assert_eq!(*sum.lock().unwrap(), 55);
/// });
/// ```
#[doc(alias = "sync.Mutex")]
pub struct Mutex<T: ?Sized>(Protected<RawMutex, T>);

// SAFETY: the data moves from one thread to another, and is used by one at a time.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: one guard at a time reaches the data, so the data is as if sent to the guard's thread.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

lock_traits!(Mutex, try_lock);

impl RawLock for RawMutex {
    #[inline]
    fn unlock_exclusive(&self) {
        self.unlock();
    }

    #[inline]
    fn holder(&self) -> &HolderWord {
        &self.holder
    }
}

impl<T> Mutex<T> {
    const_fn! {
        /// A free mutex.
        ///
        /// ```
        /// static COUNT: sward::sync::Mutex<u32> = sward::sync::Mutex::new(0);
        /// *COUNT.lock().unwrap() += 1; // on a plain thread, this blocks the thread
        /// ```
        pub fn new(value: T) -> Mutex<T> {
            Mutex(Protected::new(RawMutex::new(), value))
        }
    }

    /// The data; see [`std::sync::Mutex::into_inner`]. Does not park.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error holds the data.
    pub fn into_inner(self) -> LockResult<T> {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks the mutex. Parks the coroutine, or blocks the plain thread, until the mutex is available.
    ///
    /// Deadlocks if the caller already holds the lock. A cancelled coroutine unwinds out of the wait, without
    /// the lock.
    ///
    /// # Errors
    ///
    /// A panic has poisoned the mutex. The error holds the guard: the mutex is locked.
    ///
    /// ```
    /// let mutex = sward::sync::Mutex::new(vec![1]);
    /// mutex.lock().unwrap().push(2);
    /// assert_eq!(*mutex.lock().unwrap(), [1, 2]);
    /// ```
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        sched::consume_budget();
        lock_for(&self.0, WaitReason::Mutex, Cancel::Obey)
    }

    /// As [`lock`](Self::lock), as a future, for code on any executor. It waits in the same queue as
    /// coroutines do, from its first poll on. Does not park, and needs no runtime. The waker is called where
    /// the mutex is unlocked, so it must not block.
    ///
    /// The future is `Send` if the mutex is `Sync`, but the guard is not `Send`; see
    /// [the module](super#in-futures).
    ///
    /// Dropping the future gives up its place. If it has been woken, the next waiter is woken instead. A
    /// future that has been woken and is neither polled nor dropped keeps the waiters behind it waiting. If
    /// it has waited for over 1 ms the free mutex is even reserved for it: nobody else can lock it
    /// meanwhile. So poll it soon, or drop it.
    ///
    /// # Errors
    ///
    /// A panic has poisoned the mutex. The error holds the guard: the mutex is locked.
    ///
    /// ```
    /// use sward::sync::Mutex;
    ///
    /// let sum = Mutex::new(0);
    /// sward::scope(|s| {
    ///     for n in 1..=10 {
    ///         let sum = &sum;
    ///         s.spawn(move || sward::block_on(async { *sum.lock_async().await.unwrap() += n }));
    ///     }
    /// });
    /// assert_eq!(sum.into_inner().unwrap(), 55);
    /// ```
    pub async fn lock_async(&self) -> LockResult<MutexGuard<'_, T>> {
        LockFuture::new(&self.0.raw, ()).await;
        self.0.poison.checked(MutexGuard(self.0.exclusive()))
    }

    /// Locks the mutex if that is possible at once. Does not park.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the mutex is held, or reserved for a waiter; `Poisoned`, with the guard, if a panic
    /// has poisoned it.
    ///
    /// ```
    /// let mutex = sward::sync::Mutex::new(());
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(mutex.try_lock().is_err());
    /// drop(guard);
    /// ```
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        self.0.poison.attempted(self.0.raw.try_lock().then(|| MutexGuard(self.0.exclusive())))
    }

    /// Whether a panic has poisoned the mutex.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use sward::sync::Mutex;
    ///
    /// sward::run(|| {
    ///     let mutex = Arc::new(Mutex::new(()));
    ///     let theirs = mutex.clone();
    ///     let fails = sward::spawn(move || {
    ///         let _guard = theirs.lock().unwrap();
    ///         std::panic::resume_unwind(Box::new("in the middle"));
    ///     });
    ///     assert!(fails.join().is_err());
    ///     assert!(mutex.is_poisoned());
    ///     mutex.clear_poison();
    ///     assert!(mutex.lock().is_ok());
    /// });
    /// ```
    pub fn is_poisoned(&self) -> bool {
        self.0.poison.get()
    }

    /// Removes the poison: the caller has made sure that the data is consistent.
    pub fn clear_poison(&self) {
        self.0.poison.clear();
    }

    /// A reference to the data; see [`std::sync::Mutex::get_mut`]. Does not park.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error holds the reference.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
    }
}

/// Locks a mutex, for a wait with that reason.
pub(super) fn lock_for<T: ?Sized>(
    lock: &Protected<RawMutex, T>,
    reason: WaitReason,
    cancel: Cancel,
) -> LockResult<MutexGuard<'_, T>> {
    lock.raw.lock(reason, cancel);
    lock.poison.checked(MutexGuard(lock.exclusive()))
}

/// A locked [`Mutex`]. Dropping the guard unlocks the mutex, which does not park.
///
/// It is not `Send`, but a coroutine may wait for anything while it has a guard.
#[must_use = "if unused the mutex is unlocked at once"]
pub struct MutexGuard<'a, T: ?Sized>(ExclusiveGuard<'a, RawMutex, T>);

exclusive_guard_traits!(MutexGuard);

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The lock, which the caller has to unlock.
    pub(super) fn into_lock(guard: Self) -> &'a Protected<RawMutex, T> {
        guard.0.into_lock()
    }
}
