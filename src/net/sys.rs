//! What of the socket calls differs between systems.
//!
//! A port supplies `SEND`, `source`, `stream_socket` and `accept`: `sys_flags.rs` where the calls take
//! flags, `sys_options.rs` where it takes further calls (macOS). Each new descriptor is close-on-exec from
//! birth, and no send raises SIGPIPE. Receiving and sending never block, whatever the mode of the
//! descriptor: the call says so itself, which is why a stream can be shared with code that wants it to
//! block.

use crate::base::sys::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

#[cfg(not(target_vendor = "apple"))]
pub(super) use super::sys_flags::{SEND, accept, source, stream_socket};
#[cfg(target_vendor = "apple")]
pub(super) use super::sys_options::{SEND, accept, source, stream_socket};

/// What only some systems report.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_NETWORK: Option<libc::c_int> = Some(libc::ENONET);
/// This one has no such error.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const NO_NETWORK: Option<libc::c_int> = None;

/// Flags for `recv` and `recvmsg`.
pub(super) const RECV: libc::c_int = libc::MSG_DONTWAIT;

/// Sets or clears the mode in which calls fail instead of blocking. It belongs to the open file: all
/// duplicates share it.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    let mut value = libc::c_int::from(nonblocking);
    // SAFETY: the integer lives until the call ends.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut value) }).map(drop)
}

/// Whether `accept` failed because of the one connection it would have given: the next may do.
pub(super) fn concerns_one_connection(errno: libc::c_int) -> bool {
    // accept(2): pending network errors of the new socket come out of accept.
    matches!(
        errno,
        libc::ECONNABORTED
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    ) || NO_NETWORK == Some(errno)
}

/// Whether `accept` failed for want of descriptors or memory, which others may free.
pub(super) fn is_exhaustion(errno: libc::c_int) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
}
