//! Who ends a wait: one atomic word, one winner.
//!
//! Every wait may be ended by several parties at once: an event, a timer, a cancellation. Each of
//! them holds a [`Ticket`] and calls [`Ticket::fire`]; the first one wins, and the word tells it
//! whether it has to put the sleeper back into a queue. The others do nothing.
//!
//! ```text
//!  63                      16 15    8  3         2        1        0
//! +--------------------------+-------+---------+--------+--------+--------+
//! |          epoch           | cause | LIMITED | MASKED | CANCEL | PARKED |
//! +--------------------------+-------+---------+--------+--------+--------+
//!
//!  state            word                    who moves on from here, and whither
//!  running          epoch e, not PARKED     owner: `park(e)` -> parked, or, with CANCEL and not to be
//!                                           masked, -> running, e+1 (Woken)
//!                                           a ticket of e: `fire` -> running, e+1 (verdict Early)
//!                                           `cancel` -> running, with CANCEL (Lost); so it does while MASKED
//!  parked           epoch e, PARKED         a ticket of e: `fire` -> running, e+1 (verdict Schedule)
//!                                           `cancel`, unless MASKED -> running, e+1 (Schedule)
//! ```
//!
//! - The epoch counts ended waits. A ticket of an older epoch always loses, so a wait ends once.
//! - A fire between "decided to wait" and "parked" moves the epoch on; the owner's `park(e)` then
//!   fails and it goes on at once. That is the token that closes the window of lost wake-ups.
//! - PARKED is set only after the registers are saved. Before that nobody gets the verdict
//!   `Schedule`, so nobody can resume a stack that is still in use.
//! - CANCEL is never cleared: a cancelled coroutine that swallows the unwinding meets it at its next
//!   wait again. MASKED is set with PARKED by a wait that cancellation must not end.
//! - LIMITED is no part of the protocol: the owner sets it when it first comes under a time limit, and it
//!   stays. A yield, which is no wait, learns from one look at the word whether anything may have to end it.
//!
//! Orderings: every change is a read-modify-write with `AcqRel`, so what a firer did before its
//! `fire` is visible to the owner after its wait, and what the owner did before `park` (its saved
//! stack) is visible to whoever resumes it.

use crate::base::list::{Linked, Queue};
use crate::base::sync::{AtomicU64, Ordering};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

const PARKED: u64 = 1;
const CANCEL: u64 = 1 << 1;
const MASKED: u64 = 1 << 2;
const LIMITED: u64 = 1 << 3;
const CAUSE_SHIFT: u32 = 8;
const CAUSE_MASK: u64 = 0xff << CAUSE_SHIFT;
const EPOCH_ONE: u64 = 1 << 16;
const EPOCH_MASK: u64 = !(EPOCH_ONE - 1);

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cause {
    /// What was waited for came about.
    Event = 0,
    /// The deadline passed.
    Timeout = 1,
    /// The coroutine was cancelled.
    Cancelled = 2,
}

impl Cause {
    fn of(word: u64) -> Cause {
        match (word & CAUSE_MASK) >> CAUSE_SHIFT {
            0 => Cause::Event,
            1 => Cause::Timeout,
            2 => Cause::Cancelled,
            _ => unreachable!("waiter word {word:#x} has no such cause"),
        }
    }
}

/// The verdict on a `fire` or `cancel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fired {
    /// Somebody else ended that wait, or it cannot be ended this way now; a `cancel` has left its mark all the same.
    Lost,
    /// The caller ended it before the owner had parked: the owner goes on by itself, and may be gone
    /// already.
    Early,
    /// The caller ended it and now has to schedule the owner, which stays where it is until then.
    Schedule,
}

/// The verdict on `park`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Park {
    /// Parked: whoever ends the wait schedules the owner. The caller no longer owns it.
    Parked,
    /// The wait had ended already, or a cancellation has ended it: the owner goes on.
    Woken,
}

/// What can wait: part of each coroutine's header, and of each plain thread's parker.
///
/// The link is used by the one queue that the owner is in: a batch of fired waiters, then the inbox
/// or run queue of its scheduler.
#[repr(C)]
pub(crate) struct Waiter {
    word: AtomicU64,
    link: UnsafeCell<Option<NonNull<Waiter>>>,
    table: NonNull<Table>,
}

/// What kind of waiter it is: how it is scheduled. A coroutine's table goes on behind this.
#[repr(C)]
pub(crate) struct Table {
    /// Puts the waiter's owner back to where it is run from.
    pub(crate) schedule: unsafe fn(NonNull<Waiter>),
}

// SAFETY: the word is atomic, the table constant, and the link is touched only by the
// queue that holds the waiter; a waiter is in one queue at a time because only the winner of a wait
// (verdict `Schedule`) or the thread that runs the owner puts it there.
unsafe impl Sync for Waiter {}
// SAFETY: nothing in it is bound to a thread.
unsafe impl Send for Waiter {}

// SAFETY: always the same field; only queues touch it.
unsafe impl Linked for Waiter {
    unsafe fn link(this: NonNull<Self>) -> NonNull<Option<NonNull<Self>>> {
        // SAFETY: the element is alive, as the caller says; no reference is made,
        // so the element's other fields may be in use.
        unsafe { NonNull::new_unchecked(UnsafeCell::raw_get(&raw const (*this.as_ptr()).link)) }
    }
}

/// Fired waiters that are yet to be scheduled, in the order in which they were fired.
pub(crate) type Batch = Queue<Waiter>;

impl Batch {
    /// Schedules all waiters of the batch, and leaves it empty.
    #[inline]
    pub(crate) fn wake(&mut self) {
        if !self.is_empty() {
            self.wake_some();
        }
    }

    fn wake_some(&mut self) {
        while let Some(waiter) = self.pop() {
            // SAFETY: waiters get into a batch by the verdict `Schedule`, and leave it once.
            unsafe { Waiter::schedule(waiter) };
        }
    }
}

impl Waiter {
    /// A waiter that runs.
    ///
    /// # Safety
    ///
    /// The table is constant.
    pub(crate) unsafe fn new(table: NonNull<Table>) -> Self {
        Waiter { word: AtomicU64::new(0), link: UnsafeCell::new(None), table }
    }

    /// Its table.
    pub(crate) fn table(&self) -> NonNull<Table> {
        self.table
    }

    /// The ticket for the owner's next wait. Called by the owner alone.
    ///
    /// # Safety
    ///
    /// `this` points to a waiter that is alive, and may be used for all of its owner's memory.
    pub(crate) unsafe fn ticket(this: NonNull<Waiter>) -> Ticket {
        // SAFETY: alive, as the caller says.
        let epoch = unsafe { this.as_ref() }.word.load(Ordering::Relaxed) & EPOCH_MASK;
        Ticket { waiter: this, epoch }
    }

    /// Parks the owner, unless the ticket's wait has ended already or a cancellation, not masked, is
    /// due. Called once the owner's registers are saved.
    pub(crate) fn park(&self, ticket: Ticket, masked: bool) -> Park {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & EPOCH_MASK != ticket.epoch {
                // Pairs with the firer's release: the owner goes on with what it was told.
                let _ = self.word.load(Ordering::Acquire);
                return Park::Woken;
            }
            let (next, verdict) = if word & CANCEL != 0 && !masked {
                (ended(word, Cause::Cancelled), Park::Woken)
            } else {
                (word | PARKED | if masked { MASKED } else { 0 }, Park::Parked)
            };
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return verdict,
                Err(now) => word = now,
            }
        }
    }

    /// What ended the wait of that ticket, `None` if nothing did. Called by the owner alone.
    pub(crate) fn cause(&self, ticket: Ticket) -> Option<Cause> {
        let word = self.word.load(Ordering::Acquire);
        (word & EPOCH_MASK != ticket.epoch).then(|| Cause::of(word))
    }

    /// Asks for the owner's cancellation: ends its present wait, unless masked, and each later one.
    pub(crate) fn cancel(&self) -> Fired {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let parked = word & PARKED != 0 && word & MASKED == 0;
            let next = if parked { ended(word, Cause::Cancelled) | CANCEL } else { word | CANCEL };
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if parked => return Fired::Schedule,
                Ok(_) => return Fired::Lost,
                Err(now) => word = now,
            }
        }
    }

    /// Whether cancellation has been asked for.
    pub(crate) fn cancelled(&self) -> bool {
        self.word.load(Ordering::Acquire) & CANCEL != 0
    }

    /// Notes that the owner is, or has been, under a time limit. Called by the owner alone.
    pub(crate) fn note_limit(&self) {
        self.word.fetch_or(LIMITED, Ordering::AcqRel);
    }

    /// Whether a cancellation was asked for, or [`note_limit`](Self::note_limit) called.
    #[inline]
    pub(crate) fn may_be_ended(&self) -> bool {
        self.word.load(Ordering::Acquire) & (CANCEL | LIMITED) != 0
    }

    /// Puts the owner back to where it is run from.
    ///
    /// # Safety
    ///
    /// The caller got [`Fired::Schedule`] for this waiter and has not called this since; or the
    /// owner is a coroutine that has not been handed to its scheduler yet.
    pub(crate) unsafe fn schedule(this: NonNull<Waiter>) {
        // SAFETY: the owner stays alive and parked until it is scheduled, which is only now.
        unsafe { (this.as_ref().table.as_ref().schedule)(this) }
    }

    fn fire(&self, epoch: u64, cause: Cause) -> Fired {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & EPOCH_MASK != epoch {
                return Fired::Lost;
            }
            let next = ended(word, cause);
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if word & PARKED != 0 => return Fired::Schedule,
                Ok(_) => return Fired::Early,
                Err(now) => word = now,
            }
        }
    }
}

/// The word once its wait has ended.
fn ended(word: u64, cause: Cause) -> u64 {
    let kept = word & (EPOCH_MASK | CANCEL | LIMITED);
    kept.wrapping_add(EPOCH_ONE) | (cause as u64) << CAUSE_SHIFT
}

/// The right to end one wait of one waiter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    waiter: NonNull<Waiter>,
    epoch: u64,
}

// SAFETY: a ticket is an address and a number; what `fire` does with them is atomic.
unsafe impl Send for Ticket {}
// SAFETY: as above.
unsafe impl Sync for Ticket {}

impl Ticket {
    /// Whether both are tickets of one waiter.
    pub(super) fn same_waiter(self, other: Ticket) -> bool {
        self.waiter == other.waiter
    }

    /// The epoch, for tests that look for the waiters that were fired.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn epoch(self) -> u64 {
        self.epoch / EPOCH_ONE
    }

    /// Ends the wait; a waiter to be scheduled goes into the batch.
    ///
    /// # Safety
    ///
    /// The waiter is alive: either the ticket is reached through a place that the owner clears,
    /// under that place's lock, before its wait returns; or the caller holds a reference to the
    /// waiter's owner.
    pub(crate) unsafe fn fire(self, cause: Cause, batch: &mut Batch) -> Fired {
        // SAFETY: alive, as the caller says.
        let fired = unsafe { self.waiter.as_ref() }.fire(self.epoch, cause);
        if fired == Fired::Schedule {
            // SAFETY: the winner alone may queue the waiter, and the owner stays parked, so alive,
            // until it is scheduled from there.
            unsafe { batch.push(self.waiter) };
        }
        fired
    }
}

/// Waiters for tests, which nobody schedules.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn waiter() -> Waiter {
        unsafe fn nowhere(_: NonNull<Waiter>) {}
        const TABLE: &Table = &Table { schedule: nowhere };
        // SAFETY: the table is a constant.
        unsafe { Waiter::new(NonNull::from(TABLE)) }
    }

    pub(crate) fn ticket_of(waiter: &Waiter) -> Ticket {
        // SAFETY: the tests' waiters are alive, and own nothing else.
        unsafe { Waiter::ticket(NonNull::from(waiter)) }
    }
}

/// What a model's thread waits on, as a plain thread waits on its parker.
#[cfg(all(test, loom))]
#[repr(C)]
pub(crate) struct Sleeper {
    /// First, so that a pointer to it is a pointer to the sleeper.
    waiter: Waiter,
    scheduled: loom::sync::Mutex<bool>,
    bell: loom::sync::Condvar,
}

#[cfg(all(test, loom))]
impl Sleeper {
    pub(crate) fn new() -> Sleeper {
        unsafe fn ring(waiter: NonNull<Waiter>) {
            // SAFETY: this function belongs to sleepers alone, which outlive their model's threads.
            let sleeper = unsafe { waiter.cast::<Sleeper>().as_ref() };
            *sleeper.scheduled.lock().unwrap() = true;
            sleeper.bell.notify_one();
        }
        const TABLE: &Table = &Table { schedule: ring };
        // SAFETY: the table is a constant.
        let waiter = unsafe { Waiter::new(NonNull::from(TABLE)) };
        Sleeper { waiter, scheduled: loom::sync::Mutex::new(false), bell: loom::sync::Condvar::new() }
    }

    pub(crate) fn ticket(&self) -> Ticket {
        // SAFETY: sleepers outlive their model's threads; the pointer is made from the whole sleeper.
        unsafe { Waiter::ticket(NonNull::from(self).cast()) }
    }

    /// Waits until the ticket is fired; by whom does not matter.
    pub(crate) fn sleep(&self, ticket: Ticket) -> Cause {
        if self.waiter.park(ticket, false) == Park::Parked {
            let mut scheduled = self.scheduled.lock().unwrap();
            while !*scheduled {
                scheduled = self.bell.wait(scheduled).unwrap();
            }
            *scheduled = false;
        }
        self.waiter.cause(ticket).expect("a sleeper is scheduled after its wait has ended")
    }

    /// Ends the sleeper's own wait before it sleeps; true if nobody else has.
    pub(crate) fn give_up(&self, ticket: Ticket) -> bool {
        self.waiter.fire(ticket.epoch, Cause::Timeout) != Fired::Lost
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::testing::{ticket_of, waiter};
    use super::*;

    fn fire(ticket: Ticket, cause: Cause) -> Fired {
        // SAFETY: the waiters of these tests outlive their tickets, and the batch is thrown away.
        unsafe { ticket.fire(cause, &mut Batch::new()) }
    }

    #[test]
    fn one_of_several_ends_a_wait() {
        let waiter = waiter();
        let ticket = ticket_of(&waiter);
        assert_eq!(waiter.park(ticket, false), Park::Parked);
        assert_eq!(waiter.cause(ticket), None);
        assert_eq!(fire(ticket, Cause::Timeout), Fired::Schedule);
        assert_eq!(fire(ticket, Cause::Event), Fired::Lost);
        assert_eq!(waiter.cause(ticket), Some(Cause::Timeout));
    }

    #[test]
    fn a_fire_before_the_park_is_a_token() {
        let waiter = waiter();
        let ticket = ticket_of(&waiter);
        assert_eq!(fire(ticket, Cause::Event), Fired::Early);
        assert_eq!(waiter.park(ticket, false), Park::Woken);
        assert_eq!(waiter.cause(ticket), Some(Cause::Event));
    }

    #[test]
    fn cancel_ends_this_wait_and_the_next() {
        let waiter = waiter();
        let first = ticket_of(&waiter);
        assert_eq!(waiter.park(first, false), Park::Parked);
        assert_eq!(waiter.cancel(), Fired::Schedule);
        assert_eq!(waiter.cause(first), Some(Cause::Cancelled));
        let second = ticket_of(&waiter);
        assert_eq!(waiter.park(second, false), Park::Woken);
        assert_eq!(waiter.cause(second), Some(Cause::Cancelled));
        assert!(waiter.cancelled());
    }

    #[test]
    fn a_masked_wait_is_not_cancelled() {
        let waiter = waiter();
        let ticket = ticket_of(&waiter);
        assert_eq!(waiter.park(ticket, true), Park::Parked);
        assert_eq!(waiter.cancel(), Fired::Lost);
        assert_eq!(fire(ticket, Cause::Event), Fired::Schedule);
        let next = ticket_of(&waiter);
        assert_eq!(waiter.park(next, false), Park::Woken);
    }

    #[test]
    fn the_epoch_wraps() {
        let waiter = waiter();
        waiter.word.store(EPOCH_MASK, Ordering::Relaxed);
        let ticket = ticket_of(&waiter);
        assert_eq!(fire(ticket, Cause::Event), Fired::Early);
        assert_eq!(waiter.word.load(Ordering::Relaxed), 0);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::testing::{ticket_of, waiter};
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// Event, timer and cancellation race for one wait: it ends once, and is scheduled by exactly
    /// one of them if it had parked, by none if it had not.
    #[test]
    fn a_wait_ends_once() {
        loom::model(|| {
            let waiter = Arc::new(waiter());
            let scheduled = Arc::new(AtomicUsize::new(0));
            let ticket = ticket_of(&waiter);
            let rivals: Vec<_> = [Some(Cause::Event), None]
                .into_iter()
                .map(|cause| {
                    let (waiter, scheduled) = (waiter.clone(), scheduled.clone());
                    thread::spawn(move || {
                        let fired = match cause {
                            // SAFETY: the Arc keeps the waiter alive; the batch is thrown away.
                            Some(cause) => unsafe { ticket.fire(cause, &mut Batch::new()) },
                            None => waiter.cancel(),
                        };
                        if fired == Fired::Schedule {
                            scheduled.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let verdict = waiter.park(ticket, false);
            for rival in rivals {
                rival.join().unwrap();
            }
            let expected = usize::from(verdict == Park::Parked);
            assert_eq!(scheduled.load(Ordering::Relaxed), expected);
            assert!(waiter.cause(ticket).is_some());
        });
    }
}
