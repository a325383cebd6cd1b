//! The clock that deadlines and timers are compared with.
//!
//! It is the system's monotonic clock. In a simulation (feature `sim`) it is the simulation's, which moves
//! only when the simulation says so. All code that compares a time with a deadline, or makes a deadline,
//! reads it here. What measures how long something takes on the machine reads the system's clock.

#[cfg(not(sward_sim))]
mod system;
#[cfg(sward_sim)]
mod virtual_time;

#[cfg(not(sward_sim))]
pub(crate) use system::now;
#[cfg(sward_sim)]
pub(crate) use virtual_time::{VirtualTime, now, virtual_nanos};

use std::time::{Duration, Instant};

/// How much time has passed since then.
#[inline(always)]
pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}
