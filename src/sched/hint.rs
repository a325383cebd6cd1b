//! Hints that there may be a new deadlock, for the thread that looks for deadlocks.
//!
//! There are two hints:
//!
//! - `WAIT`. The last wait of a deadlock closes it. So each wait that needs others
//!   ([`WaitReason::needs_others`](crate::coroutine::WaitReason::needs_others)) leaves this hint.
//! - `REST`. All coroutines of the process can wait for ever only once no worker runs one. So a runtime
//!   leaves this hint when it comes to rest with no timer set, and a plain thread when it begins to wait.
//!
//! ```text
//!  a thread whose coroutine parks, or that blocks      the watch
//!  hinted? nothing to do                               waits for a hint
//!  else: sets it, and calls the watch                  takes the hints
//!                                                      gives waits time to last, then looks at all of them
//! ```
//!
//! A wait that finds the hint set just before the watch takes it is not parked yet, perhaps. It has all of
//! the time that the watch lets pass before its look. If the system does not run the thread for so long, the
//! deadlock is found after the next hint.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering, fence};

/// A wait has begun that needs others.
const WAIT: u8 = 1;
/// A runtime has come to rest, or a plain thread waits.
const REST: u8 = 2;

/// The hints. All are set as long as nobody watches, so that a wait costs one load.
static HINTS: AtomicU8 = AtomicU8::new(WAIT | REST);
/// Tells the watch. It neither parks nor takes a lock for long.
static WATCH: OnceLock<fn()> = OnceLock::new();

/// The hints that were left since they were last taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hints(u8);

impl Hints {
    /// Whether a wait has begun that needs others.
    pub(crate) fn of_wait(self) -> bool {
        self.0 & WAIT != 0
    }
}

/// A wait begins that needs others.
#[inline]
pub(super) fn wait_for_others_begins() {
    if HINTS.load(Ordering::Relaxed) & WAIT == 0 {
        hint(WAIT);
    }
}

/// A runtime has come to rest, or a plain thread begins to wait.
pub(crate) fn hint_of_rest() {
    if HINTS.load(Ordering::Relaxed) & REST == 0 {
        hint(REST);
    }
}

#[cold]
fn hint(kind: u8) {
    // Pairs with the release in `take_hints`: a caller that finds the first hints taken finds the watch, too.
    fence(Ordering::Acquire);
    if let Some(tell) = WATCH.get()
        && HINTS.fetch_or(kind, Ordering::AcqRel) & kind == 0
    {
        tell();
    }
}

/// From now on `tell` is called at each hint. Later calls change nothing.
pub(crate) fn watch_hints(tell: fn()) {
    let _ = WATCH.set(tell);
    // After that: a wait that finds the hints taken calls the watch. And a forked child has its parent's
    // hints, and nobody who takes them.
    take_hints();
}

/// Whether there is a hint.
pub(crate) fn hinted() -> bool {
    HINTS.load(Ordering::Acquire) != 0
}

/// Takes the hints: the next wait that needs others leaves a new one.
pub(crate) fn take_hints() -> Hints {
    Hints(HINTS.swap(0, Ordering::AcqRel))
}
