//! New sockets and sends on systems where further calls say what the socket is to be: macOS and its kin.
//! The contract is in `sys.rs`, but for what these systems cannot do: a child that is forked between two of
//! the calls has the descriptor.

use super::addr::{RawAddr, written_by};
use super::socket::set_option;
use crate::base::sys::{check, retry};
use crate::netpoll::Source;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Flags for `send` and `sendmsg`.
pub(super) const SEND: libc::c_int = libc::MSG_DONTWAIT;

/// A source of that socket, which becomes non-blocking: a send does not always heed `MSG_DONTWAIT`.
pub(super) fn source(fd: OwnedFd) -> Source {
    Source::new(fd)
}

/// A stream socket of that family.
pub(super) fn stream_socket(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    prepared(unsafe { OwnedFd::from_raw_fd(fd) })
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
