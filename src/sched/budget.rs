//! The budget of a turn: how many calls that need not wait a coroutine may make before it has to let others
//! go first.

use crate::base::local::thread_locals;
use std::cell::Cell;

/// The calls of a turn.
const BUDGET: u32 = 128;

thread_locals! {
    /// How many calls the running coroutine may make before it lets others go first.
    static CALLS_LEFT: Cell<u32> = Cell::new(0);

    /// Counts a call against the budget; true if the budget was used up before.
    pub(super) fn count_call() -> bool =
        |left| left.replace(left.get().saturating_sub(1)) == 0, destroyed: false;

    /// Sets the budget.
    fn set(calls: u32) = |left| left.set(calls), destroyed: ();
}

/// Begins a new budget.
#[inline]
pub(super) fn refill() {
    set(BUDGET);
}
