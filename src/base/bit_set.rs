//! A set of small numbers as bits, which finds its least and its greatest member fast.
//!
//! A table that uses its lowest free slot first keeps its entries together, so the rest of its memory can be
//! freed. Two bounds make the search cheap: no member is in a word below `low`, and none is in a word above
//! `high`.

const WORD: usize = u64::BITS as usize;

/// A set of numbers from 0 on.
#[derive(Debug, Default)]
pub(crate) struct BitSet {
    words: Vec<u64>,
    low: usize,
    high: usize,
}

impl BitSet {
    /// The empty set.
    pub(crate) const fn new() -> BitSet {
        BitSet { words: Vec::new(), low: 0, high: 0 }
    }

    /// Adds a number (`member`), or removes it.
    pub(crate) fn set(&mut self, number: usize, member: bool) {
        let (word, bit) = (number / WORD, 1 << (number % WORD));
        if !member {
            if let Some(word) = self.words.get_mut(word) {
                *word &= !bit;
            }
            return;
        }
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
        self.low = self.low.min(word);
        self.high = self.high.max(word);
    }

    /// The least member.
    pub(crate) fn first(&mut self) -> Option<usize> {
        while *self.words.get(self.low)? == 0 {
            self.low += 1;
        }
        Some(self.low * WORD + self.words[self.low].trailing_zeros() as usize)
    }

    /// The greatest member.
    pub(crate) fn last(&mut self) -> Option<usize> {
        while *self.words.get(self.high)? == 0 {
            self.high = self.high.checked_sub(1)?;
        }
        Some(self.high * WORD + self.words[self.high].ilog2() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_an_ordered_set(steps in prop::collection::vec((0..300_usize, any::<bool>()), 0..200)) {
            let (mut bits, mut model) = (BitSet::new(), BTreeSet::new());
            for (number, member) in steps {
                bits.set(number, member);
                if member { model.insert(number) } else { model.remove(&number) };
                prop_assert_eq!(bits.first(), model.first().copied());
                prop_assert_eq!(bits.last(), model.last().copied());
            }
        }
    }
}
