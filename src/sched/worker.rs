//! A worker: a thread that runs coroutines.
//!
//! ```text
//!                 owner only                         any thread
//!            +----------------------+        +------------------------------+
//!   wakes -->| RunQueues: lifo,     |<-------| Remote::inbox                  |<-- wakes from elsewhere
//!            | ready, yielded       |        | Remote::assigned               |<-- unstarted, placed here
//!            | (started, at home)   |        | Remote::shard, Remote::timers    |<-- netpoller thread helps
//!            |                      |        |                              |
//!   spawns ->| Deques: newest_first |------->| Remote::newest_first           |--> thieves
//!            | and oldest_first     |        | Remote::oldest_first           |
//!            | (may be stolen)      |        | Shared::injector             |<-- spawns from elsewhere
//!            +----------------------+        +------------------------------+
//! ```
//!
//! Which of them runs next, and how long each waits at most, is in [`run_queues`](super::run_queues). A
//! worker polls its shard once after each look of the netpoller thread, and before it sleeps.
//!
//! Invariant of default mode: a coroutine that has been started is in `lifo`, `ready`, `yielded` or `inbox`
//! of its home worker, is run by it, or is parked. In migrating mode `oldest_first` holds started ones, too
//! ([`Remote::may_move`] is the one predicate).

use super::budget;
use super::config::Phase;
use super::deques::Deques;
use super::placement::Placement;
use super::run_queues::{OLDEST_TURN, RunQueues};
use super::runnable::{Runnable, conclude, discard};
use super::shared::{Remote, Shared};
use crate::base::fork;
use crate::base::local::thread_locals;
use crate::coroutine::{Batch, Header, Id, JoinError, Park, Request, Step, Suspend, Waiter};
use crate::netpoll::{Events, Shard};
use crate::stack::Pool;
use crossbeam_deque::Steal;
use std::cell::{Cell, RefCell};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The least time between two wake-ups of a sleeping worker by timers: those that are due in between are
/// fired together. A timer that is not in such company is fired when it is due.
const TIMER_BATCH: Duration = Duration::from_micros(250);
/// How long a worker without work waits for others to hand it some before it sleeps, where that has paid
/// off: about as long as a sleep and a wake-up through the kernel take on a virtual machine. With less, a
/// worker that waits for one that is being woken sleeps in turn, and so on.
const LINGER: Duration = Duration::from_micros(50);
/// After more than how many short sleeps, in a row or not, a worker lingers again that has done so in vain.
const LINGER_DOUBT: i32 = 16;
/// How often a coroutine may be taken back from workers that do not start it; after that it is handed to
/// none. More than once, so that coroutines stay spread although the system does not run a worker's thread
/// for a moment.
const MOST_TAKEN_BACK: u8 = 16;
/// How long a worker that gives way before a sleep may be away, if it is to do so again soon.
const AWAY: Duration = Duration::from_millis(1);
/// A worker that gives way and is back so soon was alone on its processor: there is nobody to give way to.
const STAYED: Duration = Duration::from_micros(2);
/// Before how many sleeps at most a worker does not give way that has done so in vain, or for nobody.
const COURTESY_DOUBT: u32 = 15;
/// What a queue has at most for its worker to be left alone with it for [`FORBEARANCE`].
const FEW: usize = 2;
/// For how long a thief waits whether the owner runs them itself.
const FORBEARANCE: Duration = Duration::from_micros(5);
/// Numbers of coroutines reserved at once.
const IDS: u64 = 64;
/// Events fetched at once.
const EVENTS: usize = 256;
/// Whether a parked coroutine can be ended: where panics abort, a shutdown leaks what is parked when nothing
/// is left to run.
const UNWINDS: bool = cfg!(panic = "unwind");
/// How often a worker that waits for the end of a shutdown looks again.
const CLOSING_NAP: Duration = Duration::from_millis(5);

/// A worker's own part.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    remote: NonNull<Remote>,
    index: usize,
    pub(super) current: Cell<Option<NonNull<Header>>>,
    queues: RunQueues,
    placement: Placement,
    stacks: RefCell<Pool>,
    events: RefCell<Events>,
    /// Turns until it looks at the old end of its queues, and whether a shutdown has begun.
    until_look_around: Cell<u32>,
    /// How many looks of the netpoller thread there had been when it last polled.
    ticks: Cell<u64>,
    searching: Cell<bool>,
    /// When it last fired timers.
    fired: Cell<Option<Instant>>,
    /// Above zero: linger before the next sleep. Sleeps that another worker ends soon make it more,
    /// lingering in vain less.
    linger: Cell<i32>,
    /// Whether the shard had events since it last gave way or slept.
    serves: Cell<bool>,
    /// Before how many sleeps it does not give way, and how many those were at the last time that it was in
    /// vain, or for nobody.
    courtesy: Cell<(u32, u32)>,
    closing: Cell<bool>,
    random: Cell<u32>,
    /// The next number of a coroutine, and how many there are from there on.
    ids: Cell<(u64, u64)>,
}

thread_locals! {
    /// The worker whose `run` is below us on this thread; null on a plain thread.
    static WORKER: Cell<*const Worker> = Cell::new(ptr::null());

    /// The thread's worker, null on a plain thread.
    pub(super) fn this_worker() -> *const Worker = |worker| worker.get(), destroyed: ptr::null();

    /// Sets the thread's worker.
    fn set_this_worker(this: *const Worker) = |worker| worker.set(this), destroyed: ();
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize, deques: Deques) -> Worker {
        Worker {
            remote: NonNull::from(&shared.remotes[index]),
            shared,
            index,
            current: Cell::new(None),
            queues: RunQueues::new(deques),
            placement: Placement::new(),
            stacks: RefCell::new(Pool::new()),
            events: RefCell::new(Events::with_capacity(EVENTS)),
            until_look_around: Cell::new(OLDEST_TURN),
            ticks: Cell::new(0),
            searching: Cell::new(false),
            fired: Cell::new(None),
            linger: Cell::new(0),
            serves: Cell::new(false),
            courtesy: Cell::new((0, 0)),
            closing: Cell::new(false),
            random: Cell::new(0x9e37_79b9 ^ (index as u32 + 1)),
            ids: Cell::new((0, 0)),
        }
    }

    /// The worker's life.
    pub(super) fn run(&self) {
        set_this_worker(self);
        loop {
            if let Some(task) = self.next() {
                self.stop_searching();
                self.execute(task);
            } else if !self.idle() {
                break;
            }
        }
        self.discard_unstarted();
        self.remote().left.store(true, Ordering::Release);
        set_this_worker(ptr::null());
    }

    /// Ends what this worker will not start any more. The destructors of closures may spawn more of it.
    fn discard_unstarted(&self) {
        while let Some(task) = self.queues.take_any(self.remote()) {
            discard(task);
        }
    }

    /// `Owner::home` of a coroutine that was spawned here and has not been started. It is no remote's
    /// address: it is one byte behind that of this worker's.
    fn as_spawner(&self) -> *mut () {
        self.remote.as_ptr().cast::<()>().wrapping_byte_add(1)
    }

    /// Whether that coroutine was started here, or can be started here alone.
    pub(super) fn alone_runs(&self, header: &Header) -> bool {
        // Relaxed: if it was started here, then this thread has stored that.
        let home = header.owner.home.load(Ordering::Relaxed);
        if ptr::eq(home.cast(), self.remote.as_ptr()) {
            return !self.remote().may_move(header);
        }
        let config = self.shared.config();
        ptr::eq(home, self.as_spawner()) && config.workers == 1 && !config.migrate
    }

    /// The part that other threads see.
    #[inline]
    pub(super) fn remote(&self) -> &Remote {
        // SAFETY: one of `shared`'s, which we hold.
        unsafe { self.remote.as_ref() }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The shard that this worker polls.
    pub(crate) fn shard(&self) -> &Arc<Shard> {
        &self.remote().shard
    }

    pub(super) fn next_id(&self) -> Id {
        let (next, left) = match self.ids.get() {
            (_, 0) => (Id::reserve(IDS), IDS),
            ids => ids,
        };
        self.ids.set((next + 1, left - 1));
        Id(next)
    }

    /// Queues an unstarted coroutine.
    pub(super) fn push_unstarted(&self, header: NonNull<Header>) {
        let task = Runnable(header.cast());
        // SAFETY: the caller has just made it.
        unsafe { header.as_ref() }.owner.home.store(self.as_spawner(), Ordering::Relaxed);
        // SAFETY: the coroutine that runs on this thread is alive.
        let in_first_turn =
            self.current.get().is_none_or(|spawner| !unsafe { spawner.as_ref() }.listed.get());
        if in_first_turn {
            self.queues.push_newest_first(task);
        } else {
            self.queues.push_oldest_first(task);
        }
        self.shared.work_was_pushed();
    }

    pub(super) fn push_ready(&self, waiter: NonNull<Waiter>) {
        // Woken by a running coroutine: it goes first, while what it is to read is in the cache.
        let displaced = if self.current.get().is_some() {
            self.remote().behind.store(true, Ordering::Relaxed);
            self.queues.put_first(waiter)
        } else {
            Some(waiter)
        };
        if let Some(waiter) = displaced {
            self.queues.push_woken(waiter);
        }
    }

    pub(super) fn push_migratable(&self, waiter: NonNull<Waiter>) {
        // Between two turns, the first one woken is the next to run here: nobody needs to be called for it.
        let first = self.current.get().is_some() || !self.queues.has_first();
        let displaced = if first { self.queues.put_first(waiter) } else { Some(waiter) };
        if let Some(waiter) = displaced {
            self.queue_migratable(waiter);
        }
    }

    fn queue_migratable(&self, waiter: NonNull<Waiter>) {
        self.queues.push_oldest_first(Runnable(waiter));
        self.shared.work_was_pushed();
    }

    /// Takes the next coroutine to run, without a search in other workers' queues. Polls if the netpoller
    /// thread has looked since the last poll.
    fn next(&self) -> Option<Runnable> {
        if self.shared.ticks.load(Ordering::Relaxed) != self.ticks.get() {
            self.placement.forget();
            self.queues.note_tick();
            self.poll(Some(Duration::ZERO));
        }
        let until = self.until_look_around.get();
        if until > 0 {
            self.until_look_around.set(until - 1);
        } else if let Some(task) = self.look_around() {
            return Some(task);
        }
        self.queues.next(self.remote(), &self.shared, |waiter| self.push_behind(waiter))
    }

    #[cold]
    fn look_around(&self) -> Option<Runnable> {
        self.until_look_around.set(OLDEST_TURN - 1);
        if self.shared.phase() != Phase::Running {
            self.close();
        }
        self.queues.oldest(self.remote())
    }

    /// Puts what was to run next where others can take it, if they may: this worker is about to block.
    pub(super) fn leave_lifo(&self) {
        if let Some(waiter) = self.queues.take_lifo() {
            self.push_behind(waiter);
        }
    }

    /// Queues a coroutine behind the ones that were woken before.
    fn push_behind(&self, waiter: NonNull<Waiter>) {
        // SAFETY: a queued or running coroutine is alive.
        if self.remote().may_move(unsafe { waiter.cast::<Header>().as_ref() }) {
            self.queue_migratable(waiter);
        } else {
            self.queues.push_woken(waiter);
        }
    }

    /// Queues a coroutine behind everything that is runnable now.
    fn push_yielded(&self, waiter: NonNull<Waiter>) {
        // SAFETY: a queued or running coroutine is alive.
        if self.remote().may_move(unsafe { waiter.cast::<Header>().as_ref() }) {
            self.shared.inject_yielded(Runnable(waiter));
        } else {
            self.queues.push_yielded(waiter);
        }
    }

    /// Takes the oldest of the injected coroutines, and moves some more to this worker's queue.
    fn take_injected(&self) -> Option<Runnable> {
        self.shared.take_injected(&self.queues.deques().oldest_first)
    }

    /// Runs a coroutine until it parks, yields or ends.
    fn execute(&self, task: Runnable) {
        let this = task.0.cast::<Header>();
        // SAFETY: whoever takes a coroutine from a queue owns it, and it is alive.
        let header = unsafe { this.as_ref() };
        // SAFETY: we own it.
        if !unsafe { header.started() } && !self.start(this) {
            return;
        }
        let remote = self.remote();
        remote.turns.store(remote.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        remote.running.store(header.id().0, Ordering::Release);
        remote.behind.store(self.queues.has_own(), Ordering::Relaxed);
        budget::refill();
        loop {
            self.current.set(Some(this));
            // SAFETY: we own it, it has been started, and it does not run.
            let step = unsafe { header.resume() };
            self.current.set(None);
            if let Step::Suspended(_) = step
                && !header.listed.get()
            {
                // Before it can be woken and end elsewhere.
                remote.admit(this);
                remote.unlisted.store(false, Ordering::Release);
                self.placement.note_long_lived();
            }
            match step {
                Step::Finished => break self.finish(this),
                Step::Suspended(Suspend::Yield) => break self.push_yielded(task.0),
                Step::Suspended(Suspend::Wait(request)) => {
                    // SAFETY: nobody resumes the coroutine before it is parked, below.
                    let Request { commit, ticket, masked } = unsafe { request.read() };
                    // SAFETY: the closure is on the coroutine's stack, which stays as it is until then.
                    let wanted = unsafe { (*commit.as_ptr())(ticket) };
                    if wanted && header.waiter.park(ticket, masked) == Park::Parked {
                        // From here on it belongs to whoever wakes it.
                        break;
                    }
                }
            }
        }
        remote.running.store(0, Ordering::Relaxed);
    }

    /// Gives a coroutine its stack and its home; false if it went elsewhere or ended for want of one.
    fn start(&self, this: NonNull<Header>) -> bool {
        // SAFETY: we own it, and it is alive.
        let header = unsafe { this.as_ref() };
        if self.closing.get() || self.shared.phase() != Phase::Running {
            // It is not parked, so this only leaves the mark.
            let _ = header.waiter.cancel();
        }
        if self.hand_over(header, this) {
            return false;
        }
        match self.stacks.borrow_mut().take(header.stack_size()) {
            Ok(stack) => {
                header.owner.home.store(ptr::from_ref(self.remote()).cast_mut().cast(), Ordering::Relaxed);
                if header.name().is_some() {
                    // Named ones from the start, so that a report of one that never waits has the name.
                    self.remote().admit(this);
                } else {
                    self.remote().first_site.set(header.site());
                    self.remote().unlisted.store(true, Ordering::Release);
                }
                // SAFETY: we own it, and it has not been started.
                unsafe { Header::start(this, stack) };
                true
            }
            Err(error) => {
                self.shared.no_stack.fetch_add(1, Ordering::Relaxed);
                // SAFETY: we own it, and it has not been started.
                unsafe { Header::fail(this, JoinError::NoStack(error)) };
                conclude(this);
                false
            }
        }
    }

    /// Hands an unstarted coroutine to a worker that has fewer, where `placement` says so; false if it is to
    /// start here.
    fn hand_over(&self, header: &Header, this: NonNull<Header>) -> bool {
        if header.placed.replace(false) {
            self.remote().placed.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let spawned_here = ptr::eq(header.owner.home.load(Ordering::Relaxed), self.as_spawner());
        if self.closing.get() {
            return false;
        }
        let Some(target) = self.placement.choose(self.remote(), self.index, &self.shared, spawned_here)
        else {
            return false;
        };
        if header.taken_back.get() >= MOST_TAKEN_BACK {
            return false;
        }
        // Counted before the look at the phase, so that the target does not leave before it has it.
        target.placed.fetch_add(1, Ordering::SeqCst);
        if self.shared.phase() != Phase::Running {
            target.placed.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        header.placed.set(true);
        target.hand_unstarted(Runnable(this.cast()), &self.shared.idle);
        self.shared.discard_if_closed();
        true
    }

    fn finish(&self, this: NonNull<Header>) {
        // SAFETY: we own it, and it is alive.
        let header = unsafe { this.as_ref() };
        // SAFETY: it has just finished.
        let stack = unsafe { header.take_stack() };
        self.stacks.borrow_mut().put(stack);
        if header.listed.get() {
            // SAFETY: the home is a remote of this runtime.
            unsafe { &*header.owner.home.load(Ordering::Relaxed).cast::<Remote>() }.dismiss(this);
        } else {
            self.remote().unlisted.store(false, Ordering::Release);
            self.placement.note_short_lived();
        }
        conclude(this);
    }

    /// Fetches events and fires due timers; true if that woke anybody.
    fn poll(&self, timeout: Option<Duration>) -> bool {
        fork::check();
        let remote = self.remote();
        let mut batch = Batch::new();
        // What comes while the worker does not sleep may be too late for this poll.
        let at = (timeout == Some(Duration::ZERO)).then(Instant::now);
        if let Err(e) = remote.shard.poll(&mut self.events.borrow_mut(), timeout, &mut batch) {
            unreachable!("a poller waits on its own descriptors: {e}");
        }
        self.shared.note_poll(remote, at.unwrap_or_else(Instant::now));
        self.ticks.set(self.shared.ticks.load(Ordering::Relaxed));
        if !batch.is_empty() {
            self.serves.set(true);
        }
        if let Some(now) = remote.fire_timers(&mut batch) {
            self.fired.set(Some(now));
        }
        let woke = !batch.is_empty();
        batch.wake();
        woke
    }

    /// With nothing left here: looks elsewhere, then sleeps. False when it is time to end.
    fn idle(&self) -> bool {
        if self.linger() {
            return true;
        }
        // Without anything to be stolen the worker looks for events in the wait that it sleeps in.
        if self.shared.has_shared_work() {
            // What its own sockets have goes first.
            if self.poll(Some(Duration::ZERO)) {
                return true;
            }
            if !self.searching.get() {
                self.searching.set(self.shared.idle.try_search());
            }
            if self.searching.get()
                && let Some(task) = self.search()
            {
                self.stop_searching();
                self.execute(task);
                return true;
            }
        }
        match self.shared.phase() {
            Phase::Running => {}
            Phase::Closing => {
                if self.close() {
                    return true;
                }
                if self.shared.is_quiet() || !UNWINDS {
                    return false;
                }
            }
            // Woken too late to be waited for: what lives here unwinds if it can do so without a sleep.
            Phase::Abandoned => return self.close(),
        }
        if !self.give_way() {
            self.sleep();
        }
        true
    }

    /// Waits a little for other workers to hand something over, if they have just done so; true if they have.
    ///
    /// Two coroutines on different workers that wait for one another would otherwise sleep and be woken
    /// through the kernel at each turn. A worker that lingers in vain does not do so again until others
    /// have ended more than [`LINGER_DOUBT`] short sleeps of its.
    fn linger(&self) -> bool {
        if self.linger.get() <= 0 || self.closing.get() {
            return false;
        }
        let (remote, start) = (self.remote(), Instant::now());
        loop {
            for _ in 0..16 {
                if !remote.inbox.is_empty() || !remote.assigned.is_empty() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if self.shared.has_shared_work() {
                return false;
            }
            if start.elapsed() > LINGER {
                // The others have nothing, or no processor to run on, which this would only take from them.
                self.linger.set(-LINGER_DOUBT);
                return false;
            }
        }
    }

    /// Lets other threads have the processor before this one sleeps; true if events have come in meanwhile.
    ///
    /// Where clients and workers share the processors, a worker that sleeps as soon as it has answered is
    /// woken for each request by itself. One that is behind the client in the processor's queue finds many
    /// at once. So it does this where its sockets have just had events.
    fn give_way(&self) -> bool {
        if !self.serves.replace(false) {
            // Who hands it something meanwhile would take it for awake, and not call it.
            return false;
        }
        let (left, doubt) = self.courtesy.get();
        if left > 0 {
            self.courtesy.set((left - 1, doubt));
            return false;
        }
        // What is pushed while it is away is others' to find.
        self.stop_searching();
        let start = Instant::now();
        std::thread::yield_now();
        let away = start.elapsed();
        let found = self.poll(Some(Duration::ZERO));
        self.courtesy.set(if away > AWAY {
            // A sleeper would have been called back earlier.
            (COURTESY_DOUBT, COURTESY_DOUBT)
        } else if found && away > STAYED {
            (0, 0)
        } else {
            let doubt = (2 * doubt + 1).min(COURTESY_DOUBT);
            (doubt, doubt)
        });
        found
    }

    /// Sleeps in the shard's wait until there is something to do. The protocol is in `README.md`.
    fn sleep(&self) {
        let remote = self.remote();
        remote.sleep_state.prepare_sleep(&self.shared.idle, self.searching.get());
        if remote.inbox.is_empty()
            && remote.assigned.is_empty()
            && !self.shared.has_shared_work()
            && !self.must_close()
        {
            let start = Instant::now();
            let mut timeout = remote.next_timer().map(|at| {
                let at = self.fired.get().map_or(at, |fired| at.max(fired + TIMER_BATCH));
                at.saturating_duration_since(start)
            });
            if self.closing.get() {
                timeout = Some(timeout.map_or(CLOSING_NAP, |t| t.min(CLOSING_NAP)));
            }
            let woke = self.poll(timeout);
            let handed = !woke && !remote.inbox.is_empty();
            if handed && self.shared.may_linger && start.elapsed() < 2 * LINGER {
                self.linger.set((self.linger.get() + 1).min(1));
            } else {
                self.linger.set(self.linger.get().min(0));
            }
        }
        self.searching.set(remote.sleep_state.finish_sleep(&self.shared.idle));
        self.shared.netpoller.worker_woke_up();
    }

    /// Whether a shutdown has begun that this worker has not noticed.
    fn must_close(&self) -> bool {
        match self.shared.phase() {
            Phase::Running => false,
            Phase::Closing => !self.closing.get(),
            Phase::Abandoned => true,
        }
    }

    /// Cancels all that lives here, once; true if that made anything runnable.
    fn close(&self) -> bool {
        if self.closing.replace(true) || !UNWINDS {
            return false;
        }
        let mut batch = self.remote().cancel_all();
        let woke = !batch.is_empty();
        batch.wake();
        woke
    }

    fn stop_searching(&self) {
        if self.searching.replace(false) && self.shared.idle.found() && self.shared.has_shared_work() {
            self.shared.work_was_pushed();
        }
    }

    /// Looks for work that any worker may take: injected, then other workers'.
    fn search(&self) -> Option<Runnable> {
        let task = self.take_shared(FEW);
        if task.is_some() || !self.shared.has_shared_work() {
            return task;
        }
        // The few that are left are likely to be run in a moment by the worker that has them: two that go
        // on to wait for one another then stay together. (Go's thieves leave the next one to run for 3 µs,
        // too.)
        let start = Instant::now();
        while start.elapsed() < FORBEARANCE && self.shared.has_shared_work() {
            std::hint::spin_loop();
        }
        self.take_shared(0)
    }

    /// What any worker may take: of another's queue, if it has more than so many.
    fn take_shared(&self, but: usize) -> Option<Runnable> {
        self.take_injected().or_else(|| self.shared.take_yielded()).or_else(|| self.steal(but))
    }

    /// Takes from the others' queues, from a random one on, if they have more than so many.
    fn steal(&self, but: usize) -> Option<Runnable> {
        let remotes = self.shared.active_remotes();
        let start = self.random() as usize % remotes.len();
        let others = remotes[start..].iter().chain(&remotes[..start]);
        for victim in others.filter(|victim| !ptr::eq(*victim, self.remote())) {
            let ours = self.queues.deques();
            let pairs =
                [(&victim.oldest_first, &ours.oldest_first), (&victim.newest_first, &ours.newest_first)];
            for (from, to) in pairs {
                while from.len() > but {
                    if let Steal::Success(task) = from.steal_batch_and_pop(to) {
                        self.remote().steals.fetch_add(1, Ordering::Relaxed);
                        return Some(task);
                    }
                }
            }
        }
        None
    }

    /// A number that differs from call to call (xorshift).
    pub(super) fn random(&self) -> u32 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x
    }
}
