//! The generator of a simulated network: a network is made from one number, and repeats itself for the same
//! one.

use std::time::Duration;

/// A generator (splitmix64). The mix is a bijection of the count, so numbers repeat only after 2^64 of them.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below that one, which is not zero. The bias is below 2^-32 for numbers of 32 bits.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True with that probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        // The generator moves on in either case, so that a setting changes nothing else.
        let number = self.next();
        ((number >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// A time between the two, in nanoseconds.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> u64 {
        let (least, most) = (nanos(least), nanos(most));
        let number = self.next();
        if most <= least { least } else { least + number % (most - least + 1) }
    }
}

/// A duration in nanoseconds, or the most that fit.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
