//! Whether a source has its users on another worker than its shard's: then it moves there.
//!
//! The problem: events are cheapest where they are used. But a source that moved after each use elsewhere
//! would go back and forth between workers that steal from one another, at two system calls a time.
//!
//! So a source moves after it was used elsewhere [`FIRST`] times in a row, and each move doubles this number,
//! up to [`MOST`]. If a thief takes a share p of the uses of a source whose own worker takes the others, the
//! source moves once in p^-FIRST uses at first, and practically never after some moves. If its own worker
//! does not get to it at all, it moves after FIRST uses.

use std::sync::atomic::{AtomicU16, Ordering};

/// How many uses in a row elsewhere come before the first move.
const FIRST: u16 = 4;
/// The most.
const MOST: u16 = 128;
const MOVE_SHIFT: u32 = 8;

/// Low byte: how often in a row the source was used elsewhere. High byte: how often it has moved, up to a
/// limit. Only the one user of the source writes it; it is atomic since the source is shared.
#[derive(Debug, Default)]
pub(super) struct Affinity(AtomicU16);

impl Affinity {
    /// Notes a use: on the worker of its shard, or elsewhere. Returns whether the source moves there.
    pub(super) fn note(&self, at_home: bool) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        let (moves, uses) = (word >> MOVE_SHIFT, word & ((1 << MOVE_SHIFT) - 1));
        let uses = if at_home { 0 } else { uses + 1 };
        let limit = (FIRST << moves).min(MOST);
        let is_due = uses >= limit;
        let (moves, uses) = if is_due { (moves + u16::from(limit < MOST), 0) } else { (moves, uses) };
        let new = moves << MOVE_SHIFT | uses;
        if new != word {
            self.0.store(new, Ordering::Relaxed);
        }
        is_due
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_move_takes_twice_as_many_uses_elsewhere_up_to_a_limit() {
        let affinity = Affinity::default();
        for expected in [4, 8, 16, 32, 64, 128, 128, 128] {
            let uses = (1..).find(|_| affinity.note(false));
            assert_eq!(uses, Some(expected));
        }
    }

    #[test]
    fn a_use_at_home_begins_the_count_anew() {
        let affinity = Affinity::default();
        for _ in 0..10 {
            for _ in 1..FIRST {
                assert!(!affinity.note(false));
            }
            assert!(!affinity.note(true));
        }
    }
}
