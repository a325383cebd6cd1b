//! Where a coroutine is queued whose wait has ended.

use super::current::with;
use super::runnable::Runnable;
use super::shared::Remote;
use crate::coroutine::{Header, Schedule, Waiter};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Puts a coroutine whose wait has ended back to where it is run from.
pub(crate) struct ToRunQueue;

impl Schedule for ToRunQueue {
    unsafe fn schedule(waiter: NonNull<Waiter>) {
        // SAFETY: the coroutine was parked, so it has been started and its home is set; the runtime and
        // its remotes outlive coroutines that have not ended, and this one cannot end before it is queued.
        let (header, remote) = unsafe {
            let header = waiter.cast::<Header>().as_ref();
            (header, &*header.owner.home.load(Ordering::Relaxed).cast::<Remote>())
        };
        let movable = remote.may_move(header);
        let by_sibling = with(|worker| {
            if !ptr::eq(Arc::as_ptr(worker.shared()), remote.runtime.as_ptr()) {
                return false;
            }
            if movable {
                worker.push_migratable(waiter);
            } else if ptr::eq(worker.remote(), remote) {
                worker.push_ready(waiter);
            } else {
                remote.hand(waiter, &worker.shared().idle);
            }
            true
        });
        if by_sibling != Some(true) {
            // Keeps the runtime for the time after the push, when the coroutine may end.
            let shared = remote.runtime.upgrade().expect("a runtime outlives its coroutines");
            if movable {
                shared.inject(Runnable(waiter));
            } else {
                remote.hand(waiter, &shared.idle);
            }
        }
    }
}
