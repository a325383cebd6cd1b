//! A worker's pseudo-random numbers.

use std::cell::Cell;

/// A xorshift generator: fast, and random enough to spread workers over victims.
pub(super) struct Random(Cell<u32>);

impl Random {
    /// A generator whose sequence depends on the number.
    pub(super) fn new(number: usize) -> Random {
        // Zero would stay zero; no worker has so large a number.
        Random(Cell::new(0x9e37_79b9 ^ (number as u32 + 1)))
    }

    /// A number that differs from call to call.
    pub(super) fn next(&self) -> u32 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.0.set(x);
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_victims_are_chosen_about_equally_often() {
        let random = Random::new(3);
        let mut counts = [0_u32; 7];
        for _ in 0..7_000 {
            counts[random.next() as usize % 7] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
