//! New sockets and sends on systems whose calls take flags for them. `mod.rs` has the contract.

use crate::base::sys::{calls, check, retry};
use crate::netpoll::Source;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A source for that socket. The socket keeps its mode: each call says itself that it must not block.
pub(in crate::net) fn source(fd: OwnedFd) -> Source {
    Source::new_nonblocking(fd)
}

/// The option for the idle time after which keep-alive probes begin.
pub(in crate::net) const KEEP_IDLE: libc::c_int = libc::TCP_KEEPIDLE;

/// Flags for `send` and `sendmsg`.
pub(in crate::net) const SEND: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// A non-blocking socket of that family and kind. `connect` and `accept` have no flag for it, so the mode has
/// to say it.
pub(in crate::net) fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { calls::socket(family, kind, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a connection from a listener's queue.
///
/// # Safety
///
/// `address` has room for `*len` bytes, and both live until the call ends.
pub(in crate::net) unsafe fn accept(
    listener: RawFd,
    address: *mut libc::sockaddr,
    len: *mut libc::socklen_t,
) -> io::Result<OwnedFd> {
    // SAFETY: as the caller says.
    let fd = retry(|| unsafe { calls::accept4(listener, address, len, libc::SOCK_CLOEXEC) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Two connected Unix sockets of that kind, non-blocking.
pub(in crate::net) fn socket_pair(kind: libc::c_int) -> io::Result<[OwnedFd; 2]> {
    let mut fds = [0; 2];
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: there is room for two descriptors, until the call ends.
    check(unsafe { calls::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: fresh descriptors that nobody else owns.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}
