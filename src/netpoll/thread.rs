//! The dedicated netpoller thread: the guarantor that readiness and timers are seen although every
//! worker is inside CPU-bound code.
//!
//! It never competes with a worker that polls by itself. While any worker is awake it looks, every
//! [`TICK`], at when each one has polled last; one that has not done so since the last look, or not for
//! [`LATE`], is running coroutines, so its shard is drained and its timers are fired on its behalf. Where
//! all of them have polled in the last half of a tick, as the workers of a server do, the next look is due
//! two ticks after the earliest of these polls. An event is therefore seen within two ticks and a bit. When
//! a look finds all workers asleep and nothing has moved since the look before, the thread sleeps without a
//! timeout: an idle runtime makes no wake-ups. A worker that gets up rings the bell if, and only if, the
//! thread sleeps so.
//!
//! The bed: AWAKE, or ASLEEP. The thread writes ASLEEP, then looks at the workers once more; a worker
//! says that it is up, then reads the bed. Both orders are sequentially consistent, so one of them
//! sees the other (the same argument as in `sched/README.md`).

use crate::base::lock::{Mutex, Rank};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// The time between two looks at busy workers. A tick and what is [`LATE`], with the kernel's timer slack, are the
/// 2 ms within which readiness is seen.
const TICK: Duration = Duration::from_micros(900);

/// Who has polled before that is not going to in a moment: a worker that never runs dry polls right after
/// each look.
const LATE: Duration = Duration::from_micros(1_050);

/// What the thread watches over: rank 4 knows what a worker is.
pub(crate) trait Ward: Send + Sync {
    /// Looks at every worker and helps those for whom [`Rest::worker`] says so. What is to follow, if any
    /// worker is awake, or was in between.
    fn look(&self, state: &mut Self::State) -> Option<Rest>;

    /// Whether any worker is awake now.
    fn awake(&self) -> bool;

    /// What the thread remembers between two looks.
    type State: Default;
}

/// How long the thread may rest after a look.
pub(crate) struct Rest(Duration);

impl Rest {
    /// With no worker awake so far.
    pub(crate) fn new() -> Rest {
        Rest(2 * TICK)
    }

    /// An awake worker has polled so long ago; whether it is to be helped, because of that or because it has not
    /// done so since the last look.
    pub(crate) fn worker(&mut self, polled_since: bool, ago: Duration) -> bool {
        let rest = if ago < TICK / 2 { 2 * TICK - ago } else { TICK };
        self.0 = self.0.min(rest);
        !polled_since || ago > LATE
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
            stop: Mutex::new(Rank::Monitor, false),
            bell: parking_lot::Condvar::new(),
        }
    }

    /// The thread's life: returns after `stop`.
    pub(crate) fn run<W: Ward>(&self, ward: &W) {
        let mut state = W::State::default();
        loop {
            let stop = match ward.look(&mut state) {
                Some(rest) => self.nap(rest),
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
    fn nap(&self, rest: Rest) -> bool {
        let mut stop = self.stop.lock();
        if !*stop {
            self.bell.wait_for(stop.raw(), rest.0);
        }
        *stop
    }

    /// Sleeps until a worker gets up; whether it is time to stop.
    fn sleep<W: Ward>(&self, ward: &W) -> bool {
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
    fn whoever_polls_by_itself_is_looked_at_half_as_often() {
        let mut rest = Rest::new();
        assert!(!rest.worker(true, Duration::ZERO) && !rest.worker(true, TICK / 4));
        assert_eq!(rest.0, 2 * TICK - TICK / 4);
        assert!(!rest.worker(true, TICK));
        assert_eq!(rest.0, TICK);
    }

    /// Whenever a worker stops polling: who has not polled since the look before is helped, so this is how long
    /// its events may take to be seen.
    #[test]
    fn the_next_look_at_a_worker_comes_in_time() {
        for micros in 0..2_000 {
            let ago = Duration::from_micros(micros);
            let mut rest = Rest::new();
            let unseen = if rest.worker(true, ago) { Duration::ZERO } else { ago };
            assert!(unseen + rest.0 <= TICK + LATE, "{ago:?}");
        }
        assert!(Rest::new().worker(false, Duration::ZERO));
        assert!(Rest::new().0 <= TICK + LATE, "for those that get up right after a look");
    }
}
