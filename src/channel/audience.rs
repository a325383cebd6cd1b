//! What `watch` and `broadcast` have in common: a state under a lock, those who wait for news of it, and
//! its end with the last sender.

use crate::base::list_lock::{ListGuard, ListLock};
use crate::coroutine::{Batch, WaitList, WaitReason};
use crate::sched::{self, Wait, Woken};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A state, those who wait for news of it, and how many senders it has.
pub(super) struct Audience<S> {
    told: ListLock<Told<S>>,
    senders: AtomicUsize,
}

/// Under the lock.
pub(super) struct Told<S> {
    pub(super) state: S,
    /// Whether all senders are gone.
    pub(super) closed: bool,
    waiting: WaitList,
}

impl<S> Audience<S> {
    /// That state, with one sender.
    pub(super) fn new(state: S) -> Audience<S> {
        let told = Told { state, closed: false, waiting: WaitList::new() };
        Audience { told: ListLock::new(told), senders: AtomicUsize::new(1) }
    }

    pub(super) fn lock(&self) -> ListGuard<'_, Told<S>> {
        self.told.lock()
    }

    /// Changes what is under the lock, and tells all who wait if `change` gives anything.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Told<S>) -> Option<R>) -> Option<R> {
        let mut batch = Batch::new();
        let mut told = self.told.lock();
        let changed = change(&mut told);
        if changed.is_some() {
            told.waiting.wake_all(&mut batch);
        }
        drop(told);
        batch.wake();
        changed
    }

    /// Waits until there may be news, or the end; false once the deadline has passed. Parks. A cancelled
    /// coroutine unwinds out of it.
    pub(super) fn wait(
        &self,
        reason: WaitReason,
        deadline: Option<Instant>,
        is_news: impl Fn(&S) -> bool,
    ) -> bool {
        let ended = sched::wait_in(
            &self.told,
            Wait { deadline, ..Wait::new(reason) },
            |told, place| {
                let waits = !is_news(&told.state) && !told.closed;
                if waits {
                    // SAFETY: `wait_in` keeps the place until it was told or has left.
                    unsafe { told.waiting.push_back(place) };
                }
                waits
            },
            |told, place, _| _ = told.waiting.remove(place),
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

    /// One sender less. After the last one those who wait get the news that it is over.
    pub(super) fn drop_sender(&self) {
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.change(|told| {
                told.closed = true;
                Some(())
            });
        }
    }
}
