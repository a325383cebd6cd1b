//! Sockets, and bytes to send through them.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use sward::net::{SocketAddr, TcpListener, TcpStream};

/// The kind of an error that must have occurred.
pub fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

/// A listener on a free port, and its address.
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// The two ends of a connection.
pub fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let client = TcpStream::connect(address).expect("connected");
    let (server, peer) = listener.accept().expect("accepted");
    assert_eq!(peer, client.local_addr().expect("an address"));
    assert_eq!(address, client.peer_addr().expect("an address"));
    (client, server)
}

/// Sets an option for which there is no method.
pub fn set_option<T>(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int, value: T) {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value lives until the call ends.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    assert_eq!(done, 0);
}

/// Dropping the socket resets the connection.
pub fn reset_on_drop(socket: &impl AsRawFd) {
    set_option(socket, libc::SOL_SOCKET, libc::SO_LINGER, libc::linger { l_onoff: 1, l_linger: 0 });
}

pub fn is_nonblocking(fd: &impl AsRawFd) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

/// Bytes to transfer, with a period that divides no buffer's size.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}
