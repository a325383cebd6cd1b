//! The run queues of one worker: which coroutine runs next.
//!
//! The problem: a worker has several sources of runnable coroutines. Any fixed order between them lets the
//! first source starve the last one, and a fixed share lets a source that fills faster than its share grow
//! for ever.
//!
//! So a worker takes its work in *rounds*. A round serves what was runnable when it began, source by source.
//! What becomes runnable during a round waits for the next one.
//!
//! ```text
//!  source          holds                                              order
//!  ready           woken coroutines whose home is this worker         oldest first
//!  oldest_first    unstarted ones; migrating: woken ones, too         oldest first   (may be stolen)
//!  assigned        unstarted ones that another worker placed here     oldest first   (`Remote::assigned`)
//!  newest_first    unstarted children of coroutines in their first    newest first   (may be stolen)
//!                  turn: trees of spawns
//!  yielded         coroutines that have yielded                       oldest first
//!  lifo            the one that the running coroutine has just woken  next, at most LIFO_RUN times in a row
//! ```
//!
//! A round begins when the one before is served. It then
//! - takes over what was woken and what has yielded during the round before, and the inbox;
//! - moves this worker's share of the injector to `oldest_first`;
//! - notes how many coroutines each of the other sources holds: the round serves that many, or until the
//!   source is empty.
//!
//! `yielded` comes last in a round: `yield_now` returns after everything that was runnable has had a turn. A
//! coroutine that yields may compute for long, while others usually have little to do and somebody who waits
//! for them. So what a round has spawned or woken goes before its `yielded`, which are put off for up to
//! [`MOST_PUT_OFF`] rounds. After them a round serves one yielded coroutine in any case, and more of them
//! until the netpoller thread has looked once more, after a millisecond.
//!
//! The bound. Let a coroutine become runnable during round k. Round k serves at most what was runnable when
//! it began, round k + 1 what was runnable when that one began, and the coroutine is among the latter. Each
//! turn of a round is followed by at most `LIFO_RUN` turns of `lifo`. So it waits for at most (1 + LIFO_RUN)
//! turns for each coroutine that was runnable at the beginning of the two rounds, and for two turns for each
//! if none of them wakes another. There are two exceptions:
//! - The n-th of `yielded` waits for n times MOST_PUT_OFF + 1 rounds at most: fewer where turns are shorter
//!   than a millisecond, or do not spawn and wake others all the time. In migrating mode pinned coroutines
//!   that yield have a queue of their own, and the two queues are served by turns: the n-th of either waits
//!   twice as long.
//! - `newest_first` promises each of its coroutines a turn, but not in this round. A round takes the oldest
//!   one first, and so does every [`OLDEST_TURN`]th turn, so the n-th oldest waits for n rounds, or n times
//!   OLDEST_TURN turns, whichever is less.
//!
//! Rejected:
//! - A turn in so many for each source (as Go's 61st for its global queue, here once the 4th and the 8th):
//!   the share does not grow with the backlog. Two coroutines that compute for 10 ms and yield left 66 turns
//!   a second to unstarted ones, of which 200 came.
//! - One queue in order of arrival for all: trees of spawns are then walked in breadth, and all their inner
//!   nodes are alive at once.
//! - Newest first for all that is spawned: the oldest connection of an accept loop under load waits longest.

use super::deques::Deques;
use super::runnable::Runnable;
use super::shared::{Remote, Shared};
use crate::coroutine::{Batch, Header, Waiter};
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// How often in a row the coroutine just woken goes first: a ping-pong pair must not starve the rest.
pub(super) const LIFO_RUN: u32 = 16;
/// Every so many turns the oldest of `newest_first` goes first. Prime, so that it does not fall in step with
/// a program's own period.
pub(super) const OLDEST_TURN: u32 = 61;

/// The most rounds in a row that put off their yielded coroutines, because each has spawned or woken others.
const MOST_PUT_OFF: u32 = 3;

/// Which coroutines that have yielded a round serves next.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Yielders {
    /// First the coroutines that stay on this worker, then the ones that migrate.
    #[default]
    OwnFirst,
    /// The other way round.
    MigratingFirst,
    /// None: one was served, and the netpoller thread has looked since; or they are put off.
    Enough,
}

/// How many coroutines of each source the present round still serves. `ready` and `yielded` need no number:
/// what belongs to the next round waits in a queue beside them.
#[derive(Default)]
struct Left {
    /// Whether any of the next three numbers may be above zero.
    unstarted: Cell<bool>,
    oldest_first: Cell<usize>,
    assigned: Cell<usize>,
    newest_first: Cell<usize>,
    /// Migrating mode: coroutines that have yielded, on any worker.
    yielded: Cell<usize>,
    /// Migrating mode: whether the round serves those before the pinned ones.
    migrating_first: Cell<bool>,
    /// Which coroutines that have yielded come next.
    yielders: Cell<Yielders>,
    /// Whether the oldest of `newest_first` has yet to be served.
    oldest: Cell<bool>,
    /// Whether one that has yielded was served.
    served_yielded: Cell<bool>,
}

pub(super) struct RunQueues {
    lifo: Cell<Option<NonNull<Waiter>>>,
    lifo_run: Cell<u32>,
    /// Of this round, and of the next.
    ready: OwnQueue,
    woken: OwnQueue,
    /// Of this round, and of the next.
    yielded: OwnQueue,
    has_yielded: OwnQueue,
    deques: Deques,
    left: Left,
    /// Whether anything was spawned or woken here since the round began.
    newcomers: Cell<bool>,
    /// How many rounds have put off their yielded coroutines since one had a turn.
    put_off: Cell<u32>,
}

impl RunQueues {
    pub(super) fn new(deques: Deques) -> RunQueues {
        RunQueues {
            lifo: Cell::new(None),
            lifo_run: Cell::new(0),
            ready: OwnQueue::new(),
            woken: OwnQueue::new(),
            yielded: OwnQueue::new(),
            has_yielded: OwnQueue::new(),
            deques,
            left: Left::default(),
            newcomers: Cell::new(false),
            put_off: Cell::new(0),
        }
    }

    /// Takes out what is in `lifo`.
    pub(super) fn take_lifo(&self) -> Option<NonNull<Waiter>> {
        self.lifo.take()
    }

    /// Puts a coroutine into `lifo`, and gives the one that it displaces.
    pub(super) fn put_first(&self, waiter: NonNull<Waiter>) -> Option<NonNull<Waiter>> {
        self.lifo.replace(Some(waiter))
    }

    pub(super) fn has_first(&self) -> bool {
        self.lifo.get().is_some()
    }

    /// Queues a woken coroutine that stays on this worker.
    pub(super) fn push_woken(&self, waiter: NonNull<Waiter>) {
        self.newcomers.set(true);
        // SAFETY: the caller has just woken it, so it is in no queue; it stays alive until it has run.
        unsafe { self.woken.push(waiter) };
    }

    /// Queues a coroutine that has yielded and stays on this worker.
    pub(super) fn push_yielded(&self, waiter: NonNull<Waiter>) {
        // SAFETY: it has just run, so it is in no queue; it stays alive until it has run again.
        unsafe { self.has_yielded.push(waiter) };
    }

    /// Queues a coroutine that may be stolen.
    pub(super) fn push_oldest_first(&self, task: Runnable) {
        self.newcomers.set(true);
        self.deques.oldest_first.push(task);
    }

    /// Queues an unstarted coroutine ahead of all that were queued by this method before.
    pub(super) fn push_newest_first(&self, task: Runnable) {
        self.newcomers.set(true);
        self.deques.newest_first.push(task);
    }

    /// The deques, for what is stolen from others.
    pub(super) fn deques(&self) -> &Deques {
        &self.deques
    }

    /// Whether anything waits here that only this worker can run.
    pub(super) fn has_own(&self) -> bool {
        let own = [&self.ready, &self.woken, &self.yielded, &self.has_yielded];
        self.lifo.get().is_some() || own.iter().any(|queue| !queue.is_empty())
    }

    /// Takes the coroutine to run next. `push_behind` queues the one that has had its `LIFO_RUN` turns in a
    /// row.
    #[inline]
    pub(super) fn next(
        &self,
        remote: &Remote,
        shared: &Shared,
        push_behind: impl FnOnce(NonNull<Waiter>),
    ) -> Option<Runnable> {
        if let Some(waiter) = self.lifo.take() {
            let run = self.lifo_run.get() + 1;
            if run <= LIFO_RUN {
                self.lifo_run.set(run);
                return Some(Runnable(waiter));
            }
            push_behind(waiter);
        }
        self.lifo_run.set(0);
        let mut begun = false;
        // At most twice: what is left of the present round, then the next one.
        loop {
            if let Some(waiter) = self.ready.pop_looking_ahead() {
                return Some(Runnable(waiter));
            }
            if self.left.unstarted.get()
                && let Some(task) = self.next_unstarted(remote)
            {
                return Some(task);
            }
            let yielders =
                if self.puts_off_yielded(begun) { Yielders::Enough } else { self.left.yielders.get() };
            if yielders == Yielders::OwnFirst {
                let yielded = self.yielded.pop_looking_ahead().map(Runnable);
                let yielded = yielded.or_else(|| take_within(&self.left.yielded, || shared.take_yielded()));
                if yielded.is_some() {
                    self.left.served_yielded.set(true);
                    self.put_off.set(0);
                    return yielded;
                }
            } else if yielders == Yielders::MigratingFirst
                && let Some(yielded) = self.take_migrating_first(shared)
            {
                return Some(yielded);
            }
            if begun {
                return None;
            }
            self.begin_round(remote, shared);
            begun = true;
        }
    }

    /// Whether the next round is to begin before a yielded coroutine is served: the present round has spawned
    /// or woken coroutines.
    #[inline]
    fn puts_off_yielded(&self, begun: bool) -> bool {
        let go_first = self.newcomers.get()
            && !begun
            && (!self.yielded.is_empty() || self.left.yielded.get() > 0)
            && self.put_off.get() < MOST_PUT_OFF;
        if go_first {
            self.put_off.set(self.put_off.get() + 1);
        }
        go_first
    }

    /// Notes that the netpoller thread has last_tick: the round serves no more coroutines that have
    /// yielded, if it has served one.
    pub(super) fn note_tick(&self) {
        if self.left.served_yielded.get() {
            self.left.yielders.set(Yielders::Enough);
        }
    }

    fn next_unstarted(&self, remote: &Remote) -> Option<Runnable> {
        let left = &self.left;
        let task = take_within(&left.oldest_first, || self.deques.oldest_first.pop())
            .or_else(|| take_within(&left.assigned, || remote.take_assigned()))
            .or_else(|| take_within(&left.newest_first, || self.pop_newest_first(remote)));
        left.unstarted.set(task.is_some());
        task
    }

    #[cold]
    fn take_migrating_first(&self, shared: &Shared) -> Option<Runnable> {
        let migrating = take_within(&self.left.yielded, || shared.take_yielded());
        let yielded = migrating.or_else(|| self.yielded.pop().map(Runnable))?;
        self.left.served_yielded.set(true);
        self.put_off.set(0);
        Some(yielded)
    }

    fn pop_newest_first(&self, remote: &Remote) -> Option<Runnable> {
        // Alone, it is the newest as well.
        let several = self.left.oldest.replace(false) && self.deques.newest_first.len() > 1;
        let oldest = if several { self.oldest(remote) } else { None };
        oldest.or_else(|| self.deques.newest_first.pop())
    }

    /// Takes the oldest coroutine of `newest_first`.
    pub(super) fn oldest(&self, remote: &Remote) -> Option<Runnable> {
        remote.newest_first.steal().success()
    }

    /// Begins a round, after the one before was served to its end.
    #[inline]
    fn begin_round(&self, remote: &Remote, shared: &Shared) {
        self.newcomers.set(false);
        self.ready.take_over(&self.woken);
        self.yielded.take_over(&self.has_yielded);
        if !remote.inbox.is_empty() {
            self.ready.append(remote.inbox.take());
        }
        shared.take_share_of_injected(&self.deques.oldest_first);
        let left = &self.left;
        let (oldest_first, newest_first) = (self.deques.oldest_first.len(), self.deques.newest_first.len());
        // Some of these may still be on their way.
        let assigned = remote.placed.load(Ordering::Relaxed);
        if oldest_first + newest_first + assigned > 0 {
            left.unstarted.set(true);
            left.oldest_first.set(oldest_first);
            left.assigned.set(assigned);
            left.newest_first.set(newest_first);
            left.oldest.set(true);
        }
        left.yielders.set(Yielders::OwnFirst);
        if shared.config().migrate {
            left.yielded.set(shared.count_yielded());
            left.migrating_first.set(left.migrating_first.get() ^ left.served_yielded.get());
            if left.migrating_first.get() {
                left.yielders.set(Yielders::MigratingFirst);
            }
        }
        left.served_yielded.set(false);
    }

    /// Takes anything, in no order: for a worker that ends.
    pub(super) fn take_any(&self, remote: &Remote) -> Option<Runnable> {
        let own = [&self.ready, &self.woken, &self.yielded, &self.has_yielded];
        let inbox = || {
            self.woken.append(remote.inbox.take());
            self.woken.pop()
        };
        let waiter = self.lifo.take().or_else(|| own.iter().find_map(|queue| queue.pop()));
        let own = waiter.or_else(inbox).map(Runnable);
        own.or_else(|| self.deques.oldest_first.pop())
            .or_else(|| remote.take_assigned())
            .or_else(|| self.deques.newest_first.pop())
    }
}

/// Takes one more coroutine of a source, if the round serves one.
#[inline]
fn take_within(left: &Cell<usize>, take: impl FnOnce() -> Option<Runnable>) -> Option<Runnable> {
    let n = left.get();
    if n == 0 {
        return None;
    }
    let task = take();
    // An empty source is served, also where others have stolen from it.
    left.set(if task.is_some() { n - 1 } else { 0 });
    task
}

/// A queue that only its worker touches. No reference to the batch outlives the method that makes it, and no
/// method calls back: so there is never a second one.
struct OwnQueue(UnsafeCell<Batch>);

impl OwnQueue {
    fn new() -> OwnQueue {
        OwnQueue(UnsafeCell::new(Batch::new()))
    }

    /// The batch.
    ///
    /// # Safety
    ///
    /// There is no other reference to it.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    unsafe fn batch(&self) -> &mut Batch {
        // SAFETY: as the caller says; the type is not `Sync`.
        unsafe { &mut *self.0.get() }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        // SAFETY: none outlives a method.
        unsafe { self.batch() }.is_empty()
    }

    /// Queues a coroutine.
    ///
    /// # Safety
    ///
    /// It is in no queue, and stays alive until it was taken.
    #[inline]
    unsafe fn push(&self, waiter: NonNull<Waiter>) {
        // SAFETY: none outlives a method. The element is as the caller says.
        unsafe { self.batch().push(waiter) };
    }

    fn pop(&self) -> Option<NonNull<Waiter>> {
        // SAFETY: none outlives a method.
        unsafe { self.batch() }.pop()
    }

    fn append(&self, mut more: Batch) {
        // SAFETY: none outlives a method.
        unsafe { self.batch() }.append(&mut more);
    }

    /// Takes over all of another queue.
    #[inline]
    fn take_over(&self, other: &OwnQueue) {
        // SAFETY: none outlives a method, and the two are different queues.
        unsafe { self.batch().append(other.batch()) };
    }

    /// Takes the first one, and prefetches the next two, which are loaded while the first one runs: of many
    /// that wait for their turn, most have left the processor's cache.
    #[inline]
    fn pop_looking_ahead(&self) -> Option<NonNull<Waiter>> {
        // SAFETY: none outlives a method.
        let batch = unsafe { self.batch() };
        let popped = batch.pop()?;
        let (next, after_next) = batch.first_two();
        if let Some(next) = next {
            // SAFETY: coroutines in the worker's own queue are alive, and the worker's.
            unsafe { next.cast::<Header>().as_ref().prefetch_stack() };
        }
        if let Some(after_next) = after_next {
            Header::prefetch(after_next.cast());
        }
        Some(popped)
    }
}
