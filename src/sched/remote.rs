//! The part of a worker that other threads use.

use super::accounts::WorkerAccounts;
use super::deques::Deques;
use super::home::Home;
use super::idle::{Idle, SleepState};
use super::recorder::Track;
use super::runnable::Runnable;
use super::running::Running;
use super::timers::Timers;
use super::worker_ring::{RingState, WorkerRing};
use crate::base::clock;
use crate::base::histogram::{Histogram, SharedHistogram, add_to};
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::{Probe, ThreadClock};
use crate::coroutine::{Batch, Cause, Ticket, WaitReason};
use crate::netpoll::Shard;
use crossbeam_deque::{Injector, Steal, Stealer};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

/// The part of a worker that other threads use. Aligned, so that no two share a cache line. `R` is the
/// runtime.
#[repr(align(128))]
pub(crate) struct Remote<R> {
    /// The worker's pinned home.
    pub(crate) home: Home<R>,
    /// How many coroutines live in mobile homes that are based at the worker.
    pub(super) mobile_live: AtomicUsize,
    /// Unstarted coroutines that the worker is to start. The monitor may take them back.
    pub(crate) assigned: Injector<Runnable>,
    /// How many coroutines are in `assigned` or about to be pushed there.
    pub(super) assigned_count: AtomicUsize,
    pub(super) sleep_state: SleepState,
    pub(crate) shard: Arc<Shard>,
    /// Calls on files that the kernel makes for the worker's coroutines.
    pub(crate) ring: WorkerRing,
    pub(crate) timers: Mutex<Timers<Ticket>>,
    /// Where thieves take from the worker's deques.
    pub(super) oldest_first: Stealer<Runnable>,
    pub(super) newest_first: Stealer<Runnable>,
    /// The worker's ends of the two, until its thread takes them.
    pub(super) deques: Mutex<Option<Deques>>,

    // What only the worker writes, for the monitor and for reports.
    /// Counts polls.
    pub(crate) polls: AtomicU64,
    /// When the last poll began, or ended if it slept, in nanoseconds since the runtime began: it has seen
    /// all events up to then.
    pub(super) polled: AtomicU64,
    /// The present turn.
    pub(crate) running: Running,
    /// The mobile home that the worker runs; null for its pinned home.
    pub(super) visited: AtomicPtr<Home<R>>,
    /// Whether coroutines that only this worker can run were ready behind that turn's.
    pub(crate) others_ready: AtomicBool,
    /// The `WaitReason` of the wait in a destructor that blocks the worker's thread while it unwinds.
    pub(crate) blocked_in: AtomicU8,
    /// Whether the worker has left: its thread will run no coroutine any more.
    pub(crate) left: AtomicBool,
    /// What the flight recorder keeps of the worker.
    pub(crate) track: Track,
    /// How long events may have waited: times between two polls while the worker was awake.
    pub(super) poll_delays: SharedHistogram,
    /// How many coroutines were runnable in the home that the worker runs, as it looked last, up to
    /// [`MOST_READY`].
    pub(super) ready: AtomicUsize,
    /// Counts yields that a used-up budget has forced.
    pub(super) budget_yields: AtomicU64,
    /// Counts calls on files, by [`FileWay`].
    pub(super) file_calls: [AtomicU64; FileWay::ALL],
    /// Counts what it stole from other workers.
    pub(super) steals: AtomicU64,
    /// What the coroutines of each spawn site have cost on the worker.
    pub(crate) accounts: WorkerAccounts,
    /// The processor time of the worker's thread.
    pub(crate) clock: OnceLock<ThreadClock>,
    /// Says what the system does with the worker's thread.
    pub(crate) probe: OnceLock<Probe>,

    // What only the monitor writes.
    /// Whether the present turn has lasted for half of the stall threshold.
    pub(crate) slow: AtomicBool,
    /// How often the netpoller thread has polled in the worker's place.
    pub(crate) helped: AtomicU64,
    /// How many turns have lasted for the stall threshold.
    pub(crate) stalls: AtomicU64,
}

/// Up to how many runnable coroutines a worker counts, as it follows their links.
pub(super) const MOST_READY: usize = 64;

/// What one worker has done and holds.
pub(crate) struct WorkerCounts {
    pub(crate) live: usize,
    pub(crate) ready: usize,
    pub(crate) queued: usize,
    pub(crate) assigned: usize,
    pub(crate) timers: usize,
    pub(crate) descriptors: usize,
    pub(crate) turns: u64,
    pub(crate) polls: u64,
    pub(crate) steals: u64,
    pub(crate) helped: u64,
    pub(crate) budget_yields: u64,
    pub(crate) file_calls: [u64; FileWay::ALL],
    pub(crate) ring: RingState,
    pub(crate) stalls: u64,
    pub(crate) poll_delays: Histogram,
}

/// How a call on a file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileWay {
    /// At once, on the worker.
    OnWorker,
    /// By a thread of the pool.
    Pool,
    /// By the kernel, in a ring.
    Ring,
}

impl FileWay {
    /// How many ways there are.
    pub(crate) const ALL: usize = 3;
}

impl<R> Remote<R> {
    pub(crate) fn new(runtime: &Weak<R>, index: usize, shard: Arc<Shard>, migrate: bool) -> Remote<R> {
        let deques = Deques::new();
        Remote {
            home: Home::new(runtime, index, migrate),
            mobile_live: AtomicUsize::new(0),
            assigned: Injector::new(),
            assigned_count: AtomicUsize::new(0),
            sleep_state: SleepState::new(),
            shard,
            ring: WorkerRing::new(),
            timers: Mutex::new(Rank::Timers, Timers::new()),
            oldest_first: deques.oldest_first.stealer(),
            newest_first: deques.newest_first.stealer(),
            deques: Mutex::new(Rank::Deques, Some(deques)),
            polls: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            running: Running::new(),
            visited: AtomicPtr::new(ptr::null_mut()),
            others_ready: AtomicBool::new(false),
            blocked_in: AtomicU8::new(WaitReason::None as u8),
            left: AtomicBool::new(false),
            track: Track::default(),
            poll_delays: SharedHistogram::new(),
            ready: AtomicUsize::new(0),
            budget_yields: AtomicU64::new(0),
            file_calls: [const { AtomicU64::new(0) }; FileWay::ALL],
            steals: AtomicU64::new(0),
            accounts: WorkerAccounts::new(),
            clock: OnceLock::new(),
            probe: OnceLock::new(),
            slow: AtomicBool::new(false),
            helped: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
        }
    }

    /// Whether coroutines may be assigned to the worker: it is likely to start them soon, as it is in no long
    /// turn.
    pub(super) fn accepts_assignments(&self) -> bool {
        !self.slow.load(Ordering::Relaxed)
    }

    /// Takes the oldest coroutine that is assigned to the worker.
    #[inline]
    pub(super) fn take_assigned(&self) -> Option<Runnable> {
        if self.assigned.is_empty() { None } else { take_one(&self.assigned) }
    }

    /// What the worker has done and holds.
    pub(crate) fn counts(&self) -> WorkerCounts {
        // One lock after the other.
        let timers = self.timers.lock().len();
        WorkerCounts {
            live: self.live(),
            ready: self.ready.load(Ordering::Relaxed),
            queued: self.count_stealable(),
            assigned: self.assigned.len(),
            timers,
            descriptors: self.shard.watched(),
            turns: self.running.turns(),
            polls: self.polls.load(Ordering::Relaxed),
            steals: self.steals.load(Ordering::Relaxed),
            helped: self.helped.load(Ordering::Relaxed),
            budget_yields: self.budget_yields.load(Ordering::Relaxed),
            file_calls: self.file_calls.each_ref().map(|count| count.load(Ordering::Relaxed)),
            ring: self.ring.state(),
            stalls: self.stalls.load(Ordering::Relaxed),
            poll_delays: self.poll_delays.read(),
        }
    }

    /// Counts a yield that a used-up budget has forced. Only the worker calls this.
    pub(super) fn note_budget_yield(&self) {
        add_to(&self.budget_yields, 1);
    }

    /// Counts a call on a file. Only the worker calls this.
    pub(super) fn note_file_call(&self, way: FileWay) {
        add_to(&self.file_calls[way as usize], 1);
    }

    /// Whether it has anything that another worker may steal.
    pub(crate) fn has_stealable(&self) -> bool {
        !self.oldest_first.is_empty() || !self.newest_first.is_empty()
    }

    /// How many items another worker may steal.
    pub(super) fn count_stealable(&self) -> usize {
        self.oldest_first.len() + self.newest_first.len()
    }

    /// How many coroutines live in the homes of the worker, and in their first turn on it.
    pub(super) fn live(&self) -> usize {
        let first = self.visited().is_some_and(Home::has_first_turn);
        self.home.live() + usize::from(first) + self.mobile_live.load(Ordering::Relaxed)
    }

    /// The home that the worker runs, as other threads see it: it may run another one by now.
    pub(crate) fn running_home(&self) -> &Home<R> {
        self.visited().unwrap_or(&self.home)
    }

    /// The mobile home that the worker runs, likewise.
    fn visited(&self) -> Option<&Home<R>> {
        // SAFETY: null, or a home of this worker's runtime; homes live as long as the runtime.
        unsafe { self.visited.load(Ordering::Acquire).as_ref() }
    }

    /// The home in which that turn of the worker takes place; `None` if the turn is over.
    pub(crate) fn home_of_turn(&self, turn: u64) -> Option<&Home<R>> {
        // In this order: a home that the worker has entered after that turn comes with the zero between two
        // turns, or with a later turn.
        let home = self.running_home();
        (self.running.id().is_some() && self.running.was_turn(turn)).then_some(home)
    }

    /// How many coroutines live on the worker or are assigned to it. One in its first turn in a mobile home
    /// does not count.
    pub(super) fn load(&self) -> usize {
        let live = self.home.live() + self.mobile_live.load(Ordering::Relaxed);
        live + self.assigned_count.load(Ordering::Relaxed)
    }

    /// As `load`, for a shutdown: an assignment that was counted before its pusher saw the runtime running is
    /// seen.
    pub(super) fn load_now(&self) -> usize {
        self.assigned_count.load(Ordering::SeqCst) + self.live()
    }

    /// Assigns an unstarted coroutine to the worker; the caller has counted it in `assigned_count`.
    pub(super) fn assign(&self, item: Runnable, idle: &Idle) {
        self.assigned.push(item);
        self.notify(idle);
    }

    /// Whether the worker neither sleeps nor has left.
    pub(crate) fn awake(&self) -> bool {
        !self.sleep_state.asleep() && !self.left.load(Ordering::Relaxed)
    }

    /// Wakes the worker if it sleeps.
    pub(super) fn notify(&self, idle: &Idle) {
        if self.sleep_state.notify(idle, false) {
            self.shard.wake();
        }
    }

    /// Fires the timers that are due. Returns the time, if there were any.
    pub(crate) fn fire_timers(&self, batch: &mut Batch) -> Option<Instant> {
        let mut timers = self.timers.lock();
        timers.next()?;
        let now = clock::now();
        let mut fired = None;
        while let Some(ticket) = timers.pop_due(now) {
            // SAFETY: a timer is taken back under this lock before its wait returns.
            let _ = unsafe { ticket.fire(Cause::Timeout, batch) };
            fired = Some(now);
        }
        fired
    }

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.lock().next()
    }
}

/// Takes the oldest coroutine of a queue.
pub(super) fn take_one(queue: &Injector<Runnable>) -> Option<Runnable> {
    loop {
        match queue.steal() {
            Steal::Success(item) => return Some(item),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::Id;

    /// The monitor marks the home of a long turn, and not the one that the worker has entered by then.
    #[test]
    fn the_home_of_a_turn_is_known_as_long_as_the_turn_lasts() {
        let shard = Arc::new(Shard::new().expect("a shard"));
        let remote = Remote::<()>::new(&Weak::new(), 0, shard, false);
        let other = Home::new(&Weak::new(), 0, false);
        let is = |turn, home| remote.home_of_turn(turn).is_some_and(|found| ptr::eq(found, home));
        remote.running.begin(Id(1));
        assert!(is(1, &remote.home) && remote.home_of_turn(0).is_none());
        remote.running.end();
        remote.visited.store(ptr::from_ref(&other).cast_mut(), Ordering::Release);
        assert!(remote.home_of_turn(1).is_none(), "the worker is in another home");
        remote.running.begin(Id(2));
        assert!(is(2, &other) && remote.home_of_turn(1).is_none());
    }
}
