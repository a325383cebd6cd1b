//! The unwinder that std links for panics walks the stack as well.

use super::Frame;
use std::ffi::{c_int, c_void};

/// As `_Unwind_Reason_Code` has them.
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
    // SAFETY: `addresses` passes a pointer to its own reference, which nobody else uses meanwhile.
    let visit = unsafe { &mut *argument.cast::<Visit<'_>>() };
    // SAFETY: the unwinder's own context.
    let (address, top) = unsafe { (_Unwind_GetIP(context), _Unwind_GetCFA(context)) };
    if visit(Frame { address, slot: top.wrapping_sub(size_of::<usize>()) }) { GO_ON } else { STOP }
}

/// Calls `visit` with each frame of the calling thread, from this one outwards, until it gives false. It does
/// not panic.
#[inline(never)]
pub(crate) fn walk(mut visit_each: Visit<'_>) {
    // SAFETY: the callback has the type that the unwinder wants, and its argument lives until the call ends.
    unsafe { _Unwind_Backtrace(visit, (&raw mut visit_each).cast()) };
}
