//! Whether the netpoller thread is in its untimed sleep. Pure. `thread.rs` has the argument.

use crate::base::sync::{AtomicU8, Ordering, fence};

/// One if the thread is in the untimed sleep, or about to be; otherwise zero. It changes under the mutex with
/// which the thread waits.
#[derive(Debug)]
pub(super) struct Asleep(AtomicU8);

impl Asleep {
    /// The thread does not sleep.
    pub(super) fn new() -> Asleep {
        Asleep(AtomicU8::new(0))
    }

    /// The sleep begins, unless a worker is `awake` after all.
    pub(super) fn begin(&self, awake: impl FnOnce() -> bool) {
        self.0.store(1, Ordering::Relaxed);
        // Pairs with the fence in `worker_must_wake`.
        fence(Ordering::SeqCst);
        if awake() {
            self.end();
        }
    }

    /// Whether it lasts.
    pub(super) fn lasts(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether a worker, which has set its sleep state to awake, has to wake the thread. It calls this
    /// without the mutex.
    #[inline]
    pub(super) fn worker_must_wake(&self) -> bool {
        // Pairs with the fence in `begin`.
        fence(Ordering::SeqCst);
        self.lasts()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// A worker wakes up while the thread goes to sleep. If the thread slept on, loom would report that.
    #[test]
    fn the_thread_does_not_sleep_while_a_worker_is_awake() {
        loom::model(|| {
            let world = Arc::new((Asleep::new(), AtomicU8::new(0), Mutex::new(()), Condvar::new()));
            let theirs = world.clone();
            // As `Netpoller::sleep_untimed`.
            let sleeper = thread::spawn(move || {
                let (asleep, awake, stop, wake_up) = &*theirs;
                let mut held = stop.lock().unwrap();
                asleep.begin(|| awake.load(Ordering::Relaxed) == 1);
                while asleep.lasts() {
                    held = wake_up.wait(held).unwrap();
                }
            });
            let (asleep, awake, stop, wake_up) = &*world;
            awake.store(1, Ordering::Relaxed);
            // As `Netpoller::worker_woke_up`.
            if asleep.worker_must_wake() {
                let _held = stop.lock().unwrap();
                asleep.end();
                wake_up.notify_one();
            }
            sleeper.join().unwrap();
        });
    }
}
