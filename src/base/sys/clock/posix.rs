//! A POSIX clock of a thread.

use crate::base::sys::check;
use std::time::Duration;

/// The processor time of one thread, readable from others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// The clock of the calling thread.
    pub(crate) fn of_this_thread() -> Option<ThreadClock> {
        let mut clock = 0;
        // SAFETY: the variable for the clock lives until the call ends, and the thread is the caller.
        let done = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        (done == 0).then_some(ThreadClock(clock))
    }

    /// What the thread has used so far; `None` once it has ended.
    pub(crate) fn read(self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the variable for the time lives until the call ends.
        check(unsafe { libc::clock_gettime(self.0, &raw mut time) }).ok()?;
        Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}
