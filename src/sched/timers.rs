//! A worker's timers: a four-ary heap of deadlines over a table of entries. Pure: time comes in as an
//! argument.
//!
//! The heap holds (deadline, slot) pairs, so that comparisons touch one compact array; a slot knows
//! its place in the heap, so that a timer can leave from the middle. Insert and cancel are O(log n),
//! and O(1) for the usual insert, whose deadline is later than most. A cancelled timer leaves at
//! once. A key carries its slot's generation, so a stale key cancels nothing.
//!
//! Invariant: `heap[i] <= heap[4i+1..=4i+4]`, and `slots[heap[i].slot].place == i`.

use std::time::Instant;

const ARITY: usize = 4;
const NOWHERE: u32 = u32::MAX;

/// Names one timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    slot: u32,
    generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    place: u32,
    generation: u32,
    value: Option<T>,
}

/// Deadlines in order, each with a value.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: Vec<(Instant, u32)>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Timers<T> {
    /// No timers.
    pub(crate) const fn new() -> Self {
        Timers { heap: Vec::new(), slots: Vec::new(), free: Vec::new() }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|&(deadline, _)| deadline)
    }

    /// Adds a timer.
    pub(crate) fn insert(&mut self, deadline: Instant, value: T) -> TimerKey {
        let place = self.heap.len() as u32;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { place: NOWHERE, generation: 0, value: None });
                (self.slots.len() - 1) as u32
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.value = Some(value);
        entry.place = place;
        let key = TimerKey { slot, generation: entry.generation };
        self.heap.push((deadline, slot));
        self.rise(place as usize);
        key
    }

    /// Takes a timer out; `None` if it has been taken already.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = &self.slots[key.slot as usize];
        if entry.generation != key.generation || entry.place == NOWHERE {
            return None;
        }
        Some(self.take(entry.place as usize))
    }

    /// Takes the earliest timer if it is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        (self.next()? <= now).then(|| self.take(0))
    }

    fn take(&mut self, place: usize) -> T {
        let (_, slot) = self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.settle(place);
            self.sink(place);
            self.rise(place);
        }
        let entry = &mut self.slots[slot as usize];
        entry.place = NOWHERE;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        entry.value.take().expect("a slot in the heap has its value")
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if self.heap[parent].0 <= self.heap[place].0 {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let first = place * ARITY + 1;
            let last = (first + ARITY).min(self.heap.len());
            let Some(least) = (first..last).min_by_key(|&child| self.heap[child].0) else { break };
            if self.heap[place].0 <= self.heap[least].0 {
                break;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.settle(a);
        self.settle(b);
    }

    fn settle(&mut self, place: usize) {
        self.slots[self.heap[place].1 as usize].place = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[test]
    fn timers_come_in_order_of_their_deadlines() {
        let start = Instant::now();
        let mut timers = Timers::new();
        for i in [5, 1, 4, 1, 3, 9, 2] {
            timers.insert(start + Duration::from_secs(i), i);
        }
        assert_eq!(timers.pop_due(start), None);
        let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(start + Duration::from_secs(5))).collect();
        assert_eq!(due, [1, 1, 2, 3, 4, 5]);
        assert_eq!(timers.next(), Some(start + Duration::from_secs(9)));
    }

    #[test]
    fn a_stale_key_cancels_nothing() {
        let start = Instant::now();
        let mut timers = Timers::new();
        let first = timers.insert(start, 'a');
        assert_eq!(timers.cancel(first), Some('a'));
        let second = timers.insert(start, 'b');
        assert_eq!(timers.cancel(first), None);
        assert_eq!(timers.pop_due(start), Some('b'));
        assert_eq!(timers.cancel(second), None);
    }

    #[test]
    fn deadlines_set_and_cleared_leave_nothing() {
        let start = Instant::now();
        let mut timers = Timers::new();
        for i in 0..100_000u32 {
            let key = timers.insert(start + Duration::from_secs(30), i);
            assert_eq!(timers.cancel(key), Some(i));
        }
        assert_eq!((timers.heap.len(), timers.slots.len()), (0, 1));
    }

    #[test]
    fn agrees_with_an_ordered_map() {
        let start = Instant::now();
        let mut timers = Timers::new();
        let mut model: BTreeMap<(Instant, u32), TimerKey> = BTreeMap::new();
        let mut random = 0x2545_f491u32;
        for i in 0..20_000u32 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let at = start + Duration::from_micros(u64::from(random % 1_000));
            match random >> 29 {
                0..4 => {
                    model.insert((at, i), timers.insert(at, i));
                }
                4..6 => {
                    if let Some((&id, &key)) = model.range((at, 0)..).next() {
                        model.remove(&id);
                        assert_eq!(timers.cancel(key), Some(id.1));
                    }
                }
                _ => {
                    let due = timers.pop_due(at);
                    assert_eq!(due.is_some(), model.keys().next().is_some_and(|id| id.0 <= at));
                    if let Some(value) = due {
                        let first = model.keys().next().expect("checked above").0;
                        let id = *model.keys().find(|id| id.1 == value).expect("known timer");
                        assert_eq!(id.0, first);
                        model.remove(&id);
                    }
                }
            }
            assert_eq!(timers.next(), model.keys().next().map(|id| id.0));
        }
    }
}
