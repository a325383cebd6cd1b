//! A worker's supply of coroutine numbers.

use crate::coroutine::Id;
use std::cell::Cell;

/// How many numbers are reserved at once, so that spawns rarely touch the process's counter.
const BLOCK: u64 = 64;

/// Numbers that are reserved for one worker.
pub(super) struct Ids {
    next: Cell<u64>,
    left: Cell<u64>,
}

impl Ids {
    /// An empty supply.
    pub(super) fn new() -> Ids {
        Ids { next: Cell::new(0), left: Cell::new(0) }
    }

    /// A number that no other coroutine of the process has.
    #[inline]
    pub(super) fn next(&self) -> Id {
        let (next, left) = match self.left.get() {
            0 => (Id::reserve(BLOCK), BLOCK),
            left => (self.next.get(), left),
        };
        self.next.set(next + 1);
        self.left.set(left - 1);
        Id(next)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_of_two_workers_differ() {
        let supplies = [Ids::new(), Ids::new()];
        let numbers: BTreeSet<u64> =
            (0..3 * BLOCK).flat_map(|_| supplies.each_ref().map(|ids| ids.next().0)).collect();
        assert_eq!(numbers.len() as u64, 6 * BLOCK);
    }
}
