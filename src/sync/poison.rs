//! The mark of poison: a panic has left the data behind a lock in doubt.

use crate::sched;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

/// The mark. `Relaxed` is enough: it is set before its lock is released, and read after the lock was taken.
#[derive(Debug)]
pub(super) struct Poison(AtomicBool);

/// Whether the thread was unwinding already when the lock was taken: then the panic did not begin in the
/// section under the lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered {
    unwinding: bool,
}

impl Poison {
    pub(super) const fn new() -> Poison {
        Poison(AtomicBool::new(false))
    }

    /// Call it when the lock was taken.
    #[inline]
    pub(super) fn enter() -> Entered {
        Entered { unwinding: std::thread::panicking() }
    }

    /// Call it before the lock is released: poisons the lock if a panic, but not a cancellation, ends the
    /// section.
    #[inline]
    pub(super) fn leave(&self, entered: Entered) {
        if !entered.unwinding && std::thread::panicking() && !sched::cancelling() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// std's result for a lock that was taken, or for the data of one that is owned.
    #[inline]
    pub(super) fn checked<G>(&self, guard: G) -> LockResult<G> {
        if self.get() { Err(PoisonError::new(guard)) } else { Ok(guard) }
    }

    /// std's result for an attempt to take a lock; `None` if the attempt failed.
    #[inline]
    pub(super) fn attempted<G>(&self, guard: Option<G>) -> TryLockResult<G> {
        let guard = guard.ok_or(TryLockError::WouldBlock)?;
        self.checked(guard).map_err(TryLockError::Poisoned)
    }
}
