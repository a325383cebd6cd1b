//! New sockets and sends on macOS and its relatives, where it takes further calls to set what flags set
//! elsewhere. `mod.rs` has the contract, with one exception: a child that is forked between two of these
//! calls inherits the descriptor.

use crate::base::sys::{check, retry, set_nonblocking};
use crate::net::options::set_option;
use crate::netpoll::Source;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The option for the idle time after which keep-alive probes begin.
pub(in crate::net) const KEEP_IDLE: libc::c_int = libc::TCP_KEEPALIVE;

/// Flags for `send` and `sendmsg`.
pub(in crate::net) const SEND: libc::c_int = libc::MSG_DONTWAIT;

/// A source for that socket. The socket becomes non-blocking, since a send does not always obey
/// `MSG_DONTWAIT`.
pub(in crate::net) fn source(fd: OwnedFd) -> Source {
    Source::new(fd)
}

/// A non-blocking socket of that family and kind.
pub(in crate::net) fn socket(family: libc::c_int, kind: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    let fd = prepared(unsafe { OwnedFd::from_raw_fd(fd) })?;
    set_nonblocking(fd.as_fd(), true)?;
    Ok(fd)
}

/// Two connected Unix sockets of that kind.
pub(in crate::net) fn socket_pair(kind: libc::c_int) -> io::Result<[OwnedFd; 2]> {
    let mut fds = [0; 2];
    // SAFETY: there is room for two descriptors, until the call ends.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: fresh descriptors that nobody else owns.
    let [a, b] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok([prepared(a)?, prepared(b)?])
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
    let fd = retry(|| unsafe { libc::accept(listener, address, len) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    prepared(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a new descriptor close on `exec`, and raise no SIGPIPE.
fn prepared(fd: OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // This fails if the connection is gone already. The calls on it then fail as well.
    let _ = set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1);
    Ok(fd)
}
