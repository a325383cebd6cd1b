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

use super::cancel::{TimedOut, checkpoint, interruption, masked, unwind_cancelled};
use super::current;
use super::deadline::{deadline_of_file, deadline_on_thread, earlier_of};
use super::hint::wait_for_others_begins;
use super::unwinding::Blocks;
use super::worker::Worker;
use super::{budget, checks, recorder, simulated};
use crate::base::fork;
use crate::base::list_lock::ListLock;
use crate::base::lock::assert_none_held;
use crate::coroutine::{
    Batch, Cancellation, Cause, Event, EventNode, Header, Interruption, LocalRecord, NodeState, Request,
    SubjectRef, Suspend, Ticket, WaitNode, WaitReason, Waiter, Why, with_parker_to_wait,
};
use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
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
    /// It ends the wait, also in a section of [`with_errors`](super::with_errors). For operations on files,
    /// whose callers return what [`interrupted`](super::interrupted) makes of it.
    AsError,
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
    why: Why<'_>,
    deadline: Option<Instant>,
    cancel: Cancel,
    commit: &mut dyn FnMut(Ticket) -> bool,
) -> Woken {
    fork::check();
    assert_none_held();
    // Apart, so that the calls below take it in registers: in one piece it would be stored in memory in each
    // wait, though only few waits make one of the calls.
    let Why { reason, subject } = why;
    let Some(this) = current::parkable_coroutine() else {
        return wait_on_thread(reason, subject, deadline, cancel, commit);
    };
    // SAFETY: the coroutine that runs this is alive, and it is this one.
    match (unsafe { this.as_ref().local_record_if_any() }, deadline) {
        // SAFETY: this is the coroutine; the ticket is taken back as the caller says.
        (None, None) => unsafe { park(this, why, None, cancel == Cancel::Mask, commit) },
        // SAFETY: as above.
        (own, _) => unsafe { park_in_section(this, own, reason, subject, deadline, cancel, commit) },
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
    subject: Option<SubjectRef<'_>>,
    deadline: Option<Instant>,
    cancel: Cancel,
    commit: &mut dyn FnMut(Ticket) -> bool,
) -> Woken {
    let why = Why { reason, subject };
    if own.is_some_and(LocalRecord::checked)
        // SAFETY: as the caller says.
        && let Some(woken) = unsafe { park_checked(this, why, cancel, commit) }
    {
        return woken;
    }
    let errors = cancel == Cancel::AsError && own.is_some_and(|own| own.errors().is_some());
    let masked = cancel == Cancel::Mask || own.is_some_and(LocalRecord::masked) && !errors;
    let limit = match cancel {
        Cancel::Obey => own.and_then(LocalRecord::limit),
        Cancel::AsError => own.and_then(LocalRecord::limit_of_file),
        Cancel::Mask => None,
    };
    let (deadline, limited) = earlier_of(deadline, limit);
    let Some(at) = deadline else {
        if let Some(own) = own {
            own.note_wait(false);
        }
        // SAFETY: this is the coroutine; the ticket is taken back as the caller says.
        return unsafe { park(this, why, None, masked, commit) };
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
    let woken = unsafe { park(this, why, Some(at), masked, &mut commit) };
    if let (Some(timer), true) = (timer.get(), woken != Woken::Timeout) {
        timer.cancel();
    }
    let limit_ended_it = limited && woken == Woken::Timeout;
    if let Some(own) = own {
        own.note_wait(limit_ended_it);
    }
    if limit_ended_it { Woken::Cancelled } else { woken }
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
    why: Why<'_>,
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
    let woken = unsafe { park(this, why, None, true, &mut commit) };
    if woken == Woken::Cancelled {
        checks::refused(header.id(), complaint);
    }
    Some(woken)
}

/// Parks the coroutine until the ticket that `commit` publishes is fired. The deadline is for reports: its
/// timer is set by `commit`.
///
/// # Safety
///
/// The caller is that coroutine, and takes the ticket back as for [`wait`].
#[inline(always)]
unsafe fn park(
    this: NonNull<Header>,
    why: Why<'_>,
    deadline: Option<Instant>,
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
    // Here, where most callers' reason is a constant, so that most waits do not even ask.
    if why.reason.needs_others() {
        wait_for_others_begins();
    }
    // SAFETY: the commit and the subject live until this returns; this is the coroutine's own stack.
    unsafe {
        let request = Request::new(commit, ticket, masked, why, deadline);
        header.suspend_for(&request, why);
    }
    match header.waiter.cause(ticket) {
        Some(Cause::Event) | None => Woken::Event,
        Some(Cause::Timeout) => Woken::Timeout,
        Some(Cause::Cancelled) => {
            if !masked {
                // SAFETY: this is the coroutine.
                unsafe { let_others_run_after_a_catch(header) };
            }
            Woken::Cancelled
        }
    }
}

/// Lets others go first if a cancellation has unwound the coroutine before, and was caught. Its waits end at
/// once and park nobody, so a loop that catches would keep its worker.
///
/// # Safety
///
/// The caller is the coroutine.
#[cold]
#[inline(never)]
unsafe fn let_others_run_after_a_catch(header: &Header) {
    // SAFETY: as the caller says; this is its own stack. The ticket of the wait that has just ended may still
    // be listed: to fire it again has no effect.
    unsafe {
        if header.local_record_if_any().is_some_and(LocalRecord::has_unwound) {
            header.suspend(Suspend::Yield);
        }
    }
}

#[cold]
fn wait_on_thread(
    reason: WaitReason,
    subject: Option<SubjectRef<'_>>,
    deadline: Option<Instant>,
    cancel: Cancel,
    commit: &mut dyn FnMut(Ticket) -> bool,
) -> Woken {
    let why = Why { reason, subject };
    with_parker_to_wait(|parker| {
        let ticket = parker.ticket();
        if !commit(ticket) {
            return Woken::Event;
        }
        let (deadline, limited) = match cancel {
            Cancel::Obey => deadline_on_thread(deadline),
            Cancel::AsError => deadline_of_file(deadline),
            Cancel::Mask => (deadline, false),
        };
        let mut deadline = deadline;
        // Before the wait is listed for reports: if nothing will end it, this does not return, and the list
        // would refer to the subject for ever.
        if simulated::POSSIBLE
            && parker.waiter().cause(ticket).is_none()
            && current::simulated_block(reason, deadline)
        {
            // The deadline has passed, which the system's clock does not know.
            deadline = deadline.map(|at| at.min(Instant::now()));
        }
        // SAFETY: the caller borrows the subject until this returns.
        let _blocks = unsafe { Blocks::here(why, deadline, Some(parker.waiter())) };
        match parker.block(ticket, deadline) {
            Cause::Timeout if limited => Woken::Cancelled,
            Cause::Timeout => Woken::Timeout,
            Cause::Event | Cause::Cancelled => Woken::Event,
        }
    })
}

/// One wait: why, until when, whether a cancellation ends it, and in a list, the payload of its node.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a, P = ()> {
    pub(crate) why: Why<'a>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cancel: Cancel,
    pub(crate) payload: P,
}

impl<'a> Wait<'a> {
    /// A wait without a deadline that a cancellation ends.
    pub(crate) fn new(why: impl Into<Why<'a>>) -> Wait<'a> {
        Wait { why: why.into(), deadline: None, cancel: Cancel::Obey, payload: () }
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
    how: Wait<'_, P>,
    mut enlist: impl FnMut(&WaitNode<P>) -> bool,
    leave: impl FnOnce(&WaitNode<P>),
) -> Ended {
    let Wait { why, deadline, cancel, payload } = how;
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
    let woken = unsafe { wait(why, deadline, cancel, &mut commit) };
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
    how: Wait<'_, P>,
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
#[inline]
pub(crate) fn wait_for<'a>(
    event: &Event,
    why: impl Into<Why<'a>>,
    deadline: Option<Instant>,
) -> Result<(), TimedOut> {
    match wait_for_event(event, why.into(), deadline, Cancel::Obey) {
        Woken::Event => Ok(()),
        Woken::Timeout => Err(TimedOut),
        Woken::Cancelled => unwind_cancelled(),
    }
}

/// Waits until the event is set. No cancellation ends this.
pub(crate) fn wait_masked<'a>(event: &Event, why: impl Into<Why<'a>>) {
    let why = why.into();
    while !event.is_set() {
        wait_for_event(event, why, None, Cancel::Mask);
    }
}

/// Waits until the event is set, without consuming it. On [`Woken::Cancelled`] the caller
/// [`unwind_cancelled`]s.
pub(crate) fn wait_for_event(
    event: &Event,
    why: Why<'_>,
    deadline: Option<Instant>,
    cancel: Cancel,
) -> Woken {
    let how = Wait { why, deadline, cancel, payload: () };
    // SAFETY: `wait_in_ring` keeps the node until it has removed it.
    wait_in_ring(event, how, |node| unsafe { event.enqueue(node) })
}

/// As [`wait_for_event`], with a node that `enlist` lists with the event, in a commit; it returns false if
/// the event is set. The node stays where it is, and the caller alive, until the node was removed.
#[inline]
pub(crate) fn wait_in_ring(event: &Event, how: Wait<'_>, enlist: impl Fn(&EventNode) -> bool) -> Woken {
    let Wait { why, deadline, cancel, payload: () } = how;
    let node: Cell<Option<EventNode>> = Cell::new(None);
    let mut commit = |ticket| {
        // SAFETY: written once, here, before anybody else has its address; this frame holds it until
        // `remove` has returned.
        let node = unsafe { (*node.as_ptr()).insert(EventNode::new(ticket)) };
        enlist(node)
    };
    // SAFETY: the ticket is in the node, which is removed below.
    let woken = unsafe { wait(why, deadline, cancel, &mut commit) };
    // SAFETY: nobody makes an exclusive reference any more: `commit` has run.
    if let Some(node) = unsafe { (*node.as_ptr()).as_ref() } {
        // Also if the event has fired it: it fires before it is set, and the caller wants to find it set.
        event.remove(node);
    }
    woken
}

/// Parks until the deadline. A cancellation unwinds out of this.
pub(crate) fn sleep_until<'a>(deadline: Instant, why: impl Into<Why<'a>>) {
    // SAFETY: the ticket is published nowhere but in the worker's timers, from which `wait` takes it.
    if unsafe { wait(why.into(), Some(deadline), Cancel::Obey, &mut |_| true) } == Woken::Cancelled {
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

/// Runs the closure, and catches the unwinding of a cancellation or a time limit that comes out of it. Lifts
/// the mask of [`with_errors`](super::with_errors) for the closure. If it has caught something, others go
/// first before it returns: a wait that ends at once parks nobody, and a loop that catches would keep its
/// worker.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Interruption> {
    current::with_local_record(|own| {
        let section = own.unmask_errors();
        let outcome = catch_unwind(AssertUnwindSafe(f));
        drop(section);
        let why = match outcome {
            Ok(value) => return Ok(value),
            Err(payload) => match payload.downcast_ref::<Cancellation>() {
                Some(cancellation) => cancellation.why,
                None => resume_unwind(payload),
            },
        };
        masked(yield_now);
        Err(why)
    })
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
        let_others_go_first();
    }
}

/// Counts the bytes that a call has copied, since a copy of a few KiB takes as long as an ordinary call. The
/// next call yields if they have used up the budget.
#[inline]
pub(crate) fn consume_budget_of_copy(bytes: usize) {
    const BYTES_OF_A_CALL: usize = 4 << 10;
    if bytes > BYTES_OF_A_CALL {
        budget::count_more(u32::try_from(bytes / BYTES_OF_A_CALL).unwrap_or(u32::MAX));
    }
}

/// As [`consume_budget`], for an operation on a file: where a wait would fail, this does.
#[inline]
pub(crate) fn consume_budget_of_file() -> io::Result<()> {
    if budget::count_call() {
        let_others_go_first();
        // A destructor that unwinds is not interrupted again, where it need not wait.
        if !std::thread::panicking()
            && let Some(why) = interruption()
        {
            return Err(why.into());
        }
    }
    Ok(())
}

/// Counts a call against the budget, for a caller that must neither park nor unwind. True if the budget was
/// used up before: then the caller returns to where its coroutine can let others go first. A new budget
/// begins, since an executor that is not of this crate may poll again without a wait.
pub(crate) fn budget_is_used_up() -> bool {
    if !current::may_switch() {
        return false;
    }
    if simulated::POSSIBLE && current::with(|worker| worker.simulated.is_on()) == Some(true) {
        // The executor's own waits are where others run.
        return current::with(|worker| worker.simulated.budget_is_used_up()) == Some(true);
    }
    let used_up = budget::count_call();
    if used_up {
        budget::refill();
    }
    used_up
}

#[cold]
fn let_others_go_first() {
    if simulated::POSSIBLE && current::with(|worker| worker.simulated.is_on()) == Some(true) {
        return let_others_go_first_if_chosen();
    }
    if recorder::is_on() {
        current::with(|worker| {
            let remote = worker.remote();
            // SAFETY: this is the worker's thread.
            unsafe { remote.track.writer() }.budget_used_up(remote.running.id_or_zero());
        });
    }
    if current::may_switch() {
        current::with(|worker| worker.remote().note_budget_yield());
        yield_now();
    } else {
        budget::refill();
        checkpoint();
    }
}

/// In a simulation each call that need not wait comes here, and the simulation says whether others go first.
fn let_others_go_first_if_chosen() {
    if current::may_switch() {
        if current::with(Worker::preempts) == Some(true) {
            yield_now();
        } else {
            checkpoint();
        }
    } else {
        checkpoint();
    }
}

/// What tests see of the waits of other coroutines.
#[cfg(all(test, not(loom)))]
pub(crate) mod testing {
    use super::{current, yield_now};
    use crate::coroutine::{Facts, Header, Id, WaitReason};
    use crate::runtime::{Builder, Homes};
    use crate::task::Task;
    use std::ptr::NonNull;
    use std::time::Instant;

    /// The wait of a coroutine.
    pub(crate) struct Seen {
        pub(crate) facts: Option<Facts>,
        pub(crate) address: Option<usize>,
        pub(crate) deadline: Option<Instant>,
        pub(crate) masked: bool,
        pub(crate) since: u64,
        pub(crate) parent: Option<Id>,
    }

    /// Runs the closure as a coroutine of a runtime with one worker: its coroutines have one home.
    pub(crate) fn on_one_worker<T: Send>(f: impl FnOnce() -> T + Send) -> T {
        let builder = Builder::new().worker_threads(1).homes(Homes::Off);
        builder.build().expect("a runtime").run(f)
    }

    /// The wait of that coroutine, which has the home of the caller, once it waits for that reason.
    pub(crate) fn wait_of(task: &Task, reason: WaitReason) -> Seen {
        let id = task.id().expect("a coroutine");
        loop {
            let mut seen = None;
            current::with(|worker| {
                worker.home().for_each_listed(|header: NonNull<Header>| {
                    // SAFETY: listed coroutines are alive. This one has the caller's home, and is suspended,
                    // unless it is the caller itself, which has no reason.
                    let header = unsafe { header.as_ref() };
                    // SAFETY: as above. The caller does not wait before `seen` is made.
                    let waiting = unsafe { header.waiting() }.filter(|_| header.id() == id);
                    if let Some(waiting) =
                        waiting.filter(|_| header.reason() == reason && header.waiter.parked_in().is_some())
                    {
                        seen = Some(Seen {
                            facts: waiting.subject.map(|subject| subject.facts()),
                            address: header.subject_address().map(|at| at.as_ptr().addr()),
                            deadline: waiting.deadline,
                            masked: waiting.masked,
                            since: header.since(),
                            parent: header.parent(),
                        });
                    }
                });
            });
            match seen {
                Some(seen) => return seen,
                None => yield_now(),
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::testing::{on_one_worker, wait_of};
    use crate::coroutine::{Facts, WaitReason};
    use std::time::{Duration, Instant};

    #[test]
    fn a_join_names_the_coroutine_that_it_waits_for() {
        on_one_worker(|| {
            let awaited = crate::spawn(crate::task::park);
            let unpark = awaited.task();
            let id = unpark.id().expect("a coroutine");
            let joins = crate::spawn(move || awaited.join().is_ok());
            let seen = wait_of(&joins.task(), WaitReason::Join);
            assert_eq!(seen.facts, Some(Facts::Coroutine(id)));
            assert!(seen.address.is_some() && seen.deadline.is_none() && !seen.masked);
            unpark.unpark();
            assert!(joins.join().expect("no panic"));
        });
    }

    /// The parent is the coroutine that has called `spawn`, whichever way. The first coroutine, which a plain
    /// thread has spawned, has none.
    #[test]
    fn a_coroutine_knows_its_parent_and_when_its_wait_began() {
        on_one_worker(|| {
            let me = crate::task::current();
            let waits = |child: crate::task::JoinHandle<()>| {
                let task = child.task();
                let seen = wait_of(&task, WaitReason::Park);
                assert_eq!(seen.since, wait_of(&task, WaitReason::Park).since, "it is the same wait");
                assert_eq!(seen.parent, me.id());
                task.unpark();
                child.join().expect("no panic");
                seen.since
            };
            let first = waits(crate::spawn(crate::task::park));
            crate::sleep(Duration::from_millis(2));
            let second = waits(crate::task::Builder::new().spawn(crate::task::park).expect("a runtime"));
            assert!(second >= first + 1_000_000, "{first} {second}");
            let theirs = me.clone();
            let child = crate::spawn(move || wait_of(&theirs, WaitReason::Join).parent);
            assert_eq!(child.join().expect("no panic"), None);
        });
    }

    /// The deadline of the call, or the time limit of its section if that is earlier.
    #[test]
    fn a_wait_has_the_deadline_that_ends_it() {
        on_one_worker(|| {
            let before = Instant::now();
            let sleeps = crate::spawn(|| {
                crate::time::timeout(Duration::from_secs(60), || crate::sleep(Duration::from_secs(3600)))
            });
            let seen = wait_of(&sleeps.task(), WaitReason::Sleep);
            let left = seen.deadline.expect("a sleep has a deadline") - before;
            assert!(left >= Duration::from_secs(60) && left < Duration::from_secs(600), "{left:?}");
            assert!(seen.facts.is_none());
            sleeps.cancel();
        });
    }
}
