//! What the workers of one runtime share.

use super::accounts::ThreadTime;
use super::captured::Collection;
use super::config::{Config, Phase};
use super::home;
use super::idle::Idle;
use super::mobile::{self, MobileHomes};
use super::remote::{self, take_one};
use super::runnable::{Runnable, discard};
use super::test_seam;
use super::threads::Threads;
use crate::base::clock;
use crate::base::lock::{Mutex, Rank};
use crate::coroutine::{Header, Waiter};
use crate::netpoll::{Backend, Netpoller, Shard};
use crossbeam_deque::{Injector, Steal, Worker as Deque};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// The netpoller thread moves items of workers in long turns to the injector until it holds this many.
/// Workers that run more than that in a tick steal the next ones. Without a limit, the memory of the
/// injector and of the deques that take shares of it is 30 B for each of 100,000 coroutines that one turn
/// spawns.
const TAKEN_BACK: usize = 1024;

/// The part of a worker that other threads use.
pub(crate) type Remote = remote::Remote<Shared>;
/// A group of coroutines that stay together.
pub(crate) type Home = home::Home<Shared>;

/// What the workers of one runtime share.
pub(crate) struct Shared {
    /// One for each worker, and with mobile homes or in migrating mode some for spare workers.
    pub(crate) remotes: Box<[Remote]>,
    /// How many of them have a thread.
    pub(super) active: AtomicUsize,
    /// The homes that any worker may run.
    pub(crate) mobile: MobileHomes<Shared>,
    pub(super) idle: Idle,
    pub(crate) netpoller: Netpoller,
    config: Config,
    /// Whether workers may spin before they sleep: there is a processor for each.
    pub(super) may_spin: bool,
    /// Coroutines that any worker may take.
    injector: Injector<Runnable>,
    /// Counts the beginnings and ends of what the netpoller thread does for workers, for `at_rest`.
    pub(super) moves: AtomicU64,
    /// Migrating coroutines that have yielded, and mobile homes with yielded coroutines only, after a long
    /// slice. They come after all others.
    pub(super) yielded: Injector<Runnable>,
    began: Instant,
    /// Counts the ticks of the netpoller thread.
    pub(crate) ticks: AtomicU64,
    phase: AtomicU8,
    /// Counts searchers that were woken, so that the next one is another worker.
    wakes: AtomicUsize,
    /// With mobile homes: whether a push may wake a spare worker. The monitor sets it while coroutines keep
    /// all other workers.
    pub(crate) wants_spare: AtomicBool,
    /// What the netpoller thread has used.
    pub(crate) netpoller_time: ThreadTime,
    /// Counts coroutines that got no stack.
    pub(super) no_stack: AtomicU64,
    pub(crate) threads: Threads,
    /// What workers capture for the present dump.
    pub(super) collection: Mutex<Option<Arc<Collection>>>,
    /// Set once nothing will run any more.
    pub(crate) closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: Config) -> std::io::Result<Arc<Shared>> {
        let homes = if config.migrate { 0 } else { mobile::limit_of(config.homes) };
        let spare_workers = match (config.migrate, homes > 0) {
            (true, _) => config.workers,
            // Any number of coroutines may be in long turns at once, each in its own home.
            (false, true) => (2 * config.workers).clamp(16, 64),
            (false, false) => 0,
        };
        let capacity = config.workers + spare_workers;
        // It reads files. One worker need not know, and a simulation makes a runtime for each run.
        let processors = if config.workers == 1 { 1 } else { available_parallelism().map_or(0, usize::from) };
        let mut shards = Vec::with_capacity(capacity);
        for _ in 0..capacity {
            shards.push(Arc::new(Shard::on(config.netpoll)?));
        }
        Ok(Arc::new_cyclic(|shared| Shared {
            remotes: shards
                .into_iter()
                .enumerate()
                .map(|(index, shard)| Remote::new(shared, index, shard, config.migrate))
                .collect(),
            active: AtomicUsize::new(config.workers),
            mobile: MobileHomes::new(homes),
            idle: Idle::new(config.workers),
            netpoller: Netpoller::new(),
            may_spin: config.workers <= processors,
            config,
            injector: Injector::new(),
            moves: AtomicU64::new(0),
            yielded: Injector::new(),
            began: clock::now(),
            ticks: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Running as u8),
            wakes: AtomicUsize::new(0),
            wants_spare: AtomicBool::new(false),
            netpoller_time: ThreadTime::new(),
            no_stack: AtomicU64::new(0),
            threads: Threads::default(),
            collection: Mutex::new(Rank::Captured, None),
            closed: AtomicBool::new(false),
        }))
    }

    /// Its settings.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// By which interface of the kernel its workers wait. If the system has refused the one of the settings
    /// for some of them only, this is what those have.
    pub(crate) fn netpoll(&self) -> Backend {
        let mut all = self.remotes.iter().map(|remote| remote.shard.backend());
        all.find(|backend| *backend != self.config.netpoll).unwrap_or(self.config.netpoll)
    }

    /// The workers that have a thread.
    pub(crate) fn active_remotes(&self) -> &[Remote] {
        &self.remotes[..self.active.load(Ordering::Acquire)]
    }

    /// How many workers are like any other. With mobile homes those after them are spare workers: they run
    /// what waits while coroutines keep all others, and are not woken otherwise. No coroutine is placed on
    /// them.
    pub(crate) fn regular(&self) -> usize {
        if self.config.migrate { usize::MAX } else { self.config.workers }
    }

    /// The phase of its life.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Closing,
            _ => Phase::Abandoned,
        }
    }

    /// Enters a phase, and wakes every worker to see it.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
        // Pairs with the fence in `add_worker`.
        fence(Ordering::SeqCst);
        for remote in self.active_remotes() {
            remote.notify(&self.idle);
        }
    }

    /// Counts the worker with that index, whose thread was started, and all before it as active. It may
    /// already sleep: either it is counted when `enter` wakes the workers, or this wakes it.
    pub(super) fn add_worker(&self, index: usize) {
        self.active.store(index + 1, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.phase() != Phase::Running {
            self.remotes[index].notify(&self.idle);
        }
    }

    /// Whether started coroutines are in mobile homes.
    #[inline]
    pub(crate) fn has_mobile_homes(&self) -> bool {
        self.mobile.limit() > 0
    }

    /// All homes: those of the workers that have a thread, and the mobile ones.
    pub(crate) fn homes(&self) -> impl Iterator<Item = &Home> + '_ {
        self.active_remotes().iter().map(|remote| &remote.home).chain(self.mobile.iter())
    }

    /// Queues a woken coroutine in its home, and wakes the worker of a pinned home. True if the caller must
    /// queue the home. The caller keeps the runtime alive: the coroutine may end after the push.
    #[must_use]
    pub(super) fn push_to_home(&self, home: &Home, waiter: NonNull<Waiter>) -> bool {
        if home.is_mobile() && home.handover.try_queue() {
            // SAFETY: as below. No other thread uses the run queues before the caller has queued the home.
            unsafe { home.queues.ready.push(waiter) };
            return true;
        }
        // SAFETY: the caller has just woken the coroutine, so it is in no queue; it stays alive until it
        // has run.
        unsafe { home.inbox.push(waiter) };
        if home.is_mobile() {
            return home.handover.notify();
        }
        self.remotes[home.base()].notify(&self.idle);
        false
    }

    /// Queues a coroutine for any worker.
    pub(crate) fn inject(&self, item: Runnable) {
        self.injector.push(item);
        self.work_was_pushed();
    }

    /// Takes the oldest injected coroutine, and moves some more to a worker's queue.
    pub(crate) fn take_injected(&self, into: &Deque<Runnable>) -> Option<Runnable> {
        loop {
            match self.injector.steal_batch_with_limit_and_pop(into, 32) {
                Steal::Success(item) => return Some(item),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    /// Whether the injector holds anything.
    #[inline]
    pub(super) fn has_injected(&self) -> bool {
        !self.injector.is_empty()
    }

    /// Moves one worker's share of the injector to the worker's queue.
    #[cold]
    pub(crate) fn take_share_of_injected(&self, into: &Deque<Runnable>) {
        let share = self.injector.len().div_ceil(self.active.load(Ordering::Relaxed));
        let end = into.len() + share;
        while into.len() < end {
            match self.injector.steal_batch_with_limit(into, end - into.len()) {
                Steal::Success(()) | Steal::Retry => {}
                Steal::Empty => break,
            }
        }
        // Others may steal them from there.
        self.work_was_pushed();
    }

    /// How many items wait for a worker after they have yielded.
    #[inline]
    pub(crate) fn count_yielded(&self) -> usize {
        if self.yielded.is_empty() { 0 } else { self.yielded.len() }
    }

    /// Queues a coroutine that has yielded, or a home of such coroutines, for any worker.
    pub(crate) fn inject_yielded(&self, item: Runnable) {
        self.yielded.push(item);
        self.work_was_pushed();
    }

    /// Takes the oldest item that has yielded.
    pub(crate) fn take_yielded(&self) -> Option<Runnable> {
        if self.yielded.is_empty() { None } else { take_one(&self.yielded) }
    }

    fn take_one_injected(&self) -> Option<Runnable> {
        take_one(&self.injector)
    }

    /// Wakes a worker to search for work that was pushed, unless a worker searches already.
    #[inline]
    pub(crate) fn work_was_pushed(&self) {
        if self.idle.wants_searcher() {
            self.wake_searcher();
        }
    }

    #[cold]
    fn wake_searcher(&self) {
        test_seam::note_scan();
        let regular = if self.wants_spare.load(Ordering::Relaxed) { usize::MAX } else { self.regular() };
        let remotes = self.active_remotes();
        let remotes = &remotes[..remotes.len().min(regular)];
        // Begins with another worker each time, so that no worker is woken more often than the others.
        let start = self.wakes.fetch_add(1, Ordering::Relaxed) % remotes.len();
        for remote in remotes[start..].iter().chain(&remotes[..start]) {
            if remote.sleep_state.notify(&self.idle, true) {
                remote.shard.wake();
                return;
            }
        }
    }

    /// Whether anything is queued that any worker may take.
    pub(crate) fn has_shared_work(&self) -> bool {
        !self.injector.is_empty()
            || !self.yielded.is_empty()
            || self.active_remotes().iter().any(Remote::has_stealable)
    }

    /// How many coroutines are listed as alive, and the bytes of address space of their stacks.
    pub(crate) fn stacks(&self) -> (usize, usize) {
        self.homes().map(Home::stacks).fold((0, 0), |(n, bytes), (more, their)| (n + more, bytes + their))
    }

    /// How many items wait for any worker: injected, and yielded.
    pub(crate) fn count_waiting(&self) -> (usize, usize) {
        (self.injector.len(), self.yielded.len())
    }

    /// How many coroutines got no stack and so never ran.
    pub(crate) fn no_stack(&self) -> u64 {
        self.no_stack.load(Ordering::Relaxed)
    }

    /// Notes that a worker has polled for itself from `from` on, and has seen all events up to `at`.
    pub(crate) fn note_poll(&self, remote: &Remote, from: Instant, at: Instant) {
        let since = |at: Instant| at.saturating_duration_since(self.began).as_nanos() as u64;
        remote.poll_delays.add(since(from).saturating_sub(remote.polled.load(Ordering::Relaxed)));
        remote.polled.store(since(at), Ordering::Relaxed);
        remote.polls.store(remote.polls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// When it began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The time, in nanoseconds since the runtime began.
    pub(super) fn now(&self) -> u64 {
        clock::since(self.began).as_nanos() as u64
    }

    /// The time that many nanoseconds after the beginning of the runtime.
    pub(super) fn after(&self, nanoseconds: u64) -> Instant {
        self.began + Duration::from_nanos(nanoseconds)
    }

    /// The time up to which a worker's last poll for itself has seen all events.
    pub(crate) fn polled_at(&self, remote: &Remote) -> Instant {
        self.began + Duration::from_nanos(remote.polled.load(Ordering::Relaxed))
    }

    /// Whether no coroutine is alive or queued.
    pub(crate) fn is_quiet(&self) -> bool {
        // In this order: a coroutine that `take_back` moves is counted at its worker or is in the injector.
        self.active_remotes().iter().all(|remote| remote.load_now() == 0 && remote.home.inbox.is_empty())
            && self.mobile.iter().all(|home| home.live() == 0)
            && !self.has_shared_work()
    }

    /// Takes back the coroutines that are assigned to a worker, for any worker to start.
    pub(crate) fn take_back(&self, remote: &Remote) {
        while let Some(item) = remote.take_assigned() {
            // SAFETY: the thread that takes a coroutine from a queue owns it, and it is alive.
            let header = unsafe { item.0.cast::<Header>().as_ref() };
            header.assigned.set(false);
            header.taken_back.set(header.taken_back.get().saturating_add(1));
            self.inject(item);
            // After it is in a queue again: `is_quiet`.
            remote.assigned_count.fetch_sub(1, Ordering::SeqCst);
        }
        // A shutdown that does not wait any more may have drained the queue in between.
        self.discard_if_closed();
    }

    /// Moves what other workers may take from a worker that does not take it itself to the injector, for any
    /// worker, until the injector holds [`TAKEN_BACK`] items. The next tick moves the next ones.
    pub(crate) fn take_back_items(&self, remote: &Remote) {
        self.in_place_of_a_worker(|| self.move_items(remote));
        self.discard_if_closed();
    }

    /// Runs the closure, which takes or wakes coroutines on the netpoller thread. [`at_rest`](Self::at_rest)
    /// finds no rest meanwhile.
    pub(crate) fn in_place_of_a_worker<T>(&self, f: impl FnOnce() -> T) -> T {
        self.moves.fetch_add(1, Ordering::SeqCst);
        let result = f();
        self.moves.fetch_add(1, Ordering::SeqCst);
        result
    }

    fn move_items(&self, remote: &Remote) {
        // Not what the worker pushes meanwhile: it may push faster than the caller takes.
        let room = TAKEN_BACK.saturating_sub(self.injector.len());
        let mut left = remote.oldest_first.len().min(room);
        while left > 0 {
            match remote.oldest_first.steal() {
                Steal::Success(item) => self.injector.push(item),
                Steal::Empty => break,
                Steal::Retry => continue,
            }
            left -= 1;
        }
    }

    /// The index of the worker with the lowest load, and that load. Not `except`, nor workers that are in a
    /// long turn.
    pub(super) fn least_loaded(&self, except: usize) -> Option<(usize, usize)> {
        test_seam::note_scan();
        let remotes = self.active_remotes().iter().enumerate().take(self.regular());
        remotes
            .filter(|(index, remote)| *index != except && remote.accepts_assignments())
            .map(|(index, remote)| (index, remote.load()))
            .min_by_key(|(_, load)| *load)
    }

    /// How many items wait for any worker in the injector.
    pub(super) fn count_injected(&self) -> usize {
        self.injector.len()
    }

    /// Queues a mobile home that was idle, for any worker. The caller has won that from `Handover::notify`.
    pub(super) fn queue_idle_home(&self, home: &Home) {
        self.inject(Runnable::of_home(home));
    }

    /// Queues an unstarted coroutine that no worker has spawned.
    pub(crate) fn inject_from_outside(&self, item: Runnable) {
        self.inject(item);
        self.discard_if_closed();
    }

    /// Called after an unstarted coroutine was pushed to a queue that nobody may serve any more.
    pub(crate) fn discard_if_closed(&self) {
        // The shutdown sets `closed` and then drains the queues: one of the two sees the other.
        if self.closed.load(Ordering::SeqCst) {
            self.discard_unstarted();
        }
    }

    /// Ends the unstarted coroutines that no worker owns: nothing runs any more.
    pub(crate) fn discard_unstarted(&self) {
        while let Some(item) = self.take_one_injected() {
            discard(item);
        }
        for remote in self.active_remotes() {
            while let Some(item) = remote.take_assigned() {
                discard(item);
            }
        }
    }
}

/// What tests count.
#[cfg(all(test, not(loom)))]
impl Shared {
    /// How often a push of shared work has looked for a worker to notify.
    pub(super) fn count_notifications(&self) -> usize {
        self.wakes.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::{self, Id, Settings};
    use crate::runtime::Builder;
    use crate::sched::schedule::ToRunQueue;

    /// A shutdown that is over does not drain the queues any more: the thread that pushes afterwards does.
    #[test]
    fn what_is_taken_back_after_the_end_is_discarded() {
        let runtime = Builder::new().worker_threads(1).build().expect("a runtime");
        let shared = Arc::clone(runtime.shared());
        drop(runtime);
        let settings = Settings::of_tests(Id(Id::reserve(1)));
        // SAFETY: nothing is borrowed.
        let (header, handle) = unsafe { coroutine::new::<_, _, ToRunQueue>(|| (), settings) };
        let remote = &shared.remotes[0];
        remote.assigned_count.fetch_add(1, Ordering::SeqCst);
        remote.assigned.push(Runnable(header.cast()));
        shared.take_back(remote);
        assert!(handle.header().done.is_set(), "its joiner would never wake");
    }

    /// Its thread finds nothing to do and sleeps before it is counted as a worker. A shutdown begins
    /// meanwhile.
    #[test]
    fn a_worker_that_is_added_amid_a_shutdown_is_woken() {
        let shared = Shared::new(Config { migrate: true, ..Config::of_tests() }).expect("a runtime");
        crate::sched::start_worker(&shared, 1).expect("a thread");
        while !shared.remotes[1].sleep_state.asleep() {
            std::thread::yield_now();
        }
        shared.enter(Phase::Closing);
        shared.add_worker(1);
        assert!(shared.threads.wait_for(0, Instant::now() + Duration::from_secs(120)), "it sleeps on");
    }
}
