//! What the workers of one runtime share.

use super::config::{Config, Phase};
use super::idle::Idle;
use super::remote::{self, take_one};
use super::runnable::{Runnable, discard};
use super::threads::Threads;
use crate::coroutine::Header;
use crate::netpoll::{Netpoller, Shard};
use crossbeam_deque::{Injector, Worker as Deque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The part of a worker that other threads see.
pub(crate) type Remote = remote::Remote<Shared>;

/// What the workers of one runtime share.
pub(crate) struct Shared {
    /// One for each worker, and in migrating mode as many again for spare ones.
    pub(crate) remotes: Box<[Remote]>,
    /// How many of them have a thread.
    pub(crate) active: AtomicUsize,
    pub(crate) idle: Idle,
    pub(crate) netpoller: Netpoller,
    pub(crate) config: Config,
    /// Whether workers may wait for one another without sleeping: there is a processor for each.
    pub(crate) may_linger: bool,
    injector: Injector<Runnable>,
    /// Those that have yielded, where coroutines migrate; behind all others.
    yielded: Injector<Runnable>,
    began: Instant,
    /// Counts the looks of the netpoller thread, which come every millisecond or two while a worker is awake.
    pub(crate) ticks: AtomicU64,
    phase: AtomicU8,
    wakes: AtomicUsize,
    /// Coroutines that got no stack.
    pub(crate) no_stack: AtomicU64,
    pub(crate) threads: Threads,
    /// Set once nothing will be run any more.
    pub(crate) closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: Config) -> std::io::Result<Arc<Shared>> {
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

    pub(crate) fn active_remotes(&self) -> &[Remote] {
        &self.remotes[..self.active.load(Ordering::Acquire)]
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Closing,
            _ => Phase::Abandoned,
        }
    }

    /// Enters a phase, and gets every worker up to see it.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
        for remote in self.active_remotes() {
            remote.notify(&self.idle);
        }
    }

    /// Queues a coroutine for whichever worker takes it.
    pub(crate) fn inject(&self, task: Runnable) {
        self.injector.push(task);
        self.work_was_pushed();
    }

    pub(crate) fn take_injected(&self, into: &Deque<Runnable>) -> Option<Runnable> {
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
    pub(crate) fn take_share_of_injected(&self, into: &Deque<Runnable>) {
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
    pub(crate) fn count_yielded(&self) -> usize {
        if self.yielded.is_empty() { 0 } else { self.yielded.len() }
    }

    /// Queues a coroutine that has yielded, for whichever worker takes it.
    pub(crate) fn inject_yielded(&self, task: Runnable) {
        self.yielded.push(task);
        self.work_was_pushed();
    }

    /// The next of those that have yielded.
    pub(crate) fn take_yielded(&self) -> Option<Runnable> {
        if self.yielded.is_empty() { None } else { take_one(&self.yielded) }
    }

    pub(crate) fn take_one_injected(&self) -> Option<Runnable> {
        take_one(&self.injector)
    }

    /// Wakes a worker to search, unless one does already.
    #[inline]
    pub(crate) fn work_was_pushed(&self) {
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
    pub(crate) fn has_shared_work(&self) -> bool {
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
    pub(crate) fn note_poll(&self, remote: &Remote, at: Instant) {
        let since = at.saturating_duration_since(self.began);
        remote.polled.store(since.as_nanos() as u64, Ordering::Relaxed);
        remote.polls.store(remote.polls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// As of when a worker's last poll for itself has seen what there was.
    pub(crate) fn polled_at(&self, remote: &Remote) -> Instant {
        self.began + Duration::from_nanos(remote.polled.load(Ordering::Relaxed))
    }

    /// Whether no coroutine is alive or queued.
    pub(crate) fn is_quiet(&self) -> bool {
        // In this order: what `take_back` moves is in the one place or in the other.
        self.active_remotes().iter().all(|remote| remote.load_now() == 0 && remote.inbox.is_empty())
            && !self.has_shared_work()
    }

    /// Gives what was handed to a stuck worker to be started to whichever worker takes it.
    pub(crate) fn take_back(&self, remote: &Remote) {
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
    pub(crate) fn least_loaded(&self, but: usize) -> Option<(usize, usize)> {
        let remotes = self.active_remotes().iter().enumerate();
        remotes
            .filter(|(index, remote)| *index != but && remote.welcomes())
            .map(|(index, remote)| (index, remote.load()))
            .min_by_key(|(_, load)| *load)
    }

    /// Queues an unstarted coroutine that no worker has spawned.
    pub(crate) fn inject_from_outside(&self, task: Runnable) {
        self.inject(task);
        self.discard_if_closed();
    }

    /// Called after an unstarted coroutine was put where it might never be taken from.
    pub(crate) fn discard_if_closed(&self) {
        // Pairs with the shutdown, which closes and then drains: one of the two sees the other.
        if self.closed.load(Ordering::SeqCst) {
            self.discard_unstarted();
        }
    }

    /// Ends the unstarted coroutines that no worker owns: nothing runs any more.
    pub(crate) fn discard_unstarted(&self) {
        while let Some(task) = self.take_one_injected() {
            discard(task);
        }
        for remote in self.active_remotes() {
            while let Some(task) = remote.take_assigned() {
                discard(task);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::{self, Id, Settings};
    use crate::runtime::Builder;
    use crate::sched::schedule::ToRunQueue;
    use crate::stack::StackSize;
    use std::panic::Location;

    /// A shutdown that is over drains the queues no more: the thread that pushes afterwards does.
    #[test]
    fn what_is_taken_back_after_the_end_is_discarded() {
        let runtime = Builder::new().worker_threads(1).build().expect("a runtime");
        let shared = Arc::clone(runtime.shared());
        drop(runtime);
        let settings = Settings {
            id: Id(Id::reserve(1)),
            name: None,
            stack: StackSize::DEFAULT,
            pinned: false,
            limit: None,
            checked: false,
            site: Location::caller(),
        };
        // SAFETY: nothing is borrowed.
        let (header, handle) = unsafe { coroutine::new::<_, _, ToRunQueue>(|| (), settings) };
        let remote = &shared.remotes[0];
        remote.placed.fetch_add(1, Ordering::SeqCst);
        remote.assigned.push(Runnable(header.cast()));
        shared.take_back(remote);
        assert!(handle.header().done.is_set(), "its joiner would wait for ever");
    }
}
