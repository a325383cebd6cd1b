//! Transfers that do not block although the open file may: `RWF_NOWAIT`, of Linux.
//!
//! The flag is the call's own, so the mode that the open file shares with other processes stays as it is.
//! Pipes and sockets know it, files where the data is in memory; terminals do not.

use crate::base::sys::retry;
use std::io;
use std::os::fd::RawFd;

/// The place of a file itself, or none.
const CURRENT: libc::off_t = -1;

/// Reads what there is: `WouldBlock` if that is nothing, `Unsupported` where nobody can tell.
pub(super) fn read(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: one part, of a buffer that is borrowed mutably until the call ends.
    retry(|| unsafe { libc::preadv2(fd, &raw const part, 1, CURRENT, libc::RWF_NOWAIT) })
        .map(|count| count as usize)
}

/// Writes what there is room for: `WouldBlock` if there is none, `Unsupported` where nobody can tell.
pub(super) fn write(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    // SAFETY: one part, of a buffer that lives until the call ends, and which is only read.
    retry(|| unsafe { libc::pwritev2(fd, &raw const part, 1, CURRENT, libc::RWF_NOWAIT) })
        .map(|count| count as usize)
}
