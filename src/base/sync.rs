//! The loom switch: files whose protocol a model checks take their atomics from here, and the lock of wait
//! lists from `list_lock`.
//!
//! Only pure files do so: without system calls, stack switches and clocks. All other files use std's atomics,
//! which loom does not see.

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(crate) use real::*;

/// A constructor that is `const`, except under loom, whose atomics have no `const` constructors.
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

    pub(crate) use std::sync::atomic::{
        AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    /// Between two sequentially consistent accesses whose total order a protocol relies on: they have it.
    #[inline]
    pub(crate) fn total_order() {}

    /// One turn of a wait for a few instructions of another thread, in three stages:
    ///
    /// - *Pauses*, twice as long each time. A thread that uses the lock again and again is the faster, the
    ///   longer the other processors leave the lock's cache line alone.
    /// - *Yields*: the other thread may have been preempted in the middle.
    /// - *Short sleeps*: the other thread may have a lower priority, and run only while this one does not.
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
    pub(crate) use loom::sync::atomic::{
        AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    /// Loom takes sequentially consistent loads and stores for acquire and release. A fence orders them.
    pub(crate) fn total_order() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn spin(_turn: u32) {
        loom::thread::yield_now();
    }
}
