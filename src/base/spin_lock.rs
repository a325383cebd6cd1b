//! A spin lock: held for a few instructions, and released by one plain store.
//!
//! # The problem
//!
//! A rendezvous takes and releases such a lock six times. A mutex that can put threads to sleep needs a
//! second read-modify-write in each release, to find out whether a thread sleeps. This lock does not.
//!
//! # States
//!
//! ```text
//!   held: 0 (free) --- compare-and-swap, Acquire: `lock` ---> 1 (held)
//!         0 (free) <--- store, Release: the guard is dropped --- 1 (held)
//! ```
//!
//! A thread that finds the lock held waits in three stages (`sync::spin`): it spins; then it yields its
//! processor, since the holder may have been preempted; then it sleeps for moments, so that a holder of lower
//! priority gets to run. A waiter that is late has no claim: any thread may take the free lock first. So the
//! lock is for critical sections of a few instructions, in which no code of a user runs.
//!
//! # The argument
//!
//! - *Mutual exclusion*: only a compare-and-swap from 0 to 1 takes the lock, and only its taker stores 0. The
//!   acquiring swap reads the releasing store, so it sees what the last holder wrote.
//! - *No lost wake-up*: no thread sleeps until it is woken; each waiter looks again by itself.
//! - *Memory*: the store is the last access of a release to the lock. So the next holder may free it.

use super::sync::{AtomicU32, Ordering, const_fn, spin};
use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A spin lock.
pub(crate) struct SpinLock<T> {
    /// 0: free, 1: held.
    held: AtomicU32,
    /// Accessed by the holder only.
    value: UnsafeCell<T>,
}

// SAFETY: one thread at a time has access to the value, from the compare-and-swap that took `held` from 0 to
// 1 until its guard stores 0. That store releases what the thread did to the next acquiring swap.
unsafe impl<T: Send> Sync for SpinLock<T> {}
// SAFETY: the value goes with it.
unsafe impl<T: Send> Send for SpinLock<T> {}

impl<T> SpinLock<T> {
    const_fn! {
        /// A free lock.
        pub(crate) fn new(value: T) -> SpinLock<T> {
            SpinLock { held: AtomicU32::new(0), value: UnsafeCell::new(value) }
        }
    }

    /// Takes the lock once it is free. Blocks the thread until then.
    #[inline]
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        if self.held.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_contended();
        }
        SpinGuard { lock: self }
    }

    #[cold]
    fn lock_contended(&self) {
        let mut turn = 0;
        while self.held.load(Ordering::Relaxed) != 0
            || self.held.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            spin(turn);
            turn += 1;
        }
    }
}

impl<T> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock").finish_non_exhaustive()
    }
}

/// The held lock.
#[derive(Debug)]
pub(crate) struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
}

// SAFETY: a shared guard gives shared access to the value only.
unsafe impl<T: Sync> Sync for SpinGuard<'_, T> {}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock, and the borrow ends before the guard releases it.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.held.store(0, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn stress() {
        const EACH: u64 = 200_000;
        let lock = SpinLock::new((0_u64, 0_u64));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let mut both = lock.lock();
                        both.0 += 1;
                        both.1 += 1;
                        assert_eq!(both.0, both.1);
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (3 * EACH, 3 * EACH));
    }

    #[test]
    fn a_panic_releases_the_lock() {
        let lock = SpinLock::new(1);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut held = lock.lock();
            *held = 2;
            panic!("with the lock held");
        }));
        assert!(caught.is_err());
        assert_eq!(*lock.lock(), 2);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    /// Two threads take it and change its value, which loom watches. The second one sees what the first did.
    #[test]
    fn one_at_a_time() {
        loom::model(|| {
            let lock = Arc::new(SpinLock::new(UnsafeCell::new(0)));
            let add = |lock: &SpinLock<UnsafeCell<u32>>| {
                // SAFETY: under the lock; loom checks it.
                lock.lock().with_mut(|n| unsafe { *n += 1 });
            };
            let other = {
                let lock = lock.clone();
                thread::spawn(move || add(&lock))
            };
            add(&lock);
            other.join().unwrap();
            // SAFETY: as above.
            assert_eq!(lock.lock().with(|n| unsafe { *n }), 2);
        });
    }
}
