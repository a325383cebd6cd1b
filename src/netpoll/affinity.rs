//! Whether a source has its users on another worker than its shard's: then it moves there.
//!
//! The problem: events are cheapest where they are used. But a source that moved after each use elsewhere
//! would go back and forth between workers that steal from one another, at two system calls a time.
//!
//! So a source moves after it was used elsewhere in [`FIRST`] periods, and not at home in between. Each move
//! doubles this number, up to [`MOST`]. Periods without any use do not count, however many there are. A
//! period is some ticks of the netpoller thread, about ten milliseconds: a worker that the system does not
//! run for a moment keeps its sources, however many requests others serve for it meanwhile. If a thief takes
//! a share p of the uses of a source whose own worker takes the others, the source moves once in p^-FIRST
//! periods at first, and practically never after some moves. If its own worker does not get to it at all, it
//! moves after FIRST periods.

use std::sync::atomic::{AtomicU16, Ordering};

/// In how many periods it is used elsewhere, without a use at home in between, before the first move.
const FIRST: u16 = 4;
/// The most.
const MOST: u16 = 128;
/// Ticks in a period.
const PERIOD: u64 = 8;

/// From the lowest bit: seven bits for the periods in which the source was used elsewhere since its last use
/// at home, six for the last of them, modulo 64, three for how often it has moved, up to a limit. Only the
/// one user of the source writes it; it is atomic since the source is shared.
#[derive(Debug, Default)]
pub(super) struct Affinity(AtomicU16);

impl Affinity {
    /// Notes a use on the worker of the source's shard.
    pub(super) fn note_at_home(&self) {
        let word = self.0.load(Ordering::Relaxed);
        if word & 0x7f != 0 {
            self.0.store(word & !0x7f, Ordering::Relaxed);
        }
    }

    /// Notes a use elsewhere, at that tick. Returns whether the source moves there.
    pub(super) fn note_elsewhere(&self, tick: u64) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        let (periods, last, moves) = (word & 0x7f, (word >> 7) & 0x3f, word >> 13);
        let now = ((tick / PERIOD) & 0x3f) as u16;
        if periods > 0 && now == last {
            return false;
        }
        let limit = (FIRST << moves).min(MOST);
        let is_due = periods + 1 >= limit;
        let (periods, moves) =
            if is_due { (0, moves + u16::from(limit < MOST)) } else { (periods + 1, moves) };
        self.0.store(periods | (now << 7) | (moves << 13), Ordering::Relaxed);
        is_due
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_move_takes_twice_as_many_periods_up_to_a_limit() {
        let (affinity, mut period) = (Affinity::default(), 0);
        for expected in [4, 8, 16, 32, 64, 128, 128, 128] {
            let began = period;
            loop {
                period += 1;
                let moves = affinity.note_elsewhere(period * PERIOD);
                for later in 0..PERIOD {
                    assert!(moves || !affinity.note_elsewhere(period * PERIOD + later), "it counted already");
                }
                if moves {
                    break;
                }
            }
            assert_eq!(period - began, expected);
        }
    }

    #[test]
    fn a_use_at_home_begins_the_count_anew() {
        let affinity = Affinity::default();
        for round in 0..10 {
            for period in 1..u64::from(FIRST) {
                assert!(!affinity.note_elsewhere((10 * round + period) * PERIOD));
            }
            affinity.note_at_home();
        }
    }
    /// How many moves doubling allows in that many periods. The period of one move may count for the next
    /// one.
    fn most_moves(periods: u64) -> u32 {
        let (mut left, mut moves) = (periods, 0);
        while let Some(rest) = left.checked_sub(u64::from((FIRST << moves.min(5)).min(MOST))) {
            (left, moves) = (rest + 1, moves + 1);
        }
        moves
    }

    /// A source that any of that many workers uses, each as often as chance has it, and later one of them
    /// alone.
    #[test]
    fn a_source_moves_as_often_as_doubling_allows_and_ends_where_it_is_used() {
        const PERIODS: u64 = 3_000;
        let mut random = 1_u64;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit
        };
        for workers in [1, 2, 8, 64] {
            for run in 0..100 {
                let (affinity, mut home, mut moves) = (Affinity::default(), 0, 0);
                let mut serve = |worker: u64, period: u64| {
                    if worker == home {
                        affinity.note_at_home();
                    } else if affinity.note_elsewhere(period * PERIOD + run % PERIOD) {
                        (home, moves) = (worker, moves + 1);
                    }
                    (home, moves)
                };
                for period in 1..=PERIODS {
                    // In one run of four its own worker hardly ever gets to it.
                    for _ in 0..=below(4) {
                        let worker = if run % 4 == 0 { period / 200 % workers } else { below(workers) };
                        let (_, moves) = serve(worker, period);
                        assert!(moves <= most_moves(period), "{moves} moves in {period} periods");
                    }
                }
                let last = below(workers);
                let after = (1..=u64::from(MOST)).map(|more| serve(last, PERIODS + more)).last();
                assert_eq!(after.map(|(home, _)| home), Some(last), "{workers} workers, run {run}");
            }
        }
    }
}
