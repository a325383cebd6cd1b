//! A descriptor that is readable once a process has ended, on Linux.

use crate::base::sys::check;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The descriptor of a child that was not waited for, so that its number is its own. It closes on `exec`.
///
/// # Errors
///
/// Those of `pidfd_open(2)`: an old kernel, a filter of system calls, no descriptor free.
pub(super) fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) as libc::ssize_t })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
