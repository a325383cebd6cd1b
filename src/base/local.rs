//! The crate's one `thread_local!`, behind accessors that are never inlined.
//!
//! Why never inlined: LLVM takes the address of a thread-local for a constant of the function and
//! may keep it in a register across a stack switch. In migrating mode the function can come back
//! from the switch on another thread, and would then read the first thread's variable. Behind a call
//! that is not inlined the address lives and dies within the accessor, and no accessor switches.
//! For the same reason no accessor hands out a reference: values go in and out by copy.

use super::recycle::Spare;
use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::ptr::NonNull;
use std::rc::Rc;

thread_local! {
    /// What the thread is to the scheduler (rank 4 knows the type), null on a plain thread.
    static CONTEXT: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
    /// What a plain thread blocks on (rank 2 knows the type); made at its first blocking call.
    static PARKER: OnceCell<Rc<dyn Any>> = const { OnceCell::new() };
    /// How many calls the running coroutine may make before it lets others go first.
    static BUDGET: Cell<u32> = const { Cell::new(0) };
    /// The parker that the thread gives back as it ends, null before and after; it has no destructor,
    /// so it can be read when `PARKER` cannot.
    static ENDING: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
    /// Blocks that the thread has freed and will use again.
    static SPARE: Spare = const { Spare::new() };
    /// Ranks of the runtime locks that the thread holds, one bit each (debug builds).
    static HELD: Cell<u32> = const { Cell::new(0) };
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

/// The thread's parker, made by `make` at the first call; `None` once the thread's locals are being
/// destroyed.
#[inline(never)]
pub(crate) fn parker(make: fn() -> Rc<dyn Any>) -> Option<Rc<dyn Any>> {
    PARKER.try_with(|parker| Rc::clone(parker.get_or_init(make))).ok()
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
pub(crate) fn spend() -> bool {
    let left = BUDGET.get();
    BUDGET.set(left.saturating_sub(1));
    left == 0
}

/// Sets the budget.
#[inline(never)]
pub(crate) fn set_budget(calls: u32) {
    BUDGET.set(calls);
}

/// The parker that the thread gives back, while its last users run; null at other times.
#[inline(never)]
pub(crate) fn ending() -> *const () {
    ENDING.get()
}

/// Sets the parker that the thread gives back.
#[inline(never)]
pub(crate) fn set_ending(parker: *const ()) {
    ENDING.set(parker);
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
