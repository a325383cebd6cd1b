//! Transfers that do not block although the open file is blocking: Linux's `RWF_NOWAIT`.
//!
//! The flag belongs to the call, so the mode of the open file, which other processes share, stays as it is.
//! Pipes and sockets support the flag; files do where the data is in memory; terminals do not. An old kernel
//! does not know it, and a filter of system calls may refuse it with any errno.

use crate::base::sys::{calls, retry};
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

/// The offset that means the file's own position. Pipes and sockets have no other.
const CURRENT: libc::off_t = -1;

/// Reads what is available: `WouldBlock` if that is nothing, `Unsupported` if the call itself is refused.
pub(crate) fn read_nowait(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: one part, of a buffer that is borrowed mutably until the call ends.
    let call = || unsafe { libc::preadv2(fd, &raw const part, 1, CURRENT, libc::RWF_NOWAIT) };
    translated(retry(|| calls::newer(call)))
}

/// Writes what there is room for: `WouldBlock` if there is none, `Unsupported` if the call itself is refused.
pub(crate) fn write_nowait(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    // SAFETY: one part, of a buffer that lives until the call ends, and which is only read.
    let call = || unsafe { libc::pwritev2(fd, &raw const part, 1, CURRENT, libc::RWF_NOWAIT) };
    translated(retry(|| calls::newer(call)))
}

/// Turns each errno with which the system may refuse the call itself into `Unsupported`. The caller then
/// makes the plain call. If the errno was about the file, the plain call fails with it again: none of these
/// errors consumes anything.
fn translated(result: io::Result<libc::ssize_t>) -> io::Result<usize> {
    match result {
        Ok(count) => Ok(count as usize),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EINVAL) => {
                Err(ErrorKind::Unsupported.into())
            }
            _ => Err(error),
        },
    }
}
