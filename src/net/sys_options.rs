//! New sockets and sends on systems where further calls say what the socket is to be: macOS and its kin.
//! The contract is in `sys.rs`, but for what these systems cannot do: a child that is forked between two of
//! the calls has the descriptor.

use super::addr::{RawAddr, written_by};
use super::socket::set_option;
use crate::base::sys::{check, retry, set_nonblocking};
use crate::netpoll::Source;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The option that says after which silence probes begin.
pub(super) const KEEP_IDLE: libc::c_int = libc::TCP_KEEPALIVE;

/// Flags for `send` and `sendmsg`.
pub(super) const SEND: libc::c_int = libc::MSG_DONTWAIT;

/// A source of that socket, which becomes non-blocking: a send does not always heed `MSG_DONTWAIT`.
pub(super) fn source(fd: OwnedFd) -> Source {
    Source::new(fd)
}

/// A socket of that family and kind, non-blocking.
pub(super) fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    let fd = prepared(unsafe { OwnedFd::from_raw_fd(fd) })?;
    set_nonblocking(fd.as_fd(), true)?;
    Ok(fd)
}

/// Two sockets of that kind, connected to each other.
pub(super) fn socket_pair(kind: libc::c_int) -> io::Result<[OwnedFd; 2]> {
    let mut fds = [0; 2];
    // SAFETY: there is room for two descriptors, until the call ends.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: fresh descriptors that nobody else owns.
    let [a, b] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok([prepared(a)?, prepared(b)?])
}

/// Takes a connection from a listener's queue.
pub(super) fn accept(listener: RawFd) -> io::Result<(OwnedFd, RawAddr)> {
    written_by(|address, len| {
        // SAFETY: `address` has room for `len` bytes, and both live until the call ends.
        let fd = retry(|| unsafe { libc::accept(listener, address, len) })?;
        // SAFETY: a fresh descriptor that nobody else owns.
        prepared(unsafe { OwnedFd::from_raw_fd(fd) })
    })
}

/// Close-on-exec, and without SIGPIPE.
fn prepared(fd: OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // It fails on a connection that is gone already, which the calls on it then tell.
    let _ = set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1);
    Ok(fd)
}
