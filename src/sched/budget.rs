//! What the running coroutine leaves in a thread-local: the budget of its turn, and who it is.
//!
//! The *budget* says how many calls that need not wait a coroutine may make before it has to let others go
//! first.
//!
//! The *holder* is written beside it at the beginning of each turn. So a lock that was just taken learns who
//! has taken it from one load. A plain thread gets a number when it first asks.

use crate::base::local::thread_locals;
use crate::coroutine::{Holder, Id};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The calls of a turn.
const BUDGET: u32 = 128;

struct Turn {
    calls_left: Cell<u32>,
    /// [`Holder::word`]; zero on a plain thread that has no number, and on a worker before its first turn.
    holder: Cell<u64>,
}

thread_locals! {
    /// How many calls the running coroutine may make before it lets others go first, and who it is.
    static TURN: Turn = Turn { calls_left: Cell::new(0), holder: Cell::new(0) };

    /// Counts a call against the budget; true if the budget was used up before.
    pub(super) fn count_call() -> bool = |turn| {
        let left = &turn.calls_left;
        left.replace(left.get().saturating_sub(1)) == 0
    }, destroyed: false;

    /// Counts what a call has cost beyond an ordinary one.
    pub(super) fn count_more(calls: u32) = |turn| {
        let left = &turn.calls_left;
        left.set(left.get().saturating_sub(calls));
    }, destroyed: ();

    /// Begins a new budget.
    pub(super) fn refill() = |turn| turn.calls_left.set(BUDGET), destroyed: ();

    /// Ends the budget, so that the next call lets others go first.
    pub(super) fn use_up() = |turn| turn.calls_left.set(0), destroyed: ();

    /// Begins a new budget, and sets the holder.
    fn set_turn(holder: u64) = |turn| {
        turn.calls_left.set(BUDGET);
        turn.holder.set(holder);
    }, destroyed: ();

    /// The holder.
    fn holder_word() -> u64 = |turn| turn.holder.get(), destroyed: 0;

    /// Sets the holder.
    fn set_holder(holder: u64) = |turn| turn.holder.set(holder), destroyed: ();
}

/// Begins a turn of that coroutine.
#[inline]
pub(super) fn begin_turn(id: Id) {
    set_turn(id.0);
}

/// The worker runs code of a user outside of all coroutines from here on.
pub(super) fn leave_turns() {
    set_holder(0);
}

/// The caller as the holder of what it has just taken: [`Holder::word`].
#[inline]
pub(crate) fn this_holder() -> u64 {
    match holder_word() {
        0 => number_thread(),
        holder => holder,
    }
}

#[cold]
fn number_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let holder = Holder::Thread(NEXT.fetch_add(1, Ordering::Relaxed)).word();
    set_holder(holder);
    holder
}
