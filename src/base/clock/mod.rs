//! The processor time of one thread, readable from others: a type `ThreadClock` for each kind of system.
//!
//! - `posix`: `pthread_getcpuclockid`.
//! - `mach`: `thread_info`.
//! - `none`: systems that do not tell.

#[cfg(target_vendor = "apple")]
mod mach;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_vendor = "apple"
)))]
mod none;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "dragonfly"))]
mod posix;

#[cfg(target_vendor = "apple")]
pub(crate) use mach::ThreadClock;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_vendor = "apple"
)))]
pub(crate) use none::ThreadClock;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "dragonfly"))]
pub(crate) use posix::ThreadClock;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_clock_counts_work() {
        let Some(clock) = ThreadClock::of_this_thread() else {
            println!("skipped: this system does not tell the processor time of threads");
            return;
        };
        let start = clock.read().expect("the thread runs");
        while clock.read().expect("the thread runs") <= start {
            std::hint::spin_loop();
        }
    }
}
