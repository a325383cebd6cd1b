//! The dedicated netpoller thread: the guarantor that readiness and timers are seen although every
//! worker is inside CPU-bound code.
//!
//! It does not compete with workers that poll by themselves. While any worker is awake it looks, mostly every
//! [`TICK`], at when each one has polled last; one that has not done so since the last look, or not for
//! [`LATE`], is running coroutines, so its shard is drained and its timers are fired on its behalf. The next
//! look comes no later than two ticks after the last poll of anyone who was not helped: that is when an
//! event is seen. Where all have polled in the last half of a tick, as the workers of a server do, it comes
//! no sooner either. When a look finds all workers asleep and nothing has moved since the look before, the
//! thread sleeps without a timeout: an idle runtime makes no wake-ups. A worker that gets up rings the bell
//! if, and only if, the thread sleeps so.
//!
//! The bed is `asleep`. The thread sets it, then looks at the workers once more; a worker says that it is up, then
//! reads the sleep_state. Each has a fence between the two, so one of them sees the other (the same argument as in
//! `sched/README.md`).

use crate::base::lock::{Mutex, Rank};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

/// The time between two looks at busy workers. Two of them, with the kernel's timer slack, are the 2 ms
/// within which readiness is seen.
const TICK: Duration = Duration::from_micros(900);

/// A worker that has not polled for so long is helped. Longer than a tick, as one that never runs dry polls
/// once after each look.
const LATE: Duration = Duration::from_micros(1_300);

/// What the thread watches over: rank 4 knows what a worker is.
pub(crate) trait Monitored: Send + Sync {
    /// Looks at every worker and helps those whom [`NextDeadline::must_help`] names. When it is to look again, if
    /// any worker is awake, or was in between.
    fn tick(&self, state: &mut Self::State) -> Option<NextDeadline>;

    /// Whether any worker is awake now.
    fn awake(&self) -> bool;

    /// What the thread remembers between two ticks.
    type State: Default;
}

/// How long the thread may rest after a look.
pub(crate) struct NextDeadline {
    now: Instant,
    until: Instant,
}

impl NextDeadline {
    /// After a look at that time, with no worker awake so far.
    pub(crate) fn new(now: Instant) -> NextDeadline {
        NextDeadline { now, until: now + 2 * TICK }
    }

    /// Takes an awake worker into account, which polled last at that time; whether it must be helped, because
    /// of that or because it has not polled since the last look.
    pub(crate) fn must_help(&mut self, polled_since: bool, polled: Instant) -> bool {
        let ago = self.now.saturating_duration_since(polled);
        let help = !polled_since || ago > LATE;
        let rest = match ago {
            _ if help => TICK,
            ago if ago < TICK / 2 => 2 * TICK - ago,
            ago => TICK.min(2 * TICK - ago),
        };
        self.until = self.until.min(self.now + rest);
        help
    }
}

/// The thread's bed and bell.
pub(crate) struct Netpoller {
    asleep: AtomicBool,
    stop: Mutex<bool>,
    bell: parking_lot::Condvar,
}

impl Netpoller {
    /// A netpoller whose thread is yet to run.
    pub(crate) fn new() -> Netpoller {
        Netpoller {
            asleep: AtomicBool::new(false),
            stop: Mutex::new(Rank::Netpoller, false),
            bell: parking_lot::Condvar::new(),
        }
    }

    /// The thread's life: returns after `stop`.
    pub(crate) fn run<W: Monitored>(&self, ward: &W) {
        let mut state = W::State::default();
        loop {
            let stop = match ward.tick(&mut state) {
                Some(rest) => self.nap(&rest),
                None => self.sleep(ward),
            };
            if stop {
                return;
            }
        }
    }

    /// Called by a worker that has got up, after it has said so.
    #[inline]
    pub(crate) fn worker_is_up(&self) {
        // Pairs with the fence in `sleep`.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        *self.stop.lock() = true;
        self.ring();
    }

    #[cold]
    fn ring(&self) {
        let _held = self.stop.lock();
        self.asleep.store(false, Ordering::Relaxed);
        self.bell.notify_one();
    }

    /// Sleeps for so long; whether it is time to stop.
    fn nap(&self, rest: &NextDeadline) -> bool {
        let mut stop = self.stop.lock();
        if !*stop {
            self.bell.wait_until(stop.raw(), rest.until);
        }
        *stop
    }

    /// Sleeps until a worker gets up; whether it is time to stop.
    fn sleep<W: Monitored>(&self, ward: &W) -> bool {
        let mut stop = self.stop.lock();
        self.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `worker_is_up`.
        fence(Ordering::SeqCst);
        if ward.awake() {
            self.asleep.store(false, Ordering::Relaxed);
        }
        while !*stop && self.asleep.load(Ordering::Relaxed) {
            self.bell.wait(stop.raw());
        }
        *stop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_poll_by_themselves_are_looked_at_half_as_often() {
        let start = Instant::now();
        let now = start + TICK;
        let mut rest = NextDeadline::new(now);
        assert!(!rest.must_help(true, now) && !rest.must_help(true, now - TICK / 4));
        assert_eq!(rest.until, now - TICK / 4 + 2 * TICK);
        // One that never runs dry has polled right after the last look.
        assert!(!rest.must_help(true, start));
        assert_eq!(rest.until, now + TICK);
    }

    /// From the last poll of whoever is not helped, and so stays unseen until the next look if it polls no more.
    #[test]
    fn the_next_look_comes_within_two_ticks() {
        let polled = Instant::now();
        for micros in 0..3_000 {
            let now = polled + Duration::from_micros(micros);
            for polled_since in [false, true] {
                let mut rest = NextDeadline::new(now);
                let unseen_from = if rest.must_help(polled_since, polled) { now } else { polled };
                assert!(rest.until <= unseen_from + 2 * TICK, "{micros} us");
                assert!(rest.until > now, "{micros} us");
            }
        }
        assert!(NextDeadline::new(polled).must_help(false, polled));
        assert!(
            NextDeadline::new(polled).until <= polled + 2 * TICK,
            "for those that get up right after the look"
        );
    }
}
