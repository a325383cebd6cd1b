//! What `watch` and `broadcast` have in common: a state under a lock, receivers that wait for its next
//! change, and its end with the last sender.

use crate::base::list_lock::{ListGuard, ListLock};
use crate::coroutine::{Batch, Facts, Subject, Ticket, WaitList, WaitNode, WaitReason, Why};
use crate::runtime::polled::{ArmFuture, Waits};
use crate::sched::{self, Wait, Woken};
use crate::select::Arm;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A state that senders change and receivers wait for.
pub(super) struct Topic<S> {
    published: ListLock<Published<S>>,
    senders: AtomicUsize,
}

/// What is under the lock of a topic.
pub(super) struct Published<S> {
    pub(super) state: S,
    /// Whether all senders are gone.
    pub(super) closed: bool,
    /// The receivers that wait for a change.
    waiting: WaitList,
}

// SAFETY: a count.
unsafe impl<S> Subject for Topic<S> {
    fn facts(&self) -> Facts {
        Facts::Channel {
            at: std::ptr::from_ref(self).addr(),
            // What a receiver waits for has not been published.
            len: 0,
            capacity: None,
            senders: self.senders.load(Ordering::Relaxed),
            receivers: None,
        }
    }
}

/// The node of an arm in the list of receivers that wait for a change. It takes nothing: all are woken.
struct ChangeNode(Cell<Option<WaitNode>>);

impl ChangeNode {
    const fn new() -> ChangeNode {
        ChangeNode(Cell::new(None))
    }

    /// Lists the ticket, unless the state `is_new` or all senders are gone: then false.
    ///
    /// # Safety
    ///
    /// As for [`Arm::enlist`]. The ticket before was taken off.
    unsafe fn enlist<S>(&self, topic: &Topic<S>, ticket: Ticket, is_new: impl FnOnce(&S) -> bool) -> bool {
        let mut published = topic.lock();
        let waits = !published.closed && !is_new(&published.state);
        if waits {
            // SAFETY: nobody has the address of a former node: `leave` took it off.
            let node = unsafe { (*self.0.as_ptr()).insert(WaitNode::new(ticket, ())) };
            // SAFETY: the arm stays until it is left, as the caller says.
            unsafe { published.waiting.push_back(node) };
        }
        waits
    }

    /// Takes the ticket off the list. Allowed where nothing was listed.
    fn leave<S>(&self, topic: &Topic<S>) {
        // SAFETY: only `enlist` makes an exclusive reference, and it has returned.
        if let Some(node) = unsafe { (*self.0.as_ptr()).as_ref() } {
            topic.lock().waiting.remove(node);
            self.0.set(None);
        }
    }
}

/// A receiver of a topic.
pub(super) trait Follower {
    type State;
    /// What it takes from the topic.
    type Taken;

    fn topic(&self) -> &Topic<Self::State>;

    /// Whether there is something to take in that state. Called under the lock.
    fn is_new(&self, state: &Self::State) -> bool;

    /// Takes what there is, also the end of the topic; `None` if there is nothing yet.
    fn take(&self) -> Option<Self::Taken>;
}

/// What a receiver takes, as an alternative of a select.
pub(super) struct TakeArm<'a, R: Follower> {
    receiver: &'a R,
    /// An arm that has completed keeps this, and takes nothing else.
    taken: Option<R::Taken>,
    node: ChangeNode,
}

impl<'a, R: Follower> TakeArm<'a, R> {
    pub(super) fn new(receiver: &'a R) -> TakeArm<'a, R> {
        TakeArm { receiver, taken: None, node: ChangeNode::new() }
    }

    /// What an arm that has completed has taken.
    ///
    /// # Panics
    ///
    /// If it has not completed.
    pub(super) fn finish(self) -> R::Taken {
        self.taken.expect("sward: the arm has not completed")
    }
}

impl<R: Follower> Arm for TakeArm<'_, R> {
    fn facts(&self) -> Option<Facts> {
        Some(self.receiver.topic().facts())
    }

    fn try_complete(&mut self) -> bool {
        if self.taken.is_none() {
            self.taken = self.receiver.take();
        }
        self.taken.is_some()
    }

    fn is_ready(&self) -> bool {
        self.taken.is_some() || self.receiver.topic().is_new(|state| self.receiver.is_new(state))
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        let (topic, is_new) = (self.receiver.topic(), |state: &R::State| self.receiver.is_new(state));
        // SAFETY: as the caller says.
        self.taken.is_none() && unsafe { self.node.enlist(topic, ticket, is_new) }
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.enlist(ticket) }
    }

    fn leave(&self) -> bool {
        self.node.leave(self.receiver.topic());
        false
    }
}

/// Takes what there is; if that is nothing yet, waits for it, until the deadline at most. Parks. A cancelled
/// coroutine unwinds out of it.
pub(super) fn take_until<R: Follower>(
    receiver: &R,
    reason: WaitReason,
    deadline: Option<Instant>,
) -> Option<R::Taken> {
    sched::consume_budget();
    loop {
        if let Some(taken) = receiver.take() {
            return Some(taken);
        }
        if !receiver.topic().wait(reason, deadline, |state| receiver.is_new(state)) {
            return None;
        }
    }
}

/// As `take_until`, as a future without a deadline.
pub(super) async fn take_async<R: Follower>(receiver: &R) -> R::Taken {
    // SAFETY: the arm refers to the receiver, and holds what that takes at most.
    let arm = unsafe { ArmFuture::<_, (&R, R::Taken)>::new(TakeArm::new(receiver), Waits::Watching) };
    arm.await.finish()
}

impl<S> Topic<S> {
    /// A topic with that state and one sender.
    pub(super) fn new(state: S) -> Topic<S> {
        let published = Published { state, closed: false, waiting: WaitList::new() };
        Topic { published: ListLock::new(published), senders: AtomicUsize::new(1) }
    }

    pub(super) fn lock(&self) -> ListGuard<'_, Published<S>> {
        self.published.lock()
    }

    /// Whether the state `is_new`, or all senders are gone.
    fn is_new(&self, is_new: impl FnOnce(&S) -> bool) -> bool {
        let published = self.lock();
        published.closed || is_new(&published.state)
    }

    /// Changes what is under the lock, and wakes all receivers that wait if `change` returns something.
    pub(super) fn publish<R>(&self, change: impl FnOnce(&mut Published<S>) -> Option<R>) -> Option<R> {
        let mut batch = Batch::new();
        let mut published = self.published.lock();
        let changed = change(&mut published);
        if changed.is_some() {
            published.waiting.wake_all(&mut batch);
        }
        drop(published);
        batch.wake();
        changed
    }

    /// Waits until the state `is_new`, or all senders are gone; false once the deadline has passed. Parks. A
    /// cancelled coroutine unwinds out of it.
    fn wait(&self, reason: WaitReason, deadline: Option<Instant>, is_new: impl Fn(&S) -> bool) -> bool {
        let ended = sched::wait_in(
            &self.published,
            Wait { deadline, ..Wait::new(Why::new(reason, self)) },
            |published, node| {
                let waits = !is_new(&published.state) && !published.closed;
                if waits {
                    // SAFETY: `wait_in` keeps the node until it was woken or has left.
                    unsafe { published.waiting.push_back(node) };
                }
                waits
            },
            |published, node, _| _ = published.waiting.remove(node),
        );
        match ended.woken() {
            Woken::Event => true,
            Woken::Timeout => false,
            Woken::Cancelled => sched::unwind_cancelled(),
        }
    }

    pub(super) fn add_sender(&self) {
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    /// One sender less. The last one closes the topic, and wakes all receivers that wait.
    pub(super) fn drop_sender(&self) {
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.publish(|published| {
                published.closed = true;
                Some(())
            });
        }
    }
}
