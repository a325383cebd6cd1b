//! The random order in which a select visits its arms.

use crate::sched;

/// Random numbers for one pass over the arms, all from one draw.
pub(super) struct Shuffle {
    state: u32,
    is_first: bool,
}

impl Shuffle {
    pub(super) fn new() -> Shuffle {
        Shuffle { state: seed(), is_first: true }
    }

    /// A number below `bound`. Each is equally likely, to within one part in 2^32. A simulation
    /// chooses the first one by itself: each of the arms that are ready comes first in some order.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        if std::mem::take(&mut self.is_first)
            && let Some(chosen) = sched::simulated_choice(bound)
        {
            return chosen;
        }
        // A linear congruential generator. Its low bits are poor, so the upper half of a product is used.
        self.state = self.state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        ((u64::from(self.state) * bound as u64) >> 32) as usize
    }
}

/// A number that differs from call to call: the worker's, or on a plain thread one that all of them share.
fn seed() -> u32 {
    sched::random().unwrap_or_else(|| {
        use std::sync::atomic::{AtomicU32, Ordering};
        static SEED: AtomicU32 = AtomicU32::new(1);
        // A Weyl sequence, whose bits are then mixed.
        let x = SEED.fetch_add(0x9e37_79b9, Ordering::Relaxed);
        let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        x ^ (x >> 16)
    })
}
