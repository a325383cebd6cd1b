//! The mutex: data, the mark of poison, and the lock below ([`raw_mutex`](super::raw_mutex)).

use super::poison::{Entered, Poison, describe};
use super::raw_mutex::RawMutex;
use super::{LockResult, TryLockResult};
use crate::base::sync::const_fn;
use crate::coroutine::WaitReason;
use crate::sched::{self, Cancel};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A mutual exclusion lock, as [`std::sync::Mutex`], whose [`lock`](Self::lock) parks a coroutine.
///
/// A coroutine may wait for anything while it holds the guard: others that want the lock park, and no
/// worker is blocked.
///
/// # Fairness
///
/// One who comes while the lock happens to be free takes it at once, although others wait: a lock that is
/// busy then costs little more than one that is not. Those who wait are woken in the order in which they
/// came, and try again. One that is overtaken and has waited for more than a millisecond by then is not
/// overtaken any more: from the next release on the lock goes to the first who waits, each time, until
/// nobody has waited that long. An uncontended lock and its release take one atomic operation each.
///
/// # Poisoning
///
/// As in std, except that a cancellation does not poison; see [the module](super).
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
///                 sward::yield_now(); // holding it over a wait is fine
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
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    poison: Poison,
    data: UnsafeCell<T>,
}

// SAFETY: the data goes from one thread to another, one at a time.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: the lock lets one at a time reach the data, so it is as if it were sent to that one.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// A mutex that is free.
        ///
        /// ```
        /// static COUNT: sward::sync::Mutex<u32> = sward::sync::Mutex::new(0);
        /// *COUNT.lock().unwrap() += 1; // a plain thread may lock it as well
        /// ```
        pub fn new(value: T) -> Mutex<T> {
            Mutex { raw: RawMutex::new(), poison: Poison::new(), data: UnsafeCell::new(value) }
        }
    }

    /// The data of a mutex that is owned. Does not park.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error holds the data.
    ///
    /// ```
    /// assert_eq!(sward::sync::Mutex::new(7).into_inner().unwrap(), 7);
    /// ```
    pub fn into_inner(self) -> LockResult<T> {
        let Mutex { poison, data, .. } = self;
        poison.checked(data.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock, parking the coroutine or blocking the thread until it can. A cancelled coroutine
    /// unwinds out of the wait, without the lock.
    ///
    /// One who holds the lock already and calls this waits for itself, for ever.
    ///
    /// # Errors
    ///
    /// A panic has poisoned the mutex. The error holds the guard: the lock was taken.
    ///
    /// ```
    /// let mutex = sward::sync::Mutex::new(vec![1]);
    /// mutex.lock().unwrap().push(2);
    /// assert_eq!(*mutex.lock().unwrap(), [1, 2]);
    /// ```
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        sched::consume_budget();
        self.lock_for(WaitReason::Mutex, Cancel::Obey)
    }

    pub(super) fn lock_for(&self, reason: WaitReason, cancel: Cancel) -> LockResult<MutexGuard<'_, T>> {
        self.raw.lock(reason, cancel);
        self.poison.checked(self.guard())
    }

    /// Takes the lock if it is free now. Does not park.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it is not free, or is handed over to one who waits; `Poisoned`, with the guard, if a
    /// panic has poisoned it.
    ///
    /// ```
    /// let mutex = sward::sync::Mutex::new(());
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(mutex.try_lock().is_err());
    /// drop(guard);
    /// ```
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        self.poison.attempted(self.raw.try_lock().then(|| self.guard()))
    }

    /// The guard of the lock that the caller has just taken.
    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, entered: Poison::enter(), not_send: PhantomData }
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
        self.poison.get()
    }

    /// Declares the data sound again.
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// The data of a mutex that is borrowed exclusively. Does not park.
    ///
    /// # Errors
    ///
    /// The mutex is poisoned; the error holds the reference.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.checked(self.data.get_mut())
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "Mutex", self.try_lock(), &self.poison)
    }
}

/// The held lock of a [`Mutex`]; dropping it releases the lock, which does not park.
///
/// It is not `Send`, but a coroutine may wait for anything while it holds it.
#[must_use = "if unused the mutex is unlocked at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    lock: &'a Mutex<T>,
    entered: Entered,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives shared references to the data, and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The mutex, and its lock, which the caller now has to release.
    pub(super) fn into_lock(guard: Self) -> (&'a Mutex<T>, &'a RawMutex) {
        let lock = guard.lock;
        std::mem::forget(guard);
        (lock, &lock.raw)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock, which keeps all others from the data.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.poison.leave(self.entered);
        self.lock.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
