//! A ring of recorded events: fixed memory, one writer, any number of readers that disturb nobody.
//!
//! # The problem
//!
//! A worker records an event in a few nanoseconds, again and again, and overwrites its oldest events. Another
//! thread copies what is there while the worker goes on. It must not take half of an old event and half of a
//! new one for an event: a word of it may be the address of a spawn site.
//!
//! # How it works
//!
//! ```text
//!  event n is in slot n mod capacity; a slot is four words, read and written one by one, relaxed
//!
//!  the writer, for event n            a reader
//!  1. begun = n + 1                   1. end = complete (acquire)
//!  2. release fence                   2. copies the words of events end - capacity .. end
//!  3. the words                       3. acquire fence
//!  4. complete = n + 1 (release)      4. begun; drops the events before begun - capacity
//! ```
//!
//! # The argument
//!
//! - *No data race*: all words are atomic.
//! - *An event that is returned is whole, and not an older one.* It is before `end`. The reader's load of
//!   `complete` acquires the release of that value or a later one, so each word that it copies is that of the
//!   event, or of an event that came into the slot later.
//! - *Nor a newer one.* The event that comes next into the slot of event n is n + capacity. If the reader has
//!   copied a word of it, the fence before that word's store and the fence after its load synchronize, so the
//!   reader's load of `begun` returns at least n + capacity + 1: it drops event n.
//! - *What a reader does not get it counts*: the events that were overwritten before it came, and the events
//!   that it has dropped.
//!
//! # Rejected
//!
//! - *A sequence number in each slot*: one store more for each event, and what it says follows from `begun`.
//! - *Only one of the two counts*: the last event would count as incomplete until the next one begins, and a
//!   worker that sleeps records none.

use crate::base::sync::{AtomicU64, Ordering, fence};

/// The words of an event.
pub(super) const WORDS: usize = 4;

/// A ring.
#[repr(align(64))]
pub(super) struct Ring {
    slots: Box<[[AtomicU64; WORDS]]>,
    begun: AtomicU64,
    complete: AtomicU64,
}

impl Ring {
    /// A ring for that many events, a power of two. All of its memory is touched here, so that no event pays
    /// for a page fault.
    pub(super) fn new(capacity: usize) -> Ring {
        debug_assert!(capacity.is_power_of_two());
        let slot = || std::array::from_fn(|_| AtomicU64::new(0));
        let slots = std::iter::repeat_with(slot).take(capacity).collect();
        Ring { slots, begun: AtomicU64::new(0), complete: AtomicU64::new(0) }
    }

    /// Records an event.
    ///
    /// # Safety
    ///
    /// No other thread writes to the ring before this returns, and the next writer synchronizes with this
    /// one.
    #[inline(always)]
    pub(super) unsafe fn write(&self, words: [u64; WORDS]) {
        let n = self.begun.load(Ordering::Relaxed);
        self.begun.store(n + 1, Ordering::Relaxed);
        // Pairs with the fence in `read`.
        fence(Ordering::Release);
        let slot = &self.slots[n as usize & (self.slots.len() - 1)];
        for (place, word) in slot.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.complete.store(n + 1, Ordering::Release);
    }

    /// How many events were recorded.
    pub(super) fn recorded(&self) -> u64 {
        self.complete.load(Ordering::Acquire)
    }

    /// Appends the events from number `from` on to `into`, the oldest first. Returns the number of the next
    /// event, and how many are lost.
    pub(super) fn read<T>(&self, from: u64, into: &mut Vec<T>, wrap: fn([u64; WORDS]) -> T) -> (u64, u64) {
        let (capacity, before) = (self.slots.len() as u64, into.len());
        let end = self.complete.load(Ordering::Acquire);
        let first = from.max(end.saturating_sub(capacity));
        for n in first..end {
            let slot = &self.slots[(n & (capacity - 1)) as usize];
            into.push(wrap(std::array::from_fn(|word| slot[word].load(Ordering::Relaxed))));
        }
        // Pairs with the fence in `write`.
        fence(Ordering::Acquire);
        let whole = self.begun.load(Ordering::Relaxed).saturating_sub(capacity).clamp(first, end.max(first));
        into.drain(before..before + (whole - first) as usize);
        (end.max(from), whole.saturating_sub(from))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn event(n: u64) -> [u64; WORDS] {
        std::array::from_fn(|word| n * WORDS as u64 + word as u64)
    }

    #[test]
    fn the_last_events_are_kept_and_the_others_counted() {
        let ring = Ring::new(4);
        let read = |from| {
            let mut events = Vec::new();
            let (next, lost) = ring.read(from, &mut events, |words| words);
            (events, next, lost)
        };
        assert_eq!(read(0), (vec![], 0, 0));
        // SAFETY: this thread is the only writer.
        let write = |n| unsafe { ring.write(event(n)) };
        (0..3).for_each(write);
        assert_eq!(read(1), (vec![event(1), event(2)], 3, 0));
        (3..9).for_each(write);
        assert_eq!(read(3), ((5..9).map(event).collect(), 9, 2));
        assert_eq!(read(9), (vec![], 9, 0));
        assert_eq!(ring.recorded(), 9);
    }

    /// A reader sees each event whole, in order, and knows how many it has missed.
    #[test]
    fn stress() {
        const EVENTS: u64 = 3_000_000;
        let ring = Ring::new(64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..EVENTS {
                    // SAFETY: this thread is the only writer.
                    unsafe { ring.write(event(n)) };
                    if n % 1000 == 0 {
                        std::thread::yield_now();
                    }
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let (mut next, mut got, mut events) = (0, 0, Vec::new());
                    while next < EVENTS {
                        events.clear();
                        let (end, lost) = ring.read(next, &mut events, |words| words);
                        let first = next + lost;
                        assert_eq!(first + events.len() as u64, end);
                        for (n, seen) in (first..end).zip(&events) {
                            assert_eq!(*seen, event(n));
                        }
                        got += events.len();
                        next = end;
                    }
                    assert!(got > 0);
                });
            }
        });
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Two slots, and three events: the third one overwrites the first while it is read.
    #[test]
    fn an_event_is_whole() {
        loom::model(|| {
            let ring = Arc::new(Ring::new(2));
            let write = |ring: &Ring, n: u64| {
                // SAFETY: one thread writes.
                unsafe { ring.write([n; WORDS]) };
            };
            write(&ring, 0);
            let writer = {
                let ring = ring.clone();
                thread::spawn(move || {
                    write(&ring, 1);
                    write(&ring, 2);
                })
            };
            let mut events = Vec::new();
            let (next, lost) = ring.read(0, &mut events, |words| words);
            for (n, event) in (lost..next).zip(&events) {
                assert_eq!(*event, [n; WORDS], "event {n} is torn");
            }
            assert_eq!(lost + events.len() as u64, next);
            writer.join().unwrap();
            let (end, lost) = ring.read(next, &mut events, |words| words);
            assert_eq!((end, lost), (3, u64::from(next == 0)));
        });
    }
}
