//! One run: what decides in place of the worker, keeps the clock and the trace, and notices failures.
//!
//! ```text
//!  phase       what the run does                     ends when
//!  Running     decides by its strategy; records all  the first coroutine has ended, and then nothing can run
//!                                                    without time passing; or a failure
//!  Closing     lets all unwind; records nothing      nothing is alive, or no step helps
//!  Abandoned   leaks the rest
//! ```
//!
//! A wait that blocks the thread in any of them ends the run at once, if nothing will end the wait: its
//! thread leaves what there is in [`Stuck`], and parks for good.

use super::failure::Failure;
use super::pauses::Pauses;
use super::random::Random;
use super::strategy::{Decided, Kind, Question, Search, Strategy, default_choice};
use super::trace::{Described, Event, NOBODY, Trace, What, name_of};
use super::watchdog::Watch;
use super::world::RunWorld;
use crate::base::clock::VirtualTime;
use crate::base::local::thread_locals;
use crate::base::sys::calls::{self, Context};
use crate::coroutine::{Batch, Header, Id, Site, WaitReason, lost_panics_here, take_lost_panic_here};
use crate::inspect;
use crate::sched::{Candidate, Choice, Ends, Passed, Phase, Shared, Simulation, capture_simulated};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// When runs begin, in nanoseconds since 1970.
const YEAR_2000: u64 = 946_684_800_000_000_000;
/// By how much the clock moves with each step.
const STEP: u64 = 1_000;
/// How many steps coroutines have to unwind.
const CLOSING_STEPS: u64 = 100_000;
/// How many turns the others may take when the first coroutine has ended.
const LAST_TURNS: u64 = 10_000;
/// How many calls that need not wait a coroutine may make in one turn: the budget of the real runtime.
const POINTS: u32 = 128;

/// What bounds a run, and what is injected into it.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) steps: u64,
    pub(super) time: Option<Duration>,
    /// Whether coroutines that are alive at the end are a failure.
    pub(super) leaks: bool,
    /// The wait of that number is cancelled.
    pub(super) cancel_at: Option<u64>,
    /// Coroutines pause for up to that long.
    pub(super) pauses: Option<Duration>,
}

/// One run.
pub(super) struct Run {
    seed: u64,
    limits: Limits,
    time: VirtualTime,
    shared: Arc<Shared>,
    state: RefCell<State>,
    phase: Cell<Phase>,
    /// The number of the coroutine that runs.
    current: Cell<u32>,
    /// The decision that a point has made for the next turn.
    forced: Cell<Option<u32>>,
    /// The coroutine that has yielded by itself in the last turn.
    yielded: Cell<Option<u32>>,
    /// The coroutine that runs leaves because it pauses.
    leaves_to_pause: Cell<bool>,
    /// Turns, calls that need not wait, and moves of the clock.
    steps: Cell<u64>,
    /// The calls that need not wait of the present turn.
    points: Cell<u32>,
    turns: Cell<u64>,
    /// Turns when the first coroutine ended.
    ended: Cell<Option<u64>>,
    /// The worker has left: what is left of the coroutines was discarded or leaked.
    over: Cell<bool>,
    /// For who waits for the run.
    watch: Arc<Watch>,
    stuck: Stuck,
    /// How many panics of coroutines that nobody joins are none of the run's: those of former runs, and those
    /// of coroutines whose host has crashed.
    lost_panics: Cell<u64>,
    /// The last turn was that of a coroutine whose host has crashed.
    was_crashed: Cell<bool>,
    /// The host for which a coroutine is spawned, if that is not the spawner's.
    spawning_for: Cell<Option<u32>>,
    /// What answers the program's system calls, while the run lasts.
    world: RefCell<Option<Rc<RunWorld>>>,
}

/// A coroutine of the run.
struct Known {
    id: Id,
    described: Described,
    /// Until it has ended.
    alive: Option<NonNull<Header>>,
    /// Whether its host has crashed while it lived.
    crashed: bool,
}

impl Known {
    fn new(id: Id) -> Known {
        let described = Described { name: None, site: None, by: NOBODY, host: 0 };
        Known { id, described, alive: None, crashed: false }
    }
}

/// The closure of a host.
pub(super) type Body = Arc<dyn Fn() + Send + Sync>;

/// A host of the run.
struct Host {
    name: Box<str>,
    body: Body,
    crashed: bool,
    /// By how many nanoseconds its clock is ahead.
    skew: i64,
}

struct State {
    strategy: Box<dyn Strategy>,
    /// For the program: `Sim::random`, the order of `select!`.
    random: Random,
    /// For the world.
    world: Random,
    numbers: BTreeMap<Id, u32>,
    known: Vec<Known>,
    /// Host n is at n - 1.
    hosts: Vec<Host>,
    pauses: Pauses,
    trace: Trace,
    decisions: Vec<Decided>,
    /// How many of them were about what runs.
    choices: u64,
    options: Vec<u32>,
    /// The coroutines that have yielded by themselves since all others had a turn.
    behind: BTreeSet<u32>,
    /// How many waits could have been cancelled.
    waits: u64,
    failure: Option<Failure>,
}

impl State {
    /// The coroutine that has yielded goes behind the options that have not. If all of them have, a new round
    /// begins, in which it is the only one.
    fn next_goes_behind(&mut self, yielded: Option<u32>) {
        self.behind.extend(yielded);
        if self.options.iter().all(|option| self.behind.contains(option)) {
            self.behind.clear();
            self.behind.extend(yielded);
        }
    }
}

/// What is left of a run.
pub(super) struct Outcome {
    pub(super) failure: Option<Failure>,
    pub(super) trace: Trace,
    pub(super) names: Vec<Box<str>>,
    pub(super) decisions: Vec<Decided>,
    /// How many of them were about what runs.
    pub(super) choices: u64,
    /// How many waits could have been cancelled.
    pub(super) waits: u64,
    pub(super) described: Vec<Described>,
    pub(super) hosts: Vec<Box<str>>,
    /// How far an exhaustive search has come.
    pub(super) search: Option<Search>,
    /// The run's thread has not ended, and never will.
    pub(super) stuck: bool,
}

/// What is left of a run whose thread does not end.
pub(super) type Stuck = Arc<Mutex<Option<Outcome>>>;

thread_locals! {
    /// The run of this thread: it is on the thread's stack, below.
    static RUN: Cell<*const Run> = Cell::new(ptr::null());

    fn this_run() -> *const Run = |run| run.get(), destroyed: ptr::null();

    fn set_this_run(run: *const Run) = |cell| cell.set(run), destroyed: ();
}

/// The run of this thread, if it simulates.
pub(super) fn current() -> Option<Rc<Run>> {
    let run = this_run();
    if run.is_null() {
        return None;
    }
    // SAFETY: `Entered` holds the `Rc` from which the pointer comes, and removes it before it lets go.
    unsafe {
        Rc::increment_strong_count(run);
        Some(Rc::from_raw(run))
    }
}

/// While it lives, a run is that of this thread.
pub(super) struct Entered(#[expect(dead_code, reason = "it keeps the run")] Rc<Run>);

impl Entered {
    pub(super) fn new(run: &Rc<Run>) -> Entered {
        set_this_run(Rc::as_ptr(run));
        Entered(Rc::clone(run))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        set_this_run(ptr::null());
    }
}

impl Run {
    /// A run of that runtime, on the calling thread. Its time has begun.
    pub(super) fn new(
        seed: u64,
        limits: Limits,
        strategy: Box<dyn Strategy>,
        time: VirtualTime,
        shared: &Arc<Shared>,
        watch: &Arc<Watch>,
        stuck: &Stuck,
    ) -> Run {
        let pauses = Pauses::new(seed, limits.pauses);
        Run {
            seed,
            limits,
            time,
            shared: Arc::clone(shared),
            state: RefCell::new(State {
                strategy,
                random: Random::new(seed, 3),
                world: Random::new(seed, 4),
                numbers: BTreeMap::new(),
                known: Vec::new(),
                hosts: Vec::new(),
                pauses,
                trace: Trace::default(),
                decisions: Vec::new(),
                choices: 0,
                options: Vec::new(),
                behind: BTreeSet::new(),
                waits: 0,
                failure: None,
            }),
            phase: Cell::new(Phase::Running),
            current: Cell::new(NOBODY),
            forced: Cell::new(None),
            yielded: Cell::new(None),
            leaves_to_pause: Cell::new(false),
            steps: Cell::new(0),
            points: Cell::new(0),
            turns: Cell::new(0),
            ended: Cell::new(None),
            over: Cell::new(false),
            watch: Arc::clone(watch),
            stuck: Arc::clone(stuck),
            lost_panics: Cell::new(lost_panics_here()),
            was_crashed: Cell::new(false),
            spawning_for: Cell::new(None),
            world: RefCell::new(None),
        }
    }

    /// The world that answers the program's system calls; `None` lets it go.
    pub(super) fn set_world(&self, world: Option<Rc<RunWorld>>) {
        let former = self.world.replace(world);
        drop(former);
    }

    /// That world.
    pub(super) fn world(&self) -> Rc<RunWorld> {
        self.world.borrow().clone().expect("the run has not ended")
    }

    /// The first coroutine was made. It is number 0.
    pub(super) fn begin(&self, id: Id, site: Site) {
        let mut state = self.state.borrow_mut();
        state.numbers.insert(id, 0);
        let mut known = Known::new(id);
        known.described.name = Some("main".into());
        known.described.site = Some(site);
        state.known.push(known);
        self.watch.names().push("#0 \"main\"".into());
    }

    // Hosts. They are numbered from 1.

    /// A new host.
    pub(super) fn add_host(&self, name: &str, body: Body) -> u32 {
        let mut state = self.state.borrow_mut();
        state.hosts.push(Host { name: name.into(), body, crashed: false, skew: 0 });
        state.hosts.len() as u32
    }

    /// The host of that name.
    pub(super) fn host_named(&self, name: &str) -> Option<u32> {
        let state = self.state.borrow();
        state.hosts.iter().position(|host| *host.name == *name).map(|place| place as u32 + 1)
    }

    /// The host begins: its name and its closure.
    pub(super) fn begin_host(&self, host: u32) -> (Box<str>, Body) {
        let mut state = self.state.borrow_mut();
        let host = &mut state.hosts[host as usize - 1];
        host.crashed = false;
        (host.name.clone(), Arc::clone(&host.body))
    }

    /// Calls the closure, which spawns a coroutine for that host.
    pub(super) fn spawning_for<T>(&self, host: u32, f: impl FnOnce() -> T) -> T {
        self.spawning_for.set(Some(host));
        let spawned = f();
        self.spawning_for.set(None);
        spawned
    }

    /// Whether the host has crashed and was not started again.
    pub(super) fn is_crashed(&self, host: u32) -> bool {
        self.state.borrow().hosts[host as usize - 1].crashed
    }

    /// Its name.
    pub(super) fn name_of_host(&self, host: u32) -> Box<str> {
        self.state.borrow().hosts[host as usize - 1].name.clone()
    }

    /// Whether any of its coroutines is alive.
    pub(super) fn has_coroutines(&self, host: u32) -> bool {
        self.state.borrow().known.iter().any(|known| known.described.host == host && known.alive.is_some())
    }

    /// Whether any of its coroutines is alive that were there when it crashed.
    pub(super) fn has_crashed_coroutines(&self, host: u32) -> bool {
        let is_one = |known: &Known| known.described.host == host && known.crashed && known.alive.is_some();
        self.state.borrow().known.iter().any(is_one)
    }

    /// Ends the waits of all of its coroutines, and lets them unwind before anything else runs.
    pub(super) fn crash(&self, host: u32) {
        let mut batch = Batch::new();
        let mut state = self.state.borrow_mut();
        state.hosts[host as usize - 1].crashed = true;
        state.pauses.end_of_host(host);
        for known in state.known.iter_mut().filter(|known| known.described.host == host) {
            if let Some(header) = known.alive {
                known.crashed = true;
                // SAFETY: it is alive until `leaves` says that it has ended, on this thread.
                unsafe { Header::cancel_for_shutdown(header, &mut batch) };
            }
        }
        drop(state);
        batch.wake();
    }

    /// Nothing of that host runs for so long.
    pub(super) fn pause_host(&self, host: u32, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.state.borrow_mut().pauses.add_host(host, self.now().saturating_add(time));
    }

    /// Whether that coroutine or its host pauses.
    fn is_paused(&self, state: &State, who: u32) -> bool {
        state.pauses.any(self.now()) && {
            let host = state.known.get(who as usize).map_or(0, |known| known.described.host);
            state.pauses.is_paused(who, host, self.now())
        }
    }

    /// Whether that coroutine, which is about to go on, pauses: by chance, or because its host does.
    fn begins_pause(&self, who: u32) -> bool {
        let mut state = self.state.borrow_mut();
        if self.is_paused(&state, who) {
            return true;
        }
        let Some(time) = state.pauses.draw() else { return false };
        let until = self.now().saturating_add(time);
        state.pauses.add(who, until);
        drop(state);
        self.note(who, What::Pauses { micros: u32::try_from(time / 1_000).unwrap_or(u32::MAX) });
        true
    }

    /// Sets the host's clock.
    pub(super) fn set_skew(&self, host: u32, ahead: i64) {
        self.state.borrow_mut().hosts[host as usize - 1].skew = ahead;
    }

    /// The time of day on the host of the coroutine that runs, in nanoseconds since 1970.
    pub(super) fn system_nanos(&self) -> u64 {
        let host = Context::host(self);
        let skew = match self.state.borrow().hosts.get((host as usize).wrapping_sub(1)) {
            Some(host) => host.skew,
            None => 0,
        };
        (YEAR_2000 + self.now()).saturating_add_signed(skew)
    }

    /// A coroutine of a crashed host among these.
    fn crashed_among(&self, runnable: &[Candidate]) -> Option<usize> {
        let state = self.state.borrow();
        if state.hosts.is_empty() {
            return None;
        }
        runnable.iter().position(|one| state.known[one.number as usize].crashed)
    }

    /// What is left of it.
    pub(super) fn end(&self) -> Outcome {
        let mut state = self.state.borrow_mut();
        Outcome {
            failure: state.failure.take(),
            trace: std::mem::take(&mut state.trace),
            names: std::mem::take(&mut self.watch.names()),
            decisions: std::mem::take(&mut state.decisions),
            choices: state.choices,
            waits: state.waits,
            described: state.known.iter().map(|known| known.described.clone()).collect(),
            hosts: state.hosts.iter().map(|host| host.name.clone()).collect(),
            search: None,
            stuck: false,
        }
    }

    /// A wait of the coroutine that runs blocks the thread until then.
    fn block_until(&self, at: Option<u64>, call: &'static str) {
        self.steps.set(self.steps.get() + 1);
        let goes_on = self.steps.get() <= self.limits.steps.max(CLOSING_STEPS);
        match at.filter(|at| goes_on && *at < u64::MAX) {
            Some(at) => {
                self.time.set(at);
                self.note(self.current.get(), What::Time);
                self.advance_world();
            }
            None => self.give_up(call),
        }
    }

    /// A wait of the coroutine that runs blocks the thread, and nothing will end it.
    fn give_up(&self, call: &'static str) -> ! {
        let who = name_of(&self.watch.names(), self.current.get()).to_owned();
        self.fail(Failure::Stuck { who, call });
        if let Some(world) = &*self.world.borrow() {
            world.remove_files();
        }
        let outcome = Outcome { stuck: true, ..self.end() };
        *self.stuck.lock() = Some(outcome);
        self.watch.end();
        loop {
            thread::park();
        }
    }

    /// Its seed.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// A random number for the program.
    pub(super) fn draw(&self) -> u64 {
        let value = self.state.borrow_mut().random.next();
        self.note(self.current.get(), What::Random(value as u32));
        value
    }

    /// Notes a failure, unless there is one already: the run is over.
    pub(super) fn fail(&self, failure: Failure) {
        let mut state = self.state.borrow_mut();
        state.failure.get_or_insert(failure);
    }

    /// Whether it has failed or ended.
    fn is_over(&self) -> bool {
        let failed = self.state.borrow().failure.is_some();
        failed || self.phase.get() != Phase::Running
    }

    fn note(&self, who: u32, what: What) {
        if self.phase.get() == Phase::Running {
            let at = self.now();
            self.state.borrow_mut().trace.add(Event { at, who, what });
        }
    }

    fn enter(&self, phase: Phase) -> Phase {
        self.phase.set(phase);
        self.steps.set(0);
        phase
    }

    /// Decides, and records the decision.
    fn decide(&self, state: &mut State, kind: Kind) -> usize {
        if state.options.len() == 1 {
            return 0;
        }
        if !matches!(kind, Kind::Draw(_)) {
            state.choices += 1;
        }
        let options = std::mem::take(&mut state.options);
        let question = Question { options: &options, kind, behind: &state.behind };
        let place = state.strategy.decide(&question);
        let default = default_choice(&question) == place;
        state.decisions.push(if default { Decided::Default } else { Decided::For(options[place]) });
        state.options = options;
        place
    }

    /// That coroutine makes a call that need not wait.
    fn count_point(&self, who: u32) {
        self.watch.step(who);
        self.points.set(self.points.get() + 1);
        if self.phase.get() == Phase::Running {
            self.steps.set(self.steps.get() + 1);
        }
    }

    /// The coroutine waits, or could wait: cancels it, if this is the wait that the run cancels. The closure
    /// of the check is never cancelled.
    fn may_cancel(&self, header: &Header, who: u32) {
        if who == 0 || header.waiter.cancelled() {
            return;
        }
        let number = self.state.borrow().waits;
        self.state.borrow_mut().waits += 1;
        if self.limits.cancel_at == Some(number) {
            // It is not parked, so this only leaves the mark, which the wait or the point meets.
            let _ = header.waiter.cancel();
            self.note(who, What::Cancelled);
        }
    }

    /// The failure that the run has run into by itself, if it has.
    fn look_for_failures(&self) {
        if self.lost_panics.replace(lost_panics_here()) != lost_panics_here() {
            let message = take_lost_panic_here().unwrap_or_default();
            if !self.was_crashed.get() {
                self.fail(Failure::LostPanic { message: self.with_own_numbers(&message) });
            }
        }
        let steps = self.steps.get();
        if steps > self.limits.steps {
            let waits = self.waits();
            self.fail(Failure::Steps { steps: self.limits.steps, waits });
        }
        if let Some(limit) = self.limits.time
            && Duration::from_nanos(self.now()) > limit
        {
            let waits = self.waits();
            self.fail(Failure::Time { limit, waits });
        }
    }

    /// Lets the world do what is due. Whether anything was.
    fn advance_world(&self) -> bool {
        let Some(world) = calls::world() else { return false };
        let due = world.next_event().is_some_and(|at| at <= self.now());
        if due {
            world.advance(self.now());
        }
        due
    }

    /// When something happens next: a timer, or an event of the world.
    fn next_event(&self, timer: Option<Instant>) -> Option<u64> {
        let timer = timer.map(|at| self.time.nanos_of(at));
        let event = calls::world().and_then(|world| world.next_event());
        let pause = self.state.borrow_mut().pauses.next_end(self.now());
        // The end of time never comes.
        timer.into_iter().chain(event).chain(pause).min().filter(|at| *at < u64::MAX)
    }

    /// Moves the clock to that event.
    fn pass_until(&self, at: u64) -> Passed {
        self.steps.set(self.steps.get() + 1);
        self.time.set(at);
        self.note(NOBODY, What::Time);
        self.advance_world();
        Passed::Moved
    }

    /// What the coroutines of the run wait for, in words. Called between two turns.
    fn waits(&self) -> String {
        // SAFETY: this is the worker's thread, between two turns.
        let captured = unsafe { capture_simulated(&self.shared) };
        self.with_own_numbers(&inspect::explain(captured))
    }

    /// The text, with the numbers of coroutines that this run has given them instead of the process's, and
    /// with addresses numbered as they come.
    pub(super) fn with_own_numbers(&self, text: &str) -> String {
        let state = self.state.borrow();
        let mut addresses = Vec::new();
        let mut renamed = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['#', '0', 'I']) {
            let (before, from) = rest.split_at(at);
            renamed.push_str(before);
            let length = [("0x", 2), ("Id(", 3)]
                .iter()
                .find(|(mark, _)| from.starts_with(mark))
                .map_or(1, |found| found.1);
            let (mark, digits) = from.split_at(length);
            let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            let word = &digits[..end];
            rest = &digits[end..];
            let own = match mark {
                "#" => {
                    word.parse().ok().and_then(|id| state.numbers.get(&Id(id))).map(|own| format!("#{own}"))
                }
                "0x" => {
                    let place = addresses.iter().position(|known| *known == word).unwrap_or(addresses.len());
                    if place == addresses.len() {
                        addresses.push(word);
                    }
                    Some(format!("@{}", place + 1))
                }
                _ => None,
            };
            match own {
                Some(own) => renamed.push_str(&own),
                None => {
                    renamed.push_str(mark);
                    renamed.push_str(word);
                }
            }
        }
        renamed + rest
    }

    /// The first coroutine has ended, and nothing can run: what is left is a leak, unless a host owns it.
    fn look_for_leaks(&self) {
        if !self.limits.leaks {
            return;
        }
        let left: Vec<Id> = {
            let state = self.state.borrow();
            state
                .known
                .iter()
                .filter(|known| known.alive.is_some() && known.described.host == 0)
                .map(|known| known.id)
                .collect()
        };
        if left.is_empty() {
            return;
        }
        // SAFETY: this is the worker's thread, between two turns.
        let mut captured = unsafe { capture_simulated(&self.shared) };
        captured.retain(|one| left.contains(&one.id));
        let waits = self.with_own_numbers(&inspect::explain(captured));
        self.fail(Failure::Leak { count: left.len(), waits });
    }
}

impl Context for Run {
    fn now(&self) -> u64 {
        self.time.nanos()
    }

    fn host(&self) -> u32 {
        let current = self.current.get();
        self.state.borrow().known.get(current as usize).map_or(0, |known| known.described.host)
    }

    fn random(&self) -> u64 {
        self.state.borrow_mut().world.next()
    }

    fn block(&self, until: Option<u64>) {
        let event = calls::world().and_then(|world| world.next_event());
        self.block_until(event.into_iter().chain(until).min(), "a call on a socket");
    }

    fn trace(&self, event: fmt::Arguments<'_>) {
        if self.phase.get() == Phase::Running {
            let (at, text) = (self.time.nanos(), event.to_string());
            self.state.borrow_mut().trace.add_text(at, self.current.get(), &text);
        }
    }
}

impl Simulation for Run {
    fn number_of(&self, id: Id) -> u32 {
        let mut state = self.state.borrow_mut();
        if let Some(number) = state.numbers.get(&id) {
            return *number;
        }
        // Nobody has announced it: a thread that is no part of the simulation has made it.
        let number = state.known.len() as u32;
        state.numbers.insert(id, number);
        state.known.push(Known::new(id));
        self.watch.names().push(format!("#{number}").into());
        number
    }

    fn begins_step(&self, timer: Option<Instant>) -> bool {
        self.current.set(NOBODY);
        if self.phase.get() == Phase::Running {
            self.time.set(self.now().saturating_add(STEP));
        }
        let due = timer.is_some_and(|at| self.time.nanos_of(at) <= self.now());
        // A call of the last turn may have made something ready, without an event.
        due || self.advance_world() || calls::world().is_some_and(|world| world.has_news())
    }

    fn choose(&self, runnable: &[Candidate]) -> Choice {
        self.steps.set(self.steps.get() + 1);
        self.turns.set(self.turns.get() + 1);
        self.points.set(0);
        let yielded = self.yielded.take();
        match self.phase.get() {
            Phase::Running => {}
            Phase::Closing if self.steps.get() > CLOSING_STEPS => {
                return Choice::Enter(self.enter(Phase::Abandoned));
            }
            _ => {
                self.current.set(runnable[0].number);
                self.watch.step(runnable[0].number);
                return Choice::Runs(0);
            }
        }
        self.look_for_failures();
        let late = self.ended.get().is_some_and(|ended| self.turns.get() > ended + LAST_TURNS);
        if late && !self.is_over() {
            self.look_for_leaks();
        }
        if self.is_over() || late {
            return Choice::Enter(self.enter(Phase::Closing));
        }
        if let Some(place) = self.crashed_among(runnable) {
            self.forced.set(None);
            self.current.set(runnable[place].number);
            self.watch.step(runnable[place].number);
            self.note(runnable[place].number, What::Runs { of: 1 });
            return Choice::Runs(place);
        }
        let who = match self.forced.take() {
            Some(forced) => forced,
            None => loop {
                let mut state = self.state.borrow_mut();
                let mut options = std::mem::take(&mut state.options);
                options.clear();
                let numbers = runnable.iter().map(|candidate| candidate.number);
                options.extend(numbers.filter(|&number| !self.is_paused(&state, number)));
                state.options = options;
                if state.options.is_empty() {
                    return Choice::None;
                }
                state.next_goes_behind(yielded);
                let place = self.decide(&mut state, Kind::Turn { yielded });
                let who = state.options[place];
                drop(state);
                if !self.begins_pause(who) {
                    break who;
                }
            },
        };
        let place = runnable.iter().position(|candidate| candidate.number == who);
        let place = place.expect("what a point has chosen is runnable still");
        self.state.borrow_mut().behind.remove(&who);
        self.current.set(who);
        self.watch.step(who);
        self.note(who, What::Runs { of: runnable.len() as u32 });
        Choice::Runs(place)
    }

    fn budget_is_used_up(&self) -> bool {
        self.count_point(self.current.get());
        let used_up = self.points.get() > POINTS;
        if used_up {
            self.points.set(0);
        }
        used_up
    }

    fn preempts(&self, current: Candidate, header: &Header, others: &[Candidate]) -> bool {
        self.count_point(current.number);
        if self.points.get() > POINTS || self.steps.get() > self.limits.steps {
            // As at the end of the real runtime's budget: it yields.
            self.forced.set(None);
            return true;
        }
        if self.is_over() || self.state.borrow().known[current.number as usize].crashed {
            return false;
        }
        if self.begins_pause(current.number) {
            self.note(current.number, What::Preempted { of: others.len() as u32 });
            self.leaves_to_pause.set(true);
            return true;
        }
        self.may_cancel(header, current.number);
        let chosen = {
            let mut state = self.state.borrow_mut();
            let mut options = std::mem::take(&mut state.options);
            options.clear();
            options.push(current.number);
            let numbers = others.iter().map(|candidate| candidate.number);
            options.extend(numbers.filter(|&number| !self.is_paused(&state, number)));
            state.options = options;
            if state.options.len() == 1 {
                return false;
            }
            let place = self.decide(&mut state, Kind::Point);
            state.options[place]
        };
        if chosen == current.number {
            return false;
        }
        self.note(current.number, What::Preempted { of: others.len() as u32 });
        self.forced.set(Some(chosen));
        true
    }

    fn pass_time(&self, timer: Option<Instant>) -> Passed {
        self.current.set(NOBODY);
        if self.phase.get() != Phase::Running {
            return match self.next_event(timer) {
                Some(at) if self.steps.get() < CLOSING_STEPS => self.pass_until(at),
                _ => Passed::Enter(self.enter(Phase::Abandoned)),
            };
        }
        self.look_for_failures();
        if self.ended.get().is_some() && !self.is_over() {
            self.look_for_leaks();
            return Passed::Enter(self.enter(Phase::Closing));
        }
        if self.is_over() {
            return Passed::Enter(self.enter(Phase::Closing));
        }
        match self.next_event(timer) {
            Some(at) => self.pass_until(at),
            None => {
                let waits = self.waits();
                self.fail(Failure::Deadlock { waits });
                Passed::Enter(self.enter(Phase::Closing))
            }
        }
    }

    fn blocks(&self, reason: WaitReason, deadline: Option<Instant>) {
        self.block_until(deadline.map(|at| self.time.nanos_of(at)), reason.describe());
    }

    fn random(&self) -> u32 {
        (self.draw() >> 32) as u32
    }

    fn draw_below(&self, bound: usize) -> usize {
        let chosen = {
            let mut state = self.state.borrow_mut();
            let drawn = state.random.below(bound);
            state.options.clear();
            state.options.extend(0..bound as u32);
            if self.phase.get() == Phase::Running {
                self.decide(&mut state, Kind::Draw(drawn))
            } else {
                drawn
            }
        };
        self.note(self.current.get(), What::Random(chosen as u32));
        chosen
    }

    fn host(&self) -> u32 {
        Context::host(self)
    }

    fn spawns_for(&self, host: Option<u32>) {
        self.spawning_for.set(host);
    }

    fn spawned(&self, this: NonNull<Header>) {
        // SAFETY: it was just made.
        let header = unsafe { this.as_ref() };
        let by = self.current.get();
        let number = self.number_of(header.id());
        let mut state = self.state.borrow_mut();
        let spawner = state.known.get(by as usize);
        let host = self.spawning_for.get().or(spawner.map(|known| known.described.host)).unwrap_or(0);
        let crashed = self.spawning_for.get().is_none() && spawner.is_some_and(|known| known.crashed);
        let known = &mut state.known[number as usize];
        known.described =
            Described { name: header.name().map(Box::from), site: Some(header.site()), by, host };
        // Once it is over the coroutine is discarded without a word.
        known.alive = (!self.over.get()).then_some(this);
        known.crashed = crashed;
        self.watch.names()[number as usize] = match header.name() {
            Some(name) => format!("#{number} {name:?}"),
            None => format!("#{number} ({})", header.site()),
        }
        .into();
        drop(state);
        if crashed {
            // It has no turn yet, so this only leaves the mark.
            let _ = header.waiter.cancel_for_shutdown();
        }
        self.note(number, What::Spawned { by });
    }

    fn worker_leaves(&self) {
        self.over.set(true);
        self.state.borrow_mut().known.iter_mut().for_each(|known| known.alive = None);
    }

    fn leaves(&self, header: &Header, how: Ends, masked: bool) {
        let who = self.number_of(header.id());
        self.was_crashed.set(self.state.borrow().known[who as usize].crashed);
        match how {
            Ends::Waits => {
                self.note(who, What::Waits(header.reason()));
                if !masked && !self.is_over() {
                    self.may_cancel(header, who);
                }
            }
            Ends::Yields => {
                if self.forced.get().is_none() && !self.leaves_to_pause.take() {
                    self.yielded.set(Some(who));
                    self.note(who, What::Yields);
                    self.may_cancel(header, who);
                }
            }
            Ends::Ended => {
                self.note(who, What::Ends);
                self.state.borrow_mut().known[who as usize].alive = None;
                if who == 0 {
                    self.ended.set(Some(self.turns.get()));
                    // What is left of the closure's coroutines ends soon, or is a leak.
                    self.state.borrow_mut().pauses.end_of_coroutines();
                }
            }
        }
    }
}
