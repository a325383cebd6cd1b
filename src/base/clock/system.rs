//! Without simulations the clock is the system's.

use std::time::Instant;

/// The time.
#[inline(always)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
