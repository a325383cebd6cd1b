//! The two queues of a worker from which other workers steal.
//!
//! When a deque changes the size of its buffer, it pins the thread in crossbeam-epoch, whose record of the
//! thread is a thread-local. So each mobile home in which that happens would have a record, and each later
//! change would visit them all: with 256 homes that takes 10 µs, a few times for each poll that wakes many
//! homes. So a deque changes its buffer on the worker's own thread-locals ([`Home::outside`]).

use super::home::Home;
use super::runnable::Runnable;
use crossbeam_deque::Worker;
use std::cell::Cell;
use std::ops::Deref;

/// The capacity of the smallest buffer.
const LEAST: usize = 64;

/// The worker's ends of the two queues that other workers steal from.
pub(super) struct Deques {
    pub(super) oldest_first: Deque,
    pub(super) newest_first: Deque,
}

impl Deques {
    pub(super) fn new() -> Deques {
        Deques { oldest_first: Deque::new(Worker::new_fifo()), newest_first: Deque::new(Worker::new_lifo()) }
    }
}

/// The worker's end of one queue.
pub(super) struct Deque {
    deque: Worker<Runnable>,
    /// The capacity of the buffer, as far as this file knows: thieves, the injector and pushes in a pinned
    /// home may have enlarged it. If it is wrong, the buffer changes on the thread-locals of a home.
    capacity: Cell<usize>,
}

impl Deque {
    fn new(deque: Worker<Runnable>) -> Deque {
        Deque { deque, capacity: Cell::new(LEAST) }
    }

    /// Adds an item. The worker runs that home.
    #[inline]
    pub(super) fn push<R>(&self, home: &Home<R>, item: Runnable) {
        // A full buffer doubles.
        if home.is_mobile() && self.deque.len() >= self.capacity.get() {
            return self.grow_and_push(home, item);
        }
        self.deque.push(item);
    }

    #[cold]
    #[inline(never)]
    fn grow_and_push<R>(&self, home: &Home<R>, item: Runnable) {
        self.capacity.set((self.deque.len() + 1).next_power_of_two());
        let mut item = Some(item);
        home.outside(&mut || self.deque.push(item.take().expect("called once")));
    }

    /// Takes the next item. The worker runs that home.
    #[inline]
    pub(super) fn pop<R>(&self, home: &Home<R>) -> Option<Runnable> {
        // A pop that leaves a large buffer a quarter full halves it.
        if self.capacity.get() > LEAST && home.is_mobile() && self.deque.len() <= self.capacity.get() / 4 + 1
        {
            return self.pop_and_shrink(home);
        }
        self.deque.pop()
    }

    #[cold]
    #[inline(never)]
    fn pop_and_shrink<R>(&self, home: &Home<R>) -> Option<Runnable> {
        self.capacity.set(self.capacity.get() / 2);
        let mut item = None;
        home.outside(&mut || item = self.deque.pop());
        item
    }
}

/// What others need of it: its length, and where stolen items go.
impl Deref for Deque {
    type Target = Worker<Runnable>;

    fn deref(&self) -> &Worker<Runnable> {
        &self.deque
    }
}
