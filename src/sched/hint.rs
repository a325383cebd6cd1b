//! Hints that there may be a new deadlock, for the thread that looks for deadlocks.
//!
//! The last wait of a deadlock closes it. So nobody has to look as long as no wait begins that needs others
//! ([`WaitReason::needs_others`](crate::coroutine::WaitReason::needs_others)). Each such wait leaves a hint.
//!
//! ```text
//!  a thread whose coroutine parks, or that blocks      the watch
//!  hinted? nothing to do                               waits for a hint
//!  else: sets it, and calls the watch                  takes the hint
//!                                                      gives waits time to last, then looks at all of them
//! ```
//!
//! A wait that finds the hint set just before the watch takes it is not parked yet, perhaps. It has all of
//! the time that the watch lets pass before its look. If the system does not run the thread for so long, the
//! deadlock is found after the next hint.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether there is a hint. True as long as nobody watches, so that a wait costs one load.
static HINTED: AtomicBool = AtomicBool::new(true);
/// Tells the watch. It neither parks nor takes a lock for long.
static WATCH: OnceLock<fn()> = OnceLock::new();

/// A wait begins that needs others.
#[inline]
pub(super) fn wait_for_others_begins() {
    if !HINTED.load(Ordering::Relaxed) {
        hint();
    }
}

#[cold]
fn hint() {
    if let Some(tell) = WATCH.get()
        && !HINTED.swap(true, Ordering::AcqRel)
    {
        tell();
    }
}

/// From now on `tell` is called at each hint. Later calls change nothing.
pub(crate) fn watch_hints(tell: fn()) {
    if WATCH.set(tell).is_ok() {
        take_hint();
    }
}

/// Whether there is a hint.
pub(crate) fn hinted() -> bool {
    HINTED.load(Ordering::Acquire)
}

/// Takes the hint: the next wait that needs others leaves a new one.
pub(crate) fn take_hint() {
    HINTED.store(false, Ordering::Release);
}
