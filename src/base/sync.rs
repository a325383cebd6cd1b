//! The loom switch: files whose protocol a model checks take their atomics and locks from here.
//!
//! Only pure files (no syscall, no stack switch, no clock) do so. Everything else uses std's
//! atomics, which loom does not see.

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(crate) use real::*;

/// A constructor that is `const` except under loom, whose atomics are not made in constants.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visible:vis fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$attribute])*
        $visible const fn $name($($arg: $kind),*) -> $result $body
        #[cfg(loom)]
        $(#[$attribute])*
        $visible fn $name($($arg: $kind),*) -> $result $body
    };
}
pub(crate) use const_fn;

#[cfg(not(loom))]
mod real {
    use std::time::Duration;

    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    /// One turn of a wait for another thread's few instructions: pauses first, twice as long each time, since a
    /// thread that uses the lock again and again is the faster the longer it keeps the lock's memory to itself;
    /// then gives up the processor, since the other thread may have been preempted in the middle; and then
    /// sleeps for moments, since that thread may be one that does not run while this one could.
    #[inline]
    pub(crate) fn spin(turn: u32) {
        match turn {
            ..6 => (0..8 << turn).for_each(|_| std::hint::spin_loop()),
            6..1024 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(100)),
        }
    }
}

#[cfg(loom)]
mod modelled {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    pub(crate) fn spin(_turn: u32) {
        loom::thread::yield_now();
    }
}
