//! LeakSanitizer: it looks for pointers to memory in the stacks of threads. The stacks of coroutines are
//! memory like any other to it, so each one that is in use is announced as a place where pointers are.
//!
//! So what a coroutine owns that will never run again is no leak: its frames are still there, as those of a
//! thread that was never joined.

use crate::stack::Stack;
use std::ffi::c_void;

unsafe extern "C" {
    fn __lsan_register_root_region(start: *const c_void, bytes: usize);
    fn __lsan_unregister_root_region(start: *const c_void, bytes: usize);
}

/// A stack that is in use, from its lowest address to its base.
pub(super) struct Used {
    pub(super) low: *const c_void,
    pub(super) bytes: usize,
}

impl Used {
    pub(super) fn new(stack: &Stack) -> Used {
        let low = stack.above_guard();
        // SAFETY: stacks are never unmapped, and all of this one can be read.
        unsafe { Used::announce(low as *const c_void, stack.base().get() - low) }
    }

    /// # Safety
    ///
    /// All of it can be read until `ended`.
    pub(super) unsafe fn announce(low: *const c_void, bytes: usize) -> Used {
        // SAFETY: as the caller says.
        unsafe { __lsan_register_root_region(low, bytes) };
        Used { low, bytes }
    }

    pub(super) fn ended(self) {
        // SAFETY: registered by `announce`.
        unsafe { __lsan_unregister_root_region(self.low, self.bytes) };
    }
}

#[cfg_attr(sward_sanitizer = "address", allow(dead_code, reason = "`address` has one of its own"))]
pub(in crate::coroutine) struct Fiber(Used);

/// What the coroutine itself uses: nothing.
#[cfg_attr(sward_sanitizer = "address", allow(dead_code, reason = "`address` has one of its own"))]
#[derive(Clone, Copy)]
pub(in crate::coroutine) struct Inside;

#[cfg_attr(sward_sanitizer = "address", allow(dead_code, reason = "`address` has one of its own"))]
impl Fiber {
    pub(in crate::coroutine) fn new(stack: &Stack, _id: u64) -> Fiber {
        Fiber(Used::new(stack))
    }

    pub(in crate::coroutine) fn inside(&self) -> Inside {
        Inside
    }

    pub(in crate::coroutine) fn resuming(&mut self) {}

    pub(in crate::coroutine) fn resumed(&mut self) {}

    pub(in crate::coroutine) fn ended(self) {
        self.0.ended();
    }
}

#[cfg_attr(sward_sanitizer = "address", allow(dead_code, reason = "`address` has one of its own"))]
impl Inside {
    pub(in crate::coroutine) fn entered(self) {}

    pub(in crate::coroutine) fn leaving(self) {}

    pub(in crate::coroutine) fn returned(self) {}
}
