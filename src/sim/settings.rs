//! What a check runs, and how often.

use super::run::Limits;
use std::env;
use std::time::Duration;

/// How many seeds a check runs, unless it or `SWARD_SIM_RUNS` says otherwise.
const RUNS: u64 = 100;
/// How many schedules an exhaustive search runs, likewise.
const SCHEDULES: u64 = 100_000;
/// How many steps a run may take, unless the check says otherwise.
const STEPS: u64 = 1_000_000;

/// How a check chooses what runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Every runnable coroutine is as likely as any other. At a call that need not wait, others run first
    /// with a probability that differs from run to run.
    RandomWalk,
    /// Probabilistic concurrency testing: random priorities, of which `depth - 1` change in a run. It finds
    /// bugs that need few orderings, in places where a random walk rarely gets. 3 is a good depth.
    Pct {
        /// How many orderings a bug may need.
        depth: u32,
    },
    /// Each run is another schedule, until there is none left: all schedules with at most
    /// `preemptions` preemptions, and with each arm that `select!` may look at first. For small programs: a
    /// few coroutines with a few calls each. All runs have the same seed, on which all else depends that is
    /// random.
    Exhaustive {
        /// How often in a run a coroutine may be interrupted at a call that need not wait, or go on before
        /// the others after it has yielded.
        preemptions: u32,
    },
    /// Random walk and [`Pct`](Self::Pct) with depths from 2 to 4, in turn. This is the default.
    Mixed,
}

/// The settings of a check. [`check`](super::check) has the default ones.
///
/// ```
/// sward::sim::Check::new().runs(20).time_limit(std::time::Duration::from_secs(60)).run(|_| {
///     let timer = sward::spawn(|| sward::sleep(std::time::Duration::from_secs(30)));
///     timer.join().unwrap();
/// });
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Check {
    pub(super) first_seed: u64,
    pub(super) runs: Option<u64>,
    pub(super) strategy: Strategy,
    pub(super) steps: u64,
    pub(super) time: Option<Duration>,
    pub(super) leaks: bool,
    pub(super) cancels: bool,
    pub(super) pauses: Option<Duration>,
    pub(super) jobs: Option<usize>,
}

impl Default for Check {
    fn default() -> Check {
        Check::new()
    }
}

impl Check {
    /// The default settings.
    pub fn new() -> Check {
        Check {
            first_seed: 0,
            runs: None,
            strategy: Strategy::Mixed,
            steps: STEPS,
            time: None,
            leaks: true,
            cancels: false,
            pauses: None,
            jobs: None,
        }
    }

    /// How many seeds are run. Default: `SWARD_SIM_RUNS`, or else 100. The environment's value, if there is
    /// one, goes before this one; with [`Exhaustive`](Strategy::Exhaustive) the number is an upper bound.
    ///
    /// # Panics
    ///
    /// If it is zero: a check that runs nothing would pass.
    pub fn runs(mut self, runs: u64) -> Check {
        assert!(runs > 0, "a check has at least one run");
        self.runs = Some(runs);
        self
    }

    /// The first seed; the others follow it. Default: 0. `SWARD_SIM_SEED` runs that seed alone.
    pub fn seed(mut self, first: u64) -> Check {
        self.first_seed = first;
        self
    }

    /// How it is chosen what runs next. Default: [`Strategy::Mixed`].
    pub fn strategy(mut self, strategy: Strategy) -> Check {
        self.strategy = strategy;
        self
    }

    /// How many steps a run may take before it fails. A step is the turn of one coroutine, a call that need
    /// not wait, or a move of the clock. Default: a million.
    pub fn step_limit(mut self, steps: u64) -> Check {
        self.steps = steps;
        self
    }

    /// How much simulated time a run may take before it fails. Default: no limit.
    pub fn time_limit(mut self, limit: Duration) -> Check {
        self.time = Some(limit);
        self
    }

    /// Whether a run fails if coroutines outlive the closure. Coroutines of hosts may. Default: it does.
    pub fn leaks_fail(mut self, fail: bool) -> Check {
        self.leaks = fail;
        self
    }

    /// Cancels one wait in each run: of the coroutines other than the closure's own, each wait and each call
    /// that could wait, in one run after the other, as
    /// [`JoinHandle::cancel`](crate::task::JoinHandle::cancel) would. The first run has none. The closure has
    /// to expect that any of its coroutines is cancelled; what it checks is that nothing else suffers: no
    /// permit is lost, no lock stays locked, no message disappears.
    ///
    /// [`runs`](Self::runs) is the number of seeds, as ever. Each of them is run once for each wait, so
    /// choose few. An [exhaustive](Strategy::Exhaustive) search is made once more for each wait.
    pub fn cancel_everywhere(mut self) -> Check {
        self.cancels = true;
        self
    }

    /// Has coroutines pause, as when the system does not run their thread for a while: in three of four runs,
    /// some of the calls of sward take up to that much simulated time, while other coroutines run and timers
    /// fire. Use it to find code that relies on a time that it has looked at, such as a lease that is checked
    /// and then used. An [exhaustive](Strategy::Exhaustive) search has no pauses. Default: none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::sim::Check;
    ///
    /// let late = Check::new().runs(1000).pauses(Duration::from_secs(1)).try_run(|sim| {
    ///     let lease = sim.now() + Duration::from_millis(10);
    ///     while sim.now() + Duration::from_millis(5) < lease {
    ///         sward::sleep(Duration::from_millis(1));
    ///         assert!(sim.now() < lease, "too late");
    ///     }
    /// });
    /// assert!(late.is_err());
    /// ```
    pub fn pauses(mut self, longest: Duration) -> Check {
        self.pauses = Some(longest);
        self
    }

    /// How many seeds are run at once, each on a thread of its own. Use it to search with many seeds on a
    /// machine with several processors. The result is that of one job: the failure is that of the first seed
    /// that fails. Default: `SWARD_SIM_JOBS`, or else 1. The environment's value, if there is one, goes
    /// before this one.
    ///
    /// Runs at once share the statics of the program. If what it does depends on them, the two runs of a
    /// seed differ, and the check says so; then keep to one job. An [exhaustive](Strategy::Exhaustive)
    /// search has one.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn jobs(mut self, jobs: usize) -> Check {
        assert!(jobs > 0, "sward::sim: a check needs a job");
        self.jobs = Some(jobs);
        self
    }

    pub(super) fn limits(&self) -> Limits {
        let Check { steps, time, leaks, mut pauses, .. } = *self;
        if let Strategy::Exhaustive { .. } = self.strategy {
            pauses = None;
        }
        Limits { steps, time, leaks, cancel_at: None, pauses }
    }

    pub(super) fn runs_wanted(&self) -> u64 {
        positive("SWARD_SIM_RUNS").or(self.runs).unwrap_or(RUNS)
    }

    /// The same for an exhaustive search.
    pub(super) fn runs_wanted_of_search(&self) -> u64 {
        positive("SWARD_SIM_RUNS").or(self.runs).unwrap_or(SCHEDULES)
    }

    pub(super) fn jobs_wanted(&self) -> usize {
        let jobs = positive("SWARD_SIM_JOBS").map(|jobs| usize::try_from(jobs).unwrap_or(usize::MAX));
        jobs.or(self.jobs).unwrap_or(1)
    }

    pub(super) fn only_seed() -> Option<u64> {
        number("SWARD_SIM_SEED")
    }
}

/// The number in that variable, if it is set, which is at least 1.
fn positive(variable: &str) -> Option<u64> {
    let number = number(variable);
    assert!(number != Some(0), "sward::sim: {variable} is at least 1, not \"0\"");
    number
}

/// The number in that variable, if it is set.
fn number(variable: &str) -> Option<u64> {
    let value = env::var_os(variable).filter(|value| !value.is_empty())?;
    match value.to_str().and_then(|value| value.parse().ok()) {
        Some(number) => Some(number),
        None => panic!("sward::sim: {variable} is a number up to 2^64 - 1, not {value:?}"),
    }
}
