//! A TCP socket that is neither connected nor listening yet. Connecting is in `tcp_setup`.
//!
//! Invariant: the descriptor is non-blocking, which `connect` and `accept` rely on.

use super::addr::RawAddr;
use super::options::{linger_time, linger_value, option, set_option, to_int, to_seconds};
use super::tcp_listener::TcpListener;
use super::tcp_stream::TcpStream;
use super::{SocketAddr, socket, sys, tcp_setup};
use crate::base::sys::calls;
use crate::descriptor::{deadline_after, zero_timeout};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// A TCP socket before it is connected or listens, for the options that must be set by then.
///
/// [`TcpStream::connect`] and [`TcpListener::bind`] are enough for most programs. For options without a
/// method here, pass the descriptor to another crate through [`AsFd`]. Only [`connect`](Self::connect) and
/// [`connect_timeout`](Self::connect_timeout) park. The setters and getters fail as `setsockopt(2)` and
/// `getsockopt(2)` do.
///
/// # Examples
///
/// ```
/// use sward::net::{TcpListener, TcpSocket};
///
/// sward::run(|| {
///     let socket = TcpSocket::new_v4()?;
///     socket.set_reuse_port(true)?;
///     socket.bind("127.0.0.1:0".parse().unwrap())?;
///     let listener: TcpListener = socket.listen(1024)?;
///
///     let socket = TcpSocket::new_v4()?;
///     socket.set_nodelay(true)?;
///     let stream = socket.connect(listener.local_addr()?)?;
///     assert!(stream.nodelay()?);
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct TcpSocket {
    fd: OwnedFd,
}

impl TcpSocket {
    /// A socket for IPv4.
    ///
    /// # Errors
    ///
    /// Descriptors or memory have run out.
    pub fn new_v4() -> io::Result<TcpSocket> {
        TcpSocket::of_family(libc::AF_INET)
    }

    /// A socket for IPv6.
    ///
    /// # Errors
    ///
    /// Descriptors or memory have run out, or the system has no IPv6.
    pub fn new_v6() -> io::Result<TcpSocket> {
        TcpSocket::of_family(libc::AF_INET6)
    }

    fn of_family(family: libc::c_int) -> io::Result<TcpSocket> {
        Ok(TcpSocket { fd: sys::socket(family, libc::SOCK_STREAM)? })
    }

    /// Sets `SO_REUSEADDR`: the port can be bound while connections of an earlier listener are still being
    /// closed.
    pub fn set_reuse_address(&self, reuse_address: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, libc::c_int::from(reuse_address))
    }

    /// What [`set_reuse_address`](Self::set_reuse_address) has set.
    pub fn reuse_address(&self) -> io::Result<bool> {
        self.get(libc::SOL_SOCKET, libc::SO_REUSEADDR).map(|value| value != 0)
    }

    /// Sets `SO_REUSEPORT`: several sockets that all set it may be bound to one address, and the kernel
    /// spreads connections over them. Not on Solaris and illumos.
    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    pub fn set_reuse_port(&self, reuse_port: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, libc::c_int::from(reuse_port))
    }

    /// What [`set_reuse_port`](Self::set_reuse_port) has set. Not on Solaris and illumos.
    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    pub fn reuse_port(&self) -> io::Result<bool> {
        self.get(libc::SOL_SOCKET, libc::SO_REUSEPORT).map(|value| value != 0)
    }

    /// Sets `SO_SNDBUF`: how many bytes the kernel buffers that were not acknowledged yet. It may cut or
    /// double the number.
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUF, to_int(bytes))
    }

    /// The size of the send buffer in bytes, as the kernel reports it.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        self.get(libc::SOL_SOCKET, libc::SO_SNDBUF).map(|bytes| bytes as u32)
    }

    /// Sets `SO_RCVBUF`: how many bytes the kernel buffers that were not read yet. It may cut or double the
    /// number. Set before a connection is made, it decides the scale of the TCP window.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, to_int(bytes))
    }

    /// The size of the receive buffer in bytes, as the kernel reports it.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.get(libc::SOL_SOCKET, libc::SO_RCVBUF).map(|bytes| bytes as u32)
    }

    /// Sets `SO_KEEPALIVE`: the kernel probes an idle connection, and ends it with an error if the peer does
    /// not answer.
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, libc::c_int::from(keepalive))
    }

    /// What [`set_keepalive`](Self::set_keepalive) has set.
    pub fn keepalive(&self) -> io::Result<bool> {
        self.get(libc::SOL_SOCKET, libc::SO_KEEPALIVE).map(|value| value != 0)
    }

    /// How long a connection is idle before the first probe, in whole seconds, rounded up.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero, and for more than nine hours.
    pub fn set_keepalive_time(&self, time: Duration) -> io::Result<()> {
        self.set(libc::IPPROTO_TCP, sys::KEEP_IDLE, to_seconds(time))
    }

    /// The time between two probes, in whole seconds, rounded up.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero, and for more than nine hours.
    pub fn set_keepalive_interval(&self, interval: Duration) -> io::Result<()> {
        self.set(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, to_seconds(interval))
    }

    /// How many probes may go unanswered before the connection ends.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero, and for more than 127.
    pub fn set_keepalive_retries(&self, retries: u32) -> io::Result<()> {
        self.set(libc::IPPROTO_TCP, libc::TCP_KEEPCNT, to_int(retries))
    }

    /// Sets `SO_LINGER`, in whole seconds, rounded up: what closing the connection does with bytes that were
    /// not sent.
    ///
    /// With `None`, the default, the kernel sends them in the background. With zero, the connection is reset
    /// and they are lost. With more, the drop of the last handle waits until the peer has acknowledged
    /// everything or the time is over.
    ///
    /// On a plain thread that drop blocks, as std's does. In a coroutine it does not: a thread of the pool of
    /// [`blocking`](crate::blocking()) closes the socket. Neither a shutdown of the runtime nor the end of
    /// the process waits for that thread; the kernel then sends the rest. At most an eighth of the pool's
    /// threads do this at a time. Further sockets are closed at once, and the kernel sends the rest.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        set_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, linger_value(linger))
    }

    /// What [`set_linger`](Self::set_linger) has set.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        option(self.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER).map(linger_time)
    }

    /// Sets `TCP_NODELAY`: the kernel sends small writes at once. Accepted connections inherit it from their
    /// listener.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.set(libc::IPPROTO_TCP, libc::TCP_NODELAY, libc::c_int::from(nodelay))
    }

    /// What [`set_nodelay`](Self::set_nodelay) has set.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.get(libc::IPPROTO_TCP, libc::TCP_NODELAY).map(|value| value != 0)
    }

    /// Sets `IPV6_V6ONLY`: a listener at an unspecified IPv6 address does not accept IPv4 connections. It
    /// fails if the socket is bound already, or is an IPv4 socket.
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        self.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, libc::c_int::from(only_v6))
    }

    /// What [`set_only_v6`](Self::set_only_v6) has set.
    pub fn only_v6(&self) -> io::Result<bool> {
        self.get(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).map(|value| value != 0)
    }

    /// Sets `SO_BINDTODEVICE`: packets use that network interface only; `None` allows all. Linux only.
    ///
    /// # Errors
    ///
    /// There is no such interface; or the socket is bound to one and the process lacks `CAP_NET_RAW`. Kernels
    /// before 5.7 always require that capability.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.bind_device(Some(b"eth0"))?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn bind_device(&self, interface: Option<&[u8]>) -> io::Result<()> {
        sys::bind_device(self.as_fd(), interface.unwrap_or_default())
    }

    /// The address to which it is bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::name(self.as_fd(), calls::getsockname)
    }

    /// Binds it to that address; port 0 asks for any free port. Unlike [`TcpListener::bind`] it does not set
    /// `SO_REUSEADDR`.
    ///
    /// # Errors
    ///
    /// As `bind(2)`, such as `AddrInUse`; `InvalidInput` if it is bound already.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        socket::bind(self.as_fd(), &RawAddr::from(&address))
    }

    /// Makes it a listener, for which the kernel completes up to `backlog` connections ahead of `accept`, or
    /// as many as the system allows (`net.core.somaxconn`).
    ///
    /// # Errors
    ///
    /// As `listen(2)`. The socket is dropped.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        tcp_setup::listen(self.fd, backlog).map(TcpListener::from_socket)
    }

    /// Connects to that address. Parks until the attempt has succeeded or failed.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::connect`]. The socket is dropped.
    pub fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        tcp_setup::connect(self.fd, &address, None).map(TcpStream::from_socket)
    }

    /// Connects to that address within the timeout. Parks.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the timeout; `InvalidInput` if it is zero; otherwise as [`connect`](Self::connect).
    pub fn connect_timeout(self, address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(zero_timeout());
        }
        tcp_setup::connect(self.fd, &address, deadline_after(timeout)).map(TcpStream::from_socket)
    }

    fn get(&self, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
        option(self.as_fd(), level, name)
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        set_option(self.as_fd(), level, name, value)
    }
}

impl fmt::Debug for TcpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        socket::describe(self.as_fd(), f, "TcpSocket", [("addr", self.local_addr())])
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for TcpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The descriptor is non-blocking.
impl From<TcpSocket> for OwnedFd {
    fn from(socket: TcpSocket) -> OwnedFd {
        socket.fd
    }
}
