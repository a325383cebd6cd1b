//! Which party ends a wait: one atomic word, one winner.
//!
//! # The problem
//!
//! An event, a timer and a cancellation may end the same wait at the same time, and the wake-up may come
//! before the waiter has parked. Exactly one party must win. It must schedule the waiter if that has parked,
//! and leave it alone if not. No wake-up may be lost.
//!
//! # Terms
//!
//! - *Owner*: the coroutine that waits, or the plain thread.
//! - *Epoch*: how many waits of this waiter have ended.
//! - *Ticket*: the waiter's address and an epoch: the right to end this one wait. Parties *fire* it. A ticket
//!   of an older epoch always loses, so a wait ends once.
//! - *Verdict*: what a call has to do next: [`Fired`], [`Park`].
//!
//! # The states
//!
//! ```text
//!  63                      16 15    8  5      4          3         2        1        0
//! +--------------------------+-------+------+----------+---------+--------+--------+--------+
//! |          epoch           | cause | LATE | SHUTDOWN | LIMITED | MASKED | CANCEL | PARKED |
//! +--------------------------+-------+------+----------+---------+--------+--------+--------+
//!
//!  state     word
//!  running   epoch e, without PARKED: the owner runs, is in a queue to run, or has decided to wait but has
//!            not parked yet
//!  parked    epoch e, PARKED: only a fire or a cancellation gets the owner to run again
//!
//!  from      to             by           cause, and verdict
//!  running   parked         `park(e)`    the owner waits, and its registers are saved: Parked
//!  running   running, e+1   `park(e)`    CANCEL is set, and the wait is not masked: Woken
//!  running   running        `park(e-1)`  the wait was ended before the owner parked: Woken
//!  running   running, e+1   `fire(e)`    the wait ends before the owner has parked: Early; the owner goes on
//!  parked    running, e+1   `fire(e)`    the wait ends: Schedule
//!  running   + CANCEL       `cancel`     the next wait that is not masked will end at once: Lost
//!  parked    running, e+1   `cancel`     the wait ends, if it is not masked: Schedule; + CANCEL
//!  parked    + CANCEL       `cancel`     the wait is masked: Lost; the next one will end
//!  any       the same       `fire(<e)`   the wait of this ticket has ended already: Lost
//! ```
//!
//! MASKED is set together with PARKED, and cleared with it when the wait ends. CANCEL is never cleared: a
//! coroutine that catches the unwinding and goes on meets it again at its next wait.
//!
//! # The argument
//!
//! - *No wake-up is lost.* A fire between "decided to wait" and "parked" moves the epoch on, so the owner's
//!   `park(e)` fails, and the owner goes on at once. The early fire is the token.
//! - *No stack is resumed while it is in use.* PARKED is set only after the registers are saved, and only a
//!   party that finds PARKED gets the verdict `Schedule`.
//! - *Exactly one party schedules the owner*: the one whose compare-and-swap cleared PARKED.
//!
//! *Orderings.* Every change is a read-modify-write with `AcqRel`. So the owner sees, after its wait, what
//! the firing party did before `fire`; and the thread that resumes the owner sees what the owner did before
//! `park`, its saved stack above all.
//!
//! Three flags are no part of the protocol. The owner sets LIMITED when it first comes under a time limit,
//! and it stays. So a yield, which is no wait, learns from one load of the word whether anything may have
//! to end it. The first cancellation may set SHUTDOWN or LATE together with CANCEL: they tell the owner
//! that a shutdown has requested it, or that it came after the owner's time limit.
//!
//! # Access
//!
//! - `word`: every thread that has a ticket or a reference to the owner.
//! - `link`: the queue that the waiter is in. A waiter is in one queue at a time, since only the winner of
//!   its wait (verdict `Schedule`) or the thread that runs the owner puts it into one.
//! - `table`: constant.
//!
//! # What was rejected
//!
//! - *A new waiter for each wait, instead of epochs*: an allocation for each wait, and a late party needs a
//!   reference to it. With epochs a late ticket is harmless.
//! - *Clearing CANCEL once it has unwound the coroutine*: a coroutine that catches the unwinding would go on
//!   as if it had not been cancelled.

use crate::base::list::{Linked, Queue};
use crate::base::sync::{AtomicU64, Ordering};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

/// The owner's registers are saved: a party that ends the wait has to schedule it.
const PARKED: u64 = 1;
/// A cancellation was requested.
const CANCEL: u64 = 1 << 1;
/// A cancellation does not end the present wait.
const MASKED: u64 = 1 << 2;
/// The owner is, or has been, under a time limit.
const LIMITED: u64 = 1 << 3;
/// The first cancellation was requested by a shutdown.
const SHUTDOWN: u64 = 1 << 4;
/// The first cancellation came after the time limit that the owner was spawned under.
const LATE: u64 = 1 << 5;
const CAUSE_SHIFT: u32 = 8;
const CAUSE_MASK: u64 = 0xff << CAUSE_SHIFT;
const EPOCH_ONE: u64 = 1 << 16;
const EPOCH_MASK: u64 = !(EPOCH_ONE - 1);

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cause {
    /// What the owner waits for happened.
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
    /// Another party ended the wait. From `cancel`: it ends no wait now, but a later one.
    Lost,
    /// The caller ended the wait before the owner had parked. The owner goes on by itself, and may be gone
    /// already.
    Early,
    /// The caller ended the wait and has to schedule the owner, which stays parked until then.
    Schedule,
}

/// The verdict on `park`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Park {
    /// The owner is parked: the party that ends the wait schedules it. The caller no longer owns it.
    Parked,
    /// The wait has ended already, perhaps just now by a cancellation: the owner goes on.
    Woken,
}

/// What can wait: part of the header of each coroutine, and of the parker of each plain thread.
///
/// The link belongs to the queue that the owner is in: a batch of fired waiters, then an inbox or a run
/// queue of its scheduler.
#[repr(C)]
pub(crate) struct Waiter {
    word: AtomicU64,
    link: UnsafeCell<Option<NonNull<Waiter>>>,
    table: NonNull<Table>,
}

/// How a kind of waiter is scheduled. The table of a coroutine continues after this.
#[repr(C)]
pub(crate) struct Table {
    /// Puts the owner back to where it is run from: a run queue, the parker of its thread.
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

/// Fired waiters that have to be scheduled, in the order in which they were fired.
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
            // SAFETY: waiters get into a batch with the verdict `Schedule`, and leave it once.
            unsafe { Waiter::schedule(waiter) };
        }
    }
}

impl Waiter {
    /// A waiter whose owner runs.
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
    /// `this` points to a waiter that is alive, and is valid for all of its owner's memory.
    pub(crate) unsafe fn ticket(this: NonNull<Waiter>) -> Ticket {
        // SAFETY: alive, as the caller says.
        let epoch = unsafe { this.as_ref() }.word.load(Ordering::Relaxed) & EPOCH_MASK;
        Ticket { waiter: this, epoch }
    }

    /// Parks the owner, unless the wait of the ticket has ended already, or a cancellation that is not masked
    /// ends it now. Called after the owner's registers were saved.
    pub(crate) fn park(&self, ticket: Ticket, masked: bool) -> Park {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & EPOCH_MASK != ticket.epoch {
                // Pairs with the release of `fire`: the owner sees what the firing party did.
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

    /// What ended the wait of the ticket; `None` if it has not ended. Called by the owner alone.
    pub(crate) fn cause(&self, ticket: Ticket) -> Option<Cause> {
        let word = self.word.load(Ordering::Acquire);
        (word & EPOCH_MASK != ticket.epoch).then(|| Cause::of(word))
    }

    /// Requests the owner's cancellation: ends its present wait, unless masked, and each later one.
    pub(crate) fn cancel(&self) -> Fired {
        self.cancel_with(CANCEL)
    }

    /// As [`cancel`](Self::cancel), after the time limit that the owner was spawned under has passed.
    pub(crate) fn cancel_late(&self) -> Fired {
        self.cancel_with(CANCEL | LATE)
    }

    /// As [`cancel`](Self::cancel), since the runtime shuts down.
    pub(crate) fn cancel_for_shutdown(&self) -> Fired {
        self.cancel_with(CANCEL | SHUTDOWN)
    }

    fn cancel_with(&self, marks: u64) -> Fired {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let parked = word & PARKED != 0 && word & MASKED == 0;
            // The first cancellation says why.
            let marks = if word & CANCEL != 0 { CANCEL } else { marks };
            let next = if parked { ended(word, Cause::Cancelled) | marks } else { word | marks };
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if parked => return Fired::Schedule,
                Ok(_) => return Fired::Lost,
                Err(now) => word = now,
            }
        }
    }

    /// Whether a cancellation was requested.
    pub(crate) fn cancelled(&self) -> bool {
        self.word.load(Ordering::Acquire) & CANCEL != 0
    }

    /// Whether the first cancellation was that of a shutdown.
    pub(crate) fn shut_down(&self) -> bool {
        self.word.load(Ordering::Acquire) & SHUTDOWN != 0
    }

    /// Whether the first cancellation came after the time limit that the owner was spawned under.
    pub(crate) fn cancelled_late(&self) -> bool {
        self.word.load(Ordering::Acquire) & LATE != 0
    }

    /// The number of the wait in which the owner is parked. Two equal numbers are the same wait: the owner
    /// has not run in between.
    pub(crate) fn parked_in(&self) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        (word & PARKED != 0).then_some(word & EPOCH_MASK)
    }

    /// How many of the owner's waits have ended, modulo 256.
    #[inline]
    pub(crate) fn mark(&self) -> u8 {
        (self.word.load(Ordering::Relaxed) >> EPOCH_ONE.trailing_zeros()) as u8
    }

    /// What ended the owner's last wait. Called by a thread that has the owner to itself.
    pub(crate) fn last_cause(&self) -> Cause {
        Cause::of(self.word.load(Ordering::Relaxed))
    }

    /// Whether no cancellation ends the owner's present wait.
    pub(crate) fn is_masked(&self) -> bool {
        self.word.load(Ordering::Relaxed) & MASKED != 0
    }

    /// Sets LIMITED: the owner is, or has been, under a time limit. Called by the owner alone.
    pub(crate) fn note_limit(&self) {
        self.word.fetch_or(LIMITED, Ordering::AcqRel);
    }

    /// Whether a cancellation was requested, or [`note_limit`](Self::note_limit) was called.
    #[inline]
    pub(crate) fn may_be_ended(&self) -> bool {
        self.word.load(Ordering::Acquire) & (CANCEL | LIMITED) != 0
    }

    /// Schedules the owner: puts it back to where it is run from.
    ///
    /// # Safety
    ///
    /// The caller got [`Fired::Schedule`] for this waiter and has not called this since; or the owner is a
    /// coroutine that its scheduler does not have yet.
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

/// The word after the end of the wait: the next epoch, and the cause.
fn ended(word: u64, cause: Cause) -> u64 {
    let kept = word & (EPOCH_MASK | CANCEL | LIMITED | SHUTDOWN | LATE);
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

    /// The table of its waiter.
    ///
    /// # Safety
    ///
    /// The waiter is alive.
    pub(super) unsafe fn table(self) -> NonNull<Table> {
        // SAFETY: as the caller says.
        unsafe { self.waiter.as_ref() }.table()
    }

    /// The epoch, for tests: how many waits of the waiter have ended.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn epoch(self) -> u64 {
        self.epoch / EPOCH_ONE
    }

    /// Ends the wait. With the verdict `Schedule` the waiter goes into the batch.
    ///
    /// # Safety
    ///
    /// The waiter is alive: either the caller holds the lock of the ring or list in which it found the
    /// ticket, and the owner takes its ticket back under this lock before its wait returns; or the caller
    /// holds a reference to the owner.
    pub(crate) unsafe fn fire(self, cause: Cause, batch: &mut Batch) -> Fired {
        // SAFETY: alive, as the caller says.
        let fired = unsafe { self.waiter.as_ref() }.fire(self.epoch, cause);
        if fired == Fired::Schedule {
            // SAFETY: only the winner may queue the waiter, and the owner stays parked, so alive, until it is
            // scheduled from the batch.
            unsafe { batch.push(self.waiter) };
        }
        fired
    }
}

/// Calls `f` with the ticket of a wait that never parks: its waiter is that wait's own. A party that fires
/// the ticket gets the verdict [`Fired::Early`], and schedules nobody. So `f` may publish it while the
/// caller runs, and whatever else the caller waits for meanwhile has another waiter.
///
/// `f` takes the ticket back before it returns or unwinds.
#[inline]
pub(crate) fn with_ticket<R>(f: impl FnOnce(Ticket) -> R) -> R {
    static NEVER_PARKS: Table = Table { schedule: |_| unreachable!("it was not parked") };
    // SAFETY: the table is a static.
    let waiter = unsafe { Waiter::new(NonNull::from(&NEVER_PARKS)) };
    // SAFETY: alive until this returns, and nothing but a waiter.
    f(unsafe { Waiter::ticket(NonNull::from(&waiter)) })
}

/// Waiters for tests. They are never scheduled.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn waiter() -> Waiter {
        unsafe fn ignore(_: NonNull<Waiter>) {}
        const TABLE: &Table = &Table { schedule: ignore };
        // SAFETY: the table is a constant.
        unsafe { Waiter::new(NonNull::from(TABLE)) }
    }

    pub(crate) fn ticket_of(waiter: &Waiter) -> Ticket {
        // SAFETY: the tests' waiters are alive, and own nothing else.
        unsafe { Waiter::ticket(NonNull::from(waiter)) }
    }
}

/// What a thread of a model waits on, as a plain thread waits on its parker.
#[cfg(all(test, loom))]
#[repr(C)]
pub(crate) struct Sleeper {
    /// First, so that a pointer to it is a pointer to the sleeper.
    waiter: Waiter,
    scheduled: loom::sync::Mutex<bool>,
    wake_up: loom::sync::Condvar,
}

#[cfg(all(test, loom))]
impl Sleeper {
    pub(crate) fn new() -> Sleeper {
        unsafe fn wake(waiter: NonNull<Waiter>) {
            // SAFETY: this function belongs to sleepers alone, which outlive their model's threads.
            let sleeper = unsafe { waiter.cast::<Sleeper>().as_ref() };
            *sleeper.scheduled.lock().unwrap() = true;
            sleeper.wake_up.notify_one();
        }
        const TABLE: &Table = &Table { schedule: wake };
        // SAFETY: the table is a constant.
        let waiter = unsafe { Waiter::new(NonNull::from(TABLE)) };
        Sleeper { waiter, scheduled: loom::sync::Mutex::new(false), wake_up: loom::sync::Condvar::new() }
    }

    pub(crate) fn ticket(&self) -> Ticket {
        // SAFETY: sleepers outlive their model's threads; the pointer is made from the whole sleeper.
        unsafe { Waiter::ticket(NonNull::from(self).cast()) }
    }

    /// Waits until the ticket is fired, by any party.
    pub(crate) fn sleep(&self, ticket: Ticket) -> Cause {
        if self.waiter.park(ticket, false) == Park::Parked {
            let mut scheduled = self.scheduled.lock().unwrap();
            while !*scheduled {
                scheduled = self.wake_up.wait(scheduled).unwrap();
            }
            *scheduled = false;
        }
        self.waiter.cause(ticket).expect("a sleeper is scheduled after its wait has ended")
    }

    /// Ends the sleeper's own wait before it sleeps; true if no other party has ended it.
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
    fn one_of_several_parties_ends_a_wait() {
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
    fn the_first_cancellation_says_why() {
        let [user, shutdown] = [waiter(), waiter()];
        assert_eq!(user.cancel(), Fired::Lost);
        assert_eq!(user.cancel_for_shutdown(), Fired::Lost);
        assert!(user.cancelled() && !user.shut_down());
        let ticket = ticket_of(&shutdown);
        assert_eq!(shutdown.park(ticket, false), Park::Parked);
        assert_eq!(shutdown.cancel_for_shutdown(), Fired::Schedule);
        assert_eq!(shutdown.cancel(), Fired::Lost);
        assert!(shutdown.cancelled() && shutdown.shut_down());
        assert_eq!(shutdown.cause(ticket), Some(Cause::Cancelled));
        let [user, limit] = [waiter(), waiter()];
        assert!(user.cancel() == Fired::Lost && user.cancel_late() == Fired::Lost);
        assert!(user.cancelled() && !user.cancelled_late());
        let ticket = ticket_of(&limit);
        assert_eq!(limit.park(ticket, false), Park::Parked);
        assert!(limit.cancel_late() == Fired::Schedule && limit.cancel_for_shutdown() == Fired::Lost);
        assert!(limit.cancelled() && limit.cancelled_late() && !limit.shut_down());
        let next = ticket_of(&limit);
        assert!(limit.park(next, false) == Park::Woken && limit.cancelled_late(), "it stays");
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

    /// An event and a cancellation race for one wait: it ends once. Exactly one of them schedules the owner
    /// if it had parked, none if it had not.
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
