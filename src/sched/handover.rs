//! Which worker runs a mobile home, and whether one has to. Pure.
//!
//! The problem: any thread may wake a coroutine of a home while no worker runs the home. Then exactly one of
//! them must queue the home: if none does, the coroutine waits for ever; if two do, two workers run the home
//! at once.
//!
//! | state | meaning | who may touch the home's own run queues |
//! |---|---|---|
//! | IDLE | nothing is runnable there, and the home is in no queue | nobody |
//! | QUEUED | it is in one queue | nobody; the worker that takes it from the queue, after `begin` |
//! | RUNNING | a worker runs it, or it is vacant (`mobile.rs`) | that worker |
//!
//! | from, to | by | cause |
//! |---|---|---|
//! | IDLE → QUEUED | `notify`, by compare-and-swap | a coroutine was pushed to the inbox; the caller queues the home |
//! | IDLE → RUNNING | `try_take`, by compare-and-swap | a worker wants to start a coroutine there, or to cancel all |
//! | QUEUED → RUNNING | `begin` | a worker has taken the home from a queue |
//! | RUNNING → QUEUED | `requeue` | the slice is over, and something is left; the caller queues the home |
//! | RUNNING → IDLE | `release` | the slice is over, and nothing is left |
//!
//! *No coroutine waits in the inbox of a home that is IDLE.* A waker pushes to the inbox (P1), then reads the
//! state in `notify` (P2). A worker writes IDLE (W1), then checks the inbox (W2). All four are sequentially
//! consistent. If P2 comes before W1, so does P1, and W2 sees it: the worker itself moves the state on to
//! QUEUED, unless another waker has. If P2 comes after W1, it finds IDLE or a later state: the waker moves
//! the state on, or another party has, after W1. Then a worker will `begin` the home, and take the inbox.
//!
//! *No two workers run a home.* Each transition to QUEUED pushes the home to one queue, once, and no
//! transition leaves QUEUED but that of the worker that takes it from there. IDLE → RUNNING and IDLE → QUEUED
//! exclude each other by compare-and-swap.
//!
//! *What one worker has written the next one sees.* `release` and `requeue` release, `begin` (after the
//! queue), `try_take` and `notify` acquire. A waker that queues the home does not touch its run queues, but
//! its compare-and-swap reads IDLE from `release`, and its push to the queue releases all that it has seen.
//!
//! Rejected: to queue the home for each wake. A home would be in many queues, and each worker that takes it
//! would have to exclude the others with a lock.

use crate::base::sync::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;

/// The state of one home.
#[derive(Debug)]
pub(crate) struct Handover {
    state: AtomicU8,
}

impl Handover {
    /// The creator has it, as if it ran the home.
    pub(crate) fn new() -> Handover {
        Handover { state: AtomicU8::new(RUNNING) }
    }

    /// Called after a push to the inbox. True if the caller must queue the home.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        self.state.load(Ordering::SeqCst) == IDLE && self.leave_idle(QUEUED)
    }

    /// Takes the home to run it, if it is idle.
    #[must_use]
    pub(crate) fn try_take(&self) -> bool {
        self.state.load(Ordering::Relaxed) == IDLE && self.leave_idle(RUNNING)
    }

    fn leave_idle(&self, to: u8) -> bool {
        self.state.compare_exchange(IDLE, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// The caller has taken the home from a queue, and runs it.
    pub(crate) fn begin(&self) {
        debug_assert_eq!(self.state.load(Ordering::Relaxed), QUEUED);
        self.state.store(RUNNING, Ordering::Relaxed);
    }

    /// The caller does not run the home any more, and must queue it.
    pub(crate) fn requeue(&self) {
        debug_assert_eq!(self.state.load(Ordering::Relaxed), RUNNING);
        self.state.store(QUEUED, Ordering::Release);
    }

    /// The caller does not run the home any more, and has left nothing runnable in its run queues. True if
    /// the caller must queue it, as its inbox was filled meanwhile.
    #[must_use]
    pub(crate) fn release(&self, inbox_is_empty: impl FnOnce() -> bool) -> bool {
        debug_assert_eq!(self.state.load(Ordering::Relaxed), RUNNING);
        self.state.store(IDLE, Ordering::SeqCst);
        !inbox_is_empty() && self.leave_idle(QUEUED)
    }
}
