//! A coroutine in a queue, and the two ways in which it ends: after its last turn, or without one.

use crate::coroutine::{Batch, Header, JoinError, Waiter};
use std::ptr::NonNull;

/// A coroutine in a queue: with it comes the right to run it.
pub(crate) struct Runnable(pub(super) NonNull<Waiter>);

// SAFETY: the right to run a coroutine passes with this, and the queues synchronize.
unsafe impl Send for Runnable {}

/// Ends a coroutine that will not run: its joiner gets [`JoinError::Cancelled`]. A started one is leaked.
pub(super) fn discard(task: Runnable) {
    let this: NonNull<Header> = task.0.cast();
    // SAFETY: the thread that takes a coroutine from a queue owns it, and it is alive.
    if unsafe { this.as_ref().started() } {
        return;
    }
    // SAFETY: we own it, and it has not been started.
    unsafe { Header::fail(this, JoinError::Cancelled) };
    conclude(this);
}

/// Wakes the joiner of a coroutine that has ended, and releases the scheduler's reference.
pub(super) fn conclude(this: NonNull<Header>) {
    let mut batch = Batch::new();
    // SAFETY: alive until `release`.
    unsafe { this.as_ref() }.done.set_for_good(&mut batch);
    batch.wake();
    // SAFETY: it has ended, and we do not touch it again.
    unsafe { Header::release(this) };
}
