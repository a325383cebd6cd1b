//! Where a coroutine is queued whose wait has ended.
//!
//! ```text
//!  the coroutine       woken by                          goes to
//!  stays in its home   the worker that runs the home     that worker's run queue; first of all, if a
//!                                                        coroutine wakes it
//!                      any other thread                  the home's inbox; the worker of a pinned home is
//!                                                        woken. If it is an idle mobile home: the home's run
//!                                                        queue, and the home is queued: by a worker on its
//!                                                        own queue, else in the injector
//!  may migrate         a worker of its runtime           the run queue of the waking worker
//!                      any other thread                  the injector
//! ```

use super::current::with;
use super::instruments;
use super::runnable::Runnable;
use super::shared::Home;
use crate::coroutine::{Header, Schedule, Waiter};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Puts a woken coroutine into a run queue.
pub(super) struct ToRunQueue;

impl Schedule for ToRunQueue {
    unsafe fn schedule(waiter: NonNull<Waiter>) {
        // SAFETY: the coroutine was parked, so it has been started and its home is set. The runtime and its
        // homes outlive coroutines that have not ended, and this one cannot end before it is queued.
        let (header, home) = unsafe {
            let header = waiter.cast::<Header>().as_ref();
            (header, &*header.owner.home.load(Ordering::Relaxed).cast::<Home>())
        };
        if instruments::any() {
            // Before the push: afterwards the coroutine may run, and end.
            instruments::note_wake(header, home);
        }
        let migrates = home.may_migrate(header);
        let by_worker_of_runtime = with(|worker| {
            if !ptr::eq(Arc::as_ptr(worker.shared()), home.runtime().as_ptr()) {
                return false;
            }
            if migrates {
                worker.push_migrating(waiter);
            } else if ptr::eq(worker.home(), home) {
                worker.push_ready(waiter);
            } else if worker.shared().push_to_home(home, waiter) {
                worker.queue_home(home);
            }
            true
        });
        if by_worker_of_runtime != Some(true) {
            // The coroutine may end after the push, and with it the runtime. This keeps the runtime alive.
            let shared = home.runtime().upgrade().expect("a runtime outlives its coroutines");
            if migrates {
                shared.inject(Runnable(waiter));
            } else if shared.push_to_home(home, waiter) {
                shared.inject(Runnable::of_home(home));
            }
        }
    }
}
