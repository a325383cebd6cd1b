//! The processor time of a Mach thread, from `thread_info`.

use std::mem;
use std::time::Duration;

/// A thread's Mach port, which the thread keeps alive. After the thread's end the name may refer to anything,
/// and what is read is of no use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadClock(libc::mach_port_t);

impl ThreadClock {
    /// The clock of the calling thread.
    pub(crate) fn of_this_thread() -> Option<ThreadClock> {
        // SAFETY: the thread is the caller. The call adds no reference to the port, so none has to be
        // dropped.
        let port = unsafe { libc::pthread_mach_thread_np(libc::pthread_self()) };
        (port != 0).then_some(ThreadClock(port))
    }

    /// What the thread has used so far; `None` once it has ended.
    pub(crate) fn read(self) -> Option<Duration> {
        // SAFETY: integers, for which zeros are valid.
        let mut info: libc::thread_basic_info = unsafe { mem::zeroed() };
        let mut count = libc::THREAD_BASIC_INFO_COUNT;
        let flavor = libc::THREAD_BASIC_INFO as libc::thread_flavor_t;
        // SAFETY: `info` has room for `count` integers, and both live until the call ends. The kernel refuses
        // a name that belongs to no thread.
        let done = unsafe { libc::thread_info(self.0, flavor, (&raw mut info).cast(), &raw mut count) };
        let used =
            |time: libc::time_value_t| Duration::new(time.seconds as u64, time.microseconds as u32 * 1_000);
        (done == libc::KERN_SUCCESS).then(|| used(info.user_time) + used(info.system_time))
    }
}
