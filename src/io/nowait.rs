//! Transfers that do not block although the open file may: `RWF_NOWAIT`, of Linux.
//!
//! The flag is the call's own, so the mode that the open file shares with other processes stays as it is.
//! Pipes and sockets know it, files where the data is in memory; terminals do not. Nor does an old kernel,
//! and a filter of system calls may forbid it, with an errno of its author's choice.

use crate::base::sys::retry;
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;

/// The place of a file itself, or none.
const CURRENT: libc::off_t = -1;

/// Reads what there is: `WouldBlock` if that is nothing, `Unsupported` where nobody can tell.
pub(super) fn read(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: one part, of a buffer that is borrowed mutably until the call ends.
    translated(retry(|| unsafe { libc::preadv2(fd, &raw const part, 1, CURRENT, libc::RWF_NOWAIT) }))
}

/// Writes what there is room for: `WouldBlock` if there is none, `Unsupported` where nobody can tell.
pub(super) fn write(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    // SAFETY: one part, of a buffer that lives until the call ends, and which is only read.
    translated(retry(|| unsafe { libc::pwritev2(fd, &raw const part, 1, CURRENT, libc::RWF_NOWAIT) }))
}

/// An errno by which the system may refuse the call itself becomes `Unsupported`; the caller then makes the
/// plain call. If the errno was about the file, that call fails with it again: these errors take nothing from
/// the file.
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
