//! The unwinder that std links for panics, which can also walk the stack.

use super::Frame;
use std::ffi::{c_int, c_void};

/// Of `_Unwind_Reason_Code`.
const GO_ON: c_int = 0;
const STOP: c_int = 4;

type Visitor = extern "C" fn(context: *mut c_void, argument: *mut c_void) -> c_int;

unsafe extern "C" {
    fn _Unwind_Backtrace(visitor: Visitor, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
    fn _Unwind_GetCFA(context: *mut c_void) -> usize;
}

type Visit<'a> = &'a mut dyn FnMut(Frame) -> bool;

extern "C" fn visit(context: *mut c_void, argument: *mut c_void) -> c_int {
    // SAFETY: `walk` passes a pointer to its own reference, which is not used elsewhere meanwhile.
    let visit = unsafe { &mut *argument.cast::<Visit<'_>>() };
    // SAFETY: the unwinder's own context.
    let (address, top) = unsafe { (_Unwind_GetIP(context), _Unwind_GetCFA(context)) };
    if visit(Frame { address, stored_at: top.wrapping_sub(size_of::<usize>()) }) { GO_ON } else { STOP }
}

/// Calls the closure with each frame of the calling thread, from this one outwards, until it returns false.
/// The closure must not panic.
#[inline(never)]
pub(crate) fn walk(mut visit_each: Visit<'_>) {
    // SAFETY: the callback has the type that the unwinder wants, and its argument lives until the call ends.
    unsafe { _Unwind_Backtrace(visit, (&raw mut visit_each).cast()) };
}
