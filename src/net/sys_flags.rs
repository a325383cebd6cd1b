//! New sockets and sends on systems whose calls take flags for them. The contract is in `sys.rs`.

use super::addr::{RawAddr, written_by};
use crate::base::sys::{check, retry};
use crate::netpoll::Source;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A source of that socket, whatever mode it is in: the calls themselves say that they must not block.
pub(super) fn source(fd: OwnedFd) -> Source {
    Source::new_nonblocking(fd)
}

/// The option that says after which silence probes begin.
pub(super) const KEEP_IDLE: libc::c_int = libc::TCP_KEEPIDLE;

/// Flags for `send` and `sendmsg`.
pub(super) const SEND: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// A socket of that family and kind, non-blocking: neither `connect` nor `accept` can say it in the call.
pub(super) fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a connection from a listener's queue.
pub(super) fn accept(listener: RawFd) -> io::Result<(OwnedFd, RawAddr)> {
    written_by(|address, len| {
        // SAFETY: `address` has room for `len` bytes, and both live until the call ends.
        let fd = retry(|| unsafe { libc::accept4(listener, address, len, libc::SOCK_CLOEXEC) })?;
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    })
}

/// Two sockets of that kind, connected to each other.
pub(super) fn socket_pair(kind: libc::c_int) -> io::Result<[OwnedFd; 2]> {
    let mut fds = [0; 2];
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: there is room for two descriptors, until the call ends.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: fresh descriptors that nobody else owns.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}
