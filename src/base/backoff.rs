//! Back-off between the attempts of a call that would block although `poll(2)` reports its file as ready.
//!
//! `poll` reports an error condition (`POLLERR`, `POLLHUP`) for as long as it lasts, whatever it was asked
//! for. A socket with a message in its error queue is such a case: `poll` returns at once, and `recv` fails
//! with `EAGAIN`. A loop of the two would spin. No event reports when the call becomes possible, so the loop
//! tries again after a nap. The first nap is empty, since the state may have changed between the two calls.
//! Each later nap is twice as long, up to [`LONGEST`]. So an attempt is late by no more than the time that
//! was already waited.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_millis(10);

/// The naps of one call.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// `None` before the first wait of the call.
    next: Option<Duration>,
}

impl Backoff {
    /// A call that has not waited so far.
    pub(crate) fn new() -> Backoff {
        Backoff::default()
    }

    /// Whether the call has waited already.
    pub(crate) fn has_waited(&self) -> bool {
        self.next.is_some()
    }

    /// The call now waits for an event. The naps after it begin anew.
    pub(crate) fn wait(&mut self) {
        self.next = Some(Duration::ZERO);
    }

    /// How long to nap before the next attempt.
    pub(crate) fn nap(&mut self) -> Duration {
        let nap = self.next.unwrap_or_default();
        self.next = Some((nap * 2).clamp(SHORTEST, LONGEST));
        nap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_double_up_to_the_longest() {
        let mut backoff = Backoff::new();
        assert!(!backoff.has_waited());
        backoff.wait();
        assert!(backoff.has_waited());
        let naps: Vec<_> = (0..10).map(|_| backoff.nap()).collect();
        assert_eq!(naps[..3], [Duration::ZERO, SHORTEST, SHORTEST * 2]);
        assert_eq!(naps[9], LONGEST);
        backoff.wait();
        assert_eq!(backoff.nap(), Duration::ZERO);
    }
}
