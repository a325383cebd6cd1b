//! The crate's one `thread_local!`, behind accessors that are never inlined.
//!
//! Why never inlined: LLVM takes the address of a thread-local for a constant of the function and
//! may keep it in a register across a stack switch. In migrating mode the function can come back
//! from the switch on another thread, and would then read the first thread's variable. Behind a call
//! that is not inlined the address lives and dies within the accessor, and no accessor switches.
//! For the same reason no accessor hands out a reference: values go in and out by copy.

use super::recycle::Spare;
use std::cell::Cell;
use std::ptr::NonNull;

thread_local! {
    /// What the thread is to the scheduler (rank 4 knows the type), null on a plain thread.
    static CONTEXT: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
    /// What a plain thread blocks on (rank 2 knows the type), null before its first blocking call. It has no
    /// destructor, so destructors of other thread-locals find it.
    static PARKER: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
    /// What is called when the thread's locals are destroyed.
    static FAREWELL: Farewell = const { Farewell(Cell::new(None)) };
    /// How many calls the running coroutine may make before it lets others go first.
    static BUDGET: Cell<u32> = const { Cell::new(0) };
    /// Blocks that the thread has freed and will use again.
    static SPARE: Spare = const { Spare::new() };
    /// Ranks of the runtime locks that the thread holds, one bit each (debug builds).
    static HELD: Cell<u32> = const { Cell::new(0) };
}

/// Calls a function when it is dropped.
struct Farewell(Cell<Option<fn()>>);

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some(farewell) = self.0.take() {
            farewell();
        }
    }
}

/// The thread's scheduler context, null on a plain thread.
#[inline(never)]
pub(crate) fn context() -> *const () {
    CONTEXT.get()
}

/// Sets the thread's scheduler context.
#[inline(never)]
pub(crate) fn set_context(context: *const ()) {
    CONTEXT.set(context);
}

/// The thread's parker, null if it has none, or if the system has no thread-locals without destructors and
/// has destroyed this one.
#[inline(never)]
pub(crate) fn parker() -> *const () {
    PARKER.try_with(Cell::get).unwrap_or(std::ptr::null())
}

/// Sets the thread's parker.
#[inline(never)]
pub(crate) fn set_parker(parker: *const ()) {
    let _ = PARKER.try_with(|place| place.set(parker));
}

/// Has the function called when the thread's locals are destroyed; false if they have been.
#[inline(never)]
pub(crate) fn at_destruction(farewell: fn()) -> bool {
    FAREWELL.try_with(|place| place.0.set(Some(farewell))).is_ok()
}

/// A block that the thread has kept.
#[inline(never)]
pub(super) fn take_block(class: usize) -> Option<NonNull<u8>> {
    SPARE.try_with(|spare| spare.take(class)).ok().flatten()
}

/// Keeps a block for later; false if there are enough, or the thread's locals are being destroyed.
#[inline(never)]
pub(super) fn put_block(class: usize, block: NonNull<u8>) -> bool {
    SPARE.try_with(|spare| spare.put(class, block)).unwrap_or(false)
}

/// Counts a call against the budget; true if there is nothing left of it.
#[inline(never)]
pub(crate) fn consume_budget() -> bool {
    let left = BUDGET.get();
    BUDGET.set(left.saturating_sub(1));
    left == 0
}

/// Sets the budget.
#[inline(never)]
pub(crate) fn set_budget(calls: u32) {
    BUDGET.set(calls);
}

/// The ranks of the runtime locks that this thread holds.
#[inline(never)]
pub(crate) fn held() -> u32 {
    HELD.get()
}

/// Records the ranks of the runtime locks that this thread holds.
#[cfg(debug_assertions)]
#[inline(never)]
pub(crate) fn set_held(held: u32) {
    HELD.set(held);
}
