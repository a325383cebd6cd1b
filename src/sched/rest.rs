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
//! *Orderings.* The caller must not see late what came early.
//! - *A number of turns, and then an older sleep of that worker.* A worker that has slept fences when it is
//!   awake (`Netpoller::worker_woke_up`), and then begins a turn. The caller fences after its first look at
//!   the turns. So if it counts that turn, its look at the sleep does not see the sleep before the turn.
//! - *An empty queue, and then an older sleep of the worker that has emptied it.* The looks at the queues
//!   acquire. The worker was awake, and had fenced, before it took anything.
//! - *A sleep, and then an older number of turns, or an older queue.* The looks at the sleep acquire.
//!
//! Model: `models::a_look_that_finds_rest_is_followed_by_no_turn`.
//!
//! The netpoller thread also polls and fires timers in place of a worker that is busy. The waker of a future
//! whose timer it has taken may not have been called yet, when that worker sleeps already and no timer is
//! left. So this counts as a move as well. If a look finds no timer, and then finds that nothing was moved,
//! what that timer has woken is in a queue or runs, and the look sees that.
//!
//! If the numbers of two looks are equal, no coroutine ran between the two either.

use super::shared::{Remote, Shared};
use crate::base::sync::{Ordering, fence};
use crate::coroutine::Id;

/// The turns, if the runtime is at rest. The order of the looks is that of the head of the file.
fn look<T: PartialEq>(
    turns: impl Fn() -> T,
    moves: impl Fn() -> u64,
    all_sleep: impl Fn() -> bool,
    nothing_waits: impl FnOnce() -> bool,
) -> Option<T> {
    let (before, moved) = (turns(), moves());
    fence(Ordering::Acquire);
    let rests = moved.is_multiple_of(2)
        && all_sleep()
        && nothing_waits()
        && moves() == moved
        && all_sleep()
        && turns() == before;
    rests.then_some(before)
}

impl Shared {
    /// How many turns each worker has begun, if the runtime is at rest.
    pub(crate) fn at_rest(&self) -> Option<Vec<u64>> {
        let remotes = self.active_remotes();
        let turns = || remotes.iter().map(|remote| remote.running.turns()).collect::<Vec<_>>();
        let sleeps = |remote: &Remote| remote.sleep_state.asleep() || remote.left.load(Ordering::Acquire);
        let all_sleep = || remotes.iter().all(sleeps);
        let moves = || self.moves.load(Ordering::SeqCst);
        let nothing_waits = || {
            remotes.iter().all(|remote| remote.assigned_count.load(Ordering::SeqCst) == 0)
                && self.homes().all(|home| home.inbox.is_empty() && !home.has_first_turn())
                && !self.has_shared_work()
        };
        look(turns, moves, all_sleep, nothing_waits)
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

/// Two workers, with the real words of their sleep and their turns. The queues are words.
#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::base::sync::AtomicUsize;
    use crate::sched::idle::{Idle, SleepState};
    use crate::sched::running::Running;
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        idle: Idle,
        sleep_states: [SleepState; 2],
        running: [Running; 2],
        queues: [AtomicUsize; 2],
    }

    impl World {
        /// As `Worker::finish_sleep`, by an event of the worker's own.
        fn wake_up(&self, worker: usize) {
            assert!(!self.sleep_states[worker].finish_sleep(&self.idle), "nobody notifies it");
            fence(Ordering::SeqCst);
        }

        fn take(&self, queue: usize) -> bool {
            self.queues[queue].compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }

        /// Runs a coroutine that was just queued, and spawns another one.
        fn first(&self) {
            self.wake_up(0);
            assert!(self.take(0));
            self.running[0].begin(Id(1));
            self.queues[1].store(1, Ordering::Release);
            self.running[0].end();
            self.sleep_states[0].prepare_sleep(&self.idle, false);
        }

        /// Runs the other one.
        fn second(&self) {
            self.wake_up(1);
            if self.take(1) {
                self.running[1].begin(Id(2));
            }
        }

        fn turns(&self) -> [u64; 2] {
            self.running.each_ref().map(Running::turns)
        }

        fn at_rest(&self) -> Option<[u64; 2]> {
            let all_sleep = || self.sleep_states.iter().all(SleepState::asleep);
            let nothing_waits = || self.queues.iter().all(|queue| queue.load(Ordering::Acquire) == 0);
            look(|| self.turns(), || 0, all_sleep, nothing_waits)
        }
    }

    /// No coroutine is in the hand of a worker when a look finds rest: none begins its first turn afterwards.
    #[test]
    fn a_look_that_finds_rest_is_followed_by_no_turn() {
        loom::model(|| {
            let world = Arc::new(World {
                idle: Idle::new(2),
                sleep_states: [SleepState::new(), SleepState::new()],
                running: [Running::new(), Running::new()],
                queues: [AtomicUsize::new(1), AtomicUsize::new(0)],
            });
            world.sleep_states.iter().for_each(|sleep_state| sleep_state.prepare_sleep(&world.idle, false));
            let [one, other] = [(); 2].map(|()| world.clone());
            let found = thread::spawn(move || one.at_rest());
            let second = thread::spawn(move || other.second());
            world.first();
            second.join().unwrap();
            let found = found.join().unwrap();
            assert!(
                found.is_none_or(|turns| turns == world.turns()),
                "a turn began after a look that found rest"
            );
        });
    }
}
