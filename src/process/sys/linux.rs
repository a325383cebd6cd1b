//! Descriptors of processes (`pidfd_open(2)`), on Linux.

use crate::base::sys::{calls, check};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A descriptor of a child, readable once the child has ended. It closes on `exec`.
///
/// Nobody has reaped the child yet, so the number cannot mean another process.
///
/// # Errors
///
/// Those of `pidfd_open(2)`: the kernel is too old, a filter of system calls forbids it, or no descriptor is
/// free.
pub(crate) fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(calls::newer(|| unsafe {
        libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) as libc::ssize_t
    }))?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
