//! A point in time, or never, that is passed from function to function.

use crate::base::clock;
use crate::sched;
use std::cmp::Ordering;
use std::time::{Duration, Instant};

/// A point in time at which a wait ends, or [never](Deadline::never). Pass it from function to function
/// instead of a duration, so that several calls in a row share it, as with Go's `context.Context`. An earlier
/// deadline is less than a later one, and `never` is the greatest, so [`Ord::min`] returns the one that
/// counts.
///
/// None of its functions parks or panics.
///
/// ```
/// use std::time::Duration;
/// use sward::time::{Deadline, timeout_at};
///
/// let all = Deadline::after(Duration::from_millis(20));
/// let first = timeout_at(all, || "at once");
/// let second = timeout_at(all, || sward::sleep(Duration::from_secs(3600)));
/// assert_eq!(first, Ok("at once"));
/// assert!(second.is_err() && all.is_past());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// That long from now; `never` if the clock cannot express it.
    pub fn after(duration: Duration) -> Deadline {
        Deadline(clock::now().checked_add(duration))
    }

    /// At that time.
    pub const fn at(instant: Instant) -> Deadline {
        Deadline(Some(instant))
    }

    /// No limit.
    pub const fn never() -> Deadline {
        Deadline(None)
    }

    /// The earliest deadline of all [`timeout`](super::timeout())s around the caller, or `never`. The
    /// coroutines of a scope inherit it. Code that waits by other means than this crate's can respect it by
    /// itself.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::time::{Deadline, timeout};
    ///
    /// assert_eq!(Deadline::current(), Deadline::never());
    /// timeout(Duration::from_secs(5), || {
    ///     assert!(Deadline::current() <= Deadline::after(Duration::from_secs(5)));
    /// })
    /// .unwrap();
    /// ```
    pub fn current() -> Deadline {
        Deadline(sched::limit())
    }

    /// The point in time; `None` for `never`.
    pub const fn instant(self) -> Option<Instant> {
        self.0
    }

    /// The time until then, zero if it has passed; `None` for `never`.
    pub fn remaining(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(clock::now()))
    }

    /// Whether it has passed.
    pub fn is_past(self) -> bool {
        self.0.is_some_and(|at| at <= clock::now())
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Deadline {
        Deadline::at(instant)
    }
}

impl Ord for Deadline {
    fn cmp(&self, other: &Deadline) -> Ordering {
        match (self.0, other.0) {
            (Some(mine), Some(theirs)) => mine.cmp(&theirs),
            // `None` is the latest.
            (mine, theirs) => theirs.is_some().cmp(&mine.is_some()),
        }
    }
}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Deadline) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_later_than_any_time() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut all = [Deadline::never(), Deadline::at(later), Deadline::never(), Deadline::at(now)];
        all.sort();
        assert_eq!(all, [Deadline::at(now), Deadline::at(later), Deadline::never(), Deadline::never()]);
        assert_eq!(Deadline::never().min(Deadline::at(now)), Deadline::from(now));
        assert_eq!(Deadline::at(now).max(Deadline::never()), Deadline::never());
    }

    #[test]
    fn what_the_clock_cannot_say_is_never() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::never());
        assert_eq!(Deadline::never().remaining(), None);
        assert!(!Deadline::never().is_past());
        assert!(Deadline::at(Instant::now()).is_past());
        assert_eq!(Deadline::after(Duration::ZERO).remaining(), Some(Duration::ZERO));
    }
}
