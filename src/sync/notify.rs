//! A notification that is kept for the next waiter.

use super::WaitTimeoutResult;
use crate::base::clock;
use crate::base::list_lock::ListLock;
use crate::base::sync::const_fn;
use crate::coroutine::{Batch, Facts, NodeState, Subject, WaitList, WaitNode, WaitReason, Why};
use crate::runtime::polled::{Registration, lets_others_go_first};
use crate::sched::{self, Wait, Woken};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomPinned;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Wakes a waiter, or the next one to come: a semaphore with at most one permit. It is tokio's `Notify`, with
/// [`wait`](Self::wait) for `notified` and [`notify_all`](Self::notify_all) for `notify_waiters`.
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
#[doc(alias("event", "signal"))]
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
    #[doc(alias = "notified")]
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
        self.wait_until(clock::now().checked_add(timeout))
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

    /// As [`wait`](Self::wait), as a future, for code on any executor. It has its place in the queue from its
    /// first poll. Does not park, and needs no runtime. The waker is called where it is notified.
    ///
    /// If the future is dropped after [`notify_one`](Self::notify_one) has chosen it, the next waiter is
    /// notified instead.
    ///
    /// ```
    /// let ready = std::sync::Arc::new(sward::sync::Notify::new());
    /// let theirs = ready.clone();
    /// sward::spawn(move || theirs.notify_one());
    /// sward::block_on(ready.wait_async());
    /// ```
    pub async fn wait_async(&self) {
        let registration = Registration::new();
        Notified { notify: self, registration, node: Cell::new(None), _pinned: PhantomPinned }.await;
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

    /// Notifies all present waiters. Stores no permit, so a caller that has found its condition false and
    /// does not wait yet misses this: a [`Condvar`](super::Condvar) has no such gap. Does not park.
    #[doc(alias = "notify_waiters")]
    pub fn notify_all(&self) {
        let mut batch = Batch::new();
        self.state.lock().waiting.wake_all(&mut batch);
        batch.wake();
    }
}

/// A future that waits to be notified.
struct Notified<'a> {
    notify: &'a Notify,
    registration: Registration,
    /// Its place in the queue, while there is a registration.
    node: Cell<Option<WaitNode>>,
    _pinned: PhantomPinned,
}

// SAFETY: other threads use a listed node only under the list's lock, whichever thread owns it.
unsafe impl Send for Notified<'_> {}

impl Notified<'_> {
    /// Ends the wait, if there is one. Returns how it has ended, or that it was not over.
    fn end(&mut self) -> NodeState {
        // SAFETY: only `poll` makes an exclusive reference, and it has returned. Another thread may use the
        // node.
        let listed = unsafe { (*self.node.as_ptr()).as_ref() };
        let outcome = match listed {
            Some(node) => {
                let mut state = self.notify.state.lock();
                state.waiting.remove(node);
                node.state()
            }
            None => NodeState::Unlisted,
        };
        self.registration.end();
        self.node.set(None);
        outcome
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the node stays where it is; nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        if lets_others_go_first(context) || this.registration.goes_on(context.waker()) {
            return Poll::Pending;
        }
        if matches!(this.end(), NodeState::Handed | NodeState::Woken) {
            return Poll::Ready(());
        }
        let ticket = this.registration.begin(context.waker());
        let mut state = this.notify.state.lock();
        if std::mem::take(&mut state.permit) {
            drop(state);
            this.registration.end();
            return Poll::Ready(());
        }
        // SAFETY: nobody has the address of a former node: `end` took it off.
        let node = unsafe { (*this.node.as_ptr()).insert(WaitNode::new(ticket, ())) };
        // SAFETY: the future is pinned, and its drop takes the node off.
        unsafe { state.waiting.push_back(node) };
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        // `notify_one` has chosen it; `notify_all` chooses everybody.
        if self.end() == NodeState::Handed {
            self.notify.notify_one();
        }
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
