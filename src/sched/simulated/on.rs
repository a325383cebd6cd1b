//! A worker that is simulated keeps all that is runnable in one set, from which the simulation chooses.

use crate::coroutine::{Header, Id, WaitReason};
use crate::sched::config::Phase;
use crate::sched::run_queues::{Next, RunQueues};
use crate::sched::runnable::Runnable;
use crate::sched::shared::{Home, Remote, Shared};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Instant;

/// Whether a worker can be simulated.
pub(crate) const POSSIBLE: bool = true;

/// The number of the first coroutine that a simulated worker makes. Several simulations have coroutines of
/// the same numbers, but these never meet, nor do they have the number of any other coroutine.
const FIRST: u64 = 1 << 40;

/// A coroutine that could run next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The number that the simulation has given it.
    pub(crate) number: u32,
}

/// How a coroutine's turn has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It waits, if what it waits for has not happened by the time it is parked.
    Waits,
    /// It lets others run first.
    Yields,
    /// It has ended.
    Ended,
}

/// What runs next in a simulation.
pub(crate) enum Chosen {
    Next(Next),
    /// The runtime enters that phase first.
    Enter(Phase),
}

/// Which of several coroutines runs next.
pub(crate) enum Choice {
    /// The one at that place.
    Runs(usize),
    /// None of them, until time has passed.
    None,
    /// The runtime enters that phase first.
    Enter(Phase),
}

/// How a simulation has let time pass.
pub(crate) enum Passed {
    /// The clock was moved, or the world did something: the worker polls.
    Moved,
    /// Nothing will happen any more, or the simulation is over: the runtime enters that phase.
    Enter(Phase),
}

/// What decides in place of a worker's policy. All is called on the worker's thread.
pub(crate) trait Simulation {
    /// The simulation's number for that coroutine.
    fn number_of(&self, id: Id) -> u32;

    /// A step begins. Whether the worker polls first: its next timer is due, or the world has events.
    fn begins_step(&self, timer: Option<Instant>) -> bool;

    /// Which of these, of which there is at least one, runs next.
    fn choose(&self, runnable: &[Candidate]) -> Choice;

    /// Whether the coroutine that runs lets one of the others run, in the middle of its turn.
    fn preempts(&self, current: Candidate, header: &Header, others: &[Candidate]) -> bool;

    /// Counts a call that need not wait, and where the coroutine that runs cannot be interrupted: inside of a
    /// poll of a future. Whether the coroutine has made so many in its turn that it lets others run as soon
    /// as the poll has returned.
    fn budget_is_used_up(&self) -> bool;

    /// Nothing can run: lets time pass until the next timer, or until the world does something.
    fn pass_time(&self, timer: Option<Instant>) -> Passed;

    /// A wait blocks the worker's thread, and so all that could end it but its deadline. Lets time pass up to
    /// that. Does not return if there is none: the simulation is over.
    fn blocks(&self, reason: WaitReason, deadline: Option<Instant>);

    /// A number for the program's own random choices, such as the order in which `select!` looks.
    fn random(&self) -> u32;

    /// A choice of the program among that many, of which there is at least one: which arm `select!` looks at
    /// first.
    fn draw_below(&self, bound: usize) -> usize;

    /// The host of the coroutine that runs.
    fn host(&self) -> u32;

    /// For which host coroutines are spawned; `None`: for that of their spawner.
    fn spawns_for(&self, host: Option<u32>);

    /// A coroutine was made. It is alive until [`leaves`](Self::leaves) says that it has ended, or until
    /// [`worker_leaves`](Self::worker_leaves).
    fn spawned(&self, header: NonNull<Header>);

    /// No coroutine has another turn. From here on the simulation uses the address of none.
    fn worker_leaves(&self);

    /// The turn of a coroutine ends, on the worker's stack. A wait that the simulation wants to end by a
    /// cancellation is cancelled here, unless it is masked.
    fn leaves(&self, header: &Header, how: Ends, masked: bool);
}

/// All that is runnable, in two lists with the same order.
#[derive(Default)]
struct Set {
    runnable: Vec<Runnable>,
    candidates: Vec<Candidate>,
}

impl Set {
    fn add(&mut self, item: Runnable, simulation: &dyn Simulation) {
        // SAFETY: what is queued is alive. A simulated runtime has no mobile homes, so this is a coroutine.
        let id = unsafe { item.0.cast::<Header>().as_ref() }.id();
        self.runnable.push(item);
        self.candidates.push(Candidate { number: simulation.number_of(id) });
    }

    /// Moves all that is queued anywhere to the set.
    fn gather(
        &mut self,
        simulation: &dyn Simulation,
        queues: &RunQueues,
        home: &Home,
        remote: &Remote,
        shared: &Shared,
    ) {
        let injected = || shared.take_injected(&queues.deques().oldest_first);
        while let Some(item) =
            injected().or_else(|| queues.take_any(remote)).or_else(|| shared.take_yielded())
        {
            self.add(item, simulation);
        }
        debug_assert!(!home.is_mobile());
    }
}

/// The simulation of a worker, if it is simulated.
pub(crate) struct Simulated(Option<Box<Inside>>);

struct Inside {
    simulation: Rc<dyn Simulation>,
    /// The number of the next coroutine.
    next: Cell<u64>,
    set: RefCell<Set>,
}

impl Simulated {
    /// What every other worker has.
    pub(crate) const fn none() -> Simulated {
        Simulated(None)
    }

    /// The worker is simulated.
    pub(crate) fn by(simulation: Rc<dyn Simulation>) -> Simulated {
        Simulated(Some(Box::new(Inside { simulation, next: Cell::new(FIRST), set: RefCell::default() })))
    }

    /// Whether the worker is simulated.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn inside(&self) -> &Inside {
        self.0.as_ref().expect("the worker is simulated")
    }

    /// A step begins: whether the worker polls first.
    pub(crate) fn wants_poll(&self, timer: Option<Instant>) -> bool {
        self.inside().simulation.begins_step(timer)
    }

    /// What runs next.
    pub(crate) fn next(&self, queues: &RunQueues, home: &Home, remote: &Remote, shared: &Shared) -> Chosen {
        let inside = self.inside();
        let mut set = inside.set.borrow_mut();
        set.gather(&*inside.simulation, queues, home, remote, shared);
        if set.candidates.is_empty() {
            return Chosen::Next(Next::Nothing);
        }
        let place = match inside.simulation.choose(&set.candidates) {
            Choice::Runs(place) => place,
            Choice::None => return Chosen::Next(Next::Nothing),
            Choice::Enter(phase) => return Chosen::Enter(phase),
        };
        set.candidates.swap_remove(place);
        let item = set.runnable.swap_remove(place);
        // SAFETY: the set owns what is runnable, and it is alive.
        let started = unsafe { item.0.cast::<Header>().as_ref().started() };
        Chosen::Next(if started { Next::Started(item.0) } else { Next::Item(item) })
    }

    /// Whether the coroutine that runs lets others run, at a call that need not wait.
    pub(crate) fn preempts(
        &self,
        current: &Header,
        queues: &RunQueues,
        home: &Home,
        remote: &Remote,
        shared: &Shared,
    ) -> bool {
        let inside = self.inside();
        let mut set = inside.set.borrow_mut();
        set.gather(&*inside.simulation, queues, home, remote, shared);
        let number = Candidate { number: inside.simulation.number_of(current.id()) };
        inside.simulation.preempts(number, current, &set.candidates)
    }

    /// Counts a call that need not wait, inside of a poll of a future. Whether there were too many.
    pub(crate) fn budget_is_used_up(&self) -> bool {
        self.inside().simulation.budget_is_used_up()
    }

    /// Nothing can run.
    pub(crate) fn pass_time(&self, timer: Option<Instant>) -> Passed {
        self.inside().simulation.pass_time(timer)
    }

    /// A wait blocks the worker's thread: time passes.
    pub(crate) fn blocks(&self, reason: WaitReason, deadline: Option<Instant>) {
        self.inside().simulation.blocks(reason, deadline);
    }

    /// A number for the program's own random choices.
    pub(crate) fn random(&self) -> u32 {
        self.inside().simulation.random()
    }

    /// A choice of the program among that many.
    pub(crate) fn draw_below(&self, bound: usize) -> usize {
        self.inside().simulation.draw_below(bound)
    }

    /// A coroutine was made. On a worker that is not simulated this does nothing.
    pub(crate) fn spawned(&self, header: NonNull<Header>) {
        if let Some(inside) = &self.0 {
            inside.simulation.spawned(header);
        }
    }

    /// The coroutine is about to wait.
    pub(crate) fn waits(&self, header: &Header, masked: bool) {
        self.inside().simulation.leaves(header, Ends::Waits, masked);
    }

    /// The coroutine lets others run first.
    pub(crate) fn yields(&self, header: &Header) {
        self.inside().simulation.leaves(header, Ends::Yields, false);
    }

    /// The coroutine has ended.
    pub(crate) fn ends(&self, header: &Header) {
        self.inside().simulation.leaves(header, Ends::Ended, false);
    }

    /// No coroutine has another turn: the rest of them are discarded or leaked. On a worker that is not
    /// simulated this does nothing.
    pub(crate) fn worker_leaves(&self) {
        if let Some(inside) = &self.0 {
            inside.simulation.worker_leaves();
        }
    }

    /// A number for a coroutine: the same in each run of a program that does the same.
    pub(crate) fn next_id(&self) -> Id {
        let next = &self.inside().next;
        Id(next.replace(next.get() + 1))
    }

    /// The host of the coroutine that runs.
    pub(crate) fn host(&self) -> u32 {
        self.0.as_ref().map_or(0, |inside| inside.simulation.host())
    }

    /// What is spawned from here on is of that host.
    pub(crate) fn begin_spawning_for(&self, host: u32) {
        if let Some(inside) = &self.0 {
            inside.simulation.spawns_for(Some(host));
        }
    }

    /// What is spawned from here on is of the host of its spawner.
    pub(crate) fn end_spawning_for(&self) {
        if let Some(inside) = &self.0 {
            inside.simulation.spawns_for(None);
        }
    }

    /// Takes any item out of the set: for a worker that leaves.
    pub(crate) fn take_any(&self) -> Option<Runnable> {
        let mut set = self.0.as_ref()?.set.borrow_mut();
        set.candidates.pop();
        set.runnable.pop()
    }
}
