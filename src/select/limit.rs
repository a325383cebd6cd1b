//! How long a send, a receive or a select waits.

use crate::base::clock;
use std::time::{Duration, Instant};

/// How long an operation waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitLimit {
    /// It does not wait.
    None,
    /// Until that time.
    Until(Instant),
    /// Until it completes.
    Endless,
}

impl WaitLimit {
    /// The limit of a wait of that length from now on; one that the clock cannot express has no end.
    pub(crate) fn after(timeout: Duration) -> WaitLimit {
        if timeout.is_zero() {
            return WaitLimit::None;
        }
        clock::now().checked_add(timeout).map_or(WaitLimit::Endless, WaitLimit::Until)
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            WaitLimit::Until(deadline) => Some(deadline),
            WaitLimit::None | WaitLimit::Endless => None,
        }
    }

    /// Whether the operation must not wait any more.
    pub(super) fn has_passed(self) -> bool {
        match self {
            WaitLimit::None => true,
            WaitLimit::Until(deadline) => deadline <= clock::now(),
            WaitLimit::Endless => false,
        }
    }
}
