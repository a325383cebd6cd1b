//! A notification that is kept for the next waiter.

use super::WaitTimeoutResult;
use crate::base::list_lock::ListLock;
use crate::base::sync::const_fn;
use crate::coroutine::{Batch, Facts, Subject, WaitList, WaitReason, Why};
use crate::sched::{self, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// Wakes a waiter, or the next one to come: a semaphore with at most one permit. The interface is tokio's.
///
/// Waiters are notified in FIFO order. A waiter that was notified returns normally, even if it is cancelled
/// or its time is over meanwhile, so no notification is lost.
///
/// ```
/// use std::sync::Arc;
/// use sward::sync::Notify;
///
/// sward::run(|| {
///     let changed = Arc::new(Notify::new());
///     let theirs = changed.clone();
///     sward::spawn(move || theirs.notify_one()); // before or after the wait, it is not lost
///     changed.wait();
/// });
/// ```
pub struct Notify {
    state: ListLock<State>,
}

/// Invariant: while there is a permit, nobody waits.
#[derive(Debug)]
struct State {
    permit: bool,
    waiting: WaitList,
}

impl UnwindSafe for Notify {}
impl RefUnwindSafe for Notify {}

// SAFETY: the address alone.
unsafe impl Subject for Notify {
    fn facts(&self) -> Facts {
        Facts::Signal { at: std::ptr::from_ref(self).addr() }
    }
}

impl Notify {
    const_fn! {
        /// Without waiters, and without a permit.
        pub fn new() -> Notify {
            Notify { state: ListLock::new(State { permit: false, waiting: WaitList::new() }) }
        }
    }

    /// Takes the stored permit. If there is none, parks the coroutine, or blocks the plain thread, until it
    /// is notified. A cancelled coroutine unwinds out of the wait.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), for no longer than `timeout`. The result says whether it timed out.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let notify = sward::sync::Notify::new();
    /// assert!(notify.wait_timeout(Duration::from_millis(1)).timed_out());
    /// notify.notify_one();
    /// assert!(!notify.wait_timeout(Duration::from_millis(1)).timed_out());
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> WaitTimeoutResult {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> WaitTimeoutResult {
        sched::consume_budget();
        if std::mem::take(&mut self.state.lock().permit) {
            return WaitTimeoutResult(false);
        }
        let ended = sched::wait_in(
            &self.state,
            Wait { deadline, ..Wait::new(Why::new(WaitReason::Notify, self)) },
            |state, node| {
                let wanted = !std::mem::take(&mut state.permit);
                if wanted {
                    // SAFETY: `wait_in` keeps the node until it was fired or taken off, below.
                    unsafe { state.waiting.push_back(node) };
                }
                wanted
            },
            |state, node, _| {
                state.waiting.remove(node);
            },
        );
        match ended.woken() {
            Woken::Event => WaitTimeoutResult(false),
            Woken::Timeout => WaitTimeoutResult(true),
            Woken::Cancelled => sched::unwind_cancelled(),
        }
    }

    /// Notifies the waiter that has waited longest. If nobody waits, stores a permit for the next one; there
    /// is at most one permit. Does not park.
    pub fn notify_one(&self) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        if !state.waiting.hand_turn_to_first(&mut batch) {
            state.permit = true;
        }
        drop(state);
        batch.wake();
    }

    /// Notifies all present waiters. Stores no permit. Does not park.
    pub fn notify_all(&self) {
        let mut batch = Batch::new();
        self.state.lock().waiting.wake_all(&mut batch);
        batch.wake();
    }
}

impl Default for Notify {
    fn default() -> Self {
        Notify::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").finish_non_exhaustive()
    }
}
