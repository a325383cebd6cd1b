//! The waist: the one function through which everything that blocks goes.
//!
//! [`wait`] parks the calling coroutine, or blocks the calling thread where there is no coroutine or
//! where a switch is not allowed. A caller says what it waits for with `commit`, which is handed the
//! wait's ticket, publishes it where the event will look for it, and returns false if the event has
//! come about already. `commit` runs on the worker's own stack, after the coroutine's registers were
//! saved; what it captures stays valid on the parked stack.
//!
//! While a thread is unwinding from a panic nothing switches: std counts panics in a thread-local,
//! and another coroutine on that thread would find itself panicking. The thread blocks instead.

use super::fork;
use super::worker::{self, Worker};
use crate::base::lock::assert_none_held;
use crate::coroutine::{
    Batch, Cancellation, Cause, Event, Header, Node, Suspend, Ticket, WaitReason, Waiter, with_parker,
};
use std::cell::Cell;
use std::ptr::NonNull;
use std::time::Instant;

/// The deadline of a wait has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedOut;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// By what was waited for; or `commit` found that it had come about.
    Event,
    /// By the deadline.
    Timeout,
    /// By a cancellation, which the caller raises once it has taken its ticket back.
    Cancelled,
}

/// Whether a cancellation ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// It does.
    Obey,
    /// It is left for the next wait.
    Mask,
}

/// Waits until the ticket that `commit` publishes is fired, the deadline passes, or the coroutine is
/// cancelled.
///
/// # Safety
///
/// Where `commit` publishes the ticket, it is taken back before the caller's frame ends, in a way
/// that waits for whoever is using it ([`Event::remove`]).
pub(crate) unsafe fn wait(
    reason: WaitReason,
    deadline: Option<Instant>,
    cancel: Cancel,
    mut commit: impl FnMut(Ticket) -> bool,
) -> Woken {
    fork::check();
    assert_none_held();
    let this = match worker::current_coroutine() {
        Some(header) if !std::thread::panicking() => header,
        _ => return wait_on_thread(deadline, commit),
    };
    // SAFETY: the coroutine that runs this is alive.
    let header: &Header = unsafe { this.as_ref() };
    header.set_reason(reason);
    // SAFETY: as above; the pointer is the coroutine's own.
    let ticket = unsafe { Waiter::ticket(this.cast()) };
    let timer = Cell::new(None);
    let mut on_worker = || {
        let wanted = commit(ticket);
        if let (true, Some(at)) = (wanted, deadline) {
            timer.set(Some(worker::set_timer(at, ticket)));
        }
        wanted
    };
    // SAFETY: the closure lives on this stack until the coroutine is resumed; the lifetime is erased
    // for no longer than that, since this frame stays until then.
    let commit = unsafe {
        std::mem::transmute::<NonNull<dyn FnMut() -> bool + '_>, NonNull<dyn FnMut() -> bool>>(NonNull::from(
            &mut on_worker as &mut dyn FnMut() -> bool,
        ))
    };
    // SAFETY: this is the coroutine's own stack.
    unsafe { header.suspend(Suspend::Wait { commit, ticket, masked: cancel == Cancel::Mask }) };
    let cause = header.waiter.cause(ticket);
    if let (Some(timer), true) = (timer.get(), cause != Some(Cause::Timeout)) {
        timer.cancel();
    }
    header.set_reason(WaitReason::None);
    match cause {
        Some(Cause::Timeout) => Woken::Timeout,
        Some(Cause::Cancelled) => Woken::Cancelled,
        Some(Cause::Event) | None => Woken::Event,
    }
}

fn wait_on_thread(deadline: Option<Instant>, mut commit: impl FnMut(Ticket) -> bool) -> Woken {
    with_parker(|parker| {
        let ticket = parker.ticket();
        if !commit(ticket) {
            return Woken::Event;
        }
        match parker.block(ticket, deadline) {
            Cause::Timeout => Woken::Timeout,
            Cause::Event | Cause::Cancelled => Woken::Event,
        }
    })
}

/// Waits until the event is set, without consuming it. A cancellation unwinds out of this.
pub(crate) fn wait_for(event: &Event, reason: WaitReason, deadline: Option<Instant>) -> Result<(), TimedOut> {
    match wait_for_event(event, reason, deadline, Cancel::Obey) {
        Woken::Event => Ok(()),
        Woken::Timeout => Err(TimedOut),
        Woken::Cancelled => raise(),
    }
}

/// Waits until the event is set, whatever cancellation there may be.
pub(crate) fn wait_masked(event: &Event, reason: WaitReason) {
    while !event.is_set() {
        wait_for_event(event, reason, None, Cancel::Mask);
    }
}

fn wait_for_event(event: &Event, reason: WaitReason, deadline: Option<Instant>, cancel: Cancel) -> Woken {
    let node: Cell<Option<Node>> = Cell::new(None);
    let commit = |ticket| {
        // SAFETY: written once, here, before anybody else has its address; this frame holds it until
        // `remove` has returned or the node was fired.
        let node = unsafe { (*node.as_ptr()).insert(Node::new(ticket)) };
        // SAFETY: as above; the ticket's waiter is the caller's own, alive while it waits.
        unsafe { event.enqueue(node) }
    };
    // SAFETY: the ticket is in the node, which is removed below unless the event has fired it.
    let woken = unsafe { wait(reason, deadline, cancel, commit) };
    // SAFETY: nobody makes an exclusive reference any more: `commit` has run.
    if let (true, Some(node)) = (woken != Woken::Event, unsafe { (*node.as_ptr()).as_ref() }) {
        event.remove(node);
    }
    woken
}

/// Parks until the deadline. A cancellation unwinds out of this.
pub(crate) fn sleep_until(deadline: Instant, reason: WaitReason) {
    // SAFETY: the ticket is published nowhere but in the worker's timers, from which `wait` takes it.
    if unsafe { wait(reason, Some(deadline), Cancel::Obey, |_| true) } == Woken::Cancelled {
        raise();
    }
}

/// Unwinds the cancelled coroutine, without a message from the panic hook.
fn raise() -> ! {
    std::panic::resume_unwind(Box::new(Cancellation))
}

/// Sets the event and wakes all who wait for it. From any thread.
pub(crate) fn set(event: &Event) {
    let mut batch = Batch::new();
    event.set(&mut batch);
    wake_all(&mut batch);
}

/// Schedules everyone in the batch.
pub(crate) fn wake_all(batch: &mut Batch) {
    while let Some(waiter) = batch.pop() {
        // SAFETY: waiters get into a batch by the verdict `Schedule`, and leave it once.
        unsafe { Waiter::schedule(waiter) };
    }
}

/// Lets the other runnable coroutines of this worker go first; on a plain thread, other threads.
pub(crate) fn yield_now() {
    match worker::current_coroutine() {
        Some(header) if !std::thread::panicking() => {
            // SAFETY: the coroutine that runs this is alive, and this is its own stack.
            unsafe { header.as_ref().suspend(Suspend::Yield) };
        }
        _ => std::thread::yield_now(),
    }
}

/// Counts a call that did not have to wait. A coroutine that makes many of them lets others go first:
/// one whose socket is always ready would otherwise never leave its worker.
#[inline]
pub(crate) fn spend() {
    if worker::with(Worker::spend).unwrap_or(false) {
        yield_now();
    }
}
