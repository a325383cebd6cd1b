//! System calls: CPU time and memory of a process, its processors and descriptors, epoll.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// The CPU time that this process has used, in nanoseconds, how often its threads went to sleep, and how
/// often one lost its processor to another.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub user: f64,
    pub kernel: f64,
    pub sleeps: f64,
    pub preempted: f64,
}

impl Usage {
    pub fn now() -> Usage {
        // SAFETY: all zeros is a value of this plain C struct, and the place lives until the call ends.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage
        };
        let nanos = |time: libc::timeval| time.tv_sec as f64 * 1e9 + time.tv_usec as f64 * 1e3;
        Usage {
            user: nanos(usage.ru_utime),
            kernel: nanos(usage.ru_stime),
            sleeps: usage.ru_nvcsw as f64,
            preempted: usage.ru_nivcsw as f64,
        }
    }

    pub fn since(self, earlier: Usage) -> Usage {
        Usage {
            user: self.user - earlier.user,
            kernel: self.kernel - earlier.kernel,
            sleeps: self.sleeps - earlier.sleeps,
            preempted: self.preempted - earlier.preempted,
        }
    }
}

/// The kernel's id of the calling thread. A system call, since what libc and std know about the thread
/// belongs to the coroutine's home.
pub fn thread_id() -> i64 {
    // SAFETY: the call takes no arguments and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Resident memory and page tables of a process, in bytes.
pub fn memory(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| -> f64 {
        let rest = status.lines().find_map(|line| line.strip_prefix(name));
        rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
    };
    (kib("VmRSS:") + kib("VmPTE:")) * 1024.0
}

/// The kernel's stacks of all threads of the system, in bytes. No process's own figures contain them.
pub fn kernel_stacks() -> f64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let rest = memory.lines().find_map(|line| line.strip_prefix("KernelStack:"));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// The first two numbers of the kernel's version.
pub fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// The most mappings that a process may have.
pub fn max_map_count() -> u64 {
    let limit = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    limit.trim().parse().unwrap_or(u64::MAX)
}

/// The error of the last system call.
pub fn errno() -> io::Error {
    io::Error::last_os_error()
}

/// Raises the soft limit of open files to the hard one, for this process and its children, and returns it.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place for the limit lives until the calls end.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    limit.rlim_cur
}

/// Keeps this thread, and the threads and processes that it starts, on one processor.
pub fn pin_to(processor: usize) -> io::Result<()> {
    // SAFETY: all zeros is the empty set of processors, and the set lives until the call ends.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An epoll instance. It reports readable sockets by the number that each was added with.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    /// Watches the socket until it is closed, level-triggered.
    pub fn add(&self, socket: impl AsFd, number: usize) -> io::Result<()> {
        self.watch(socket, number, libc::EPOLLIN | libc::EPOLLRDHUP)
    }

    /// Watches the socket for these events until it is closed.
    pub fn watch(&self, socket: impl AsFd, number: usize, events: libc::c_int) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: number as u64 };
        let socket = socket.as_fd().as_raw_fd();
        // SAFETY: the event lives until the call ends.
        match unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, socket, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The numbers of the readable sockets; none after the timeout.
    pub fn wait(&mut self, limit: Option<Duration>) -> impl Iterator<Item = usize> {
        let millis = limit.map_or(-1, |limit| limit.as_millis() as i32);
        let room = self.events.len() as i32;
        // SAFETY: there is room for as many events as are asked for.
        let n = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, millis) };
        self.events[..n.max(0) as usize].iter().map(|event| event.u64 as usize)
    }
}
