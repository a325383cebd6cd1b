//! Time: sleeping, time limits, intervals.
//!
//! In a coroutine these park it; on a plain thread they block the thread.
//!
//! [`timeout`] bounds any code that waits, whatever it waits for. A [`Deadline`] is a point in time to
//! hand from function to function, and [`Deadline::current`] the one that the caller is under. An
//! [`Interval`] ticks.

mod deadline;
mod interval;
mod timeout;

pub use deadline::Deadline;
pub use interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use timeout::{Elapsed, timeout, timeout_at};

use crate::coroutine::WaitReason;
use crate::sched;
use std::time::{Duration, Instant};

/// Waits for at least that long, in a coroutine by parking it. A zero duration returns at once. A
/// cancelled coroutine unwinds out of it.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// sward::run(|| {
///     let start = Instant::now();
///     sward::sleep(Duration::from_millis(5));
///     assert!(start.elapsed() >= Duration::from_millis(5));
/// });
/// ```
pub fn sleep(duration: Duration) {
    match Instant::now().checked_add(duration) {
        Some(deadline) => sleep_until(deadline),
        None => sleep_for_good(WaitReason::Sleep),
    }
}

/// Waits until that time, in a coroutine by parking it. One that has passed returns at once. A
/// cancelled coroutine unwinds out of it.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let deadline = Instant::now() + Duration::from_millis(2);
/// sward::time::sleep_until(deadline); // a plain thread may wait as well
/// assert!(Instant::now() >= deadline);
/// ```
pub fn sleep_until(deadline: Instant) {
    if deadline > Instant::now() {
        sched::sleep_until(deadline, WaitReason::Sleep);
    } else {
        sched::consume_budget();
    }
}

/// Waits for a time that is later than the clock can say: only a cancellation or a time limit ends it.
fn sleep_for_good(reason: WaitReason) -> ! {
    loop {
        sched::sleep_until(Instant::now() + Duration::from_secs(1 << 30), reason);
    }
}
