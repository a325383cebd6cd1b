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
    /// Whether the buffer is likely to be larger than the smallest one. Then it shrinks at some pop.
    is_large: Cell<bool>,
}

impl Deque {
    fn new(deque: Worker<Runnable>) -> Deque {
        Deque { deque, is_large: Cell::new(false) }
    }

    /// Adds an item. The worker runs that home.
    #[inline]
    pub(super) fn push<R>(&self, home: &Home<R>, item: Runnable) {
        let len = self.deque.len();
        // The capacity is a power of two.
        if len >= LEAST && len.is_power_of_two() {
            let mut item = Some(item);
            home.outside(&mut || self.deque.push(item.take().expect("called once")));
        } else {
            self.deque.push(item);
        }
    }

    /// Takes the next item. The worker runs that home.
    #[inline]
    pub(super) fn pop<R>(&self, home: &Home<R>) -> Option<Runnable> {
        let len = self.deque.len();
        // A large buffer shrinks in a few pops when little is left.
        self.is_large.set(len > LEAST || self.is_large.get() && len > 1);
        if !self.is_large.get() {
            return self.deque.pop();
        }
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
