//! How TCP sockets are made: connecting and listening, for `TcpSocket`, `TcpStream` and `TcpListener`.
//!
//! Invariant: `new_socket` returns a non-blocking descriptor, which `connect` and `accept` rely on.

use super::addr::RawAddr;
use super::options::option;
use super::socket::{self, Short, Socket};
use super::{SocketAddr, sys};
use crate::coroutine::WaitReason;
use crate::descriptor::Attempt;
use crate::netpoll::{Direction, is_ready};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

/// A socket of the address's family.
pub(super) fn new_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    sys::socket(family, libc::SOCK_STREAM)
}

/// Connects a socket. Parks until the connection is established or refused.
///
/// # Errors
///
/// `TimedOut` after the deadline; otherwise those of `connect(2)`.
pub(super) fn connect(
    fd: OwnedFd,
    address: &SocketAddr,
    deadline: Option<Instant>,
) -> io::Result<Arc<Socket>> {
    let raw = RawAddr::from(address);
    let socket = Socket::new(fd, Short::Drained);
    let mut begun = false;
    socket.file.perform_until(Direction::Write, WaitReason::Connect, deadline, |fd| {
        if begun {
            return finish_connect(socket.fd());
        }
        begun = true;
        begin_connect(fd, &raw)
    })?;
    Ok(socket)
}

fn begin_connect(fd: RawFd, address: &RawAddr) -> io::Result<Attempt<()>> {
    match socket::connect(fd, address) {
        Ok(()) => Ok(Attempt::Done(())),
        // A signal interrupts the call, but not the connecting.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            Ok(Attempt::WouldBlock)
        }
        Err(e) => Err(e),
    }
}

fn finish_connect(fd: BorrowedFd<'_>) -> io::Result<Attempt<()>> {
    // Before `SO_ERROR`: a socket that is still connecting has no error either.
    if !is_ready(fd, Direction::Write)? {
        return Ok(Attempt::WouldBlock);
    }
    match option::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(Attempt::Done(())),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Makes a bound socket a listener.
pub(super) fn listen(fd: OwnedFd, backlog: u32) -> io::Result<Arc<Socket>> {
    socket::listen(fd.as_fd(), backlog)?;
    Ok(Socket::new(fd, Short::Nothing))
}
