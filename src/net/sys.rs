//! The socket calls that need flags of this system.

use super::addr::RawAddr;
use crate::base::sys::{check, nonblocking, retry};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A new TCP socket for addresses of that family: non-blocking, close-on-exec.
pub(super) fn socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Accepts a connection, non-blocking and close-on-exec; `None` if there is none.
pub(super) fn accept(fd: RawFd) -> io::Result<Option<(OwnedFd, RawAddr)>> {
    let mut peer = RawAddr::empty();
    let (address, len) = peer.as_mut_ptr();
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: both pointers live until the call ends, and the length is that of the room.
    let accepted = nonblocking(|| unsafe { libc::accept4(fd, address, len, flags) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(accepted.map(|fd| (unsafe { OwnedFd::from_raw_fd(fd) }, peer)))
}

pub(super) fn recv(fd: RawFd, buffer: &mut [u8], flags: libc::c_int) -> io::Result<Option<usize>> {
    // SAFETY: the buffer is exclusively ours until the call ends.
    let n = nonblocking(|| unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) })?;
    Ok(n.map(|n| n as usize))
}

pub(super) fn send(fd: RawFd, buffer: &[u8]) -> io::Result<Option<usize>> {
    let flags = libc::MSG_NOSIGNAL;
    // SAFETY: the buffer lives until the call ends.
    let n = nonblocking(|| unsafe { libc::send(fd, buffer.as_ptr().cast(), buffer.len(), flags) })?;
    Ok(n.map(|n| n as usize))
}

pub(super) fn recv_vectored(fd: RawFd, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Option<usize>> {
    let count = buffers.len().min(MOST_BUFFERS) as libc::c_int;
    // SAFETY: an `IoSliceMut` has the layout of an iovec, and the buffers are exclusively ours.
    let n = nonblocking(|| unsafe { libc::readv(fd, buffers.as_mut_ptr().cast(), count) })?;
    Ok(n.map(|n| n as usize))
}

pub(super) fn send_vectored(fd: RawFd, buffers: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    // SAFETY: all-zero bytes are a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = buffers.as_ptr().cast_mut().cast();
    message.msg_iovlen = buffers.len().min(MOST_BUFFERS) as _;
    // SAFETY: an `IoSlice` has the layout of an iovec; the call only reads them, and they live until
    // it ends.
    let n = nonblocking(|| unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) })?;
    Ok(n.map(|n| n as usize))
}

/// `IOV_MAX` of Linux and of most others.
const MOST_BUFFERS: usize = 1024;

/// Whether a connection attempt has come to its end: with an error, or connected.
pub(super) fn connect_ended(fd: RawFd) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which lives until the call ends.
    Ok(retry(|| unsafe { libc::poll(&raw mut entry, 1, 0) })? > 0)
}
