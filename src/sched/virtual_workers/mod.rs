//! The policies of the scheduler with any number of workers, on one thread.
//!
//! The problem: whether sixty-four workers share their work, sleep and wake one another as they should cannot
//! be seen on a runtime with two processors, and depends on the order of their steps everywhere.
//!
//! So these tests make the workers of a runtime without threads for them. All of it is the code of any other
//! runtime: `Worker`, its queues, placement, stealing, the sleep protocol, homes and their lenders. Only who
//! takes the next step is the test's: in each *round* every worker takes one step ([`Worker::step`]), in an
//! order that follows from the seed, and slow workers miss most rounds. A step is a turn of a coroutine, or
//! the slice of a home, or one search. A worker that sleeps takes none before it is notified. After each step
//! [`VirtualRuntime::check`] holds what has to be true between any two steps. The orders of single
//! instructions are the models' subject (`idle.rs`, `handover.rs`).
//!
//! A run depends on the seed alone. Failures name it.

mod balance;
mod fairness;
mod records;

use super::config::{Config, Phase};
use super::shared::{Remote, Shared};
use super::test_seam;
use super::worker::testing::{Did, VirtualWorker};
use super::{Spawn, spawn};
// Of a higher rank, which only tests may use.
#[cfg(test)]
use crate::task::JoinHandle;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many workers each test has.
const WORKERS: [usize; 4] = [1, 2, 8, 64];

/// Numbers that follow from a seed.
struct Seeded(Cell<u64>);

impl Seeded {
    fn new(seed: u64) -> Seeded {
        Seeded(Cell::new(seed))
    }

    /// The next one, below the limit: SplitMix64.
    fn below(&self, limit: usize) -> usize {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

/// What kind of runtime it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Started coroutines stay with their worker.
    Pinned,
    Migrating,
    /// Coroutines live in that many mobile homes.
    Homes(usize),
}

/// What workers have done.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    rounds: usize,
    /// Steps of workers that were awake.
    steps: usize,
    /// Sleeps that have ended.
    wake_ups: usize,
    /// Of these, sleeps after which the worker slept again without a turn.
    fruitless: usize,
    /// How often a decision has looked at all workers.
    scans: usize,
    /// How often a push of shared work has looked for a sleeper to notify.
    notifications: usize,
    /// How often a worker has taken something out of another one's deques.
    steals: usize,
}

/// A runtime whose workers have no threads.
struct VirtualRuntime {
    shared: Arc<Shared>,
    workers: Vec<Box<VirtualWorker>>,
    random: Seeded,
    /// Workers that take part in one of eight rounds only.
    slow: Vec<bool>,
    /// The turns that each worker had begun when it last woke up.
    turns_at_wake_up: RefCell<Vec<Option<u64>>>,
    counts: Cell<Counts>,
    /// Steals and notifications up to the last `take_counts`.
    taken: Cell<(usize, usize)>,
    /// Whether there are sockets, so that events end sleeps.
    events: bool,
    /// Said in failures.
    name: String,
}

impl VirtualRuntime {
    fn new(workers: usize, mode: Mode, seed: u64) -> VirtualRuntime {
        let homes = if let Mode::Homes(homes) = mode { homes } else { 0 };
        let config = Config {
            workers,
            stall: Duration::from_secs(3_600),
            migrate: mode == Mode::Migrating,
            homes,
            observer: true,
            ..Config::of_tests()
        };
        let shared = Shared::new(config).expect("a runtime");
        VirtualRuntime {
            workers: (0..workers).map(|index| VirtualWorker::new(&shared, index)).collect(),
            shared,
            random: Seeded::new(seed),
            slow: vec![false; workers],
            turns_at_wake_up: RefCell::new(vec![None; workers]),
            counts: Cell::default(),
            taken: Cell::default(),
            events: false,
            name: format!("{workers} workers, {mode:?}, seed {seed}"),
        }
    }

    /// Makes about half of the workers slow.
    fn with_slow_workers(mut self) -> VirtualRuntime {
        self.slow.iter_mut().skip(1).for_each(|slow| *slow = self.random.below(2) == 0);
        self
    }

    /// Spawns a coroutine, as a plain thread does.
    fn spawn<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        JoinHandle::new(spawn(Spawn::of(&self.shared), f))
    }

    fn turns(&self, index: usize) -> u64 {
        self.shared.remotes[index].running.turns()
    }

    fn asleep(&self, index: usize) -> bool {
        self.shared.remotes[index].sleep_state.asleep()
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// Each worker takes one step. Returns whether any was awake, or was woken.
    fn round(&self, mut after_step: impl FnMut()) -> bool {
        let mut order: Vec<_> = (0..self.workers.len()).collect();
        for place in (1..order.len()).rev() {
            order.swap(place, self.random.below(place + 1));
        }
        let mut any = false;
        for index in order {
            if self.slow[index] && self.random.below(8) != 0 {
                any |= !self.asleep(index);
                continue;
            }
            test_seam::take_scans();
            let did = self.workers[index].step(self.events);
            if did == Did::Sleeps {
                continue;
            }
            self.count(|counts| counts.scans += test_seam::take_scans());
            any |= !matches!(did, Did::Sleeps | Did::Left);
            self.note(index, did);
            self.check();
            after_step();
        }
        self.count(|counts| counts.rounds += 1);
        any
    }

    fn note(&self, index: usize, did: Did) {
        let woke_at = &mut self.turns_at_wake_up.borrow_mut()[index];
        self.count(|counts| match did {
            Did::WokeUp => {
                counts.wake_ups += 1;
                *woke_at = Some(self.turns(index));
            }
            Did::FellAsleep => {
                counts.steps += 1;
                counts.fruitless += usize::from(woke_at.take() == Some(self.turns(index)));
            }
            Did::Worked | Did::StayedAwake => counts.steps += 1,
            Did::Sleeps | Did::Left => {}
        });
    }

    /// What is true between any two steps.
    fn check(&self) {
        let (sleepers, searchers) = self.shared.idle.counts();
        let asleep = (0..self.workers.len()).filter(|index| self.asleep(*index)).count();
        assert_eq!(sleepers, asleep, "{}: miscounted sleepers", self.name);
        let notified = |index: &usize| self.shared.remotes[*index].sleep_state.will_search();
        let to_search = (0..self.workers.len()).filter(notified).count();
        let search = self.workers.iter().filter(|worker| worker.searches()).count();
        assert_eq!(searchers, search + to_search, "{}: miscounted searchers", self.name);
        for (index, remote) in self.shared.active_remotes().iter().enumerate() {
            let waits = !remote.home.inbox.is_empty() || !remote.assigned.is_empty();
            assert!(!waits || !self.asleep(index), "{}: {index} sleeps, with work of its own", self.name);
        }
        // Argument 2 of `README.md`. By arguments 6 and 8 homes, and a lone activation, may wait for the
        // worker that has queued them.
        if sleepers > 0 && searchers == 0 {
            let (injected, yielded) = self.shared.count_waiting();
            let waits = |remote: &Remote| {
                let own = self.shared.has_mobile_homes() || self.events && remote.count_stealable() == 1;
                remote.has_stealable() && !(own && remote.awake())
            };
            let waits = injected + yielded > 0 || self.shared.active_remotes().iter().any(waits);
            assert!(!waits, "{}: a worker sleeps, and no other searches", self.name);
        }
    }

    /// Runs rounds until `done`: that many at most. The rounds that this has taken.
    fn run_until(&self, most: usize, mut done: impl FnMut() -> bool) -> usize {
        let mut rounds = 0;
        while !done() {
            assert!(self.round(|| ()), "{}: all workers sleep: {:?}", self.name, self.counts.get());
            rounds += 1;
            assert!(rounds <= most, "{}: more than {most} rounds: {:?}", self.name, self.counts.get());
        }
        rounds
    }

    /// Runs rounds until all workers sleep.
    fn run_to_rest(&self) {
        while self.round(|| ()) {}
    }

    /// How many coroutines live on each worker, or are assigned to it.
    fn loads(&self) -> Vec<usize> {
        self.shared.active_remotes().iter().map(|remote| remote.load()).collect()
    }

    /// What the workers have done since the last call.
    fn take_counts(&self) -> Counts {
        let steals = |remote: &Remote| remote.steals.load(Ordering::Relaxed) as usize;
        let steals = self.shared.active_remotes().iter().map(steals).sum();
        let notifications = self.shared.count_notifications();
        let (steals_before, notifications_before) = self.taken.replace((steals, notifications));
        let (steals, notifications) = (steals - steals_before, notifications - notifications_before);
        Counts { steals, notifications, ..self.counts.take() }
    }

    /// Ends the runtime: all workers leave.
    fn end(self) {
        self.shared.enter(Phase::Closing);
        let left = || self.shared.active_remotes().iter().all(|remote| remote.left.load(Ordering::Acquire));
        for _ in 0..100_000 {
            if left() {
                break;
            }
            self.round(|| ());
        }
        assert!(left(), "{}: a worker stays", self.name);
        self.shared.mobile.end().into_iter().for_each(|lender| lender.join().expect("no panic"));
    }
}
