//! AddressSanitizer: it knows the bounds of the stack on which a thread runs. Each side announces that it
//! leaves its stack, and for which one, and then that it is back.
//!
//! Where functions keep variables in memory of their own (`detect_stack_use_after_return`), each stack has a
//! store of such frames. AddressSanitizer frees the store of a stack that is left for ever. But frames of
//! corosensei are still there when a coroutine leaves its stack for the last time. So it leaves like for any
//! other wait, and `ended` frees the store from outside: it announces a switch to the stack of the coroutine
//! and one back, for ever, and makes neither.

use super::leak::Used;
use super::worker_stack::announce_worker;
use crate::stack::Stack;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

unsafe extern "C" {
    fn __sanitizer_start_switch_fiber(frames: *mut *mut c_void, low: *const c_void, bytes: usize);
    fn __sanitizer_finish_switch_fiber(frames: *mut c_void, low: *mut *const c_void, bytes: *mut usize);
    fn __asan_unpoison_memory_region(start: *const c_void, bytes: usize);
}

/// What both sides use. Only the thread that runs the coroutine does.
struct Sides {
    stack: Used,
    /// The stores of frames of the two stacks, while their owner is away.
    worker_frames: Cell<*mut c_void>,
    frames: Cell<*mut c_void>,
    /// The stack of the worker that runs the coroutine.
    worker_low: Cell<*const c_void>,
    worker_bytes: Cell<usize>,
}

/// Leaked with a coroutine that never ends.
pub(in crate::coroutine) struct Fiber(NonNull<Sides>);

/// What the coroutine itself uses. It is valid until the coroutine has ended.
#[derive(Clone, Copy)]
pub(in crate::coroutine) struct Inside(NonNull<Sides>);

impl Fiber {
    pub(in crate::coroutine) fn new(stack: &Stack, _id: u64) -> Fiber {
        let sides = Sides {
            stack: Used::new(stack),
            worker_frames: Cell::new(ptr::null_mut()),
            frames: Cell::new(ptr::null_mut()),
            worker_low: Cell::new(ptr::null()),
            worker_bytes: Cell::new(0),
        };
        Fiber(NonNull::from(Box::leak(Box::new(sides))))
    }

    pub(in crate::coroutine) fn inside(&self) -> Inside {
        Inside(self.0)
    }

    #[inline(always)]
    fn sides(&self) -> &Sides {
        // SAFETY: `ended` frees it, and consumes the fiber.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    pub(in crate::coroutine) fn resuming(&mut self) {
        let sides = self.sides();
        // SAFETY: the bounds are those of the coroutine's stack, to which the caller switches.
        unsafe {
            __sanitizer_start_switch_fiber(sides.worker_frames.as_ptr(), sides.stack.low, sides.stack.bytes);
        };
    }

    #[inline(always)]
    pub(in crate::coroutine) fn resumed(&mut self) {
        // SAFETY: the caller is back on the stack that it left in `resuming`.
        unsafe {
            __sanitizer_finish_switch_fiber(
                self.sides().worker_frames.get(),
                ptr::null_mut(),
                ptr::null_mut(),
            );
        };
    }

    pub(in crate::coroutine) fn ended(self) {
        // SAFETY: the coroutine has ended, so this is the only user.
        let sides = unsafe { Box::from_raw(self.0.as_ptr()) };
        let Used { low, bytes } = sides.stack;
        let (mut own_low, mut own_bytes, mut own_frames) = (ptr::null(), 0, ptr::null_mut());
        // SAFETY: nothing of the stack is in use, and what was poisoned there is the next coroutine's.
        unsafe {
            if !sides.frames.get().is_null() {
                __sanitizer_start_switch_fiber(&mut own_frames, low, bytes);
                __sanitizer_finish_switch_fiber(sides.frames.get(), &mut own_low, &mut own_bytes);
                __sanitizer_start_switch_fiber(ptr::null_mut(), own_low, own_bytes);
                __sanitizer_finish_switch_fiber(own_frames, ptr::null_mut(), ptr::null_mut());
            }
            __asan_unpoison_memory_region(low, bytes);
        }
        sides.stack.ended();
    }
}

impl Inside {
    #[inline(always)]
    fn sides(&self) -> &Sides {
        // SAFETY: the coroutine has not ended, since it runs.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn back(self, frames: *mut c_void) {
        let sides = self.sides();
        // SAFETY: the caller is on the coroutine's stack, and the worker has announced that.
        unsafe {
            __sanitizer_finish_switch_fiber(frames, sides.worker_low.as_ptr(), sides.worker_bytes.as_ptr());
        };
        announce_worker(sides.worker_low.get(), sides.worker_bytes.get());
    }

    #[inline(always)]
    pub(in crate::coroutine) fn entered(self) {
        self.back(ptr::null_mut());
    }

    #[inline(always)]
    pub(in crate::coroutine) fn leaving(self) {
        let sides = self.sides();
        // SAFETY: the bounds are those of the stack of the worker that runs the coroutine.
        unsafe {
            __sanitizer_start_switch_fiber(
                sides.frames.as_ptr(),
                sides.worker_low.get(),
                sides.worker_bytes.get(),
            );
        };
    }

    #[inline(always)]
    pub(in crate::coroutine) fn returned(self) {
        self.back(self.sides().frames.get());
    }
}
