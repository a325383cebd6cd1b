//! Ticks: a clock that takes a few nanoseconds to read, for events that are recorded by the million.
//!
//! Ticks have no unit. To get a time, compare ticks with two readings of the system's clock
//! (`sched::recorder`).
//!
//! - `x86_64`, `aarch64`: a counter of the processor, if it runs at a constant rate and the same on all
//!   processors.
//! - `none`: other processors.
//!
//! Without such a counter a tick is a nanosecond of the system's clock.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
mod none;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64::{counter, has_counter};
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
use none::{counter, has_counter};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;
#[cfg(target_arch = "x86_64")]
use x86_64::{counter, has_counter};

const UNKNOWN: u8 = 0;
const COUNTER: u8 = 1;
const CLOCK: u8 = 2;
/// Which of the two is in use.
static SOURCE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The present tick. It never goes back on one thread; between threads it may be off by some nanoseconds.
#[inline]
pub(crate) fn ticks() -> u64 {
    if SOURCE.load(Ordering::Relaxed) == COUNTER { counter() } else { by_clock_or_choose() }
}

#[cold]
#[inline(never)]
fn by_clock_or_choose() -> u64 {
    if SOURCE.load(Ordering::Relaxed) == UNKNOWN {
        let source = if has_counter() { COUNTER } else { CLOCK };
        // All threads choose the same.
        SOURCE.store(source, Ordering::Relaxed);
        if source == COUNTER {
            return counter();
        }
    }
    by_clock()
}

fn by_clock() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ticks_go_on_at_the_rate_of_the_clock() {
        for read in [ticks, by_clock] {
            let measure = || {
                let (from, began) = (read(), Instant::now());
                std::thread::sleep(Duration::from_millis(20));
                (read() - from) as f64 / began.elapsed().as_nanos() as f64
            };
            let rates = [measure(), measure(), measure()];
            let of = |choose: fn(f64, f64) -> f64| rates.into_iter().reduce(choose).expect("three");
            assert!(of(f64::min) > 0.0 && of(f64::max) / of(f64::min) < 1.05, "{rates:?}");
        }
    }
}
