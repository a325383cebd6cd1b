//! The dedicated netpoller thread: the guarantor that readiness and timers are seen although every
//! worker is inside CPU-bound code.
//!
//! It never competes with a worker that polls by itself. While any worker is awake it looks, every
//! [`TICK`], at each one's beat; a worker whose beat has not moved since the last look has been
//! running coroutines for a whole tick, so its shard is drained and its timers are fired on its
//! behalf. An event is therefore seen within two ticks. When a look finds all workers asleep and
//! nothing has moved since the look before, the thread sleeps without a timeout: an idle runtime
//! makes no wake-ups. A worker that gets up rings the bell if, and only if, the thread sleeps so.
//!
//! The bed: AWAKE, or ASLEEP. The thread writes ASLEEP, then looks at the workers once more; a worker
//! says that it is up, then reads the bed. Both orders are sequentially consistent, so one of them
//! sees the other (the same argument as in `sched/README.md`).

use crate::base::lock::{Mutex, Rank};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// The time between two looks at busy workers. Two of them, with the timer slack of the kernel, are
/// the 2 ms within which readiness is seen.
pub(crate) const TICK: Duration = Duration::from_micros(900);

/// What the thread watches over: rank 4 knows what a worker is.
pub(crate) trait Ward: Send + Sync {
    /// Looks at every worker and helps those who have not polled since the last look; whether any
    /// worker is awake, or was in between.
    fn look(&self, state: &mut Self::State) -> bool;

    /// Whether any worker is awake now.
    fn awake(&self) -> bool;

    /// What the thread remembers between two looks.
    type State: Default;
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
            let busy = ward.look(&mut state);
            if busy {
                if self.nap() {
                    return;
                }
            } else if self.sleep(ward) {
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

    /// Sleeps one tick; whether it is time to stop.
    fn nap(&self) -> bool {
        let mut stop = self.stop.lock();
        if !*stop {
            self.bell.wait_for(stop.raw(), TICK);
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
