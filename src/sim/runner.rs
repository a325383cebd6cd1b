//! Runs the seeds of a check, each twice, and explains the first failure.

use super::failure::Failure;
use super::handle::Sim;
use super::jobs;
use super::libc_overrides::Entropy;
use super::minimise::minimise;
use super::record::{Schedule, trace_of};
use super::run::{Entered, Limits, Outcome, Run, Stuck};
use super::settings::{Check, Strategy};
use super::strategy::{self, Decided, Exhaustive, Pct, RandomWalk, Replay, Search};
use super::trace::InWords;
use super::watchdog::{self, Watch};
use super::world::{self, RunWorld};
use crate::base::clock::VirtualTime;
use crate::base::local::thread_locals;
use crate::base::sys::calls::Context;
use crate::base::sys::report as tell;
use crate::coroutine::Site;
use crate::inspect;
use crate::runtime::SimulatedRuntime;
use crate::task::JoinError;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};
use std::panic::{self, Location};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs, io};

/// How many events a report shows.
const LAST_EVENTS: usize = 40;
/// When the progress of a check is shown for the first time, and how often.
const PROGRESS: Duration = Duration::from_secs(5);
/// PCT places its changes among the decisions of a run of at least this length: other schedules may be longer
/// than the one that is measured.
const LENGTH: u64 = 4;

/// The closure of a check.
#[derive(Clone, Copy)]
pub(super) struct Program<'a> {
    f: &'a (dyn Fn(&Sim) + Sync),
    /// Where the check was called.
    site: Site,
}

/// How one run chooses.
#[derive(Clone)]
pub(super) enum Chooses {
    RandomWalk,
    Pct { depth: u32, length: u64 },
    Exhaustive { search: Search, preemptions: u32 },
    Replay(Vec<Decided>),
}

impl fmt::Display for Chooses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chooses::RandomWalk => f.write_str("random walk"),
            Chooses::Pct { depth, .. } => write!(f, "PCT of depth {depth}"),
            Chooses::Exhaustive { preemptions, .. } => {
                write!(f, "exhaustive search with up to {preemptions} preemptions")
            }
            Chooses::Replay(_) => f.write_str("a recorded schedule"),
        }
    }
}

/// What a check that has not failed has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// How many schedules were run. Each was run twice, and both runs had the same events.
    pub schedules: u64,
    /// How many events there were in all of them.
    pub events: u64,
    /// Whether an [exhaustive](Strategy::Exhaustive) check has run all schedules.
    pub all: bool,
}

/// The failure of a check. It prints as a report: what has failed, the last events of the smallest schedule
/// that fails, and how to run it again.
#[derive(Clone, Debug)]
pub struct Failed {
    seed: u64,
    what: String,
    report: String,
    /// Of the smallest schedule.
    trace: inspect::Trace,
    schedule: Schedule,
}

impl Failed {
    /// The seed that fails.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What has happened in the smallest schedule that fails, in simulated time, in the format of the
    /// [flight recorder](crate::observe#the-flight-recorder). Each host is shown as a worker.
    pub fn trace(&self) -> &inspect::Trace {
        &self.trace
    }

    /// Writes the smallest schedule that fails to a file. `SWARD_SIM_SCHEDULE` with its path runs it again.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn write_schedule(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.schedule.write(path.as_ref())
    }

    /// Writes trace and schedule to the folder for temporary files, and says where. Tests of one process run
    /// at a time and fail with the same seeds, so each failure has a number of its own.
    fn write_files(&mut self) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = env::temp_dir().join(format!("sward-sim-{}-{number}", std::process::id()));
        let (trace, schedule) = (base.with_extension("json"), base.with_extension("schedule"));
        let written = fs::File::create(&trace).and_then(|file| self.trace.write_to(io::BufWriter::new(file)));
        let _ = match written.and_then(|()| self.write_schedule(&schedule)) {
            Ok(()) => write!(
                self.report,
                "\nThe smallest schedule: SWARD_SIM_SCHEDULE={} cargo test{}\nIts trace, for Perfetto: {}",
                schedule.display(),
                test_name(),
                trace.display()
            ),
            Err(error) => write!(self.report, "\nIts trace was not written: {error}"),
        };
    }

    /// What has failed, in a line or more.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)
    }
}

impl std::error::Error for Failed {}

impl Check {
    /// Runs the closure in simulations.
    ///
    /// # Panics
    ///
    /// If a run fails; with the report.
    #[track_caller]
    pub fn run(&self, f: impl Fn(&Sim) + Sync) -> Passed {
        match self.try_run(f) {
            Ok(passed) => passed,
            Err(mut failed) => {
                failed.write_files();
                panic!("{failed}")
            }
        }
    }

    /// As [`run`](Self::run); a failure is returned.
    ///
    /// # Errors
    ///
    /// The first run that fails.
    #[track_caller]
    pub fn try_run(&self, f: impl Fn(&Sim) + Sync) -> Result<Passed, Box<Failed>> {
        let f = Program { f: &f, site: Location::caller() };
        keep_repeated_panics_quiet();
        if let Some(path) = env::var_os("SWARD_SIM_SCHEDULE").filter(|path| !path.is_empty()) {
            return self.schedule_of(Path::new(&path), f);
        }
        let only = Check::only_seed();
        match self.strategy {
            Strategy::Exhaustive { preemptions } => {
                self.search(only.unwrap_or(self.first_seed), preemptions, f)
            }
            _ => self.seeds(only, f),
        }
    }

    fn seeds(&self, only: Option<u64>, f: Program<'_>) -> Result<Passed, Box<Failed>> {
        let count = if only.is_some() { 1 } else { self.runs_wanted() };
        let first = only.unwrap_or(self.first_seed);
        let jobs = self.jobs_wanted().min(usize::try_from(count).unwrap_or(usize::MAX));
        let so_far = Mutex::new((Progress::new(), Passed { schedules: 0, events: 0, all: false }));
        jobs::in_order(count, jobs, |number| {
            so_far.lock().0.note(number, count);
            let ended = self.run_seed(first.wrapping_add(number), f)?;
            let passed = &mut so_far.lock().1;
            passed.schedules += ended.schedules;
            passed.events += ended.events;
            Ok::<_, Box<Failed>>(())
        })?;
        Ok(so_far.into_inner().1)
    }

    /// Runs one seed, also once for each wait if waits are cancelled.
    fn run_seed(&self, seed: u64, f: Program<'_>) -> Result<Passed, Box<Failed>> {
        let mut passed = Passed { schedules: 0, events: 0, all: false };
        // Of the seed alone, so that it can be run alone.
        let chooses = self.chooses(seed, f);
        let mut run = |cancel_at| {
            let outcome = self.twice(seed, &chooses, &Limits { cancel_at, ..self.limits() }, f)?;
            passed.schedules += 1;
            passed.events += outcome.trace.count();
            Ok::<_, Box<Failed>>(outcome.waits)
        };
        // Those of the run without a cancellation: one that is cancelled may end earlier.
        let waits = run(None)?;
        for wait in (0..waits).filter(|_| self.cancels) {
            run(Some(wait))?;
        }
        Ok(passed)
    }

    /// Runs the schedule in a file, which [`Failed::write_schedule`] has written.
    ///
    /// # Errors
    ///
    /// That run's failure.
    ///
    /// # Panics
    ///
    /// If the file cannot be read, or is no such file.
    #[track_caller]
    pub fn replay(&self, path: impl AsRef<Path>, f: impl Fn(&Sim) + Sync) -> Result<Passed, Box<Failed>> {
        keep_repeated_panics_quiet();
        self.schedule_of(path.as_ref(), Program { f: &f, site: Location::caller() })
    }

    fn schedule_of(&self, path: &Path, f: Program<'_>) -> Result<Passed, Box<Failed>> {
        let schedule =
            Schedule::read(path).unwrap_or_else(|error| panic!("sward::sim: {}: {error}", path.display()));
        let limits = Limits { cancel_at: schedule.cancel_at, ..self.limits() };
        let outcome = self.twice(schedule.seed, &Chooses::Replay(schedule.decisions), &limits, f)?;
        Ok(Passed { schedules: 1, events: outcome.trace.count(), all: false })
    }

    fn search(&self, seed: u64, preemptions: u32, f: Program<'_>) -> Result<Passed, Box<Failed>> {
        let mut progress = Progress::new();
        let count = self.runs_wanted_of_search();
        let mut passed = Passed { schedules: 0, events: 0, all: false };
        // The most waits of a schedule without a cancellation. Each is cancelled in a search of its own.
        let mut waits = 0;
        let mut cancel_at = None;
        loop {
            let limits = Limits { cancel_at, ..self.limits() };
            let mut search = Search::default();
            loop {
                if passed.schedules == count {
                    return Ok(passed);
                }
                progress.note(passed.schedules, count);
                let chooses = Chooses::Exhaustive { search, preemptions };
                let outcome = self.twice(seed, &chooses, &limits, f)?;
                passed.schedules += 1;
                passed.events += outcome.trace.count();
                if cancel_at.is_none() {
                    waits = waits.max(outcome.waits);
                }
                search = outcome.search.expect("it was a search");
                if !search.next() {
                    break;
                }
            }
            cancel_at = Some(cancel_at.map_or(0, |at| at + 1)).filter(|at| self.cancels && *at < waits);
            if cancel_at.is_none() {
                return Ok(Passed { all: true, ..passed });
            }
        }
    }

    /// How the run of that seed chooses.
    fn chooses(&self, seed: u64, f: Program<'_>) -> Chooses {
        let depth = match self.strategy {
            Strategy::RandomWalk => return Chooses::RandomWalk,
            Strategy::Exhaustive { .. } => unreachable!("a search has no seeds"),
            Strategy::Mixed if seed.is_multiple_of(2) => return Chooses::RandomWalk,
            Strategy::Mixed => 2 + (seed / 2 % 3) as u32,
            Strategy::Pct { depth } => depth,
        };
        // The length of a run without preemptions is that of all, more or less.
        let plain = once(seed, &Chooses::Replay(Vec::new()), &self.limits(), true, f);
        Chooses::Pct { depth, length: plain.choices }
    }

    /// Runs a schedule twice.
    fn twice(
        &self,
        seed: u64,
        chooses: &Chooses,
        limits: &Limits,
        f: Program<'_>,
    ) -> Result<Outcome, Box<Failed>> {
        let first = once(seed, chooses, limits, false, f);
        let second = once(seed, chooses, limits, true, f);
        if let Some(at) = first.trace.differs_from(&second.trace) {
            let failure = Failure::Differs { from: difference(&first, &second, at) };
            return Err(report(seed, chooses, limits, &failure, &first, None));
        }
        if !same(first.failure.as_ref(), second.failure.as_ref()) {
            let from = format!(
                "\n  first   {}\n  second  {}",
                in_words(first.failure.as_ref()),
                in_words(second.failure.as_ref())
            );
            return Err(report(seed, chooses, limits, &Failure::Differs { from }, &first, None));
        }
        match &first.failure {
            None => Ok(first),
            Some(failure) => {
                let smaller = |decisions| once(seed, &Chooses::Replay(decisions), limits, true, f);
                let smallest = if first.stuck { None } else { minimise(&first, smaller) };
                Err(report(seed, chooses, limits, failure, &first, smallest.as_ref()))
            }
        }
    }
}

/// Whether two runs have failed in the same way, or not at all.
fn same(first: Option<&Failure>, second: Option<&Failure>) -> bool {
    match (first, second) {
        (Some(first), Some(second)) => first.is_like(second),
        (first, second) => first.is_none() && second.is_none(),
    }
}

fn in_words(failure: Option<&Failure>) -> String {
    failure.map_or_else(|| "passes".to_owned(), |failure| format!("fails: {failure}"))
}

/// The events in which two runs differ, with those before.
fn difference(first: &Outcome, second: &Outcome, at: usize) -> String {
    let mut text = String::new();
    let before = at.saturating_sub(5);
    for event in &first.trace.events[before..at] {
        let event = InWords { event, trace: &first.trace, names: &first.names };
        let _ = write!(text, "\n  both    {event}");
    }
    for (which, run) in [("first ", first), ("second", second)] {
        match run.trace.events.get(at) {
            Some(event) => {
                let event = InWords { event, trace: &run.trace, names: &run.names };
                let _ = write!(text, "\n  {which}  {event}");
            }
            None => {
                let _ = write!(text, "\n  {which}  has ended");
            }
        }
    }
    text
}

fn report(
    seed: u64,
    chooses: &Chooses,
    limits: &Limits,
    failure: &Failure,
    outcome: &Outcome,
    smallest: Option<&Outcome>,
) -> Box<Failed> {
    let mut report = format!("sward::sim: seed {seed} fails ({chooses}");
    if let Some(at) = limits.cancel_at {
        let _ = write!(report, ", wait {at} cancelled");
    }
    let _ = write!(report, "): {failure}");
    let shown = smallest.unwrap_or(outcome);
    if let Some(smallest) = smallest {
        let count = |run: &Outcome| run.decisions.iter().filter(|one| **one != Decided::Default).count();
        let _ = write!(
            report,
            "\nThe smallest schedule that fails has {} of {} switches. ",
            count(smallest),
            count(outcome)
        );
    } else {
        report.push('\n');
    }
    let events = &shown.trace.events;
    let from = events.len().saturating_sub(LAST_EVENTS);
    let _ = write!(report, "Its last events, of {}:", shown.trace.count());
    for event in &events[from..] {
        let _ = write!(report, "\n  {}", InWords { event, trace: &shown.trace, names: &shown.names });
    }
    let _ = write!(report, "\nTo run it again: SWARD_SIM_SEED={seed} cargo test{}", test_name());
    let schedule = Schedule { seed, cancel_at: limits.cancel_at, decisions: shown.decisions.clone() };
    Box::new(Failed { seed, what: failure.to_string(), report, trace: trace_of(shown), schedule })
}

/// The test that calls the check, as an argument of cargo.
fn test_name() -> String {
    match thread::current().name() {
        Some(name) if name != "main" => format!(" {name}"),
        _ => String::new(),
    }
}

/// Runs a schedule once, on a thread of its own, whose thread-locals are as new.
pub(super) fn once(seed: u64, chooses: &Chooses, limits: &Limits, quiet: bool, f: Program<'_>) -> Outcome {
    let (watch, stuck) = (Arc::new(Watch::new()), Stuck::default());
    let run = || {
        let _watched = watch.begin();
        set_quiet(quiet);
        simulate(seed, chooses, limits, &watch, &stuck, f)
    };
    let thread = thread::Builder::new().name("sward-sim".to_owned());
    // SAFETY: what the thread borrows outlives its use of it. Below, this function waits until the thread has
    // ended; or until it is stuck (`Run::give_up`): then the thread parks for good, and uses nothing of it
    // any more. Others may find the node of its wait in the list of a lock that outlives the run, and wake
    // it: the node is on its stack, which is never freed, and the wake-up changes nothing. Nothing in
    // between unwinds.
    let thread = unsafe { thread.spawn_unchecked(run) };
    let thread = thread.unwrap_or_else(|error| panic!("sward::sim: no thread for a run: {error}"));
    // `tell` and not `eprintln`: a test harness keeps what that prints until the test has ended.
    watch.wait(seed, watchdog::LIMIT, |hang| tell(format_args!("{hang}")));
    let left = stuck.lock().take();
    match left {
        Some(outcome) => outcome,
        None => thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload)),
    }
}

fn simulate(
    seed: u64,
    chooses: &Chooses,
    limits: &Limits,
    watch: &Arc<Watch>,
    stuck: &Stuck,
    f: Program<'_>,
) -> Outcome {
    let _entropy = Entropy::begin(seed);
    let time = VirtualTime::begin();
    let mut search = None;
    let strategy: Box<dyn strategy::Strategy> = match chooses.clone() {
        Chooses::RandomWalk => Box::new(RandomWalk::new(seed)),
        Chooses::Pct { depth, length } => Box::new(Pct::new(seed, depth, length.max(LENGTH))),
        Chooses::Exhaustive { search: at, preemptions } => {
            let at = Rc::new(RefCell::new(at));
            search = Some(Rc::clone(&at));
            Box::new(Exhaustive::new(at, preemptions))
        }
        Chooses::Replay(decisions) => Box::new(Replay::new(decisions)),
    };
    let runtime =
        SimulatedRuntime::new().unwrap_or_else(|error| panic!("sward::sim: no runtime for a run: {error}"));
    let run = Rc::new(Run::new(seed, limits.clone(), strategy, time, runtime.shared(), watch, stuck));
    let _entered = Entered::new(&run);
    let world = Rc::new(RunWorld::new(Rc::clone(&run) as Rc<dyn Context>));
    let entered_world = world::enter(&world);
    run.set_world(Some(world));
    let simulation = Rc::clone(&run);
    let result = runtime.run(simulation, f.site, |first| run.begin(first, f.site), || (f.f)(&Sim::new()));
    run.set_world(None);
    drop(entered_world);
    let mut outcome = run.end();
    outcome.search = search.map(|search| search.borrow().clone());
    match result {
        Some(Ok(())) => {}
        Some(Err(JoinError::Panicked(panic))) => {
            // What the panic has left behind is no failure of its own.
            if matches!(outcome.failure, None | Some(Failure::Leak { .. })) {
                let message = run.with_own_numbers(panic.message().unwrap_or("(no message)"));
                outcome.failure = Some(Failure::Panic { message });
            }
        }
        other => {
            let why = match other {
                Some(Err(error)) => error.to_string(),
                _ => "it does not unwind".to_owned(),
            };
            outcome.failure.get_or_insert(Failure::Unfinished { why });
        }
    }
    outcome
}

/// Shows how far a check is, if it takes long.
struct Progress {
    next: Instant,
}

impl Progress {
    fn new() -> Progress {
        Progress { next: Instant::now() + PROGRESS }
    }

    fn note(&mut self, done: u64, of: u64) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + PROGRESS;
            tell(format_args!("sward::sim:{}: {done} of {of} schedules", test_name()));
        }
    }
}

thread_locals! {
    /// Whether panics on this thread are not reported: its run repeats another one.
    static QUIET: Cell<bool> = Cell::new(false);

    fn is_quiet() -> bool = |quiet| quiet.get(), destroyed: false;

    fn set_quiet(to: bool) = |quiet| quiet.set(to), destroyed: ();
}

/// A run that repeats another one does not report its panics again.
fn keep_repeated_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The runtime's own hook first, if it extends std's: this one calls it.
        drop(SimulatedRuntime::new());
        let present = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_quiet() {
                present(info);
            }
        }));
    });
}
