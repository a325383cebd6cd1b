//! How often times of which length occurred: in classes, each twice as long as the one before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The classes. The last one also holds what is longer: from 34 seconds on.
const CLASSES: usize = 36;

/// How often times of which length occurred.
///
/// The times are in classes, each twice as long as the one before. So a quantile is known to a factor of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; CLASSES],
    /// In nanoseconds.
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [0; CLASSES], sum: 0 }
    }
}

impl Histogram {
    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// A time that so large a part of the times do not exceed: `0.99` for all but the longest hundredth. It
    /// is the upper end of a class, so up to twice the exact value. `None` if there are no times.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * part.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let class = self.counts.iter().position(|n| {
            seen += n;
            seen >= rank
        });
        class.filter(|_| count > 0).map(upper_end)
    }

    /// The classes: a time that the members do not reach, and how many members there are. The first one
    /// begins at zero, each other one at the end of the one before. The last one has no end in truth.
    pub fn classes(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().map(|(class, count)| (upper_end(class), *count))
    }

    /// Adds the times of another one.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

fn upper_end(class: usize) -> Duration {
    Duration::from_nanos(1 << class)
}

/// A histogram that one thread fills, and any thread reads.
#[derive(Debug)]
pub(crate) struct SharedHistogram {
    counts: [AtomicU64; CLASSES],
    sum: AtomicU64,
}

impl SharedHistogram {
    /// Without any times.
    pub(crate) const fn new() -> SharedHistogram {
        SharedHistogram { counts: [const { AtomicU64::new(0) }; CLASSES], sum: AtomicU64::new(0) }
    }

    /// Adds a time, in nanoseconds. Only the thread that fills it calls this.
    #[inline]
    pub(crate) fn add(&self, nanoseconds: u64) {
        let class = (u64::BITS - nanoseconds.leading_zeros()) as usize;
        add_to(&self.counts[class.min(CLASSES - 1)], 1);
        add_to(&self.sum, nanoseconds);
    }

    /// The times so far. They are read one class after the other.
    pub(crate) fn read(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|class| self.counts[class].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// Adds to a number that only the calling thread changes. This takes no atomic read-modify-write.
#[inline]
pub(crate) fn add_to(number: &AtomicU64, more: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_class_that_ends_after_it() {
        let shared = SharedHistogram::new();
        for nanoseconds in [0, 1, 2, 3, 4, 1_000, u64::MAX] {
            shared.add(nanoseconds);
        }
        let histogram = shared.read();
        let of = |end: u64| histogram.classes().find(|(at, _)| *at == Duration::from_nanos(end)).unwrap().1;
        assert_eq!([of(1), of(2), of(4), of(8), of(1_024), of(1 << 35)], [1, 1, 2, 1, 1, 1]);
        assert_eq!(histogram.count(), 7);
    }

    #[test]
    fn quantiles_are_upper_ends_of_classes() {
        let shared = SharedHistogram::new();
        assert_eq!(shared.read().quantile(0.5), None);
        for _ in 0..99 {
            shared.add(100);
        }
        shared.add(1_000_000);
        let mut histogram = shared.read();
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_nanos(128)));
        assert_eq!(histogram.quantile(0.99), Some(Duration::from_nanos(128)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_nanos(1 << 20)));
        assert_eq!(histogram.sum(), Duration::from_nanos(99 * 100 + 1_000_000));
        histogram.merge(&shared.read());
        assert_eq!(histogram.count(), 200);
    }
}
