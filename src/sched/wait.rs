//! The waist: the one function through which everything that blocks goes.
//!
//! The problem: a wait must be published where its event will find it, but not before the coroutine's
//! registers are saved. Otherwise another thread could resume a stack that is still in use.
//!
//! [`wait`] parks the calling coroutine. It blocks the calling thread where there is no coroutine, or where a
//! switch is not allowed. The caller says what it waits for by `commit`:
//!
//! ```text
//!  caller's stack                          worker's stack
//!  wait: make a ticket, suspend  ------->  commit(ticket): publish the ticket where the event will fire it;
//!                                          false: the event has happened already, resume at once
//!                                          park: from now on, the party that fires the ticket schedules the
//!                                          coroutine; if the ticket was fired meanwhile, resume at once
//!  what ended the wait?          <-------  resume, when it is the coroutine's turn
//!  take the ticket back
//! ```
//!
//! What `commit` captures stays valid: it is on the suspended stack. An event, a timer or a cancellation may
//! fire the ticket; one of them wins (`coroutine/waiter.rs`). The caller takes the ticket back from where it
//! published it, whatever ended the wait. If that was a cancellation, or the time limit of a section of code
//! ([`limited`](super::cancel::limited)), it then calls [`unwind_cancelled`].
//!
//! While a thread unwinds from a panic nothing switches: std counts panics in a thread-local, and another
//! coroutine on that thread would find itself panicking. The wait blocks the thread instead.

use super::cancel::{TimedOut, checkpoint, unwind_cancelled};
use super::current;
use super::deadline::{deadline_on_thread, earlier};
use super::unwinding::Blocks;
use super::{budget, checks};
use crate::base::fork;
use crate::base::list_lock::ListLock;
use crate::base::lock::assert_none_held;
use crate::coroutine::{
    Batch, Cause, Event, EventNode, Header, LocalRecord, NodeState, Request, RequestPtr, Suspend, Ticket,
    WaitNode, WaitReason, Waiter, with_parker,
};
use std::cell::Cell;
use std::ptr::NonNull;
use std::time::Instant;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// By what was waited for; or `commit` found that it had happened already.
    Event,
    /// By the deadline.
    Timeout,
    /// By a cancellation, or by the time limit of the caller's section of code. The caller calls
    /// [`unwind_cancelled`] when it has taken its ticket back.
    Cancelled,
}

/// Whether a cancellation ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// It ends the wait.
    Obey,
    /// It does not, nor does a section's time limit. The next wait meets them.
    Mask,
}

/// Waits until the ticket that `commit` publishes is fired, the deadline passes, or the coroutine is
/// cancelled.
///
/// # Safety
///
/// The caller takes the ticket back from where `commit` has published it, before the caller's frame ends, and
/// in a way that waits for a thread that is using it ([`Event::remove`]).
// Inlined, like its callers, as far up as possible. A processor predicts a return from the matching call.
// After a switch of stacks it mispredicts every return up to the one by which the next switch leaves the
// stack.
#[inline(always)]
pub(crate) unsafe fn wait(
    reason: WaitReason,
    deadline: Option<Instant>,
    cancel: Cancel,
    commit: &mut dyn FnMut(Ticket) -> bool,
) -> Woken {
    fork::check();
    assert_none_held();
    let Some(this) = current::parkable_coroutine() else {
        return wait_on_thread(reason, deadline, cancel, commit);
    };
    // SAFETY: the coroutine that runs this is alive, and it is this one.
    match (unsafe { this.as_ref().local_record_if_any() }, deadline) {
        // SAFETY: this is the coroutine; the ticket is taken back as the caller says.
        (None, None) => unsafe { park(this, reason, cancel == Cancel::Mask, commit) },
        // SAFETY: as above.
        (own, _) => unsafe { park_in_section(this, own, reason, deadline, cancel, commit) },
    }
}

/// Calls `f` with the ticket of a wait of the caller that never parks. The thread that fires the ticket
/// gets the verdict [`Fired::Early`](crate::coroutine::Fired), so nobody schedules the caller, and `f` may
/// publish it while the caller runs.
///
/// `f` fires the ticket itself and takes it back before it returns, so that it cannot end a later wait.
#[inline]
pub(crate) fn with_ticket<R>(f: impl FnOnce(Ticket) -> R) -> R {
    match current::parkable_coroutine() {
        // SAFETY: the coroutine that runs this is alive; the pointer is its own.
        Some(this) => f(unsafe { Waiter::ticket(this.cast()) }),
        None => with_parker(|parker| f(parker.ticket())),
    }
}

/// As [`park`], with everything that may apply: a deadline, a section that is masked or has a limit.
///
/// # Safety
///
/// As for [`park`]; `own` is that coroutine's.
#[inline(never)]
unsafe fn park_in_section(
    this: NonNull<Header>,
    own: Option<&LocalRecord>,
    reason: WaitReason,
    deadline: Option<Instant>,
    cancel: Cancel,
    commit: &mut dyn FnMut(Ticket) -> bool,
) -> Woken {
    if own.is_some_and(LocalRecord::checked)
        // SAFETY: as the caller says.
        && let Some(woken) = unsafe { park_checked(this, reason, cancel, commit) }
    {
        return woken;
    }
    let masked = cancel == Cancel::Mask || own.is_some_and(LocalRecord::masked);
    let (deadline, limited) = earlier(deadline, own.filter(|_| cancel == Cancel::Obey));
    let Some(at) = deadline else {
        // SAFETY: this is the coroutine; the ticket is taken back as the caller says.
        return unsafe { park(this, reason, masked, commit) };
    };
    let timer = Cell::new(None);
    let mut commit = |ticket| {
        let wanted = commit(ticket);
        if wanted {
            timer.set(Some(current::set_timer(at, ticket)));
        }
        wanted
    };
    // SAFETY: as above; the timer, if it has not fired, is cancelled below.
    let woken = unsafe { park(this, reason, masked, &mut commit) };
    if let (Some(timer), true) = (timer.get(), woken != Woken::Timeout) {
        timer.cancel();
    }
    if limited && woken == Woken::Timeout { Woken::Cancelled } else { woken }
}

/// Refuses a wait that stands where it must not, if the caller can unwind: the wait then ends as if it was
/// cancelled at once, and the caller's [`unwind_cancelled`] says why. Nothing else runs on this worker
/// meanwhile.
///
/// # Safety
///
/// As for [`park`].
#[cold]
#[inline(never)]
unsafe fn park_checked(
    this: NonNull<Header>,
    reason: WaitReason,
    cancel: Cancel,
    commit: &mut dyn FnMut(Ticket) -> bool,
) -> Option<Woken> {
    // SAFETY: the coroutine that runs this is alive.
    let header = unsafe { this.as_ref() };
    let complaint = checks::complaint(header)?;
    if cancel == Cancel::Mask {
        checks::report_once(header, &complaint);
        return None;
    }
    let mut commit = |ticket: Ticket| {
        let wanted = commit(ticket);
        if wanted {
            // It is not parked yet, so there is nobody to be scheduled.
            // SAFETY: the ticket's waiter is the caller's own.
            let _ = unsafe { ticket.fire(Cause::Cancelled, &mut Batch::new()) };
        }
        wanted
    };
    // SAFETY: as the caller says.
    let woken = unsafe { park(this, reason, true, &mut commit) };
    if woken == Woken::Cancelled {
        checks::refused(header.id(), complaint);
    }
    Some(woken)
}

/// Parks the coroutine until the ticket that `commit` publishes is fired.
///
/// # Safety
///
/// The caller is that coroutine, and takes the ticket back as for [`wait`].
#[inline(always)]
unsafe fn park(
    this: NonNull<Header>,
    reason: WaitReason,
    masked: bool,
    commit: &mut dyn FnMut(Ticket) -> bool,
) -> Woken {
    // SAFETY: the coroutine that runs this is alive; the pointer is its own.
    let (header, ticket): (&Header, _) = unsafe { (this.as_ref(), Waiter::ticket(this.cast())) };
    // SAFETY: the closure lives on this stack until the coroutine is resumed; the lifetime is erased
    // for no longer than that, since the frames below stay until then.
    let commit = unsafe {
        std::mem::transmute::<NonNull<dyn FnMut(Ticket) -> bool + '_>, NonNull<dyn FnMut(Ticket) -> bool>>(
            NonNull::from(commit),
        )
    };
    let request = Request { commit, ticket, masked };
    header.set_reason(reason);
    // SAFETY: this is the coroutine's own stack.
    unsafe { header.suspend(Suspend::Wait(RequestPtr::of(&request))) };
    header.set_reason(WaitReason::None);
    match header.waiter.cause(ticket) {
        Some(Cause::Event) | None => Woken::Event,
        Some(Cause::Timeout) => Woken::Timeout,
        Some(Cause::Cancelled) => Woken::Cancelled,
    }
}

#[cold]
fn wait_on_thread(
    reason: WaitReason,
    deadline: Option<Instant>,
    cancel: Cancel,
    commit: &mut dyn FnMut(Ticket) -> bool,
) -> Woken {
    with_parker(|parker| {
        let ticket = parker.ticket();
        if !commit(ticket) {
            return Woken::Event;
        }
        let (deadline, limited) = match cancel {
            Cancel::Obey => deadline_on_thread(deadline),
            Cancel::Mask => (deadline, false),
        };
        let _blocks = Blocks::here(reason);
        match parker.block(ticket, deadline) {
            Cause::Timeout if limited => Woken::Cancelled,
            Cause::Timeout => Woken::Timeout,
            Cause::Event | Cause::Cancelled => Woken::Event,
        }
    })
}

/// One wait: why, until when, whether a cancellation ends it, and in a list, the payload of its node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait<P = ()> {
    pub(crate) reason: WaitReason,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Cancel,
    pub(crate) payload: P,
}

impl Wait {
    /// A wait without a deadline that a cancellation ends.
    pub(crate) fn new(reason: WaitReason) -> Wait {
        Wait { reason, deadline: None, cancel: Cancel::Obey, payload: () }
    }
}

/// How a wait in a list ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// `enlist` found that there is nothing to wait for, and listed nothing.
    NotListed,
    /// The waiter was handed what it waited for.
    Handed,
    /// The waiter was woken and handed nothing.
    Woken,
    /// The deadline has passed.
    Timeout,
    /// As [`Woken::Cancelled`]: the caller [`unwind_cancelled`]s.
    Cancelled,
}

impl Ended {
    /// What ended the wait, for a caller to which it is all the same whether it was handed something.
    pub(crate) fn woken(self) -> Woken {
        match self {
            Ended::NotListed | Ended::Handed | Ended::Woken => Woken::Event,
            Ended::Timeout => Woken::Timeout,
            Ended::Cancelled => Woken::Cancelled,
        }
    }
}

/// Waits with a node in a wait list. `enlist` puts the node into one list under that list's lock, or returns
/// false if there is nothing to wait for. `leave` takes the node off; it is called if the wait ended by its
/// deadline or a cancellation.
#[inline]
pub(crate) fn wait_at<P: Copy>(
    how: Wait<P>,
    mut enlist: impl FnMut(&WaitNode<P>) -> bool,
    leave: impl FnOnce(&WaitNode<P>),
) -> Ended {
    let Wait { reason, deadline, cancel, payload } = how;
    let node: Cell<Option<WaitNode<P>>> = Cell::new(None);
    let blocks_thread = current::blocks_worker();
    let mut commit = |ticket| {
        let made = WaitNode::new(ticket, payload).blocking_thread(blocks_thread);
        // SAFETY: written once, here, before anybody else has its address; this frame holds it until its
        // ticket was won from the list or it has been taken off below.
        let node = unsafe { (*node.as_ptr()).insert(made) };
        enlist(node)
    };
    // SAFETY: the ticket is in the node, which is in one list at most; it is taken off below under the list's
    // lock unless its ticket was won from there.
    let woken = unsafe { wait(reason, deadline, cancel, &mut commit) };
    // SAFETY: nobody makes an exclusive reference any more: `commit` has run.
    let node = unsafe { (*node.as_ptr()).as_ref() }.expect("commit has run");
    match woken {
        Woken::Event => match node.state() {
            NodeState::Handed => Ended::Handed,
            NodeState::Woken => Ended::Woken,
            NodeState::Unlisted => Ended::NotListed,
            NodeState::Listed => unreachable!("only the list ends this wait by its event"),
        },
        Woken::Timeout => {
            leave(node);
            Ended::Timeout
        }
        Woken::Cancelled => {
            leave(node);
            Ended::Cancelled
        }
    }
}

/// As [`wait_at`], for a list that is in what is under `lock`. `leave` may wake others: it puts them into the
/// batch.
pub(crate) fn wait_in<T, P: Copy>(
    lock: &ListLock<T>,
    how: Wait<P>,
    mut enlist: impl FnMut(&mut T, &WaitNode<P>) -> bool,
    leave: impl FnOnce(&mut T, &WaitNode<P>, &mut Batch),
) -> Ended {
    let enlist = |node: &WaitNode<P>| enlist(&mut lock.lock(), node);
    wait_at(how, enlist, |node| {
        let mut batch = Batch::new();
        leave(&mut lock.lock(), node, &mut batch);
        batch.wake();
    })
}

/// Waits until the event is set, without consuming it. A cancellation unwinds out of this.
pub(crate) fn wait_for(event: &Event, reason: WaitReason, deadline: Option<Instant>) -> Result<(), TimedOut> {
    match wait_for_event(event, reason, deadline, Cancel::Obey) {
        Woken::Event => Ok(()),
        Woken::Timeout => Err(TimedOut),
        Woken::Cancelled => unwind_cancelled(),
    }
}

/// Waits until the event is set. No cancellation ends this.
pub(crate) fn wait_masked(event: &Event, reason: WaitReason) {
    while !event.is_set() {
        wait_for_event(event, reason, None, Cancel::Mask);
    }
}

/// Waits until the event is set, without consuming it. On [`Woken::Cancelled`] the caller
/// [`unwind_cancelled`]s.
pub(crate) fn wait_for_event(
    event: &Event,
    reason: WaitReason,
    deadline: Option<Instant>,
    cancel: Cancel,
) -> Woken {
    let how = Wait { reason, deadline, cancel, payload: () };
    // SAFETY: `wait_in_ring` keeps the node until it has removed it.
    wait_in_ring(event, how, |node| unsafe { event.enqueue(node) })
}

/// As [`wait_for_event`], with a node that `enlist` lists with the event, in a commit; it returns false if
/// the event is set. The node stays where it is, and the caller alive, until the node was removed.
#[inline]
pub(crate) fn wait_in_ring(event: &Event, how: Wait, enlist: impl Fn(&EventNode) -> bool) -> Woken {
    let Wait { reason, deadline, cancel, payload: () } = how;
    let node: Cell<Option<EventNode>> = Cell::new(None);
    let mut commit = |ticket| {
        // SAFETY: written once, here, before anybody else has its address; this frame holds it until
        // `remove` has returned.
        let node = unsafe { (*node.as_ptr()).insert(EventNode::new(ticket)) };
        enlist(node)
    };
    // SAFETY: the ticket is in the node, which is removed below.
    let woken = unsafe { wait(reason, deadline, cancel, &mut commit) };
    // SAFETY: nobody makes an exclusive reference any more: `commit` has run.
    if let Some(node) = unsafe { (*node.as_ptr()).as_ref() } {
        // Also if the event has fired it: it fires before it is set, and the caller wants to find it set.
        event.remove(node);
    }
    woken
}

/// Parks until the deadline. A cancellation unwinds out of this.
pub(crate) fn sleep_until(deadline: Instant, reason: WaitReason) {
    // SAFETY: the ticket is published nowhere but in the worker's timers, from which `wait` takes it.
    if unsafe { wait(reason, Some(deadline), Cancel::Obey, &mut |_| true) } == Woken::Cancelled {
        unwind_cancelled();
    }
}

/// Sets the event and wakes the first waiter, which then takes it. From any thread.
pub(crate) fn set(event: &Event) {
    let mut batch = Batch::new();
    event.set(&mut batch);
    batch.wake();
}

/// Sets the event for good and wakes all waiters. From any thread.
pub(crate) fn set_for_good(event: &Event) {
    let mut batch = Batch::new();
    event.set_for_good(&mut batch);
    batch.wake();
}

/// Lets the other runnable coroutines of this worker go first; on a plain thread, other threads. Like a
/// wait, a cancellation or a time limit unwinds out of it.
#[inline(always)]
pub(crate) fn yield_now() {
    let Some(header) = current::parkable_coroutine() else { return yield_on_thread() };
    // SAFETY: the coroutine that runs this is alive, and it is this one.
    let (header, own) = unsafe { (header.as_ref(), header.as_ref().local_record_if_any()) };
    if own.is_some_and(LocalRecord::checked) {
        check_yield(header);
    }
    // SAFETY: this is the coroutine's own stack.
    unsafe { header.suspend(Suspend::Yield) };
    // After the turns of the others, so that this meets a cancellation that one of them has requested.
    if header.waiter.may_be_ended() {
        checkpoint();
    }
}

/// Panics if the coroutine must not leave its stack here.
#[cold]
fn check_yield(header: &Header) {
    if let Some(complaint) = checks::complaint(header) {
        panic!("{complaint}");
    }
}

#[cold]
fn yield_on_thread() {
    std::thread::yield_now();
    checkpoint();
}

/// Counts a call against the budget of the turn. When the budget is used up, the coroutine yields.
/// Otherwise a coroutine whose socket is always ready would never leave its worker, and no cancellation
/// would reach it.
///
/// That yield unwinds like any wait. So each caller calls this *before* its operation takes anything (a
/// message, a token, bytes, a connection): what was taken would be lost with the unwinding. A `Drop`, or a
/// section that must not unwind, does not call it.
#[inline]
pub(crate) fn consume_budget() {
    if budget::count_call() {
        budget_is_used_up();
    }
}

#[cold]
fn budget_is_used_up() {
    if current::may_switch() {
        yield_now();
    } else {
        budget::refill();
        checkpoint();
    }
}
