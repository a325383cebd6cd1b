//! What a worker does between running out of work and sleeping, and when it does not: the back-off of
//! spinning and of yielding.
//!
//! The problem: a sleep and the wake-up that ends it cost microseconds in the kernel, on both threads.
//! Where work comes back at once, not to sleep is cheaper. Where no work comes back, spinning and yielding
//! only burn processor time. A worker cannot know which it is, so it learns from its last tries.
//!
//! *Spin before sleep.* Two coroutines on different workers that wait for each other hand work back and
//! forth. The worker checks its inbox and other sources for up to [`SPIN`] before it sleeps.
//!
//! ```text
//!  level    meaning                             moves
//!  1        spin before the next sleep          another worker's push ends a sleep soon: +1, up to 1
//!  0        do not spin                         any other sleep, at 1: to 0
//!  -1..-16  do not spin: back-off               a fruitless spin: to -SPIN_BACKOFF
//! ```
//!
//! *Yield before sleep.* Clients and workers share the processors. A worker that sleeps as soon as it has
//! answered is woken for each request by itself. If it yields its processor once and polls again, the clients
//! run first, and it finds many requests at once. It does this where its sockets have just had events. The
//! back-off is the number of sleeps before the next yield:
//!
//! ```text
//!  outcome of a yield                                                next back-off
//!  events came, and other threads ran meanwhile                      0
//!  no events came, or no other thread ran (back within MIN_YIELD)    2 n + 1, up to MAX_YIELD_BACKOFF
//!  away for more than MAX_YIELD: a wake-up would have been sooner    MAX_YIELD_BACKOFF
//! ```
//!
//! Rejected: a fixed spin before each sleep (an idle runtime burns processor time, and on a busy machine the
//! spin takes the processor from the thread that is to push the work).

use std::cell::Cell;
use std::time::Duration;

/// How long a worker spins at most: about as long as a sleep and a wake-up through the kernel take on a
/// virtual machine. With less, a worker that spins for a partner which is being woken would fall asleep
/// before the partner is awake, and would have to be woken in turn.
pub(super) const SPIN: Duration = Duration::from_micros(50);
/// After a fruitless spin, more than this many sleeps must be ended soon by pushes before the next spin.
const SPIN_BACKOFF: i32 = 16;
/// A yield that takes longer counts as fruitless: a sleeping worker would have been woken earlier.
const MAX_YIELD: Duration = Duration::from_millis(1);
/// After a yield that returns sooner, the worker was alone on its processor: no other thread ran.
const MIN_YIELD: Duration = Duration::from_micros(2);
/// The maximum back-off after a fruitless yield, in sleeps.
const MAX_YIELD_BACKOFF: u32 = 15;

/// Whether a worker spins before its next sleep.
pub(super) struct SpinBeforeSleep {
    level: Cell<i32>,
}

impl SpinBeforeSleep {
    pub(super) fn new() -> SpinBeforeSleep {
        SpinBeforeSleep { level: Cell::new(0) }
    }

    /// Whether to spin now.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.level.get() > 0
    }

    /// A spin has brought no work.
    pub(super) fn note_fruitless(&self) {
        self.level.set(-SPIN_BACKOFF);
    }

    /// A sleep has ended. `by_push`: soon, because another worker pushed something into the inbox.
    pub(super) fn note_sleep(&self, by_push: bool) {
        let level = self.level.get();
        self.level.set(if by_push { (level + 1).min(1) } else { level.min(0) });
    }
}

/// Whether a worker yields its processor before its next sleep.
pub(super) struct YieldBeforeSleep {
    /// Whether the shard has had events since the last yield or sleep.
    events: Cell<bool>,
    /// How many sleeps go without a yield, from now on.
    left: Cell<u32>,
    /// The length of the last back-off.
    backoff: Cell<u32>,
}

impl YieldBeforeSleep {
    pub(super) fn new() -> YieldBeforeSleep {
        YieldBeforeSleep { events: Cell::new(false), left: Cell::new(0), backoff: Cell::new(0) }
    }

    /// The shard has had events.
    #[inline]
    pub(super) fn note_events(&self) {
        self.events.set(true);
    }

    /// Whether to yield before the sleep that comes now.
    pub(super) fn is_due(&self) -> bool {
        // Without events nothing suggests that clients are about to send more, and a push that comes during
        // the yield would find the worker awake and not notify it.
        if !self.events.replace(false) {
            return false;
        }
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left == 0
    }

    /// A yield has taken that long. `found`: events came meanwhile.
    pub(super) fn note_yield(&self, took: Duration, found: bool) {
        let backoff = if took > MAX_YIELD {
            MAX_YIELD_BACKOFF
        } else if found && took > MIN_YIELD {
            0
        } else {
            (2 * self.backoff.get() + 1).min(MAX_YIELD_BACKOFF)
        };
        self.backoff.set(backoff);
        self.left.set(backoff);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_that_ends_a_sleep_soon_makes_the_worker_spin_once() {
        let spin = SpinBeforeSleep::new();
        assert!(!spin.is_due());
        spin.note_sleep(true);
        assert!(spin.is_due());
        spin.note_sleep(true);
        spin.note_sleep(false);
        assert!(!spin.is_due(), "one other sleep ends it, however many were short before");
    }

    #[test]
    fn a_fruitless_spin_is_not_repeated_for_seventeen_short_sleeps() {
        let spin = SpinBeforeSleep::new();
        spin.note_sleep(true);
        spin.note_fruitless();
        for _ in 0..SPIN_BACKOFF {
            spin.note_sleep(true);
            spin.note_sleep(false);
            assert!(!spin.is_due());
        }
        spin.note_sleep(true);
        assert!(spin.is_due());
    }

    /// How many sleeps with events go by before the next yield.
    fn sleeps_before_a_yield(yields: &YieldBeforeSleep) -> u32 {
        (0..)
            .take_while(|_| {
                yields.note_events();
                !yields.is_due()
            })
            .count() as u32
    }

    #[test]
    fn a_worker_yields_only_after_events() {
        let yields = YieldBeforeSleep::new();
        assert!(!yields.is_due());
        yields.note_events();
        assert!(yields.is_due());
        assert!(!yields.is_due());
    }

    #[test]
    fn fruitless_yields_back_off_up_to_a_limit() {
        let yields = YieldBeforeSleep::new();
        for backoff in [1, 3, 7, 15, 15] {
            yields.note_yield(MIN_YIELD * 2, false);
            assert_eq!(sleeps_before_a_yield(&yields), backoff);
        }
        yields.note_yield(MIN_YIELD * 2, true);
        assert_eq!(sleeps_before_a_yield(&yields), 0);
        yields.note_yield(MIN_YIELD, true);
        assert_eq!(sleeps_before_a_yield(&yields), 1, "no other thread ran");
        yields.note_yield(MAX_YIELD * 2, true);
        assert_eq!(sleeps_before_a_yield(&yields), MAX_YIELD_BACKOFF, "away for too long");
    }
}
