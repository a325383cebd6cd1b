//! What the calling thread is to the scheduler: its worker, the coroutine that runs on it, and what belongs
//! to that coroutine alone.

use super::config::{Phase, RingUse};
use super::registry::runtimes;
use super::remote::FileWay;
use super::shared::{Remote, Shared};
use super::simulated;
use super::timers::TimerKey;
use super::worker::{Worker, this_worker};
use crate::coroutine::{Batch, Header, LocalRecord, Ticket, WaitReason, with_parker};
use crate::netpoll::Source;
use crate::ring::Ring;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Calls `f` with the thread's worker, if it is one. `f` does not switch.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&Worker) -> R) -> Option<R> {
    let worker = this_worker();
    // SAFETY: it is null or the worker whose `run` is below us on this thread.
    unsafe { worker.as_ref() }.map(f)
}

/// The coroutine that runs on this thread.
#[inline]
pub(crate) fn current_coroutine() -> Option<NonNull<Header>> {
    with(|worker| worker.current.get()).flatten()
}

/// The coroutine that a wait here parks; `None` where it blocks the thread.
#[inline]
pub(crate) fn parkable_coroutine() -> Option<NonNull<Header>> {
    current_coroutine().filter(|_| !std::thread::panicking())
}

/// Whether a wait here parks a coroutine rather than blocks the thread.
#[inline]
pub(crate) fn may_switch() -> bool {
    parkable_coroutine().is_some()
}

/// Whether this thread is a worker of any runtime, inside or outside of a coroutine.
#[inline]
pub(crate) fn on_worker() -> bool {
    with(|_| ()).is_some()
}

/// Whether this thread is a worker of that runtime.
pub(crate) fn is_worker_of(shared: &Arc<Shared>) -> bool {
    with(|worker| Arc::ptr_eq(worker.shared(), shared)) == Some(true)
}

/// A thread that is a worker.
#[derive(Clone, Copy)]
pub(crate) struct Here {
    /// Its number in its runtime.
    pub(crate) worker: usize,
    /// Whether it wakes what a poll has brought.
    pub(crate) polls: bool,
}

/// This thread, if it is a worker of that runtime, which may have ended.
#[inline]
pub(crate) fn here_in(runtime: &Weak<Shared>) -> Option<Here> {
    let is_its = |worker: &Worker| Arc::as_ptr(worker.shared()) == runtime.as_ptr();
    with(|worker| is_its(worker).then(|| Here { worker: worker.index, polls: worker.polls() })).flatten()
}

/// Whether a wait here blocks the thread of a worker, with all coroutines that live there. What it waits for
/// must then not depend on them.
pub(crate) fn blocks_worker() -> bool {
    !may_switch() && on_worker()
}

/// The number of this thread's worker in its runtime.
#[inline]
pub(crate) fn worker_index() -> Option<usize> {
    with(|worker| worker.index)
}

/// The runtime whose worker this thread is.
pub(crate) fn current_runtime() -> Option<Arc<Shared>> {
    with(|worker| Arc::clone(worker.shared()))
}

/// Has the source follow its user to the shard of this thread's worker; true if it has moved. See
/// `Source::follow`.
pub(crate) fn follow_to_shard(source: &Source) -> bool {
    let mut batch = Batch::new();
    let follow = |worker: &Worker| {
        let tick = worker.shared().ticks.load(Ordering::Relaxed);
        source.follow(worker.shard(), tick, &mut batch)
    };
    let moved = with(follow) == Some(true);
    batch.wake();
    moved
}

/// Joins the source to the shard of this thread's worker. On a plain thread this does nothing.
#[inline]
pub(crate) fn join_shard(source: &Source) -> io::Result<()> {
    with(|worker| source.join(worker.shard())).unwrap_or(Ok(()))
}

/// As `join_shard`. On a plain thread, joins a shard of some runtime.
pub(crate) fn join_some_shard(source: &Source) -> io::Result<()> {
    if let Some(joined) = with(|worker| source.join(worker.shard())) {
        return joined;
    }
    let runtime = runtimes().into_iter().find(|shared| shared.phase() == Phase::Running);
    let Some(runtime) = runtime else {
        return Err(io::Error::other("no runtime: sward polls descriptors for futures only while one runs"));
    };
    source.join(&runtime.remotes[0].shard)
}

/// Counts a call on a file by the coroutine that runs on this thread. On a plain thread this does nothing.
pub(crate) fn count_file_call(way: FileWay) {
    with(|worker| worker.remote().note_file_call(way));
}

/// Whether the settings allow a ring for a call that is faster in it or not; false on a plain thread.
pub(crate) fn wants_ring(pays: bool) -> bool {
    let wants = with(|worker| match worker.shared().config().io_uring {
        RingUse::Nothing => false,
        RingUse::WhatPays => pays,
        RingUse::Everything => true,
    });
    wants == Some(true)
}

/// The ring of this thread's worker; `None` on a plain thread, and where the system refuses it.
pub(crate) fn ring() -> Option<Arc<Ring>> {
    with(|worker| worker.remote().ring.open(&worker.remote().shard)).flatten()
}

/// A number of this thread's worker that differs from call to call; `None` on a plain thread.
pub(crate) fn random() -> Option<u32> {
    with(Worker::random)
}

/// The choice of the simulation that this thread runs among that many; `None` if it runs none.
#[inline]
pub(crate) fn simulated_choice(bound: usize) -> Option<usize> {
    let on_worker =
        || with(|worker| worker.simulated.is_on().then(|| worker.simulated.draw_below(bound))).flatten();
    if simulated::POSSIBLE { on_worker() } else { None }
}

/// A wait is about to block this thread. If that runs a simulation, time passes in place of that, as
/// [`Simulated::blocks`](simulated::Simulated::blocks) says, and the result is true.
pub(super) fn simulated_block(reason: WaitReason, deadline: Option<Instant>) -> bool {
    let blocks = |worker: &Worker| {
        let is_on = worker.simulated.is_on();
        if is_on {
            worker.simulated.blocks(reason, deadline);
        }
        is_on
    };
    simulated::POSSIBLE && with(blocks) == Some(true)
}

/// A random number of the simulation that this thread runs; `None` if it runs none.
pub(crate) fn simulated_random() -> Option<u32> {
    let on_worker = || with(|worker| worker.simulated.is_on().then(|| worker.random())).flatten();
    if simulated::POSSIBLE { on_worker() } else { None }
}

/// Sets a timer of this thread's worker. Called from a `commit`.
pub(super) fn set_timer(deadline: Instant, ticket: Ticket) -> ArmedTimer {
    with(|worker| {
        let remote = worker.remote();
        ArmedTimer { remote, key: remote.timers.lock().insert(deadline, ticket) }
    })
    .expect("a commit runs on a worker")
}

/// A timer that is set.
#[derive(Clone, Copy)]
pub(super) struct ArmedTimer {
    remote: *const Remote,
    key: TimerKey,
}

impl ArmedTimer {
    /// Takes the timer back, if it has not fired. Afterwards it does not touch its ticket.
    pub(super) fn cancel(self) {
        // SAFETY: remotes live as long as the runtime, which outlives its coroutines, one of which
        // calls this.
        unsafe { &*self.remote }.timers.lock().cancel(self.key);
    }
}

/// Whether the calling coroutine has been cancelled, be it masked or not.
pub(crate) fn cancelled() -> bool {
    // SAFETY: the coroutine that runs this is alive.
    current_coroutine().is_some_and(|header| unsafe { header.as_ref() }.waiter.cancelled())
}

/// Calls `f` with what belongs to the calling coroutine, or the calling thread, alone.
pub(crate) fn with_local_record<R>(f: impl FnOnce(&LocalRecord) -> R) -> R {
    match current_coroutine() {
        // SAFETY: the coroutine that runs this is alive, and it is the caller.
        Some(header) => f(unsafe { header.as_ref().local_record() }),
        // SAFETY: this thread leases the parker.
        None => with_parker(|parker| f(unsafe { parker.local_record() })),
    }
}

/// As [`with_local_record`], without making for a coroutine what it has not needed so far.
pub(super) fn with_local_record_if_any<R>(f: impl FnOnce(Option<&LocalRecord>) -> R) -> R {
    match current_coroutine() {
        // SAFETY: the coroutine that runs this is alive, and it is the caller.
        Some(header) => f(unsafe { header.as_ref().local_record_if_any() }),
        // SAFETY: this thread leases the parker.
        None => with_parker(|parker| f(Some(unsafe { parker.local_record() }))),
    }
}

/// The time limit of the section of code that the caller is in.
pub(crate) fn limit() -> Option<Instant> {
    with_local_record_if_any(|own| own.and_then(LocalRecord::limit))
}

/// Whether the calling thread is unwinding from a cancellation, which poisons nothing.
pub(crate) fn cancelling() -> bool {
    std::thread::panicking() && with_local_record_if_any(|own| own.is_some_and(LocalRecord::cancelling))
}
