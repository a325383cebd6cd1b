//! The queue of a channel. It frees the memory of a burst as it empties.
//!
//! ```text
//!   front (a ring)        behind: full chunks, oldest first; the last one is filled
//!   [ oldest ... ]  <---  [ ............ ]  [ ............ ]  [ ... newest ]
//! ```
//!
//! The problem: a ring that grows with a burst keeps the memory of the largest burst for ever, and each time
//! it grows it moves all messages, under the channel's lock.
//!
//! So a ring grows to one chunk only. More messages go into more chunks, and a chunk is freed when it has
//! become the front and is empty.
//!
//! Invariant: the front is empty only if nothing is behind it. An empty queue holds the buffer of at most one
//! chunk.

use std::collections::{LinkedList, VecDeque};

/// About the size of a chunk in bytes.
const BYTES: usize = 4096;
/// A chunk has room for at least that many messages, however large they are.
const FEWEST: usize = 8;

/// First in, first out.
pub(super) struct Queue<T> {
    front: VecDeque<T>,
    behind: LinkedList<VecDeque<T>>,
    /// How many messages are behind the front.
    behind_len: usize,
}

impl<T> Queue<T> {
    /// How many messages a chunk has room for. A power of two: rings grow by doubling.
    const CHUNK: usize = match size_of::<T>() {
        0 => usize::MAX,
        size if BYTES / size < FEWEST => FEWEST,
        size => 1 << (BYTES / size).ilog2(),
    };

    pub(super) const fn new() -> Queue<T> {
        Queue { front: VecDeque::new(), behind: LinkedList::new(), behind_len: 0 }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.front.len() + self.behind_len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.front.is_empty()
    }

    #[inline]
    pub(super) fn push_back(&mut self, value: T) {
        if self.behind_len == 0 && self.front.len() < Self::CHUNK {
            self.front.push_back(value);
        } else {
            self.push_behind(value);
        }
    }

    /// Puts back what [`pop_front`](Self::pop_front) has returned.
    #[cold]
    pub(super) fn push_front(&mut self, value: T) {
        if self.front.len() >= Self::CHUNK {
            let first = std::mem::replace(&mut self.front, VecDeque::with_capacity(Self::CHUNK));
            self.behind_len += first.len();
            self.behind.push_front(first);
        }
        self.front.push_front(value);
    }

    #[inline(never)]
    fn push_behind(&mut self, value: T) {
        self.behind_len += 1;
        match self.behind.back_mut() {
            Some(last) if last.len() < Self::CHUNK => last.push_back(value),
            _ => {
                let mut chunk = VecDeque::with_capacity(Self::CHUNK);
                chunk.push_back(value);
                self.behind.push_back(chunk);
            }
        }
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        let first = self.front.pop_front();
        if self.behind_len > 0 && self.front.is_empty() {
            self.next_chunk();
        }
        first
    }

    #[inline(never)]
    fn next_chunk(&mut self) {
        self.front = self.behind.pop_front().expect("what is behind the front is in a chunk");
        self.behind_len -= self.front.len();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Behaves as a `VecDeque`, whatever the size of a message.
    fn behaves<T>(make: impl Fn(usize) -> T, number: impl Fn(&T) -> usize) {
        let (mut queue, mut model) = (Queue::new(), VecDeque::new());
        let (mut next, mut seed) = (0, 1_u32);
        for round in 0..40 {
            for _ in 0..500 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Grows in one round and shrinks in the next.
                if (seed >> 16) % 8 < if round % 2 == 0 { 6 } else { 2 } {
                    queue.push_back(make(next));
                    model.push_back(next);
                    next += 1;
                } else {
                    let first = queue.pop_front();
                    assert_eq!(first.as_ref().map(&number), model.pop_front());
                    if let Some(first) = first.filter(|_| seed % 16 == 0) {
                        model.push_front(number(&first));
                        queue.push_front(first);
                    }
                }
                assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
            }
        }
        while let Some(value) = queue.pop_front() {
            assert_eq!(Some(number(&value)), model.pop_front());
        }
        assert!(model.is_empty() && queue.is_empty());
    }

    #[test]
    fn a_queue_is_first_in_first_out() {
        behaves(|i| i as u64, |&i| i as usize);
        behaves(|i| [i; 100], |i| i[99]);
        behaves(|i| [i; 1000], |i| i[999]);
        behaves(|i| i.to_string(), |i| i.parse().expect("a number"));
        let mut nothing = Queue::new();
        (0..10_000).for_each(|_| nothing.push_back(()));
        assert_eq!((nothing.len(), std::iter::from_fn(|| nothing.pop_front()).count()), (10_000, 10_000));
    }

    #[test]
    fn an_emptied_queue_holds_one_chunk() {
        fn held<T: Clone>(value: &T) -> usize {
            let mut queue = Queue::new();
            (0..100_000).for_each(|_| queue.push_back(value.clone()));
            while queue.pop_front().is_some() {}
            assert_eq!((queue.behind.len(), queue.behind_len), (0, 0));
            queue.front.capacity() * size_of::<T>()
        }
        assert!(held(&1_u8) <= BYTES);
        assert!(held(&1_u64) <= BYTES);
        assert!(held(&[1_u64; 5]) <= BYTES);
        assert!(held(&[1_u64; 128]) <= FEWEST * 1024);
    }
}
