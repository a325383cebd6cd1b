//! What of the socket calls differs between systems; this is Linux.
//!
//! A port supplies these functions. Each new descriptor is close-on-exec from birth, and no send
//! raises SIGPIPE. Receiving and sending never block, whatever the mode of the descriptor: the call
//! says so itself, which is why a stream can be shared with code that wants it to block.

use super::addr::{RawAddr, written_by};
use crate::base::sys::{check, retry};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddr;

/// Flags for `recv` and `recvmsg`.
pub(super) const RECV: libc::c_int = libc::MSG_DONTWAIT;

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

/// The name of an address that is in no file system.
pub(super) fn abstract_name(address: &UnixAddr) -> Option<&[u8]> {
    address.as_abstract_name()
}

/// The address of that name, which is in no file system.
pub(super) fn from_abstract_name(name: &[u8]) -> io::Result<UnixAddr> {
    UnixAddr::from_abstract_name(name)
}

/// What `IP_MULTICAST_TTL` and `IP_MULTICAST_LOOP` take.
pub(super) type MulticastV4 = libc::c_int;

/// The names of joining and leaving an IPv6 multicast group.
pub(super) use libc::{IPV6_ADD_MEMBERSHIP as JOIN_V6, IPV6_DROP_MEMBERSHIP as LEAVE_V6};

/// Binds a socket to a network interface; to any, if the name is empty.
pub(super) fn bind_device(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let len = name.len() as libc::socklen_t;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_BINDTODEVICE);
    // SAFETY: the name is `len` bytes and lives until the call ends.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, name.as_ptr().cast(), len) }).map(drop)
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
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
    )
}

/// Whether `accept` failed for want of descriptors or memory, which others may free.
pub(super) fn is_exhaustion(errno: libc::c_int) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
}
