//! A ring: the queues, the table of the calls, and who may do what with them.

use super::operation::{Operation, Outcome, Taken};
use super::sys::{Entry, Kernel};
use crate::base::fork;
use crate::base::lock::{Guard, Mutex, Rank};
use crate::base::slab::{Key, Slab};
use crate::coroutine::{Batch, Cause, Ticket};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The key of requests to cancel, whose own completions say nothing. No slot of a table has this number.
const NO_CALL: u64 = u64::MAX;

/// A ring. Any thread may use it.
pub(crate) struct Ring {
    kernel: Kernel,
    /// The right to push entries and to submit them.
    submission: Mutex<()>,
    calls: Mutex<Calls>,
    /// How many entries are pending.
    pending: AtomicUsize,
    /// How many calls are in the table.
    under_way: AtomicUsize,
    /// Whether the kernel has refused to take entries for good.
    refused: AtomicBool,
}

struct Calls {
    table: Slab<Call>,
    /// The most that `table` may hold.
    limit: usize,
}

struct Call {
    /// Who waits for the end, if it waits now.
    waiter: Option<Ticket>,
    outcome: Option<Outcome>,
}

impl Ring {
    /// A new ring.
    ///
    /// # Errors
    ///
    /// The system has no io_uring, or not all that is needed here, or forbids it.
    pub(crate) fn new() -> io::Result<Ring> {
        fork::check();
        let kernel = Kernel::new()?;
        // Each call may have two completions, its own and that of one request to cancel it.
        let limit = kernel.completions() / 2;
        Ok(Ring {
            kernel,
            submission: Mutex::new(Rank::Submission, ()),
            calls: Mutex::new(Rank::Calls, Calls { table: Slab::new(), limit }),
            pending: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
        })
    }

    /// The descriptor that is readable while there are completions.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.kernel.as_fd()
    }

    /// Whether the kernel still takes entries.
    pub(crate) fn works(&self) -> bool {
        !self.refused.load(Ordering::Relaxed)
    }

    /// Whether the kernel can do that.
    pub(crate) fn knows(&self, operation: &Operation) -> bool {
        self.kernel.knows(&Entry::of(operation, NO_CALL))
    }

    /// Starts a call. The ticket is fired when it has ended. `None` if too many calls are under way. The
    /// batch gets the callers of calls that the kernel has refused meanwhile.
    ///
    /// # Safety
    ///
    /// What the operation points to stays valid, and is the kernel's alone, until `finish` has returned an
    /// outcome. The waiter stays alive until `finish` was called.
    pub(crate) unsafe fn start(
        &self,
        operation: &Operation,
        ticket: Ticket,
        batch: &mut Batch,
    ) -> Option<Key> {
        // A forked child must not write to the queues, which it shares with its parent.
        fork::check();
        let mut calls = self.calls.lock();
        if self.under_way.load(Ordering::Relaxed) >= calls.limit {
            return None;
        }
        let key = calls.table.insert(Call { waiter: Some(ticket), outcome: None });
        self.under_way.fetch_add(1, Ordering::Relaxed);
        drop(calls);
        self.push(&Entry::of(operation, key.pack()), batch);
        Some(key)
    }

    /// The outcome of a call that has ended, which leaves the table. Otherwise takes the caller's ticket
    /// back.
    pub(crate) fn finish(&self, key: Key) -> Option<Outcome> {
        let mut calls = self.calls.lock();
        let call = calls.table.get_mut(key).expect("a call leaves the table once");
        let Some(outcome) = call.outcome else {
            call.waiter = None;
            return None;
        };
        calls.table.remove(key);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        Some(outcome)
    }

    /// Waits for the end once more: the ticket is fired then. False if the call has ended.
    ///
    /// # Safety
    ///
    /// The waiter stays alive until `finish` was called.
    pub(crate) unsafe fn wait_again(&self, key: Key, ticket: Ticket) -> bool {
        let mut calls = self.calls.lock();
        let call = calls.table.get_mut(key).expect("a call leaves the table once");
        if call.outcome.is_none() {
            call.waiter = Some(ticket);
        }
        call.outcome.is_none()
    }

    /// Asks the kernel to cancel a call. The call ends in any case, perhaps later and with success.
    pub(crate) fn cancel(&self, key: Key) {
        fork::check();
        let mut batch = Batch::new();
        self.push(&Entry::cancel(key.pack(), NO_CALL), &mut batch);
        self.submit(&mut batch);
        batch.wake();
    }

    /// Whether `submit` or `collect` may have something to do.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    /// Asks the kernel to take the pending entries.
    pub(crate) fn submit(&self, batch: &mut Batch) {
        if self.pending.load(Ordering::Relaxed) > 0 {
            self.submit_locked(&self.submission.lock(), batch);
        }
    }

    /// Stores the results of the calls that have ended, and fires their waiters.
    pub(crate) fn collect(&self, batch: &mut Batch) {
        if !self.kernel.has_completions() {
            return;
        }
        let mut calls = self.calls.lock();
        // SAFETY: `calls` gives the right to read the completion queue.
        while let Some((key, result)) = unsafe { self.kernel.next_completion() } {
            calls.end(key, Outcome::Done(result), batch);
        }
    }

    fn push(&self, entry: &Entry, batch: &mut Batch) {
        let held = self.submission.lock();
        // SAFETY: `submission` gives the right to push. What the entry points to is valid as the caller of
        // `start` says.
        while !unsafe { self.kernel.push(entry) } {
            self.submit_locked(&held, batch);
        }
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    fn submit_locked(&self, _held: &Guard<'_, ()>, batch: &mut Batch) {
        fork::check();
        loop {
            // SAFETY: the guard gives the right to submit.
            match unsafe { self.kernel.submit() } {
                Taken::All => break,
                Taken::Some => {}
                Taken::Refused { for_good } => {
                    self.refused.fetch_or(for_good, Ordering::Relaxed);
                    self.take_back(batch);
                    break;
                }
            }
        }
        self.pending.store(0, Ordering::Relaxed);
    }

    /// Ends the calls whose entries the kernel has refused.
    #[cold]
    fn take_back(&self, batch: &mut Batch) {
        let mut calls = self.calls.lock();
        // SAFETY: the caller holds `submission`.
        while let Some(key) = unsafe { self.kernel.take_back() } {
            calls.end(key, Outcome::NotTaken, batch);
        }
    }
}

impl Calls {
    fn end(&mut self, key: u64, outcome: Outcome, batch: &mut Batch) {
        if key == NO_CALL {
            return;
        }
        let call = self.table.get_mut(Key::unpack(key)).expect("a call has one completion");
        call.outcome = Some(outcome);
        if let Some(ticket) = call.waiter.take() {
            // SAFETY: the waiter takes its ticket back under this lock before its wait returns, so it is
            // alive.
            let _ = unsafe { ticket.fire(Cause::Event, batch) };
        }
    }
}
