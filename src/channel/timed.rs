//! Channels on which time sends: `after` and `tick`.

use crate::base::list_lock::ListLock;
use std::time::{Duration, Instant};

/// A channel that has a message at some time.
pub(super) trait Timed<T>: Send + Sync {
    /// Takes the message that is due. The error is the time of the next one, `None` for never.
    fn try_recv(&self, now: Instant) -> Result<T, Option<Instant>>;

    /// When the next message is due.
    fn due(&self) -> Option<Instant>;
}

/// One message, at one time.
pub(super) struct After(ListLock<Option<Instant>>);

impl After {
    /// `None` is a time that never comes.
    pub(super) fn new(at: Option<Instant>) -> After {
        After(ListLock::new(at))
    }
}

impl Timed<Instant> for After {
    fn try_recv(&self, now: Instant) -> Result<Instant, Option<Instant>> {
        let mut at = self.0.lock();
        match *at {
            Some(due) if due <= now => {
                *at = None;
                Ok(due)
            }
            later => Err(later),
        }
    }

    fn due(&self) -> Option<Instant> {
        *self.0.lock()
    }
}

/// A message in each period. A message that nobody has received in its period is dropped, as in Go.
pub(super) struct Tick {
    next: ListLock<Option<Instant>>,
    period: Duration,
}

impl Tick {
    pub(super) fn new(now: Instant, period: Duration) -> Tick {
        Tick { next: ListLock::new(now.checked_add(period)), period }
    }
}

impl Timed<Instant> for Tick {
    fn try_recv(&self, now: Instant) -> Result<Instant, Option<Instant>> {
        let mut next = self.next.lock();
        match *next {
            Some(due) if due <= now => {
                *next = after_now(due, now, self.period);
                Ok(due)
            }
            later => Err(later),
        }
    }

    fn due(&self) -> Option<Instant> {
        *self.next.lock()
    }
}

/// The first time after `now` that is a whole number of periods after `due`.
fn after_now(due: Instant, now: Instant, period: Duration) -> Option<Instant> {
    const SECOND: u128 = 1_000_000_000;
    let period = period.as_nanos().max(1);
    let left = period - (now - due).as_nanos() % period;
    // No more than a period, whose seconds are a `u64`.
    let left = Duration::new((left / SECOND) as u64, (left % SECOND) as u32);
    now.checked_add(left)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_has_one_message() {
        let start = Instant::now();
        let after = After::new(Some(start + SECOND));
        assert_eq!(after.try_recv(start), Err(Some(start + SECOND)));
        assert_eq!(after.try_recv(start + 2 * SECOND), Ok(start + SECOND));
        assert_eq!(after.try_recv(start + 9 * SECOND), Err(None));
    }

    #[test]
    fn missed_ticks_are_left_out() {
        let start = Instant::now();
        let tick = Tick::new(start, SECOND);
        assert_eq!(tick.try_recv(start), Err(Some(start + SECOND)));
        assert_eq!(tick.try_recv(start + 5 * SECOND), Ok(start + SECOND));
        assert_eq!(tick.try_recv(start + 5 * SECOND), Err(Some(start + 6 * SECOND)));
        assert_eq!(tick.try_recv(start + 13 * SECOND / 2), Ok(start + 6 * SECOND));
        assert_eq!(tick.try_recv(start + 13 * SECOND / 2), Err(Some(start + 7 * SECOND)));
    }

    #[test]
    fn periods_of_any_length() {
        let start = Instant::now();
        assert!(Tick::new(start, Duration::ZERO).try_recv(start).is_ok());
        assert_eq!(Tick::new(start, Duration::MAX).try_recv(start), Err(None));
    }
}
