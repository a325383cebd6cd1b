//! Values under keys: a table in blocks of 64 places, which are freed when they are empty.
//!
//! A key is a place and the place's generation, so that the key of a value that was removed finds nothing.
//! The lowest free place is used first, so what a burst has used becomes empty as a whole.
//!
//! Bound: a block for each value at worst, one empty block, and 8 bytes for each block that there ever was at
//! once. (The empty one is kept so that one value that comes and goes allocates nothing.)

use super::bit_set::BitSet;

const PLACES: usize = u64::BITS as usize;

/// What a value is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The place in the table, from 0 on, as low as may be.
    pub(crate) slot: u32,
    /// Tells the value from others that have had this place.
    pub(crate) generation: u32,
}

/// As 64 bits: what a kernel keeps for its user with each descriptor.
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
    entries: [Entry<T>; PLACES],
}

/// Values under keys.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    blocks: Vec<Option<Box<Block<T>>>>,
    /// The blocks with a free place; the numbers without a block, up to the last one.
    with_room: BitSet,
    absent: BitSet,
    /// The block that is empty, if there is one.
    empty: Option<usize>,
    /// No key of a block that was freed has this generation or a later one.
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

    /// Adds a value.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let number = self.with_room.first().unwrap_or_else(|| self.add_block());
        let block = self.blocks[number].as_mut().expect("it has room");
        if block.used == 0 {
            self.empty = None;
        }
        let place = block.used.trailing_ones() as usize;
        block.used |= 1 << place;
        if block.used == u64::MAX {
            self.with_room.set(number, false);
        }
        let entry = &mut block.entries[place];
        entry.value = Some(value);
        Key { slot: (number * PLACES + place) as u32, generation: entry.generation }
    }

    /// The value of that key, if it was not removed.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = key.slot as usize;
        let entry = &self.blocks.get(slot / PLACES)?.as_ref()?.entries[slot % PLACES];
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    /// The value in that place, whatever its generation.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        let slot = slot as usize;
        self.blocks.get_mut(slot / PLACES)?.as_mut()?.entries[slot % PLACES].value.as_mut()
    }

    /// Removes the value of that key; `None` if that was done already.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.remove_at(key.slot)
    }

    /// Removes the value in that place.
    pub(crate) fn remove_at(&mut self, slot: u32) -> Option<T> {
        let (number, place) = (slot as usize / PLACES, slot as usize % PLACES);
        let block = self.blocks.get_mut(number)?.as_mut()?;
        let entry = &mut block.entries[place];
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        if block.used == u64::MAX {
            self.with_room.set(number, true);
        }
        block.used &= !(1 << place);
        if block.used == 0 {
            self.block_is_empty(number);
        }
        Some(value)
    }

    /// Takes all values out of the table. Add nothing afterwards: it could get a key that was in use before.
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
    fn a_burst_leaves_the_blocks_of_what_is_left() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..100_000).map(|n| slab.insert(n)).collect();
        assert!(slab.blocks() > 1_500);
        for (n, &key) in keys.iter().enumerate().filter(|(n, _)| n % 10_000 != 0) {
            assert_eq!(slab.remove(key), Some(n));
        }
        assert_eq!(slab.blocks(), 10 + 1);
        // What comes then fills these.
        (0..10 * 63).for_each(|n| _ = slab.insert(n));
        assert_eq!(slab.blocks(), 10 + 1);
    }

    #[test]
    fn one_value_that_comes_and_goes_allocates_nothing() {
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

        /// Some phases grow, others shrink. Every key that there ever was finds its value or nothing.
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
