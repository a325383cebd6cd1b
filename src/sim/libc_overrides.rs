//! What replaces two functions of the C library in a test program, so that code that reads the clock or asks
//! for random bytes behaves the same in each run: `std::time::{Instant, SystemTime}`, hash seeds, the crates
//! of the family of `getrandom`.
//!
//! A thread that simulates gets the simulation's time, and bytes that depend on the seed. Any other thread
//! gets what the kernel says.

use super::random::Random;
use super::run;
use crate::base::clock;
use crate::base::local::thread_locals;
use libc::{c_int, c_uint, c_void, ssize_t};
use std::cell::Cell;

#[doc(hidden)]
pub use libc::timespec;

/// The monotonic clock of a simulation begins here, so that a program may subtract from its first reading.
const BEGINNING: u64 = 1_000_000_000_000_000;

thread_locals! {
    /// The generator of the simulation that this thread runs.
    static ENTROPY: Cell<Option<u64>> = Cell::new(None);

    fn entropy() -> Option<u64> = |entropy| entropy.get(), destroyed: None;

    fn set_entropy(to: Option<u64>) = |entropy| entropy.set(to), destroyed: ();
}

/// While it lives, random bytes for this thread depend on the seed alone.
pub(super) struct Entropy(());

impl Entropy {
    pub(super) fn begin(seed: u64) -> Entropy {
        set_entropy(Some(seed));
        Entropy(())
    }
}

impl Drop for Entropy {
    fn drop(&mut self) {
        set_entropy(None);
    }
}

/// Replaces `clock_gettime` and `getrandom` in a test program. Write it once, in the crate of the test,
/// outside of all functions.
///
/// Then `std::time::Instant::now`, `SystemTime::now`, the order of a `HashMap`, and all random numbers that
/// come from the system are the same in each run of a seed. It has no effect on threads that run no
/// simulation, but for a system call with each reading of the clock. Code that makes the system calls itself,
/// without the C library, is not reached.
///
/// ```
/// sward::sim::override_libc!();
///
/// fn main() {
///     sward::sim::check(|sim| {
///         let began = std::time::Instant::now();
///         sward::sleep(std::time::Duration::from_secs(3600));
///         assert!(began.elapsed().as_secs() >= 3600);
///     });
/// }
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __sim_override_libc {
    () => {
        const _: () = {
            /// # Safety
            ///
            /// As the function of the C library.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn clock_gettime(clock: i32, time: *mut $crate::sim::timespec) -> i32 {
                // SAFETY: as the caller says.
                unsafe { $crate::sim::__clock_gettime(clock, time) }
            }

            /// # Safety
            ///
            /// As the function of the C library.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn getrandom(bytes: *mut std::ffi::c_void, count: usize, flags: u32) -> isize {
                // SAFETY: as the caller says.
                unsafe { $crate::sim::__getrandom(bytes, count, flags) }
            }
        };
    };
}
#[doc(inline)]
pub use __sim_override_libc as override_libc;

/// As `clock_gettime` of the C library.
///
/// # Safety
///
/// As there: `time` is null or has room for the result.
#[doc(hidden)]
pub unsafe fn __clock_gettime(which: c_int, time: *mut timespec) -> c_int {
    let nanos = clock::virtual_nanos().and_then(|nanos| match which {
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME => Some(BEGINNING + nanos),
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => {
            Some(run::current().map_or(nanos, |run| run.system_nanos()))
        }
        _ => None,
    });
    match nanos {
        Some(nanos) if !time.is_null() => {
            let value = timespec {
                tv_sec: (nanos / 1_000_000_000) as libc::time_t,
                tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
            };
            // SAFETY: as the caller says.
            unsafe { time.write(value) };
            0
        }
        // SAFETY: the kernel checks the address. The C library's wrapper sets errno as this does.
        _ => unsafe { libc::syscall(libc::SYS_clock_gettime, which, time) as c_int },
    }
}

/// As `getrandom` of the C library.
///
/// # Safety
///
/// As there: `bytes` has room for that many.
#[doc(hidden)]
pub unsafe fn __getrandom(bytes: *mut c_void, count: usize, flags: c_uint) -> ssize_t {
    let Some(state) = entropy() else {
        // SAFETY: as the caller says.
        return unsafe { libc::syscall(libc::SYS_getrandom, bytes, count, flags) as ssize_t };
    };
    let mut random = Random::new(state, 5);
    let next = random.next();
    for (place, byte) in
        std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(count).enumerate()
    {
        // SAFETY: as the caller says.
        unsafe { bytes.cast::<u8>().add(place).write(byte) };
    }
    set_entropy(Some(next));
    count as ssize_t
}
