//! A table of values under keys, in blocks of 64 slots, which are freed when they are empty.
//!
//! A key is a slot and the slot's generation, so the key of a value that was removed finds nothing. The
//! lowest free slot is used first, so the blocks that a burst has used become empty as a whole.
//!
//! Bound on the memory: at worst a block for each value, plus one empty block, plus 8 bytes for each block of
//! the largest number that existed at the same time. The empty block is kept so that a single value that is
//! added and removed again and again allocates nothing.

use super::bit_set::BitSet;

const SLOTS: usize = u64::BITS as usize;

/// What a value is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The number of the slot, from 0 on. The lowest free one is used.
    pub(crate) slot: u32,
    /// Distinguishes the value from others that were in this slot.
    pub(crate) generation: u32,
}

/// As 64 bits, which is what a kernel stores with each descriptor.
#[cfg_attr(sward_backend = "poll", allow(dead_code))]
impl Key {
    /// As one number.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// From the number.
    pub(crate) fn unpack(data: u64) -> Key {
        Key { slot: data as u32, generation: (data >> 32) as u32 }
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
struct Block<T> {
    used: u64,
    entries: [Entry<T>; SLOTS],
}

/// Values under keys.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    blocks: Vec<Option<Box<Block<T>>>>,
    /// The blocks with a free slot, and the numbers below the last one that have no block.
    with_room: BitSet,
    absent: BitSet,
    /// The block that is empty, if there is one.
    empty: Option<usize>,
    /// Greater than each generation of the blocks that were freed. New blocks begin with it.
    generation: u32,
}

impl<T> Slab<T> {
    /// No values.
    pub(crate) const fn new() -> Self {
        Slab {
            blocks: Vec::new(),
            with_room: BitSet::new(),
            absent: BitSet::new(),
            empty: None,
            generation: 0,
        }
    }

    /// How many values it holds. It looks at each block.
    pub(crate) fn count(&self) -> usize {
        self.blocks.iter().flatten().map(|block| block.used.count_ones() as usize).sum()
    }

    /// Adds a value.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let number = self.with_room.first().unwrap_or_else(|| self.add_block());
        let block = self.blocks[number].as_mut().expect("it has room");
        if block.used == 0 {
            self.empty = None;
        }
        let free = block.used.trailing_ones() as usize;
        block.used |= 1 << free;
        if block.used == u64::MAX {
            self.with_room.set(number, false);
        }
        let entry = &mut block.entries[free];
        entry.value = Some(value);
        Key { slot: (number * SLOTS + free) as u32, generation: entry.generation }
    }

    /// The value of that key, if it was not removed.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = key.slot as usize;
        let entry = &self.blocks.get(slot / SLOTS)?.as_ref()?.entries[slot % SLOTS];
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    /// As `get`, to change the value.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = key.slot as usize;
        let entry = &mut self.blocks.get_mut(slot / SLOTS)?.as_mut()?.entries[slot % SLOTS];
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// The value in that slot, whatever its generation.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        let slot = slot as usize;
        self.blocks.get_mut(slot / SLOTS)?.as_mut()?.entries[slot % SLOTS].value.as_mut()
    }

    /// Removes the value of that key; `None` if that was done already.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.remove_at(key.slot)
    }

    /// Removes the value in that slot.
    pub(crate) fn remove_at(&mut self, slot: u32) -> Option<T> {
        let (number, slot) = (slot as usize / SLOTS, slot as usize % SLOTS);
        let block = self.blocks.get_mut(number)?.as_mut()?;
        let entry = &mut block.entries[slot];
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        if block.used == u64::MAX {
            self.with_room.set(number, true);
        }
        block.used &= !(1 << slot);
        if block.used == 0 {
            self.block_is_empty(number);
        }
        Some(value)
    }

    /// Takes all values out of the table. Add no value afterwards: its key could be one that was in use
    /// before.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let blocks = std::mem::replace(self, Slab::new()).blocks;
        blocks.into_iter().flatten().flat_map(|block| block.entries).filter_map(|entry| entry.value)
    }

    #[cold]
    fn add_block(&mut self) -> usize {
        let generation = self.generation;
        let entries = std::array::from_fn(|_| Entry { generation, value: None });
        let block = Some(Box::new(Block { used: 0, entries }));
        let number = match self.absent.first() {
            Some(number) => {
                self.absent.set(number, false);
                self.blocks[number] = block;
                number
            }
            None => {
                self.blocks.push(block);
                self.blocks.len() - 1
            }
        };
        self.with_room.set(number, true);
        number
    }

    /// Keeps the lower one of two empty blocks.
    fn block_is_empty(&mut self, number: usize) {
        let Some(other) = self.empty else {
            self.empty = Some(number);
            return;
        };
        self.empty = Some(other.min(number));
        let number = other.max(number);
        if let Some(block) = self.blocks[number].take() {
            let last = block.entries.iter().map(|entry| entry.generation).max().unwrap_or(0);
            self.generation = self.generation.max(last.wrapping_add(1));
        }
        self.with_room.set(number, false);
        self.absent.set(number, true);
    }
}

/// Halves a vector's capacity if less than a quarter of it is in use. Call this after each removal: the
/// amortized cost of one is constant.
#[inline]
pub(crate) fn shrink<T>(vector: &mut Vec<T>) {
    const LEAST: usize = 1024;
    if vector.capacity() > LEAST && vector.len() < vector.capacity() / 4 {
        vector.shrink_to(vector.capacity() / 2);
    }
}

#[cfg(test)]
impl<T> Slab<T> {
    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.iter().flatten().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn after_a_burst_only_used_blocks_stay() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..100_000).map(|n| slab.insert(n)).collect();
        assert!(slab.blocks() > 1_500);
        for (n, &key) in keys.iter().enumerate().filter(|(n, _)| n % 10_000 != 0) {
            assert_eq!(slab.remove(key), Some(n));
        }
        assert_eq!(slab.blocks(), 10 + 1);
        // New values fill these.
        (0..10 * 63).for_each(|n| _ = slab.insert(n));
        assert_eq!(slab.blocks(), 10 + 1);
    }

    #[test]
    fn adding_and_removing_one_value_allocates_nothing() {
        let mut slab = Slab::new();
        let full: Vec<_> = (0..64).map(|n| slab.insert(n)).collect();
        for _ in 0..3 {
            let key = slab.insert(64);
            assert_eq!((key.slot, slab.blocks()), (64, 2));
            slab.remove(key);
            assert_eq!(slab.blocks(), 2);
        }
        full.into_iter().for_each(|key| _ = slab.remove(key));
        assert_eq!(slab.blocks(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Some phases grow, others shrink. Each key that was ever returned finds its own value or none.
        #[test]
        fn agrees_with_a_map(
            phases in prop::collection::vec((1..200_usize, 0..200_usize, any::<u64>()), 0..12),
        ) {
            let (mut slab, mut model, mut stale) = (Slab::new(), BTreeMap::new(), Vec::new());
            for (inserts, removes, seed) in phases {
                for _ in 0..inserts {
                    let value = model.len() + stale.len();
                    let key = slab.insert(value);
                    prop_assert!(model.insert((key.slot, key.generation), value).is_none(), "given twice");
                }
                for n in 0..removes.min(model.len()) as u64 {
                    let at = (seed.wrapping_mul(n * 2 + 1) % model.len() as u64) as usize;
                    let (&(slot, generation), &value) = model.iter().nth(at).expect("there are so many");
                    prop_assert_eq!(slab.remove(Key { slot, generation }), Some(value));
                    model.remove(&(slot, generation));
                    stale.push((slot, generation));
                }
                for (&(slot, generation), value) in &model {
                    prop_assert_eq!(slab.get(Key { slot, generation }), Some(value));
                }
                for &(slot, generation) in &stale {
                    prop_assert_eq!(slab.get(Key { slot, generation }), None);
                    prop_assert_eq!(slab.remove(Key { slot, generation }), None);
                }
            }
            let mut rest: Vec<_> = slab.drain().collect();
            rest.sort_unstable();
            let mut values: Vec<_> = model.into_values().collect();
            values.sort_unstable();
            prop_assert_eq!(rest, values);
        }
    }
}
