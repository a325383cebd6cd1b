//! The processor time of a thread, readable from other threads: a type `ThreadClock` for each kind of system.
//!
//! - `posix`: `pthread_getcpuclockid`.
//! - `mach`: `thread_info`.
//! - `none`: systems that do not report it.

#[cfg(sward_thread_clock = "mach")]
mod mach;
#[cfg(sward_thread_clock = "none")]
mod none;
#[cfg(sward_thread_clock = "posix")]
mod posix;

#[cfg(sward_thread_clock = "mach")]
pub(crate) use mach::ThreadClock;
#[cfg(sward_thread_clock = "none")]
pub(crate) use none::ThreadClock;
#[cfg(sward_thread_clock = "posix")]
pub(crate) use posix::ThreadClock;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_clock_counts_work() {
        let Some(clock) = ThreadClock::of_this_thread() else {
            println!("skipped: this system does not report the processor time of threads");
            return;
        };
        let start = clock.read().expect("the thread runs");
        while clock.read().expect("the thread runs") <= start {
            std::hint::spin_loop();
        }
    }
}
