//! What `watch` and `broadcast` have in common: a state under a lock, receivers that wait for its next
//! change, and its end with the last sender.

use crate::base::list_lock::{ListGuard, ListLock};
use crate::coroutine::{Batch, Facts, Subject, WaitList, WaitReason, Why};
use crate::sched::{self, Wait, Woken};
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

impl<S> Topic<S> {
    /// A topic with that state and one sender.
    pub(super) fn new(state: S) -> Topic<S> {
        let published = Published { state, closed: false, waiting: WaitList::new() };
        Topic { published: ListLock::new(published), senders: AtomicUsize::new(1) }
    }

    pub(super) fn lock(&self) -> ListGuard<'_, Published<S>> {
        self.published.lock()
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
    pub(super) fn wait(
        &self,
        reason: WaitReason,
        deadline: Option<Instant>,
        is_new: impl Fn(&S) -> bool,
    ) -> bool {
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
