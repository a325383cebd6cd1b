//! What the workers of one runtime share, and the part of each worker that other threads see.

use super::idle::{Idle, SleepState};
use super::inbox::Inbox;
use super::run_queues::Deques;
use super::running::FirstSite;
use super::runtime::Threads;
use super::timers::Timers;
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::Probe;
use crate::base::sys::ThreadClock;
use crate::coroutine::{Batch, Cause, Header, Ticket, WaitReason, Waiter};
use crate::netpoll::{Netpoller, Shard};
use crate::stack::StackSize;
use crossbeam_deque::{Injector, Stealer, Worker as Deque};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// A coroutine in a queue: with it comes the right to run it.
pub(crate) struct Runnable(pub(super) NonNull<Waiter>);

// SAFETY: the right to run a coroutine passes with this, and the queues synchronize.
unsafe impl Send for Runnable {}

/// The life of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It runs.
    Running = 0,
    /// Its coroutines are cancelled; workers leave when all have ended.
    Closing = 1,
    /// The time for that is over: workers leave as soon as they can, the rest is leaked.
    Abandoned = 2,
}

/// How a runtime was asked to be.
pub(crate) struct Config {
    pub(super) workers: usize,
    pub(super) stack_size: StackSize,
    pub(super) thread_name: String,
    pub(super) migrate: bool,
    pub(super) stall: Duration,
    /// Whether the stacks of coroutines are looked at before each wait.
    pub(super) checks: bool,
}

/// What the workers of one runtime share.
pub(crate) struct Shared {
    /// One for each worker, and in migrating mode as many again for spare ones.
    pub(super) remotes: Box<[Remote]>,
    /// How many of them have a thread.
    pub(super) active: AtomicUsize,
    pub(super) idle: Idle,
    pub(super) netpoller: Netpoller,
    pub(super) config: Config,
    /// Whether workers may wait for one another without sleeping: there is a processor for each.
    pub(super) may_linger: bool,
    injector: Injector<Runnable>,
    /// Those that have yielded, where coroutines migrate; behind all others.
    yielded: Injector<Runnable>,
    began: Instant,
    /// Counts the looks of the netpoller thread, which come every millisecond or two while a worker is awake.
    pub(super) ticks: AtomicU64,
    phase: AtomicU8,
    wakes: AtomicUsize,
    /// Coroutines that got no stack.
    pub(super) no_stack: AtomicU64,
    pub(super) threads: Threads,
    /// Set once nothing will be run any more.
    pub(super) closed: AtomicBool,
}

/// The part of a worker that other threads see. Aligned, so that no two share a cache line.
#[repr(align(128))]
pub(crate) struct Remote {
    pub(super) shared: Weak<Shared>,
    /// Started coroutines that run on this worker alone.
    pub(super) inbox: Inbox<Waiter>,
    /// Unstarted ones that were handed to it to be started. Others may take them back.
    pub(super) assigned: Injector<Runnable>,
    pub(super) sleep_state: SleepState,
    pub(super) shard: Arc<Shard>,
    pub(super) timers: Mutex<Timers<Ticket>>,
    pub(super) oldest_first: Stealer<Runnable>,
    pub(super) newest_first: Stealer<Runnable>,
    /// The worker's ends of the two, until its thread takes them.
    pub(super) deques: Mutex<Option<Deques>>,
    /// How many coroutines are in the list: those that were started here and have not ended, except for
    /// one in its first turn.
    listed: AtomicUsize,
    /// Whether there is such a one; written by the worker alone. Short coroutines have one turn, and never
    /// take the list's lock.
    pub(super) unlisted: AtomicBool,
    /// How many assigned there are, and how many are on their way.
    pub(super) placed: AtomicUsize,
    list: Mutex<Option<NonNull<Header>>>,
    /// Counts polls; written by the worker alone.
    pub(super) polls: AtomicU64,
    /// As of when the last one has seen what there was, in nanoseconds since the runtime began; written by the worker
    /// alone.
    polled: AtomicU64,
    /// Counts turns; written by the worker alone.
    pub(super) turns: AtomicU64,
    /// The id of the coroutine that it runs, 0 for none; written by the worker alone. See `running.rs`.
    pub(super) running: AtomicU64,
    pub(super) first_site: FirstSite,
    /// Whether others are ready to run behind that one.
    pub(super) behind: AtomicBool,
    /// The processor time of its thread.
    pub(super) clock: OnceLock<ThreadClock>,
    /// For what the system does with its thread.
    pub(super) probe: OnceLock<Probe>,
    /// The `WaitReason` of the wait that blocks its thread, in a destructor that unwinds.
    pub(super) blocked_in: AtomicU8,
    /// Whether it has left: its thread will run no coroutine any more.
    pub(super) left: AtomicBool,
    /// Whether its present turn has lasted for half of the stall threshold.
    pub(super) slow: AtomicBool,
    pub(super) steals: AtomicU64,
    /// How often the netpoller thread polled on its behalf.
    pub(super) helped: AtomicU64,
    migrate: bool,
}

// SAFETY: what is not Sync by itself is the list of headers, which is under its lock.
unsafe impl Sync for Remote {}
// SAFETY: as above.
unsafe impl Send for Remote {}

impl Shared {
    pub(super) fn new(config: Config) -> std::io::Result<Arc<Shared>> {
        let capacity = if config.migrate { 2 * config.workers } else { config.workers };
        let mut shards = Vec::with_capacity(capacity);
        for _ in 0..capacity {
            shards.push(Arc::new(Shard::new()?));
        }
        Ok(Arc::new_cyclic(|shared| Shared {
            remotes: shards.into_iter().map(|shard| Remote::new(shared, shard, config.migrate)).collect(),
            active: AtomicUsize::new(config.workers),
            idle: Idle::new(config.workers),
            netpoller: Netpoller::new(),
            may_linger: std::thread::available_parallelism().is_ok_and(|n| config.workers <= n.get()),
            config,
            injector: Injector::new(),
            yielded: Injector::new(),
            began: Instant::now(),
            ticks: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
            wakes: AtomicUsize::new(0),
            no_stack: AtomicU64::new(0),
            threads: Threads::default(),
            closed: AtomicBool::new(false),
        }))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn active_remotes(&self) -> &[Remote] {
        &self.remotes[..self.active.load(Ordering::Acquire)]
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Closing,
            _ => Phase::Abandoned,
        }
    }

    /// Enters a phase, and gets every worker up to see it.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
        for remote in self.active_remotes() {
            remote.notify(self);
        }
    }

    /// Queues a coroutine for whichever worker takes it.
    pub(super) fn inject(&self, task: Runnable) {
        self.injector.push(task);
        self.work_was_pushed();
    }

    pub(super) fn take_injected(&self, into: &Deque<Runnable>) -> Option<Runnable> {
        loop {
            match self.injector.steal_batch_with_limit_and_pop(into, 32) {
                crossbeam_deque::Steal::Success(task) => return Some(task),
                crossbeam_deque::Steal::Empty => return None,
                crossbeam_deque::Steal::Retry => {}
            }
        }
    }

    /// Moves one worker's share of the injector to that worker's queue.
    #[inline]
    pub(super) fn take_share_of_injected(&self, into: &Deque<Runnable>) {
        if !self.injector.is_empty() {
            self.move_injected(into);
        }
    }

    #[cold]
    fn move_injected(&self, into: &Deque<Runnable>) {
        let share = self.injector.len().div_ceil(self.active_remotes().len());
        let end = into.len() + share;
        while into.len() < end {
            match self.injector.steal_batch_with_limit(into, end - into.len()) {
                crossbeam_deque::Steal::Success(()) | crossbeam_deque::Steal::Retry => {}
                crossbeam_deque::Steal::Empty => break,
            }
        }
        // Others may steal them from there.
        self.work_was_pushed();
    }

    /// How many migrating coroutines have yielded and wait to be taken.
    #[inline]
    pub(super) fn count_yielded(&self) -> usize {
        if self.yielded.is_empty() { 0 } else { self.yielded.len() }
    }

    /// Queues a coroutine that has yielded, for whichever worker takes it.
    pub(super) fn inject_yielded(&self, task: Runnable) {
        self.yielded.push(task);
        self.work_was_pushed();
    }

    /// The next of those that have yielded.
    pub(super) fn take_yielded(&self) -> Option<Runnable> {
        if self.yielded.is_empty() { None } else { take_one(&self.yielded) }
    }

    pub(super) fn take_one_injected(&self) -> Option<Runnable> {
        take_one(&self.injector)
    }

    /// Wakes a worker to search, unless one does already.
    #[inline]
    pub(super) fn work_was_pushed(&self) {
        if self.idle.wants_searcher() {
            self.wake_searcher();
        }
    }

    #[cold]
    fn wake_searcher(&self) {
        let remotes = self.active_remotes();
        // From another worker each time, so that no one of them is always the one to be woken.
        let start = self.wakes.fetch_add(1, Ordering::Relaxed) % remotes.len();
        for remote in remotes[start..].iter().chain(&remotes[..start]) {
            if remote.sleep_state.notify(&self.idle, true) {
                remote.shard.wake();
                return;
            }
        }
    }

    /// Whether there is anything that any worker may take.
    pub(super) fn has_shared_work(&self) -> bool {
        !self.injector.is_empty()
            || !self.yielded.is_empty()
            || self.active_remotes().iter().any(Remote::has_stealable)
    }

    /// For each worker: live coroutines, turns, polls, steals, helped polls.
    pub(crate) fn counts(&self) -> impl Iterator<Item = [u64; 5]> + '_ {
        self.active_remotes().iter().map(|remote| {
            [
                remote.live() as u64,
                remote.turns.load(Ordering::Relaxed),
                remote.polls.load(Ordering::Relaxed),
                remote.steals.load(Ordering::Relaxed),
                remote.helped.load(Ordering::Relaxed),
            ]
        })
    }

    /// How many coroutines got no stack, and so never ran.
    pub(crate) fn no_stack(&self) -> u64 {
        self.no_stack.load(Ordering::Relaxed)
    }

    /// Notes that a worker has polled for itself, and has seen what there was at that time.
    pub(super) fn note_poll(&self, remote: &Remote, at: Instant) {
        let since = at.saturating_duration_since(self.began);
        remote.polled.store(since.as_nanos() as u64, Ordering::Relaxed);
        remote.polls.store(remote.polls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// As of when a worker's last poll for itself has seen what there was.
    pub(super) fn polled_at(&self, remote: &Remote) -> Instant {
        self.began + Duration::from_nanos(remote.polled.load(Ordering::Relaxed))
    }

    /// Whether no coroutine is alive or queued.
    pub(super) fn is_quiet(&self) -> bool {
        // In this order: what `take_back` moves is in the one place or in the other.
        self.active_remotes().iter().all(|remote| remote.load_now() == 0 && remote.inbox.is_empty())
            && !self.has_shared_work()
    }

    /// Gives what was handed to a stuck worker to be started to whichever worker takes it.
    pub(super) fn take_back(&self, remote: &Remote) {
        while let Some(task) = remote.take_assigned() {
            // SAFETY: whoever takes a coroutine from a queue owns it, and it is alive.
            let header = unsafe { task.0.cast::<Header>().as_ref() };
            header.placed.set(false);
            header.taken_back.set(header.taken_back.get().saturating_add(1));
            self.inject(task);
            // After it is in a queue again: `is_quiet`.
            remote.placed.fetch_sub(1, Ordering::SeqCst);
        }
        // A shutdown that waits no longer may have drained the queue in between.
        self.discard_if_closed();
    }

    /// The worker with the lowest load, and that load. Leaves out this worker, and workers that are in a long
    /// turn.
    pub(super) fn least_loaded(&self, but: usize) -> Option<(usize, usize)> {
        let remotes = self.active_remotes().iter().enumerate();
        remotes
            .filter(|(index, remote)| *index != but && remote.welcomes())
            .map(|(index, remote)| (index, remote.load()))
            .min_by_key(|(_, load)| *load)
    }
}

fn take_one(queue: &Injector<Runnable>) -> Option<Runnable> {
    loop {
        match queue.steal() {
            crossbeam_deque::Steal::Success(task) => return Some(task),
            crossbeam_deque::Steal::Empty => return None,
            crossbeam_deque::Steal::Retry => {}
        }
    }
}

impl Remote {
    fn new(shared: &Weak<Shared>, shard: Arc<Shard>, migrate: bool) -> Remote {
        let deques = Deques::new();
        Remote {
            shared: Weak::clone(shared),
            inbox: Inbox::new(),
            assigned: Injector::new(),
            sleep_state: SleepState::new(),
            shard,
            timers: Mutex::new(Rank::Timers, Timers::new()),
            oldest_first: deques.oldest_first.stealer(),
            newest_first: deques.newest_first.stealer(),
            deques: Mutex::new(Rank::Deques, Some(deques)),
            listed: AtomicUsize::new(0),
            unlisted: AtomicBool::new(false),
            placed: AtomicUsize::new(0),
            list: Mutex::new(Rank::Live, None),
            polls: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            running: AtomicU64::new(0),
            first_site: FirstSite::default(),
            behind: AtomicBool::new(false),
            clock: OnceLock::new(),
            probe: OnceLock::new(),
            blocked_in: AtomicU8::new(WaitReason::None as u8),
            left: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            steals: AtomicU64::new(0),
            helped: AtomicU64::new(0),
            migrate,
        }
    }

    /// The one predicate of policy: whether a started coroutine may run on another worker.
    #[inline]
    pub(super) fn may_move(&self, header: &Header) -> bool {
        self.migrate && !header.pinned()
    }

    /// Whether the worker is likely to start soon what is placed here: it is not while it is in a long turn.
    pub(super) fn welcomes(&self) -> bool {
        !self.slow.load(Ordering::Relaxed)
    }

    /// The oldest that it was handed to start.
    #[inline]
    pub(super) fn take_assigned(&self) -> Option<Runnable> {
        if self.assigned.is_empty() { None } else { take_one(&self.assigned) }
    }

    /// Whether it has anything that another worker may take.
    fn has_stealable(&self) -> bool {
        !self.oldest_first.is_empty() || !self.newest_first.is_empty()
    }

    /// How many coroutines were started here and have not ended.
    pub(super) fn live(&self) -> usize {
        // In this order: the one in its first turn is listed before it ceases to be unlisted.
        let unlisted = usize::from(self.unlisted.load(Ordering::Acquire));
        unlisted + self.listed.load(Ordering::Acquire)
    }

    /// The coroutines that live here or soon will.
    pub(super) fn load(&self) -> usize {
        self.live() + self.placed.load(Ordering::Relaxed)
    }

    /// As `load`, for a shutdown: whoever has seen the runtime running before it counted one in is seen.
    fn load_now(&self) -> usize {
        self.placed.load(Ordering::SeqCst) + self.live()
    }

    /// Hands the worker an unstarted coroutine, which was counted as placed.
    pub(super) fn hand_unstarted(&self, task: Runnable, shared: &Shared) {
        self.assigned.push(task);
        self.notify(shared);
    }

    /// Hands the worker a coroutine that it has to run.
    pub(super) fn hand(&self, waiter: NonNull<Waiter>, shared: &Shared) {
        // SAFETY: whoever schedules a coroutine has it in no queue; it stays alive until it has run.
        unsafe { self.inbox.push(waiter) };
        self.notify(shared);
    }

    /// Whether the worker neither sleeps nor has left.
    pub(super) fn awake(&self) -> bool {
        !self.sleep_state.asleep() && !self.left.load(Ordering::Relaxed)
    }

    /// Gets the worker up if it sleeps.
    pub(super) fn notify(&self, shared: &Shared) {
        if self.sleep_state.notify(&shared.idle, false) {
            self.shard.wake();
        }
    }

    /// Fires the timers that are due; when, if there were any.
    pub(super) fn fire_timers(&self, batch: &mut Batch) -> Option<Instant> {
        let mut timers = self.timers.lock();
        timers.next()?;
        let now = Instant::now();
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

    /// Counts and lists a coroutine that is about to start here, or to suspend for the first time.
    pub(super) fn admit(&self, this: NonNull<Header>) {
        let mut head = self.list.lock();
        // SAFETY: the caller owns the coroutine, so it is alive.
        unsafe { this.as_ref() }.listed.set(true);
        // SAFETY: listed coroutines are alive, and their list links are under this lock.
        unsafe {
            let owner = &this.as_ref().owner;
            owner.next.set(*head);
            owner.previous.set(None);
            if let Some(next) = *head {
                next.as_ref().owner.previous.set(Some(this));
            }
        }
        *head = Some(this);
        self.listed.store(self.listed.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Takes a coroutine that has ended off the list.
    pub(super) fn dismiss(&self, this: NonNull<Header>) {
        let mut head = self.list.lock();
        let neighbour = |of: &Cell<Option<NonNull<Header>>>| of.take();
        // SAFETY: as in `admit`.
        unsafe {
            let owner = &this.as_ref().owner;
            let (previous, next) = (neighbour(&owner.previous), neighbour(&owner.next));
            match previous {
                Some(previous) => previous.as_ref().owner.next.set(next),
                None => *head = next,
            }
            if let Some(next) = next {
                next.as_ref().owner.previous.set(previous);
            }
        }
        self.listed.store(self.listed.load(Ordering::Relaxed) - 1, Ordering::Release);
    }

    /// Cancels every coroutine that was started here; gives those to be scheduled. The worker itself calls
    /// this between two turns, when none is unlisted.
    pub(super) fn cancel_all(&self) -> Batch {
        let mut batch = Batch::new();
        self.for_each_live(|header| {
            // SAFETY: listed coroutines are alive.
            unsafe { Header::cancel(header, &mut batch) };
        });
        batch
    }

    /// Calls `f` for every coroutine in the list. `f` runs under the list's lock: it neither parks nor
    /// schedules.
    pub(super) fn for_each_live(&self, mut f: impl FnMut(NonNull<Header>)) {
        let head = self.list.lock();
        let mut at = *head;
        while let Some(header) = at {
            f(header);
            // SAFETY: listed coroutines are alive, and their list links are under this lock.
            at = unsafe { header.as_ref() }.owner.next.get();
        }
    }
}
