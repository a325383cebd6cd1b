//! Whether a panic has left the data behind a lock in doubt.

use crate::sched;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

/// The mark. `Relaxed` is enough: it is set before its lock is released and read after it was taken.
#[derive(Debug)]
pub(super) struct Poison(AtomicBool);

/// Whether the thread was unwinding already when the lock was taken: then that panic is not one of the
/// section under the lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered {
    unwinding: bool,
}

impl Poison {
    pub(super) const fn new() -> Poison {
        Poison(AtomicBool::new(false))
    }

    /// Called once the lock has been taken.
    #[inline]
    pub(super) fn enter() -> Entered {
        Entered { unwinding: std::thread::panicking() }
    }

    /// Called before the lock is released: sets the mark if a panic is what ends the section.
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

    /// What std gives for a lock that was taken, or for the data of one that is owned.
    #[inline]
    pub(super) fn checked<G>(&self, guard: G) -> LockResult<G> {
        if self.get() { Err(PoisonError::new(guard)) } else { Ok(guard) }
    }

    /// What std gives for an attempt: `None` is a lock that was not free.
    #[inline]
    pub(super) fn attempted<G>(&self, guard: Option<G>) -> TryLockResult<G> {
        let guard = guard.ok_or(TryLockError::WouldBlock)?;
        self.checked(guard).map_err(TryLockError::Poisoned)
    }
}

/// The `Debug` output of a lock: its data if an attempt to take it succeeds.
pub(super) fn describe<G: Deref<Target: fmt::Debug>>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    attempt: TryLockResult<G>,
    poison: &Poison,
) -> fmt::Result {
    let mut debug = f.debug_struct(name);
    match attempt {
        Ok(guard) => debug.field("data", &&*guard),
        Err(TryLockError::Poisoned(error)) => debug.field("data", &&**error.get_ref()),
        Err(TryLockError::WouldBlock) => debug.field("data", &format_args!("<locked>")),
    };
    debug.field("poisoned", &poison.get()).finish_non_exhaustive()
}
