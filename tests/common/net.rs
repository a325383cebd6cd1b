//! Sockets, and bytes to send through them.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::time::Duration;
use sward::net::{SocketAddr, TcpListener, TcpStream};

/// Makes a call of std that blocks with a time limit, again for as long as it is interrupted: a netpoller on
/// io_uring interrupts such calls.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

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

/// Fills the listener's queue, which then has room for no more: a connection beyond it gets no answer.
pub fn fill_queue(listener: &TcpListener) -> Vec<TcpStream> {
    let address = listener.local_addr().expect("an address");
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let mut queued = Vec::new();
    while !queue_is_full(listener) {
        // The last part of a handshake may be late. Then this one may get no answer.
        queued.extend(TcpStream::connect_timeout(&address, Duration::from_secs(1)));
    }
    queued
}

fn queue_is_full(listener: &TcpListener) -> bool {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: there is room for as many bytes as said.
    let asked = unsafe {
        let place = info.as_mut_ptr().cast();
        libc::getsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut len)
    };
    assert_eq!(asked, 0);
    // SAFETY: numbers, which may be zero.
    let info = unsafe { info.assume_init() };
    // Of a listener these are the length of its queue and the most that it may be before it is full.
    info.tcpi_unacked > info.tcpi_sacked
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
