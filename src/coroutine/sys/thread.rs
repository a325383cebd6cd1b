//! ThreadSanitizer: each coroutine is a fiber of its own.
//!
//! The worker announces both directions, and the coroutine nothing:
//!
//! ```text
//!   worker                               coroutine
//!   resuming: switch to the fiber
//!   corosensei's frames ------------->   ...
//!   corosensei's frames <-------------   suspends, or returns
//!   resumed: switch back
//! ```
//!
//! *The call stack.* ThreadSanitizer keeps one for each fiber. Instrumented functions push themselves onto
//! it, and pop by position. What corosensei pushes on one side of a switch is popped on the other side, and
//! how many functions that are depends on the optimization. Here all of it happens on the coroutine's
//! fiber, in both directions: a resumption pushes r and pops s, a suspension pushes s and pops r, and the
//! first resumption pops nothing. So the fiber never has too few, and the worker's thread always as many as
//! before. Announcements on both sides would not add up. The functions here are inlined, since they would
//! push onto one stack and pop from the other.
//!
//! *Order.* Each announcement synchronizes: the coroutine sees what its worker has done, and the reverse.
//! That is true of the program as well, since a worker runs one coroutine after the other. Thread-locals
//! and values that are not `Send` depend on it. So a race between two coroutines is found if they run on
//! different workers.
//!
//! ThreadSanitizer has room for about 8,000 threads and fibers at a time.

use crate::stack::Stack;
use std::ffi::{c_char, c_uint, c_void};
use std::ptr;

/// Synchronizes.
const FLAGS: c_uint = 0;

unsafe extern "C" {
    safe fn __tsan_get_current_fiber() -> *mut c_void;
    safe fn __tsan_create_fiber(flags: c_uint) -> *mut c_void;
    fn __tsan_destroy_fiber(fiber: *mut c_void);
    fn __tsan_switch_to_fiber(fiber: *mut c_void, flags: c_uint);
    fn __tsan_set_fiber_name(fiber: *mut c_void, name: *const c_char);
}

pub(in crate::coroutine) struct Fiber {
    fiber: *mut c_void,
    /// The fiber of the thread that runs the coroutine.
    worker: *mut c_void,
}

/// What the coroutine itself uses: nothing.
#[derive(Clone, Copy)]
pub(in crate::coroutine) struct Inside;

impl Fiber {
    pub(in crate::coroutine) fn new(_stack: &Stack, id: u64) -> Fiber {
        let fiber = __tsan_create_fiber(FLAGS);
        let name = format!("coroutine {id}\0");
        // SAFETY: the fiber was just made; the name ends with a zero, and is copied.
        unsafe { __tsan_set_fiber_name(fiber, name.as_ptr().cast()) };
        Fiber { fiber, worker: ptr::null_mut() }
    }

    pub(in crate::coroutine) fn inside(&self) -> Inside {
        Inside
    }

    #[inline(always)]
    pub(in crate::coroutine) fn resuming(&mut self) {
        self.worker = __tsan_get_current_fiber();
        // SAFETY: it exists until `ended`, and no thread runs it: the caller owns the coroutine.
        unsafe { __tsan_switch_to_fiber(self.fiber, FLAGS) };
    }

    #[inline(always)]
    pub(in crate::coroutine) fn resumed(&mut self) {
        // SAFETY: this thread's own fiber, as `resuming` found it.
        unsafe { __tsan_switch_to_fiber(self.worker, FLAGS) };
    }

    pub(in crate::coroutine) fn ended(self) {
        // SAFETY: the coroutine has ended, so no thread runs its fiber, nor will.
        unsafe { __tsan_destroy_fiber(self.fiber) };
    }
}

impl Inside {
    #[inline(always)]
    pub(in crate::coroutine) fn entered(self) {}

    #[inline(always)]
    pub(in crate::coroutine) fn leaving(self) {}

    #[inline(always)]
    pub(in crate::coroutine) fn returned(self) {}
}
