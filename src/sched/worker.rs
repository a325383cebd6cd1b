//! A worker: a thread that runs homes, one at a time, and in each the coroutines that live there. This file
//! is its policy: what runs next, when to search for work, when to sleep.
//!
//! The problem: runnable coroutines come from many sources, some of them shared with other threads, and none
//! of them may be forgotten. A worker without work must find what others have, and must not burn a processor
//! where there is nothing to find.
//!
//! ```text
//!                 owner only                          any thread
//!            +----------------------+        +--------------------------------+
//!   wakes -->| Home::queues: lifo,  |<-------| Home::inbox                    |<-- wakes from elsewhere
//!            | ready, yielded       |        | Remote::assigned               |<-- unstarted, placed here
//!            | (started, at home)   |        | Remote::shard, Remote::timers  |<-- netpoller thread polls
//!            |                      |        |                                |    for a busy worker
//!   spawns ->| Deques: newest_first |------->| Remote::newest_first           |--> thieves
//!   homes -->| and oldest_first     |        | Remote::oldest_first           |
//!            | (may be stolen)      |        | Shared::injector               |<-- spawns from elsewhere,
//!            |                      |        |                                |    homes woken elsewhere
//!            |                      |        | Shared::yielded                |<-- migrating: yielded;
//!            |                      |        |                                |    homes likewise, after a
//!            |                      |        |                                |    long slice
//!            +----------------------+        +--------------------------------+
//! ```
//!
//! Other workers take from the deques, the injector and `Shared::yielded`. Other threads push to `inbox` and
//! `assigned`. The netpoller thread takes back what a worker in a long turn does not take itself: from
//! `assigned`, and with mobile homes from `oldest_first`. `docs/GLOSSARY.md` has the terms:
//! home, shard, placement, phase, turn, ticket, default and migrating mode.
//!
//! *Homes.* The worker's own home is pinned to it. If coroutines live in mobile homes, these are items of
//! `oldest_first` and the injector, as unstarted coroutines are: any worker may take one and run it. It then
//! *visits* the home for a slice, on the home's thread-locals (`Worker::visit`). `Home::queues` and
//! `Home::inbox` above are those of the home that it runs; all else is the worker's and stays the same
//! through all visits. A slice ends when the worker comes to an item that is not for this home, at a tick if
//! items wait, or if nothing is runnable there. Only outside of mobile homes does the worker spin, search or
//! sleep. `README.md` beside this file has the life of a home.
//!
//! *What a worker does*, each state with the causes of its end:
//!
//! ```text
//!  state      what the worker does                      ends when
//!  running    runs coroutines, turn by turn, and        its own queues are empty     -> spinning
//!             polls after each tick
//!  spinning   checks the inbox of its pinned home,      inbox or `assigned` has one  -> running
//!             `assigned` and shared work for up to      shared work appears          -> searching
//!             50 us                                     50 us have passed            -> searching
//!  searching  polls without waiting; then takes an      the poll wakes something     -> running
//!             item of the injector, a coroutine of      it takes one                 -> running
//!             `Shared::yielded`, or steals              there is nothing to take     -> yielding
//!  yielding   yields its processor once, then polls     the poll wakes something     -> running
//!             without waiting                           it wakes nothing             -> sleeping
//!  sleeping   announces it, checks all queues once      a queue is not empty, an     -> running
//!             more, and waits in its shard's poll       event, a timer, a push
//!                                                       a push notifies it to search -> searching
//!  leaving    discards its unstarted coroutines         its thread ends
//!
//!  state      the worker skips it unless
//!  spinning   its last sleep was short and a push to its inbox ended it, the back-off is over
//!             (`before_sleep`), there is a processor for each worker, and no shutdown has begun
//!  searching  there is shared work. If half of the workers search already, it polls, but takes none
//!  yielding   its sockets have had events, and the back-off is over (`before_sleep`)
//! ```
//!
//! A worker checks for a shutdown when its own queues are empty, again before it sleeps, in every 61st turn,
//! and when a slice begins. In Closing it cancels the coroutines of each home that it runs, once, and takes
//! idle homes to cancel theirs. It leaves when no coroutine of the runtime is alive or queued; if panics
//! abort, as soon as it has nothing to run. In Abandoned it leaves as soon as it has nothing to run. An
//! unstarted coroutine that was assigned to it is run or discarded: arguments 5 and 7 of `README.md`.
//!
//! [`run_queues`](super::run_queues) says which coroutine is next and how long each waits at most. `turn.rs`
//! runs it. When it waits, the worker parks it after its registers are saved, and from then on another thread
//! may schedule it. If its ticket is fired earlier, the park fails, and the coroutine goes on in the same
//! turn (`coroutine/waiter.rs`). `schedule.rs` queues it when its wait has ended, and keeps the runtime alive
//! meanwhile. `README.md` has the argument that no worker sleeps while work waits for it, and that a shutdown
//! forgets no assigned coroutine. A worker polls its shard once after each tick of the netpoller thread, even
//! if it always has something to run. Its sleep is a poll that waits.
//!
//! Invariant of default mode: a started coroutine is in a run queue of its home (`home_queues.rs`) or in the
//! home's `inbox`, or the worker that runs the home runs it, or it is parked, or the thread that has ended
//! its wait is about to queue it. If a mobile home has something in its run queues or its `inbox`, it is
//! queued, or a worker runs it, or a thread is about to queue it (`handover.rs`). In migrating mode
//! `oldest_first`, `Shared::yielded` and the injector hold started coroutines as well ([`Home::may_migrate`]
//! is the one predicate).
//!
//! Rejected:
//! - One wait for all workers (a shared poller, or a dedicated thread that polls for all): each event then
//!   costs two wake-ups instead of one, and each request one and a half times the processor time.
//! - To wake all sleepers for a push, or none: see `README.md`.

use super::accounts::Accounts;
use super::before_sleep::{SPIN, SpinBeforeSleep, YieldBeforeSleep};
use super::budget;
use super::config::Phase;
use super::deques::Deques;
use super::ids::Ids;
use super::placement::{FULL, Placement};
use super::polling::{Fetched, Polling};
use super::random::Random;
use super::remote::MOST_READY;
use super::run_queues::{Next, OLDEST_TURN, RunQueues};
use super::runnable::{Runnable, discard};
use super::shared::{Home, Remote, Shared};
use super::simulated::{Chosen, Passed, Simulated};
use super::stealing::{FEW, STEAL_DELAY, steal};
use super::test_seam;
use crate::base::local::thread_locals;
use crate::base::recycle;
use crate::coroutine::{Header, Id, Waiter};
use crate::netpoll::Shard;
use crate::stack::Pool;
use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Whether a parked coroutine can be ended. If panics abort, a shutdown leaks the parked coroutines as soon
/// as no coroutine can run.
const UNWINDS: bool = cfg!(panic = "unwind");
/// How often a worker that waits for the end of a shutdown checks for it.
const CLOSING_NAP: Duration = Duration::from_millis(5);
/// Checks of the inbox between two of the shared work and the clock, while the worker spins.
const SPIN_CHECKS: u32 = 16;
/// For tests: a slice of a mobile home ends after one turn, and then another worker may take the home first.
const FORCE_MOVES: bool = cfg!(sward_move_homes);

/// A slice of a mobile home that is about to begin. The worker has the home.
#[derive(Clone, Copy)]
pub(super) struct Visit {
    pub(super) home: NonNull<Home>,
    /// An unstarted coroutine that is to start there.
    pub(super) newcomer: Option<NonNull<Header>>,
}

/// What a worker does with an item.
enum Accepted {
    /// It runs that started coroutine.
    Turn(NonNull<Header>),
    /// It has done all that the item asks for.
    Done,
    /// The slice of the home that it runs is over: the item is not for this home.
    Elsewhere,
}

/// What a worker without work has found.
enum Found {
    /// Perhaps its queues hold something now.
    Something,
    /// Shared work.
    Item(Runnable),
    /// Nothing: it goes to sleep.
    Nothing,
    /// It must leave.
    Leave,
}

/// What a worker does after a step.
enum After {
    /// It takes the next one.
    Step,
    /// It has found nothing to run, and goes to sleep.
    Sleep,
    /// It must leave, or the slice of the home that it runs is over.
    Leave,
}

/// The part of a worker that only its own thread uses.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    remote: NonNull<Remote>,
    pub(super) index: usize,
    /// The worker in whose name it makes homes and registers sockets: itself, or for a spare worker another.
    pub(super) base: usize,
    /// The home that it runs.
    home: Cell<NonNull<Home>>,
    /// Whether coroutines start in mobile homes.
    has_mobile_homes: bool,
    /// The mobile home that it runs next.
    next_visit: Cell<Option<Visit>>,
    /// How many coroutines make a home full (`placement`).
    pub(super) full: Cell<usize>,
    /// The coroutine whose turn it is.
    pub(super) current: Cell<Option<NonNull<Header>>>,
    pub(super) queues: RunQueues,
    pub(super) placement: Placement,
    pub(super) stacks: RefCell<Pool>,
    polling: Polling,
    /// How many turns there are until the oldest of `newest_first` goes first.
    until_oldest: Cell<u32>,
    /// How many turns the worker had begun when the present slice began.
    slice_began: Cell<u64>,
    /// Whether the present slice has lasted until a tick of the netpoller thread.
    slice_is_long: Cell<bool>,
    /// Whether the idle word counts it as a searcher.
    searching: Cell<bool>,
    /// Whether it wakes what a poll has brought.
    in_poll: Cell<bool>,
    /// Whether a poll has queued unstarted coroutines, of which no worker was notified so far.
    started_in_poll: Cell<bool>,
    spin: SpinBeforeSleep,
    yields: YieldBeforeSleep,
    /// Whether it has cancelled its coroutines, as the runtime shuts down.
    pub(super) closing: Cell<bool>,
    random: Random,
    ids: Ids,
    /// What it keeps for the accounts of spawn sites.
    pub(super) accounts: Box<Accounts>,
    /// The free blocks of the worker's thread.
    blocks: Cell<*const recycle::FreeBlocks>,
    /// What decides in place of its policy, if the runtime is simulated.
    pub(super) simulated: Simulated,
}

thread_locals! {
    /// The worker that this thread is: its `run` is on the thread's stack. Null on a plain thread.
    static WORKER: Cell<*const Worker> = Cell::new(ptr::null());

    /// The thread's worker, null on a plain thread.
    pub(super) fn this_worker() -> *const Worker = |worker| worker.get(), destroyed: ptr::null();

    /// Sets the thread's worker.
    fn set_this_worker(this: *const Worker) = |worker| worker.set(this), destroyed: ();
}

/// Makes a lender, which is about to end, a plain thread: the destructors of its thread-locals run without a
/// worker.
pub(super) fn forget_worker() {
    budget::leave_turns();
    // SAFETY: this ends the use.
    unsafe { recycle::use_blocks_of(ptr::null()) };
    set_this_worker(ptr::null());
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize, deques: Deques, simulated: Simulated) -> Worker {
        let (mobile, migrate) = (shared.has_mobile_homes(), shared.config().migrate);
        Worker {
            remote: NonNull::from(&shared.remotes[index]),
            home: Cell::new(NonNull::from(&shared.remotes[index].home)),
            has_mobile_homes: mobile,
            next_visit: Cell::new(None),
            full: Cell::new(FULL),
            base: if mobile { index % shared.config().workers } else { index },
            shared,
            index,
            current: Cell::new(None),
            queues: RunQueues::new(deques, migrate || mobile),
            placement: Placement::new(mobile),
            stacks: RefCell::new(Pool::new()),
            polling: Polling::new(),
            until_oldest: Cell::new(OLDEST_TURN),
            slice_began: Cell::new(0),
            slice_is_long: Cell::new(false),
            searching: Cell::new(false),
            in_poll: Cell::new(false),
            started_in_poll: Cell::new(false),
            spin: SpinBeforeSleep::new(),
            yields: YieldBeforeSleep::new(),
            closing: Cell::new(false),
            random: Random::new(index),
            ids: Ids::new(),
            accounts: Box::new(Accounts::new()),
            blocks: Cell::new(ptr::null()),
            simulated,
        }
    }

    // What the worker does.

    /// The worker's life.
    pub(super) fn run(&self) {
        set_this_worker(self);
        self.blocks.set(recycle::own_blocks());
        self.serve();
        budget::leave_turns();
        self.simulated.worker_leaves();
        self.discard_unstarted();
        self.remote().left.store(true, Ordering::Release);
        set_this_worker(ptr::null());
    }

    /// Runs coroutines. In the worker's pinned home, until it must leave. In a mobile home, until the home's
    /// slice is over.
    fn serve(&self) {
        loop {
            match self.step() {
                After::Step => {}
                After::Sleep => self.sleep(),
                After::Leave => return,
            }
        }
    }

    /// Runs a coroutine or a home, or gives an item to another worker, or searches for something to run.
    #[inline(always)]
    fn step(&self) -> After {
        let accepted = match self.next() {
            Next::Started(waiter) => Accepted::Turn(waiter.cast()),
            Next::Item(item) => self.accept(item),
            // It gives a mobile home back before it sleeps, so that other workers may run it.
            Next::Nothing if self.is_visiting() => return After::Leave,
            Next::Nothing => match self.find_work() {
                Found::Something => return After::Step,
                Found::Item(item) => self.accept(item),
                Found::Nothing => return After::Sleep,
                Found::Leave => return After::Leave,
            },
        };
        match accepted {
            Accepted::Turn(this) => {
                self.stop_searching();
                self.take_turn(this);
                if FORCE_MOVES && self.is_visiting() { After::Leave } else { After::Step }
            }
            Accepted::Done => After::Step,
            Accepted::Elsewhere => After::Leave,
        }
    }

    /// Takes what to run next out of the worker's own queues. Polls if the netpoller thread has ticked since
    /// the last poll.
    #[inline]
    fn next(&self) -> Next {
        if self.simulated.is_on() {
            return self.next_simulated();
        }
        if self.polling.is_due(&self.shared)
            && let Some(next) = self.tick()
        {
            return next;
        }
        let until = self.until_oldest.get();
        if until > 0 {
            self.until_oldest.set(until - 1);
        } else if let Some(item) = self.oldest_turn() {
            return Next::Item(item);
        }
        self.queues.next(self.home(), self.remote(), &self.shared, |waiter| self.push_behind(waiter))
    }

    /// What the simulation runs next.
    #[cold]
    #[inline(never)]
    fn next_simulated(&self) -> Next {
        loop {
            if self.must_close() {
                self.close();
            }
            if self.shared.phase() == Phase::Abandoned {
                return Next::Nothing;
            }
            if self.simulated.wants_poll(self.remote().next_timer()) {
                self.poll();
            }
            match self.simulated.next(&self.queues, self.home(), self.remote(), &self.shared) {
                Chosen::Next(next) => return next,
                Chosen::Enter(phase) => self.shared.enter(phase),
            }
        }
    }

    /// In a simulation nothing can run: time passes, or the worker leaves.
    #[cold]
    #[inline(never)]
    fn pass_time(&self) -> Found {
        if self.poll() {
            return Found::Something;
        }
        match self.shared.phase() {
            Phase::Running => {}
            Phase::Closing => {
                if self.close() {
                    return Found::Something;
                }
                if self.shared.is_quiet() {
                    return Found::Leave;
                }
            }
            Phase::Abandoned => return Found::Leave,
        }
        match self.simulated.pass_time(self.remote().next_timer()) {
            Passed::Moved => {
                self.poll();
            }
            Passed::Enter(phase) => self.shared.enter(phase),
        }
        Found::Something
    }

    /// In a simulation: whether the coroutine that runs lets others run, at a call that need not wait.
    pub(super) fn preempts(&self) -> bool {
        // SAFETY: the coroutine that runs on this thread is alive.
        let current = self.current.get().map(|current| unsafe { current.as_ref() });
        let (home, remote) = (self.home(), self.remote());
        current
            .is_some_and(|current| self.simulated.preempts(current, &self.queues, home, remote, &self.shared))
    }

    /// The netpoller thread has ticked: polls. A slice that has lasted until now is over if others wait: this
    /// returns the next of them, or nothing if they wait in the pinned home.
    #[cold]
    #[inline(never)]
    fn tick(&self) -> Option<Next> {
        self.placement.forget();
        self.queues.note_tick();
        self.remote().ready.store(self.home().queues.count_up_to(MOST_READY), Ordering::Relaxed);
        self.poll();
        self.capture_if_wanted();
        let had_turn = self.slice_began.get() != self.remote().running.turns();
        if !self.is_visiting() || !had_turn {
            return None;
        }
        self.slice_is_long.set(true);
        if self.pinned_home_waits() {
            return Some(Next::Nothing);
        }
        self.queues.next_elsewhere(self.home(), self.remote(), &self.shared)
    }

    /// Whether anything waits in the worker's pinned home. A slice does not begin rounds of that home.
    fn pinned_home_waits(&self) -> bool {
        let pinned = &self.remote().home;
        pinned.queues.any() || !pinned.inbox.is_empty() || pinned.wants_capture()
    }

    /// Takes the oldest coroutine of `newest_first`. Each such turn also checks for a shutdown.
    #[cold]
    fn oldest_turn(&self) -> Option<Runnable> {
        self.until_oldest.set(OLDEST_TURN - 1);
        if self.shared.phase() != Phase::Running {
            self.close();
        }
        self.queues.oldest(self.remote())
    }

    /// What to do with an item that any worker might have taken.
    #[inline(always)]
    fn accept(&self, item: Runnable) -> Accepted {
        if let Some(home) = item.home() {
            return self.accept_home(home);
        }
        let this = item.0.cast::<Header>();
        // SAFETY: the thread that takes a coroutine from a queue owns it, and it is alive.
        if unsafe { this.as_ref().started() } {
            return Accepted::Turn(this);
        }
        if self.assign_elsewhere(this) {
            self.stop_searching();
            return Accepted::Done;
        }
        if self.has_mobile_homes
            && !self.admits(this)
            && let Some(home) = self.other_home(this)
        {
            self.stop_searching();
            return self.visit(Visit { home, newcomer: Some(this) });
        }
        if self.start(this) { Accepted::Turn(this) } else { Accepted::Done }
    }

    #[cold]
    #[inline(never)]
    fn accept_home(&self, home: NonNull<Home>) -> Accepted {
        self.stop_searching();
        // SAFETY: homes live as long as the runtime. The item was in a queue of it, and is the right to run
        // the home.
        unsafe { home.as_ref() }.handover.begin();
        self.visit(Visit { home, newcomer: None })
    }

    /// Runs a slice of a mobile home, and the slices that follow from it. From inside of another mobile home
    /// the slice of that home ends first.
    #[inline(never)]
    fn visit(&self, visit: Visit) -> Accepted {
        self.next_visit.set(Some(visit));
        if self.is_visiting() {
            return Accepted::Elsewhere;
        }
        while let Some(visit) = self.next_visit.take() {
            // SAFETY: homes live as long as the runtime.
            let home = unsafe { visit.home.as_ref() };
            self.home.set(visit.home);
            self.remote().visited.store(visit.home.as_ptr(), Ordering::Release);
            // SAFETY: the worker has the home.
            let (storage, changes) = unsafe { (home.storage(), home.changes_worker(self.index)) };
            let storage = storage.expect("only mobile homes are visited, before their end");
            // SAFETY: the worker has the home, and nobody else runs it (`handover.rs`). The worker is in its
            // pinned home, so on its own thread-locals. A worker is one thread, so if the home does not
            // change its worker, this thread was inside last.
            unsafe { storage.enter(!changes, &mut || self.slice(home, changes, visit.newcomer)) };
            self.remote().visited.store(ptr::null_mut(), Ordering::Release);
            self.home.set(NonNull::from(&self.remote().home));
            self.leave(home);
            if test_seam::stops_after_slice() {
                break;
            }
        }
        Accepted::Done
    }

    /// A slice of a mobile home, on its thread-locals. They name this worker unless the home `changes` its
    /// worker.
    fn slice(&self, home: &Home, changes: bool, newcomer: Option<NonNull<Header>>) {
        if changes {
            self.take_over_thread_locals();
        }
        self.slice_began.set(self.remote().running.turns());
        self.slice_is_long.set(false);
        home.queues.begin_slice(home.inbox.take());
        if self.shared.phase() != Phase::Running {
            self.close();
        }
        self.capture_if_wanted();
        if let Some(this) = newcomer {
            self.start_newcomer(this);
        }
        if !FORCE_MOVES || newcomer.is_none() {
            self.serve();
        }
    }

    /// Makes the calling thread's thread-locals, which are those of a mobile home, name this worker. They do
    /// so until another worker runs the home or its lender ends (`forget_worker`). No code runs on them
    /// between two slices.
    #[cold]
    fn take_over_thread_locals(&self) {
        set_this_worker(self);
        // SAFETY: they are this thread's. While code runs on the home's thread-locals, this thread runs it
        // and is inside of `run`. That ends when another worker takes the thread-locals over, or with
        // `forget_worker`.
        unsafe { recycle::use_blocks_of(self.blocks.get()) };
    }

    #[inline(never)]
    fn start_newcomer(&self, this: NonNull<Header>) {
        if self.start(this) {
            self.take_turn(this);
        }
    }

    /// Gives back a mobile home after a slice. If a slice was long, and all that is left there has yielded,
    /// the home goes behind coroutines that were woken.
    fn leave(&self, home: &Home) {
        if home.live() == 0 {
            self.shared.mobile.give_back(home);
        } else if home.queues.any() || home.wants_capture() {
            let yielded = self.slice_is_long.get() && home.queues.only_yielded() && home.inbox.is_empty();
            let yielded = yielded && !home.wants_capture();
            home.handover.requeue();
            if yielded {
                self.shared.inject_yielded(Runnable::of_home(home));
            } else {
                self.push_home(home);
            }
        } else if home.handover.release(|| home.inbox.is_empty() && !home.wants_capture()) {
            self.push_home(home);
        }
        if FORCE_MOVES {
            std::thread::yield_now();
        }
    }

    /// Called when the worker's own queues are empty: spins, searches, or yields its processor.
    #[inline(never)]
    fn find_work(&self) -> Found {
        if self.simulated.is_on() {
            return self.pass_time();
        }
        self.remote().track.leave_turns();
        if self.capture_if_wanted() {
            // What has become runnable meanwhile goes first, then the next slice.
            self.poll();
            return Found::Something;
        }
        if self.spin_for_work() {
            return Found::Something;
        }
        // Without shared work the worker goes on to sleep, and fetches its events in that wait: an extra poll
        // would be one more system call.
        if self.shared.has_shared_work() {
            // Coroutines that its own sockets and timers wake run before shared work.
            if self.poll() {
                return Found::Something;
            }
            if !self.searching.get() {
                self.searching.set(self.shared.idle.try_search());
            }
            if self.searching.get()
                && let Some(item) = self.search()
            {
                self.stop_searching();
                return Found::Item(item);
            }
        }
        match self.shared.phase() {
            Phase::Running => {}
            Phase::Closing => {
                if self.close() {
                    return Found::Something;
                }
                if self.shared.is_quiet() || !UNWINDS {
                    return Found::Leave;
                }
            }
            // The shutdown does not wait for this worker any more. Coroutines that live here are cancelled,
            // and may unwind until this worker has nothing to run.
            Phase::Abandoned => return if self.close() { Found::Something } else { Found::Leave },
        }
        if self.yield_processor() { Found::Something } else { Found::Nothing }
    }

    /// Spins until the inbox or `assigned` holds a coroutine; true if one of them does. Also ends when shared
    /// work appears. `before_sleep.rs` says when and why.
    fn spin_for_work(&self) -> bool {
        if !self.spin.is_due() || self.closing.get() {
            return false;
        }
        self.accounts.note_search();
        let (remote, start) = (self.remote(), Instant::now());
        loop {
            for _ in 0..SPIN_CHECKS {
                if !remote.home.inbox.is_empty() || !remote.assigned.is_empty() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if self.shared.has_shared_work() {
                return false;
            }
            if start.elapsed() > SPIN {
                // The others have nothing, or no processor to run on, which spinning would take from them.
                self.spin.note_fruitless();
                return false;
            }
        }
    }

    /// Lets other threads have the processor before the worker sleeps; true if the poll after that woke a
    /// coroutine or a thread. `before_sleep.rs` says when and why.
    fn yield_processor(&self) -> bool {
        if !self.yields.is_due() {
            return false;
        }
        // The worker may be away for long, so it must not count as a searcher: a push would wake no other.
        self.stop_searching();
        let start = Instant::now();
        std::thread::yield_now();
        let took = start.elapsed();
        let found = self.poll();
        self.yields.note_yield(took, found);
        found
    }

    /// Sleeps in the shard's wait until there is something to do. The protocol is in `README.md`.
    #[inline(never)]
    fn sleep(&self) {
        let mut fetched = None;
        if self.prepare_sleep() {
            let (remote, start) = (self.remote(), Instant::now());
            let mut timeout = self.polling.timer_timeout(remote, start);
            if self.closing.get() {
                timeout = Some(timeout.map_or(CLOSING_NAP, |t| t.min(CLOSING_NAP)));
            }
            remote.ready.store(0, Ordering::Relaxed);
            let brought = self.polling.fetch(&self.shared, remote, timeout, Some(start));
            let pushed = brought.is_empty() && !remote.home.inbox.is_empty();
            self.spin.note_sleep(pushed && self.shared.may_spin && start.elapsed() < 2 * SPIN);
            fetched = Some(brought);
        }
        self.finish_sleep();
        // Not sooner: it may run wakers of users, which may block. From now on the netpoller thread watches
        // this worker, and what is pushed meanwhile notifies another one.
        if let Some(fetched) = fetched {
            self.wake(fetched);
        }
    }

    /// Announces that the worker sleeps. False if there is something to do after all.
    #[inline]
    fn prepare_sleep(&self) -> bool {
        let remote = self.remote();
        remote.sleep_state.prepare_sleep(&self.shared.idle, self.searching.get());
        remote.home.inbox.is_empty()
            && remote.assigned.is_empty()
            && !self.shared.has_shared_work()
            && !self.must_close()
            && !remote.home.wants_capture()
    }

    /// The worker is awake again.
    #[inline]
    fn finish_sleep(&self) {
        self.searching.set(self.remote().sleep_state.finish_sleep(&self.shared.idle));
        self.shared.netpoller.worker_woke_up();
    }

    /// Fetches events and fires timers; true if that woke a coroutine or a thread.
    fn poll(&self) -> bool {
        self.wake(self.polling.fetch(&self.shared, self.remote(), Some(Duration::ZERO), None))
    }

    /// Wakes what a poll has brought; true if that was a coroutine or a thread.
    fn wake(&self, fetched: Fetched) -> bool {
        let woke = !fetched.is_empty();
        if fetched.events {
            self.yields.note_events();
        }
        if woke {
            // It has something to run, or a waker of a user keeps it: it will not search.
            self.stop_searching();
        }
        self.in_poll.set(true);
        Polling::wake(self.remote(), fetched);
        self.in_poll.set(false);
        self.share_started();
        woke
    }

    /// Notifies a sleeper after a poll that has started activations, unless there is one only, and this
    /// worker runs it next.
    #[inline]
    fn share_started(&self) {
        if self.started_in_poll.replace(false) {
            let (home, deques) = (self.home(), self.queues.deques());
            let others = home.queues.any()
                || !home.inbox.is_empty()
                || !deques.newest_first.is_empty()
                || !self.remote().assigned.is_empty()
                || !self.shared.yielded.is_empty()
                || self.is_visiting() && self.pinned_home_waits();
            if deques.oldest_first.len() > usize::from(!others) {
                self.shared.work_was_pushed();
            }
        }
    }

    /// Takes work that any worker may take. A deque with few coroutines is left to its worker for
    /// `STEAL_DELAY`, since that worker is likely to run them itself.
    fn search(&self) -> Option<Runnable> {
        let item = self.take_shared(FEW);
        if item.is_some() || !self.shared.has_shared_work() {
            return item;
        }
        let start = Instant::now();
        while start.elapsed() < STEAL_DELAY && self.shared.has_shared_work() {
            std::hint::spin_loop();
        }
        self.take_shared(0)
    }

    /// Takes an injected item, then one that has yielded, then steals from a deque that holds more than
    /// `spared` coroutines.
    fn take_shared(&self, spared: usize) -> Option<Runnable> {
        let steal = || steal(&self.shared, self.remote(), self.queues.deques(), self.random.next(), spared);
        let injected = self.shared.take_injected(&self.queues.deques().oldest_first);
        injected.or_else(|| self.shared.take_yielded()).or_else(steal)
    }

    /// The worker has work, or may be away for long. If it was the last searcher and more work waits, it
    /// wakes the next one.
    #[inline]
    fn stop_searching(&self) {
        if self.searching.replace(false) {
            self.has_searched();
        }
    }

    #[cold]
    fn has_searched(&self) {
        if self.shared.idle.found() && self.shared.has_shared_work() {
            self.shared.work_was_pushed();
        }
    }

    /// Captures some coroutines of the home that the worker runs, between two turns, if a dump waits for
    /// them.
    fn capture_if_wanted(&self) -> bool {
        let wanted = self.home().wants_capture();
        if wanted {
            self.stop_searching();
            // SAFETY: this worker runs the home, and no coroutine runs here.
            unsafe { self.shared.capture_portion(self.home()) };
        }
        wanted
    }

    // The end of the runtime.

    /// Whether a shutdown has begun that this worker has not noticed.
    fn must_close(&self) -> bool {
        match self.shared.phase() {
            Phase::Running => false,
            Phase::Closing => !self.closing.get(),
            Phase::Abandoned => true,
        }
    }

    /// Cancels all that lives in the home that the worker runs, once; true if that made anything runnable, or
    /// the worker has visited a mobile home to cancel all that lives there.
    fn close(&self) -> bool {
        self.closing.set(true);
        if !UNWINDS {
            return false;
        }
        let mut batch = self.home().cancel_all();
        let woke = !batch.is_empty();
        batch.wake();
        if self.is_visiting() {
            return woke;
        }
        // A home that is queued, or that another worker runs, is cancelled there.
        let idle = self.shared.mobile.iter().find(|home| home.is_uncancelled() && home.handover.try_take());
        if let Some(home) = idle {
            self.visit(Visit { home: NonNull::from(home), newcomer: None });
        }
        woke || idle.is_some()
    }

    /// Ends the coroutines that this worker will not start any more. The destructors of their closures may
    /// spawn more.
    fn discard_unstarted(&self) {
        while let Some(item) = self.queues.take_any(self.remote()).or_else(|| self.simulated.take_any()) {
            discard(item);
        }
    }

    // Queueing coroutines here. Only the worker's own thread does it.

    /// Queues an unstarted coroutine. A child of a coroutine in its first turn goes to `newest_first`, so
    /// that trees of spawns are walked in depth (`run_queues`).
    #[inline]
    pub(super) fn push_unstarted(&self, header: NonNull<Header>) {
        let item = Runnable(header.cast());
        // SAFETY: the caller has just made it.
        unsafe { header.as_ref() }.owner.home.store(self.spawner_mark(), Ordering::Relaxed);
        let Some(spawner) = self.current.get() else { return self.push_between_turns(item) };
        // The current coroutine is in its first turn if it is not in its home's list. It is listed from its
        // first wait or yield on; a named one from its start, so its children go to `oldest_first`.
        // SAFETY: the coroutine that runs on this thread is alive.
        if unsafe { spawner.as_ref() }.listed.get() {
            self.queues.push_oldest_first(self.home(), item);
        } else {
            self.queues.push_newest_first(self.home(), item);
        }
        self.shared.work_was_pushed();
    }

    /// Queues an unstarted coroutine that no coroutine has spawned: usually an activation, which a poll has
    /// started. A poll may start many, so the oldest goes first.
    #[cold]
    #[inline(never)]
    fn push_between_turns(&self, item: Runnable) {
        self.queues.push_oldest_first(self.home(), item);
        if self.in_poll.get() {
            self.started_in_poll.set(true);
        } else {
            self.shared.work_was_pushed();
        }
    }

    /// Queues a mobile home that has just become runnable.
    pub(super) fn queue_home(&self, home: &Home) {
        self.push_home(home);
        // Between two turns this worker runs it soon, or the netpoller thread sees to it that another one
        // does. During a turn nobody knows how long that lasts, so the second home is for another worker.
        if self.current.get().is_some() && self.queues.deques().oldest_first.len() > 1 {
            self.shared.work_was_pushed();
        }
    }

    fn push_home(&self, home: &Home) {
        let item = Runnable::of_home(home);
        if FORCE_MOVES { self.shared.inject(item) } else { self.queues.push_oldest_first(self.home(), item) }
    }

    /// Queues a woken coroutine of the home that this worker runs.
    pub(super) fn push_ready(&self, waiter: NonNull<Waiter>) {
        // If the running coroutine wakes it, it goes first, while what it is to read is in the cache.
        let displaced = if self.current.get().is_some() {
            // For the monitor's report, if the running coroutine stays in its turn for too long.
            self.remote().others_ready.store(true, Ordering::Relaxed);
            self.home().queues.lifo.replace(Some(waiter))
        } else {
            Some(waiter)
        };
        if let Some(waiter) = displaced {
            self.queues.push_woken(&self.home().queues, waiter);
        }
    }

    /// Queues a woken coroutine that any worker may run.
    pub(super) fn push_migrating(&self, waiter: NonNull<Waiter>) {
        // Between two turns, the first woken coroutine is the next to run here, so no other worker is needed.
        let first = self.current.get().is_some() || self.home().queues.lifo.get().is_none();
        let displaced = if first { self.home().queues.lifo.replace(Some(waiter)) } else { Some(waiter) };
        if let Some(waiter) = displaced {
            self.queue_migrating(waiter);
        }
    }

    fn queue_migrating(&self, waiter: NonNull<Waiter>) {
        self.queues.push_oldest_first(self.home(), Runnable(waiter));
        self.shared.work_was_pushed();
    }

    /// Queues a coroutine behind all coroutines that were woken before.
    fn push_behind(&self, waiter: NonNull<Waiter>) {
        if self.may_migrate(waiter) {
            self.queue_migrating(waiter);
        } else {
            self.queues.push_woken(&self.home().queues, waiter);
        }
    }

    /// Queues a coroutine behind everything that is runnable now.
    pub(super) fn push_yielded(&self, waiter: NonNull<Waiter>) {
        if self.may_migrate(waiter) {
            self.shared.inject_yielded(Runnable(waiter));
        } else {
            // SAFETY: it has just run, so it is in no queue; it stays alive until it has run again.
            unsafe { self.home().queues.next_yielded.push(waiter) };
        }
    }

    /// Puts the coroutine of `lifo` where other workers can take it, if they may, and notifies a sleeper of
    /// what a poll has started so far: this worker is about to block, perhaps in a user's waker in that poll.
    pub(super) fn share_before_it_blocks(&self) {
        if let Some(waiter) = self.home().queues.lifo.take() {
            self.push_behind(waiter);
        }
        self.stop_searching();
        if self.started_in_poll.replace(false) {
            self.shared.work_was_pushed();
        }
    }

    /// Whether another worker may run a coroutine that was queued here or runs here.
    fn may_migrate(&self, waiter: NonNull<Waiter>) -> bool {
        // SAFETY: a queued or running coroutine is alive.
        self.home().may_migrate(unsafe { waiter.cast::<Header>().as_ref() })
    }

    // What others ask about.

    /// The value of `Owner::home` in an unstarted coroutine that a coroutine of this home has spawned: the
    /// address of the home plus one byte, which is the address of no home.
    #[inline]
    fn spawner_mark(&self) -> *mut () {
        ptr::from_ref(self.home()).cast_mut().cast::<()>().wrapping_byte_add(1)
    }

    /// Whether an unstarted coroutine was spawned in the home that this worker runs.
    #[inline]
    pub(super) fn spawned_in_home(&self, header: &Header) -> bool {
        ptr::eq(header.owner.home.load(Ordering::Relaxed), self.spawner_mark())
    }

    /// Whether no other worker can run that coroutine, nor start it.
    pub(super) fn alone_runs(&self, header: &Header) -> bool {
        // Relaxed: if the coroutine was started here, this thread has stored that.
        let home = header.owner.home.load(Ordering::Relaxed);
        let pinned = &self.remote().home;
        if ptr::eq(home.cast(), self.home()) || ptr::eq(home.cast(), pinned) {
            return !pinned.may_migrate(header);
        }
        let config = self.shared.config();
        self.spawned_in_home(header)
            && config.workers == 1
            && !config.migrate
            && !self.shared.has_mobile_homes()
    }

    /// The part that other threads use.
    #[inline]
    pub(super) fn remote(&self) -> &Remote {
        // SAFETY: it is a part of `shared`, which this worker holds.
        unsafe { self.remote.as_ref() }
    }

    /// The home that this worker runs.
    #[inline]
    pub(super) fn home(&self) -> &Home {
        // SAFETY: homes are a part of `shared`, which this worker holds.
        unsafe { self.home.get().as_ref() }
    }

    /// Whether the worker runs a mobile home.
    #[inline]
    pub(super) fn is_visiting(&self) -> bool {
        self.home().is_mobile()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether the worker wakes what its poll has brought.
    pub(super) fn polls(&self) -> bool {
        self.in_poll.get()
    }

    /// The shard that sockets join which wait on this worker.
    pub(super) fn shard(&self) -> &Arc<Shard> {
        &self.shared.remotes[self.base].shard
    }

    /// A number for a new coroutine.
    pub(super) fn next_id(&self) -> Id {
        if self.simulated.is_on() {
            return self.simulated.next_id();
        }
        self.ids.next()
    }

    /// A number that differs from call to call.
    pub(super) fn random(&self) -> u32 {
        if self.simulated.is_on() {
            return self.simulated.random();
        }
        self.random.next()
    }
}

/// Workers without threads, for `virtual_workers`: one thread takes their steps, in any order.
#[cfg(all(test, not(loom)))]
pub(super) mod testing {
    use super::*;

    /// What a worker has done in a step.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::sched) enum Did {
        /// It has run something, or has given it to another worker, or has searched.
        Worked,
        /// It has gone to sleep.
        FellAsleep,
        /// It was about to sleep, and has found something to do.
        StayedAwake,
        /// It sleeps on.
        Sleeps,
        /// Its sleep has ended.
        WokeUp,
        /// It has left.
        Left,
    }

    /// A worker whose steps the caller takes.
    pub(in crate::sched) struct VirtualWorker {
        worker: Worker,
        sleeps: Cell<bool>,
        left: Cell<bool>,
    }

    impl VirtualWorker {
        /// The worker with that index. Its thread-locals, and those of its homes, name it by its address.
        pub(in crate::sched) fn new(shared: &Arc<Shared>, index: usize) -> Box<VirtualWorker> {
            let deques = shared.remotes[index].deques.lock().take().expect("nobody has taken them");
            let worker = Worker::new(Arc::clone(shared), index, deques, Simulated::none());
            worker.blocks.set(recycle::own_blocks());
            Box::new(VirtualWorker { worker, sleeps: Cell::new(false), left: Cell::new(false) })
        }

        /// Takes one step on this thread. Events of sockets may end a sleep if there are any.
        pub(in crate::sched) fn step(&self, events: bool) -> Did {
            if self.left.get() {
                return Did::Left;
            }
            let running = self.worker.shared.phase() == Phase::Running;
            if self.sleeps.get() && running && !events && self.worker.remote().sleep_state.asleep() {
                return Did::Sleeps;
            }
            set_this_worker(&self.worker);
            test_seam::set_stops_after_slice(true);
            let did = if self.sleeps.get() { self.sleep_on() } else { self.step_awake() };
            test_seam::set_stops_after_slice(false);
            budget::leave_turns();
            set_this_worker(ptr::null());
            did
        }

        fn step_awake(&self) -> Did {
            if let Some(visit) = self.worker.next_visit.take() {
                self.worker.visit(visit);
                return Did::Worked;
            }
            match self.worker.step() {
                After::Step => Did::Worked,
                After::Sleep if self.worker.prepare_sleep() => {
                    self.sleeps.set(true);
                    Did::FellAsleep
                }
                After::Sleep => {
                    self.worker.finish_sleep();
                    Did::StayedAwake
                }
                After::Leave => {
                    self.worker.discard_unstarted();
                    self.worker.remote().left.store(true, Ordering::Release);
                    self.left.set(true);
                    Did::Left
                }
            }
        }

        /// What ends the wait of a worker with a thread ends this one: a wake-up, or an event of its shard.
        fn sleep_on(&self) -> Did {
            let worker = &self.worker;
            let fetched = worker.polling.fetch(&worker.shared, worker.remote(), Some(Duration::ZERO), None);
            if fetched.is_empty()
                && worker.remote().sleep_state.asleep()
                && worker.shared.phase() == Phase::Running
            {
                return Did::Sleeps;
            }
            worker.finish_sleep();
            self.sleeps.set(false);
            worker.wake(fetched);
            Did::WokeUp
        }

        /// Whether it is awake and counts as a searcher.
        pub(in crate::sched) fn searches(&self) -> bool {
            self.worker.searching.get() && !self.sleeps.get()
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::{self, Park, Settings, Table};
    use crate::sched::config::Config;
    use crate::sched::schedule::ToRunQueue;
    use crossbeam_deque::Steal;

    /// A coroutine that is never run.
    fn unstarted() -> NonNull<Header> {
        coroutine::new_detached::<_, ToRunQueue>(|| (), Settings::of_tests(Id(Id::reserve(1))))
    }

    /// The first of two workers. The second one sleeps.
    fn worker() -> Worker {
        let shared = Shared::new(Config { workers: 2, ..Config::of_tests() }).expect("a runtime");
        shared.remotes[1].sleep_state.prepare_sleep(&shared.idle, false);
        let deques = shared.remotes[0].deques.lock().take().expect("nobody has taken them");
        Worker::new(shared, 0, deques, Simulated::none())
    }

    /// Whether a poll of the first of two workers, which starts that many activations, wakes the second one.
    fn wakes_the_other(started: usize, prepare: impl FnOnce(&Worker)) -> bool {
        let worker = worker();
        let other = &worker.shared.remotes[1].sleep_state;
        prepare(&worker);
        assert!(other.asleep());
        worker.in_poll.set(true);
        for _ in 0..started {
            worker.push_unstarted(unstarted());
            assert!(other.asleep(), "not before the poll is over");
        }
        worker.in_poll.set(false);
        worker.share_started();
        worker.discard_unstarted();
        if let Steal::Success(task) = worker.shared.yielded.steal() {
            discard(task);
        }
        !other.asleep()
    }

    #[test]
    fn a_poll_that_starts_one_activation_wakes_no_other_worker() {
        assert!(!wakes_the_other(0, |_| ()));
        assert!(!wakes_the_other(1, |_| ()));
        assert!(wakes_the_other(2, |_| ()));
        assert!(wakes_the_other(64, |_| ()));
    }

    #[test]
    fn an_activation_that_waits_behind_others_wakes_a_worker() {
        assert!(wakes_the_other(1, |worker| {
            let item = Runnable(unstarted().cast());
            worker.queues.push_newest_first(worker.home(), item);
        }));
        assert!(wakes_the_other(1, |worker| {
            worker.remote().assigned.push(Runnable(unstarted().cast()));
        }));
        assert!(wakes_the_other(1, |worker| {
            // SAFETY: it is in no other queue.
            unsafe { worker.remote().home.inbox.push(unstarted().cast()) };
        }));
        assert!(wakes_the_other(1, |worker| worker.shared.yielded.push(Runnable(unstarted().cast()))));
    }

    #[test]
    fn a_worker_that_blocks_in_a_poll_shares_what_the_poll_has_started() {
        let worker = worker();
        worker.in_poll.set(true);
        worker.push_unstarted(unstarted());
        let other = &worker.shared.remotes[1].sleep_state;
        assert!(other.asleep());
        worker.share_before_it_blocks();
        assert!(!other.asleep());
        worker.in_poll.set(false);
        worker.discard_unstarted();
    }

    /// A waiter that notes what it sees when it is woken.
    #[repr(C)]
    struct Witness {
        waiter: Waiter,
        worker: *const Worker,
        /// Whether the worker was asleep or counted as a searcher.
        saw: Cell<Option<(bool, bool)>>,
    }

    /// A sleep ends with a timer; then a poll of a searcher fires one.
    #[test]
    fn a_worker_is_awake_and_no_searcher_when_it_wakes_what_its_sleep_has_brought() {
        unsafe fn witness(waiter: NonNull<Waiter>) {
            // SAFETY: only witnesses have this table, and this one is alive, with its worker.
            let (this, worker) = unsafe {
                let this = waiter.cast::<Witness>().as_ref();
                (this, &*this.worker)
            };
            this.saw.set(Some((worker.remote().sleep_state.asleep(), worker.searching.get())));
        }
        const TABLE: &Table = &Table { schedule: witness };
        let worker = worker();
        for searches in [false, true] {
            // SAFETY: the table is a constant.
            let waiter = unsafe { Waiter::new(NonNull::from(TABLE)) };
            let witness = Witness { waiter, worker: &raw const worker, saw: Cell::new(None) };
            let this = NonNull::from(&witness).cast::<Waiter>();
            // SAFETY: it is alive, and the pointer is made from the whole witness.
            let ticket = unsafe { Waiter::ticket(this) };
            assert_eq!(witness.waiter.park(ticket, false), Park::Parked);
            worker.remote().timers.lock().insert(Instant::now(), ticket);
            if searches {
                worker.searching.set(worker.shared.idle.try_search());
                assert!(worker.searching.get() && worker.poll());
            } else {
                worker.sleep();
            }
            assert_eq!(witness.saw.get(), Some((false, false)));
        }
    }
}
