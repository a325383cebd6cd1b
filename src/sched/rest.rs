//! Whether a runtime is at rest: no coroutine runs, and none can run before something outside wakes it.
//!
//! # The problem
//!
//! A thread wants to know that no coroutine is alive except the ones that it can see. A coroutine that was
//! taken from a queue, and has not begun its first turn, is in no list and in no queue.
//!
//! # The argument
//!
//! A worker that sleeps has no coroutine in its hand, and runs one only in a turn, which it counts. So the
//! caller reads, in this order: the turns of all workers, whether all sleep, the queues, once more whether
//! all sleep, and the turns. Suppose the same unstarted coroutine exists all that time, and nobody sees it.
//!
//! - No thread but a worker takes a coroutine out of a queue, except for the netpoller thread, which moves
//!   those of a worker that is in a long turn to the injector. It counts before and after (`Shared::moves`).
//!   The count is even before and the same after the queues are read, so nothing was moved meanwhile.
//! - So a worker has taken it and has put it into another queue, or has it in its hand. In both cases the
//!   worker was awake between the two looks at its sleep. A worker sleeps only after it has found all queues
//!   empty. So it has begun a turn before it sleeps again, and the numbers of turns differ.
//!
//! The netpoller thread also polls and fires timers in place of a worker that is busy. The waker of a future
//! whose timer it has taken may not have been called yet, when that worker sleeps already and no timer is
//! left. So this counts as a move as well. If a look finds no timer, and then finds that nothing was moved,
//! what that timer has woken is in a queue or runs, and the look sees that.
//!
//! If the numbers of two looks are equal, no coroutine ran between the two either.

use super::shared::{Remote, Shared};
use crate::coroutine::Id;
use std::sync::atomic::Ordering;

impl Shared {
    /// How many turns each worker has begun, if the runtime is at rest.
    pub(crate) fn at_rest(&self) -> Option<Vec<u64>> {
        let remotes = self.active_remotes();
        let turns = || remotes.iter().map(|remote| remote.running.turns()).collect::<Vec<_>>();
        let sleeps = |remote: &Remote| remote.sleep_state.asleep() || remote.left.load(Ordering::Acquire);
        let all_sleep = || remotes.iter().all(sleeps);
        let moves = || self.moves.load(Ordering::SeqCst);
        let (before, moved) = (turns(), moves());
        let rests = moved.is_multiple_of(2)
            && all_sleep()
            && remotes.iter().all(|remote| remote.assigned_count.load(Ordering::SeqCst) == 0)
            && self.homes().all(|home| home.inbox.is_empty() && !home.has_first_turn())
            && !self.has_shared_work()
            && moves() == moved
            && all_sleep()
            && turns() == before;
        rests.then_some(before)
    }

    /// Whether a timer is set. The timer of a wait that has ended is taken back.
    pub(crate) fn has_timers(&self) -> bool {
        self.remotes.iter().any(|remote| remote.next_timer().is_some())
    }

    /// Whether a coroutine exists that no list shows: it waits for its first turn, or has it, and `exempt` is
    /// false for its number. One that is just taken from a queue is not seen. With mobile homes, and in
    /// migrating mode, the queues hold other things as well; then only assigned coroutines are seen.
    pub(crate) fn has_unlisted(&self, exempt: impl Fn(Id) -> bool) -> bool {
        let items = self.queues_unstarted_only() && self.has_shared_work();
        items
            || self.first_turns().any(|id| !exempt(id))
            || self.active_remotes().iter().any(|remote| !remote.assigned.is_empty())
    }

    /// The coroutines that may be in their first turn.
    pub(crate) fn first_turns(&self) -> impl Iterator<Item = Id> {
        let first = |remote: &&Remote| remote.running_home().has_first_turn();
        self.active_remotes().iter().filter(first).filter_map(|remote| remote.running.id())
    }

    /// How many coroutines wait for their first turn, if the queues hold nothing else.
    pub(crate) fn unstarted(&self) -> usize {
        let at = |remote: &Remote| remote.assigned.len() + remote.count_stealable();
        self.count_injected() + self.active_remotes().iter().map(at).sum::<usize>()
    }

    /// How many coroutines wait for their first turn in the queues for all workers; zero if these hold other
    /// things as well.
    pub(crate) fn unstarted_in_queues(&self) -> usize {
        if self.queues_unstarted_only() { self.count_injected() } else { 0 }
    }

    /// Whether everything in the queues for all workers is an unstarted coroutine.
    pub(crate) fn queues_unstarted_only(&self) -> bool {
        !self.has_mobile_homes() && !self.config().migrate
    }
}

/// Calls `f` with the number of each coroutine of the runtime that has started and not ended, and of the one
/// that has spawned it. One in its first turn may be missing. `f` runs under the lock of a list.
pub(crate) fn for_each_started(shared: &Shared, mut f: impl FnMut(Id, Option<Id>)) {
    for home in shared.homes() {
        home.for_each_listed(|header| {
            // SAFETY: listed coroutines are alive.
            let header = unsafe { header.as_ref() };
            f(header.id(), header.parent());
        });
    }
}
