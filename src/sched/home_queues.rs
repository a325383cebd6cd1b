//! The run queues of one home: its coroutines that are runnable. Only the worker that runs the home uses
//! them; [`run_queues`](super::run_queues) says in what order. A worker of a pinned home runs it always; of a
//! mobile home, from `Handover::begin` or `try_take` to `requeue` or `release`, and the next worker sees what
//! the last one has left here (`handover.rs`). There is one exception: a thread that queues an idle home puts
//! the coroutine into `ready` that it has woken.

use crate::coroutine::{Batch, Header, Waiter};
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;

/// The runnable coroutines of one home. What a wake touches comes first (`Home`).
#[repr(C)]
pub(super) struct HomeQueues {
    /// Woken coroutines that this round serves.
    pub(super) ready: PrivateQueue,
    pub(super) lifo: Cell<Option<NonNull<Waiter>>>,
    /// How many turns in a row `lifo` has had.
    pub(super) lifo_run: Cell<u32>,
    /// Woken coroutines that the next round serves.
    pub(super) woken: PrivateQueue,
    /// Yielded coroutines that this round serves.
    pub(super) yielded: PrivateQueue,
    /// Yielded coroutines that the next round serves.
    pub(super) next_yielded: PrivateQueue,
}

impl HomeQueues {
    pub(super) fn new() -> HomeQueues {
        HomeQueues {
            ready: PrivateQueue::new(),
            lifo: Cell::new(None),
            lifo_run: Cell::new(0),
            woken: PrivateQueue::new(),
            yielded: PrivateQueue::new(),
            next_yielded: PrivateQueue::new(),
        }
    }

    /// Whether any coroutine waits here.
    #[inline]
    pub(super) fn any(&self) -> bool {
        let own = [&self.ready, &self.woken, &self.yielded, &self.next_yielded];
        self.lifo.get().is_some() || own.iter().any(|queue| !queue.is_empty())
    }

    /// How many coroutines wait here. Counts no further than `most`.
    pub(super) fn count_up_to(&self, most: usize) -> usize {
        let own = [&self.ready, &self.woken, &self.yielded, &self.next_yielded];
        let lifo = usize::from(self.lifo.get().is_some());
        own.iter().fold(lifo, |seen, queue| seen + queue.count_up_to(most - seen.min(most)))
    }

    /// Whether all that wait here have yielded during the present slice.
    pub(super) fn only_yielded(&self) -> bool {
        let others = [&self.ready, &self.woken];
        self.lifo.get().is_none() && others.iter().all(|queue| queue.is_empty())
    }

    /// Begins a slice of a mobile home: its worker serves all that waits here before it takes other work, and
    /// so does not serve yielded coroutines after all others. They have waited while other homes ran.
    pub(super) fn begin_slice(&self, inbox: Batch) {
        self.ready.take_over(&self.woken);
        self.ready.append(inbox);
        self.ready.take_over(&self.yielded);
        self.ready.take_over(&self.next_yielded);
    }

    /// Takes any coroutine, in no order: for a worker that leaves.
    pub(super) fn take_any(&self) -> Option<NonNull<Waiter>> {
        let own = [&self.ready, &self.woken, &self.yielded, &self.next_yielded];
        self.lifo.take().or_else(|| own.iter().find_map(|queue| queue.pop()))
    }
}

/// A queue that one thread at a time uses: the worker that runs the home, or the thread that queues it. No
/// reference to the batch outlives the method that makes it, and no method calls back, so there is never a
/// second reference.
pub(super) struct PrivateQueue(UnsafeCell<Batch>);

impl PrivateQueue {
    pub(super) fn new() -> PrivateQueue {
        PrivateQueue(UnsafeCell::new(Batch::new()))
    }

    /// The batch.
    ///
    /// # Safety
    ///
    /// No other reference to it exists.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    unsafe fn batch(&self) -> &mut Batch {
        // SAFETY: as the caller says; the type is not `Sync`.
        unsafe { &mut *self.0.get() }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // SAFETY: none outlives a method.
        unsafe { self.batch() }.is_empty()
    }

    fn count_up_to(&self, most: usize) -> usize {
        // SAFETY: none outlives a method.
        unsafe { self.batch() }.count_up_to(most)
    }

    /// Queues a coroutine.
    ///
    /// # Safety
    ///
    /// It is in no queue, and stays alive until it was taken.
    #[inline]
    pub(super) unsafe fn push(&self, waiter: NonNull<Waiter>) {
        // SAFETY: none outlives a method. The element is as the caller says.
        unsafe { self.batch().push(waiter) };
    }

    pub(super) fn pop(&self) -> Option<NonNull<Waiter>> {
        // SAFETY: none outlives a method.
        unsafe { self.batch() }.pop()
    }

    pub(super) fn append(&self, mut more: Batch) {
        // SAFETY: none outlives a method.
        unsafe { self.batch() }.append(&mut more);
    }

    /// Takes over all of another queue.
    #[inline]
    pub(super) fn take_over(&self, other: &PrivateQueue) {
        // SAFETY: none outlives a method, and the two are different queues.
        unsafe { self.batch().append(other.batch()) };
    }

    /// Takes the first coroutine, and prefetches the next two, which are loaded while the first one runs: if
    /// many wait for their turn, most of them have left the processor's cache.
    #[inline]
    pub(super) fn pop_looking_ahead(&self) -> Option<NonNull<Waiter>> {
        // SAFETY: none outlives a method.
        let batch = unsafe { self.batch() };
        let popped = batch.pop()?;
        let (next, after_next) = batch.first_two();
        if let Some(next) = next {
            // SAFETY: coroutines in the worker's own queue are alive, and the worker owns them.
            unsafe { next.cast::<Header>().as_ref().prefetch_stack() };
        }
        if let Some(after_next) = after_next {
            Header::prefetch(after_next.cast());
        }
        Some(popped)
    }
}
