//! Ticks at equal distances. A pure function computes when the next one is due.

use super::sleep::sleep_forever;
use crate::base::clock;
use crate::coroutine::WaitReason;
use crate::sched;
use std::time::{Duration, Instant};

/// A tick that is late by no more than this is not a missed one: a timer, and the turn of the coroutine that
/// it wakes, are always a little late. tokio uses the same value.
const TOLERANCE: Duration = Duration::from_millis(5);

/// What an [`Interval`] does about ticks that were not taken in time. The same as tokio's type of that name.
///
/// ```text
///  A period of 10; the work after the tick of 20 takes until 47. `tick` returns
///
///  Burst   at 10, 20, 47, 47, 50, 60, 70   the ticks of 10, 20, 30, 40, 50, 60, 70
///  Delay   at 10, 20, 47, 57, 67, 77       the ticks of 10, 20, 30, 57, 67, 77
///  Skip    at 10, 20, 47, 50, 60, 70       the ticks of 10, 20, 30, 50, 60, 70
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// Missed ticks return at once until the interval has caught up; then it ticks at the old times again.
    #[default]
    Burst,
    /// The next tick is one period after the late one was taken.
    Delay,
    /// The next tick is at the first of the old times that lies in the future.
    Skip,
}

impl MissedTickBehavior {
    /// When the next tick is due, after one that was due at `due` and was taken at `now`; `None` if the clock
    /// cannot express that.
    fn next(self, due: Instant, now: Instant, period: Duration) -> Option<Instant> {
        let late = now.saturating_duration_since(due);
        match self {
            _ if late <= TOLERANCE => due.checked_add(period),
            MissedTickBehavior::Burst => due.checked_add(period),
            MissedTickBehavior::Delay => now.checked_add(period),
            MissedTickBehavior::Skip => now.checked_add(period - remainder(late, period)),
        }
    }
}

fn remainder(time: Duration, period: Duration) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let rest = time.as_nanos() % period.as_nanos();
    // Less than the period, so its seconds are a u64, and what is left over of a second is a u32.
    Duration::new((rest / SECOND) as u64, (rest % SECOND) as u32)
}

/// Ticks at equal distances: made by [`interval`] and [`interval_at`]. The same as tokio's. Only
/// [`tick`](Self::tick) parks.
#[derive(Debug)]
pub struct Interval {
    /// `None`: the clock cannot express it.
    next: Option<Instant>,
    period: Duration,
    missed: MissedTickBehavior,
}

/// An interval whose first tick is now. Does not park.
///
/// # Panics
///
/// If the period is zero.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// sward::run(|| {
///     let start = Instant::now();
///     let mut ticks = sward::time::interval(Duration::from_millis(2));
///     ticks.tick();
///     ticks.tick();
///     ticks.tick();
///     assert!(start.elapsed() >= Duration::from_millis(4));
/// });
/// ```
#[track_caller]
#[doc(alias("Ticker", "NewTicker"))]
pub fn interval(period: Duration) -> Interval {
    interval_at(clock::now(), period)
}

/// An interval whose first tick is at that time. Does not park.
///
/// # Panics
///
/// If the period is zero.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now() + Duration::from_millis(3);
/// let mut ticks = sward::time::interval_at(start, Duration::from_millis(2));
/// assert_eq!(ticks.tick(), start);
/// assert_eq!(ticks.tick(), start + Duration::from_millis(2));
/// ```
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "`period` must be non-zero.");
    Interval { next: Some(start), period, missed: MissedTickBehavior::default() }
}

impl Interval {
    /// Waits until the next tick is due, and returns the time at which it was due. Parks, unless it is due
    /// already. A cancelled coroutine unwinds out of it. The tick is not lost then, nor when a
    /// [`timeout`](super::timeout()) ends the wait.
    pub fn tick(&mut self) -> Instant {
        let Some(due) = self.next else { sleep_forever(WaitReason::Interval) };
        if due > clock::now() {
            sched::sleep_until(due, WaitReason::Interval);
        } else {
            sched::consume_budget();
        }
        self.next = self.missed.next(due, clock::now(), self.period);
        due
    }

    /// The next tick is one period from now.
    pub fn reset(&mut self) {
        self.next = clock::now().checked_add(self.period);
    }

    /// The next tick is due now.
    pub fn reset_immediately(&mut self) {
        self.next = Some(clock::now());
    }

    /// The next tick is that long from now. The period stays.
    pub fn reset_after(&mut self, after: Duration) {
        self.next = clock::now().checked_add(after);
    }

    /// The next tick is at that time. The period stays.
    pub fn reset_at(&mut self, at: Instant) {
        self.next = Some(at);
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// What it does about ticks that are not taken in time.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Sets what it does about ticks that are not taken in time. The default is
    /// [`MissedTickBehavior::Burst`].
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MissedTickBehavior::{Burst, Delay, Skip};
    use proptest::prelude::*;

    const PERIOD: Duration = Duration::from_millis(300);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The times since the start at which ticks are due, if each is taken `late` after it was due.
    fn schedule(missed: MissedTickBehavior, late: &[Duration]) -> Vec<Duration> {
        let start = Instant::now();
        let mut due = start;
        late.iter()
            .map(|&late| {
                due = missed.next(due, due + late, PERIOD).expect("the clock reaches that far");
                due - start
            })
            .collect()
    }

    #[test]
    fn ticks_in_time_keep_the_grid() {
        for missed in [Burst, Delay, Skip] {
            assert_eq!(
                schedule(missed, &[ms(0), ms(1), TOLERANCE, ms(0)]),
                [ms(300), ms(600), ms(900), ms(1200)]
            );
        }
    }

    #[test]
    fn burst_catches_up() {
        let late = [ms(650), ms(400), ms(150), ms(0)];
        assert_eq!(schedule(Burst, &late), [ms(300), ms(600), ms(900), ms(1200)]);
    }

    #[test]
    fn delay_starts_anew_from_the_late_one() {
        assert_eq!(schedule(Delay, &[ms(650), ms(0), ms(0)]), [ms(950), ms(1250), ms(1550)]);
    }

    #[test]
    fn skip_returns_to_the_grid() {
        assert_eq!(schedule(Skip, &[ms(650), ms(0), ms(10)]), [ms(900), ms(1200), ms(1500)]);
        assert_eq!(schedule(Skip, &[ms(600)]), [ms(900)]);
    }

    #[test]
    fn nothing_overflows() {
        let now = Instant::now();
        for missed in [Burst, Delay, Skip] {
            assert_eq!(missed.next(now, now, Duration::MAX), None);
            assert_eq!(missed.next(now, now + ms(10), Duration::MAX - ms(1)), None);
        }
        let far = now + Duration::from_secs(1 << 32);
        assert_eq!(Skip.next(now, far, Duration::from_nanos(1)), Some(far + Duration::from_nanos(1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Skip: the first time of the grid after the one at which the tick was taken.
        #[test]
        fn skip_finds_the_first_time_to_come(period in 1..1u64 << 40, late in 0..1u64 << 50) {
            let due = Instant::now();
            let late = TOLERANCE + Duration::from_nanos(late + 1);
            let next = Skip.next(due, due + late, Duration::from_nanos(period)).expect("within the clock");
            let after = (next - due).as_nanos();
            prop_assert_eq!(after % u128::from(period), 0);
            prop_assert!(after > late.as_nanos() && after - late.as_nanos() <= u128::from(period));
        }

        /// The next tick is never before the one that was taken, and at most a period after `now`.
        #[test]
        fn the_next_tick_is_near(which in 0..3usize, period in 1..1u64 << 40, late in 0..1u64 << 40) {
            let (due, period) = (Instant::now(), Duration::from_nanos(period));
            let now = due + Duration::from_nanos(late);
            let next = [Burst, Delay, Skip][which].next(due, now, period).expect("within the clock");
            prop_assert!(next > due && next <= now + period);
        }
    }
}
