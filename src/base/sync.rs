//! The loom switch: files whose protocol a model checks take their atomics from here.
//!
//! Only pure files (no syscall, no stack switch, no clock) do so. Everything else uses std's
//! atomics, which loom does not see.

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

    /// One turn of a wait for another thread's few instructions: spins first, then gives up the
    /// processor, since the other thread may have been preempted in the middle.
    #[inline]
    pub(crate) fn spin(turn: u32) {
        if turn < 64 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(loom)]
mod modelled {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};

    pub(crate) fn spin(_turn: u32) {
        loom::thread::yield_now();
    }
}
