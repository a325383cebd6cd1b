//! What `/proc/self/task` reports about a thread. Any part may be missing, because there is no `/proc`,
//! because the kernel was built without it, or because of a sandbox. Then that part is `None`.

use super::ThreadState;
use std::fs;
use std::time::Duration;

/// A thread's number, by which other threads of the process can find out about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe(libc::pid_t);

/// System calls that block, by name.
const CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_read, "read"),
    (libc::SYS_readv, "readv"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_close, "close"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_ioctl, "ioctl"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_pselect6, "pselect6"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
    (libc::SYS_wait4, "wait4"),
    (libc::SYS_waitid, "waitid"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_nanosleep, "nanosleep"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
];

/// Calls that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_poll, "poll"),
    (libc::SYS_select, "select"),
    (libc::SYS_epoll_wait, "epoll_wait"),
    (libc::SYS_open, "open"),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(libc::c_long, &str)] = &[];

impl Probe {
    /// The probe of the calling thread.
    pub(crate) fn of_this_thread() -> Option<Probe> {
        // SAFETY: the call takes no pointers. Its result is a thread's number.
        let id = unsafe { libc::syscall(libc::SYS_gettid) };
        libc::pid_t::try_from(id).ok().map(Probe)
    }

    /// The kernel's number of the thread.
    #[cfg_attr(any(not(target_env = "gnu"), sward_sanitizer), allow(dead_code))]
    pub(crate) fn number(self) -> libc::pid_t {
        self.0
    }

    fn read(self, file: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/self/task/{}/{file}", self.0)).ok()
    }

    /// The thread's state now; `None` once it has ended.
    pub(crate) fn state(self) -> Option<ThreadState> {
        state(&self.read("stat")?)
    }

    /// How long the thread has been in the run queue of a processor so far without running. A stay in the
    /// queue counts once it is over.
    pub(crate) fn run_delay(self) -> Option<Duration> {
        run_delay(&self.read("schedstat")?)
    }

    /// Where the thread waits: the system call, and the kernel's function.
    pub(crate) fn wait_channel(self) -> Option<String> {
        let call = self.read("syscall").and_then(|text| call(&text));
        let function = self.read("wchan").filter(|name| !matches!(name.as_str(), "" | "0"));
        match (call, function) {
            (Some(call), Some(function)) => Some(format!("{call}, {function}")),
            (call, function) => call.or(function),
        }
    }
}

/// How many threads the process has. The kernel's own count, since a listing of a folder may miss threads
/// while others end.
pub(crate) fn count_threads() -> Option<usize> {
    threads(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn threads(stat: &str) -> Option<usize> {
    // As in `state`; this is the 18th after the name.
    stat.rsplit_once(')')?.1.split_whitespace().nth(17)?.parse().ok()
}

fn state(stat: &str) -> Option<ThreadState> {
    // The thread's name is before it in parentheses, and may contain any byte.
    match stat.rsplit_once(')')?.1.trim_start().chars().next()? {
        'R' => Some(ThreadState::Running),
        'S' | 'D' | 'I' | 'K' | 'W' | 'P' => Some(ThreadState::Waiting),
        'T' | 't' => Some(ThreadState::Stopped),
        _ => None,
    }
}

fn run_delay(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

fn call(syscall: &str) -> Option<String> {
    // "running" for a thread that does not wait; -1 for a thread that waits outside of a system call.
    let number = syscall.split_whitespace().next()?.parse().ok().filter(|number| *number >= 0)?;
    let known = CALLS.iter().chain(OLD_CALLS).find(|(known, _)| *known == number);
    Some(known.map_or_else(|| format!("system call {number}"), |(_, name)| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_the_name_whatever_the_name_is() {
        assert_eq!(state("7 (a) R (b) S 1 2"), Some(ThreadState::Waiting));
        assert_eq!(state("7 (a) R 1 2"), Some(ThreadState::Running));
        assert_eq!(state("7 (a) T 1 2"), Some(ThreadState::Stopped));
        assert_eq!(state("7 (a) Z 1 2"), None);
        assert_eq!(state(""), None);
    }

    #[test]
    fn the_number_of_threads_is_the_18th_after_the_name() {
        let fields: Vec<_> = (1..=20).map(|field| field.to_string()).collect();
        assert_eq!(threads(&format!("7 (a) R (b) {}", fields.join(" "))), Some(18));
        assert_eq!(threads("7 (a) R 1"), None);
    }

    #[test]
    fn delays_are_the_second_number() {
        assert_eq!(run_delay("101303 736004 2\n"), Some(Duration::from_nanos(736_004)));
        assert_eq!(run_delay("0"), None);
    }

    #[test]
    fn system_calls_have_names_where_they_are_known() {
        assert_eq!(call(&format!("{} 0x0 0x0", libc::SYS_futex)).as_deref(), Some("futex"));
        assert_eq!(call("4000 0x0").as_deref(), Some("system call 4000"));
        assert_eq!(call("running"), None);
        assert_eq!(call("-1 0x0 0x0"), None);
    }
}
