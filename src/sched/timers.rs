//! A worker's timers: a four-ary heap of deadlines over a table of entries. Pure: time comes in as an
//! argument.
//!
//! The heap holds pairs of a deadline and a slot, so that comparisons touch one compact array. A slot knows
//! its index in the heap, so that a timer can leave from the middle. Insert and cancel are O(log n); the
//! usual insert, whose deadline is later than most, is O(1). A cancelled timer leaves at once. A key
//! carries its slot's generation, so a stale key cancels nothing.
//!
//! After a burst of timers the memory is freed: the heap has room for at most four times its timers (or
//! 1,024), and the slots are bounded as [`slab`](crate::base::slab) says.
//!
//! Invariant: `heap[i] <= heap[4i+1..=4i+4]`, and `slots[heap[i].slot].index == i`.

use crate::base::slab::{Key, Slab, shrink};
use std::time::Instant;

const ARITY: usize = 4;

/// Names one timer.
pub(crate) type TimerKey = Key;

#[derive(Debug)]
struct Timer<T> {
    /// Its index in the heap.
    index: u32,
    value: T,
}

/// Deadlines in order, each with a value.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: Vec<(Instant, u32)>,
    slots: Slab<Timer<T>>,
}

impl<T> Timers<T> {
    /// No timers.
    pub(crate) const fn new() -> Self {
        Timers { heap: Vec::new(), slots: Slab::new() }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|&(deadline, _)| deadline)
    }

    /// How many timers there are.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Adds a timer.
    pub(crate) fn insert(&mut self, deadline: Instant, value: T) -> TimerKey {
        let index = self.heap.len();
        let key = self.slots.insert(Timer { index: index as u32, value });
        self.heap.push((deadline, key.slot));
        self.sift_up(index);
        key
    }

    /// Takes a timer out; `None` if it has fired or was cancelled.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let index = self.slots.get(key)?.index;
        Some(self.take(index as usize))
    }

    /// Takes the earliest timer if it is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<T> {
        (self.next()? <= now).then(|| self.take(0))
    }

    /// Takes the earliest timer.
    pub(crate) fn pop(&mut self) -> Option<T> {
        (!self.heap.is_empty()).then(|| self.take(0))
    }

    fn take(&mut self, index: usize) -> T {
        let (_, slot) = self.heap.swap_remove(index);
        if index < self.heap.len() {
            self.store_index(index);
            self.sift_down(index);
            self.sift_up(index);
        }
        shrink(&mut self.heap);
        self.slots.remove_at(slot).expect("a timer in the heap has a slot").value
    }

    fn sift_up(&mut self, mut index: usize) {
        while index > 0 {
            let parent = (index - 1) / ARITY;
            if self.heap[parent].0 <= self.heap[index].0 {
                break;
            }
            self.swap(parent, index);
            index = parent;
        }
    }

    fn sift_down(&mut self, mut index: usize) {
        loop {
            let first = index * ARITY + 1;
            let last = (first + ARITY).min(self.heap.len());
            let Some(least) = (first..last).min_by_key(|&child| self.heap[child].0) else { break };
            if self.heap[index].0 <= self.heap[least].0 {
                break;
            }
            self.swap(index, least);
            index = least;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.store_index(a);
        self.store_index(b);
    }

    fn store_index(&mut self, index: usize) {
        let slot = self.heap[index].1;
        self.slots.at_mut(slot).expect("a timer in the heap has a slot").index = index as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[test]
    fn timers_fire_in_order_of_their_deadlines() {
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
    fn cancelled_timers_use_no_memory() {
        let start = Instant::now();
        let mut timers = Timers::new();
        for i in 0..100_000u32 {
            let key = timers.insert(start + Duration::from_secs(30), i);
            assert_eq!(timers.cancel(key), Some(i));
        }
        assert_eq!((timers.heap.len(), timers.slots.blocks()), (0, 1));
    }

    /// It is freed even if one timer of the burst stays.
    #[test]
    fn memory_of_a_burst_of_timers_is_freed() {
        let start = Instant::now();
        let mut timers = Timers::new();
        let at = |i: u32| start + Duration::from_millis(u64::from(i));
        let keys: Vec<_> = (0..200_000).map(|i| timers.insert(at(i), i)).collect();
        let (last, rest) = keys.split_last().expect("there are some");
        let (cancelled, fired) = rest.split_at(100_000);
        for &key in cancelled {
            assert!(timers.cancel(key).is_some());
        }
        for _ in fired {
            assert!(timers.pop_due(at(200_000)).is_some());
        }
        assert!(timers.heap.capacity() <= 2_048, "{}", timers.heap.capacity());
        assert!(timers.slots.blocks() <= 2, "{}", timers.slots.blocks());
        assert_eq!(timers.cancel(*last), Some(199_999));
    }

    /// What a program may do with timers. Times are small numbers, so that many are equal.
    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        /// One of all keys that were ever returned, so that many are stale.
        Cancel(prop::sample::Index),
        /// The time may also go back: the structure accepts any.
        PopDue(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..64u64).prop_map(Step::Insert),
            2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
            3 => (0..64u64).prop_map(Step::PopDue),
        ]
    }

    impl<T> Timers<T> {
        fn check(&mut self) {
            for (index, &(deadline, slot)) in self.heap.iter().enumerate() {
                assert!(index == 0 || self.heap[(index - 1) / ARITY].0 <= deadline, "the heap's order");
                assert_eq!(self.slots.at_mut(slot).map(|timer| timer.index as usize), Some(index));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_an_ordered_map(steps in prop::collection::vec(step(), 0..400)) {
            let start = Instant::now();
            let at = |time| start + Duration::from_micros(time);
            let mut timers = Timers::new();
            let mut model: BTreeMap<(u64, usize), ()> = BTreeMap::new();
            let mut keys = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(time) => {
                        let id = keys.len();
                        keys.push((timers.insert(at(time), id), time));
                        model.insert((time, id), ());
                    }
                    Step::Cancel(_) if keys.is_empty() => {}
                    Step::Cancel(which) => {
                        let id = which.index(keys.len());
                        let (key, time) = keys[id];
                        let alive = model.remove(&(time, id)).is_some();
                        prop_assert_eq!(timers.cancel(key), alive.then_some(id));
                    }
                    Step::PopDue(now) => {
                        let due = model.keys().next().map(|first| first.0).filter(|&first| first <= now);
                        let popped = timers.pop_due(at(now));
                        // The order of timers with the same deadline is not specified.
                        prop_assert_eq!(popped.map(|id| keys[id].1), due);
                        if let Some(id) = popped {
                            prop_assert!(model.remove(&(keys[id].1, id)).is_some(), "popped twice");
                        }
                    }
                }
                timers.check();
                prop_assert_eq!(timers.next(), model.keys().next().map(|first| at(first.0)));
            }
            let mut rest: Vec<_> = std::iter::from_fn(|| timers.pop_due(at(64))).collect();
            prop_assert!(rest.is_sorted_by_key(|&id| keys[id].1));
            rest.sort_unstable();
            let mut expected: Vec<_> = model.into_keys().map(|(_, id)| id).collect();
            expected.sort_unstable();
            prop_assert_eq!(rest, expected);
        }
    }
}
