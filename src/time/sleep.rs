//! Waiting for a time.

use crate::base::clock;
use crate::coroutine::WaitReason;
use crate::sched;
use std::time::{Duration, Instant};

/// Waits for at least that long, as [`std::thread::sleep`]. Parks. A zero duration returns at once. A
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
#[doc(alias = "time.Sleep")]
pub fn sleep(duration: Duration) {
    match clock::now().checked_add(duration) {
        Some(deadline) => sleep_until(deadline),
        None => sleep_forever(WaitReason::Sleep),
    }
}

/// Waits until that time. Parks. A time that has passed returns at once. A cancelled coroutine unwinds out of
/// it. std has this as an unstable function.
pub fn sleep_until(deadline: Instant) {
    if deadline > clock::now() {
        sched::sleep_until(deadline, WaitReason::Sleep);
    } else {
        sched::consume_budget();
    }
}

/// Waits until a time that the clock cannot express: only a cancellation or a time limit ends it.
pub(super) fn sleep_forever(reason: WaitReason) -> ! {
    loop {
        sched::sleep_until(clock::now() + Duration::from_secs(1 << 30), reason);
    }
}
