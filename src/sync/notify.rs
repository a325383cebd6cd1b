//! A wake-up that is kept for one who comes later.

use super::WaitTimeoutResult;
use crate::base::list_lock::ListLock;
use crate::base::sync::const_fn;
use crate::coroutine::{Batch, WaitList, WaitReason};
use crate::sched::{self, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// Notifies one of those who wait, or the next one who will: a semaphore of at most one permit.
///
/// Those who wait are notified in the order in which they came. A notification that has chosen a waiter
/// is its: a cancellation or timeout that comes too late leaves it, so none is lost. The interface is
/// tokio's.
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

/// Invariant: with a permit, nobody waits.
#[derive(Debug)]
struct State {
    permit: bool,
    waiting: WaitList,
}

impl UnwindSafe for Notify {}
impl RefUnwindSafe for Notify {}

impl Notify {
    const_fn! {
        /// Nobody waits, and no permit is stored.
        pub fn new() -> Notify {
            Notify { state: ListLock::new(State { permit: false, waiting: WaitList::new() }) }
        }
    }

    /// Takes the stored permit, or waits for a notification, parking the coroutine or blocking the thread.
    /// A cancelled coroutine unwinds out of the wait.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but no longer than that; the result says if it took so long.
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
            Wait { deadline, ..Wait::new(WaitReason::Notify) },
            |state, place| {
                let wanted = !std::mem::take(&mut state.permit);
                if wanted {
                    // SAFETY: `wait_in` keeps the place until it was fired or taken off, below.
                    unsafe { state.waiting.push_back(place) };
                }
                wanted
            },
            |state, place, _| {
                state.waiting.remove(place);
            },
        );
        match ended.woken() {
            Woken::Event => WaitTimeoutResult(false),
            Woken::Timeout => WaitTimeoutResult(true),
            Woken::Cancelled => sched::unwind_cancelled(),
        }
    }

    /// Notifies the one who has waited longest. If nobody waits a permit is stored for the next one;
    /// there is never more than one. Does not park.
    pub fn notify_one(&self) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        if !state.waiting.hand_turn_to_first(&mut batch) {
            state.permit = true;
        }
        drop(state);
        batch.wake();
    }

    /// Notifies all who wait now. Stores no permit. Does not park.
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
