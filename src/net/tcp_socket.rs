//! A TCP socket that is neither connected nor listening yet, and how it comes to be.
//!
//! Invariant: the descriptor is non-blocking, which `connect` and `accept` rely on.

use super::addr::RawAddr;
use super::options::{linger_time, linger_value, option, set_option, to_int, to_seconds};
use super::tcp_listener::TcpListener;
use super::tcp_stream::TcpStream;
use super::{SocketAddr, socket, sys, tcp_setup};
use crate::descriptor::{deadline_after, zero_timeout};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// A TCP socket before it is connected or listens, for the options that must be set by then.
///
/// [`TcpStream::connect`] and [`TcpListener::bind`] are enough for most programs. For options that are not
/// here, hand the descriptor to another crate through [`AsFd`].
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
    /// A socket for IPv4. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `socket(2)`: descriptors or memory have run out.
    ///
    /// # Examples
    ///
    /// ```
    /// let socket = sward::net::TcpSocket::new_v4()?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn new_v4() -> io::Result<TcpSocket> {
        TcpSocket::of_family(libc::AF_INET)
    }

    /// A socket for IPv6. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `socket(2)`: descriptors or memory have run out, or the system has no IPv6.
    ///
    /// # Examples
    ///
    /// ```
    /// let Ok(socket) = sward::net::TcpSocket::new_v6() else { return Ok(()) }; // no IPv6 here
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn new_v6() -> io::Result<TcpSocket> {
        TcpSocket::of_family(libc::AF_INET6)
    }

    fn of_family(family: libc::c_int) -> io::Result<TcpSocket> {
        Ok(TcpSocket { fd: sys::socket(family, libc::SOCK_STREAM)? })
    }

    /// Sets `SO_REUSEADDR`: the port can be bound although connections of an earlier listener are still being
    /// closed. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_reuse_address(true)?;
    /// assert!(socket.reuse_address()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_reuse_address(&self, reuse_address: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, libc::c_int::from(reuse_address))
    }

    /// Whether the port can be bound while earlier connections are being closed. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_reuse_address(true)?;
    /// assert!(socket.reuse_address()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn reuse_address(&self) -> io::Result<bool> {
        self.get(libc::SOL_SOCKET, libc::SO_REUSEADDR).map(|value| value != 0)
    }

    /// Sets `SO_REUSEPORT`: several sockets that all set it may be bound to one address, and the kernel
    /// spreads connections over them. Not on Solaris and illumos. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_reuse_port(true)?;
    /// assert!(socket.reuse_port()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    pub fn set_reuse_port(&self, reuse_port: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, libc::c_int::from(reuse_port))
    }

    /// Whether the address may be shared with other sockets. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_reuse_port(true)?;
    /// assert!(socket.reuse_port()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    pub fn reuse_port(&self) -> io::Result<bool> {
        self.get(libc::SOL_SOCKET, libc::SO_REUSEPORT).map(|value| value != 0)
    }

    /// Sets `SO_SNDBUF`: how much the kernel keeps that was not acknowledged yet. It may cut or double the
    /// figure. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_send_buffer_size(64 << 10)?;
    /// assert!(socket.send_buffer_size()? >= 64 << 10);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUF, to_int(bytes))
    }

    /// How much the kernel keeps that was not acknowledged yet. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_send_buffer_size(64 << 10)?;
    /// assert!(socket.send_buffer_size()? >= 64 << 10);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        self.get(libc::SOL_SOCKET, libc::SO_SNDBUF).map(|bytes| bytes as u32)
    }

    /// Sets `SO_RCVBUF`: how much the kernel keeps that was not read yet. It may cut or double the figure.
    /// Set before a connection is made, it decides the scale of the window. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_recv_buffer_size(64 << 10)?;
    /// assert!(socket.recv_buffer_size()? >= 64 << 10);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, to_int(bytes))
    }

    /// How much the kernel keeps that was not read yet. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_recv_buffer_size(64 << 10)?;
    /// assert!(socket.recv_buffer_size()? >= 64 << 10);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        self.get(libc::SOL_SOCKET, libc::SO_RCVBUF).map(|bytes| bytes as u32)
    }

    /// Sets `SO_KEEPALIVE`: an idle connection is probed, and ends with an error if nobody answers. Does not
    /// park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_keepalive(true)?;
    /// assert!(socket.keepalive()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, libc::c_int::from(keepalive))
    }

    /// Whether an idle connection is probed. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_keepalive(true)?;
    /// assert!(socket.keepalive()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn keepalive(&self) -> io::Result<bool> {
        self.get(libc::SOL_SOCKET, libc::SO_KEEPALIVE).map(|value| value != 0)
    }

    /// How long a connection is idle before the first probe, in whole seconds, rounded up. Does not park.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`: `InvalidInput` for nothing, and for more than nine hours.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// use std::time::Duration;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_keepalive(true)?;
    /// socket.set_keepalive_time(Duration::from_secs(30))?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_keepalive_time(&self, time: Duration) -> io::Result<()> {
        self.set(libc::IPPROTO_TCP, sys::KEEP_IDLE, to_seconds(time))
    }

    /// How long there is between two probes, in whole seconds, rounded up. Does not park.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`: `InvalidInput` for nothing, and for more than nine hours.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// use std::time::Duration;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_keepalive(true)?;
    /// socket.set_keepalive_interval(Duration::from_secs(30))?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_keepalive_interval(&self, interval: Duration) -> io::Result<()> {
        self.set(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, to_seconds(interval))
    }

    /// How many probes go unanswered before the connection ends. Does not park.
    ///
    /// # Errors
    ///
    /// As `setsockopt(2)`: `InvalidInput` for none, and for more than 127.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_keepalive(true)?;
    /// socket.set_keepalive_retries(4)?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_keepalive_retries(&self, retries: u32) -> io::Result<()> {
        self.set(libc::IPPROTO_TCP, libc::TCP_KEEPCNT, to_int(retries))
    }

    /// Sets `SO_LINGER`, in whole seconds, rounded up. Does not park.
    ///
    /// With zero, closing the connection resets it, and what was not sent is dropped. With more than that,
    /// closing it waits for as long as that, or until all is acknowledged. `None`, the default, sends in the
    /// background.
    ///
    /// On a plain thread the last drop of the stream waits, as std's does. In a coroutine it does not: a
    /// thread of the pool of [`blocking`](crate::blocking()) closes the socket, and nobody waits for that
    /// thread, neither a shutdown of the runtime nor the end of the process, after which the kernel sends the
    /// rest. At most an eighth of the pool's threads do this at a time. A socket beyond that is closed at
    /// once, and the kernel sends the rest.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// use std::time::Duration;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_linger(Some(Duration::ZERO))?;
    /// assert_eq!(socket.linger()?, Some(Duration::ZERO));
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        set_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, linger_value(linger))
    }

    /// How long closing the connection waits for what was not sent. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// use std::time::Duration;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_linger(Some(Duration::ZERO))?;
    /// assert_eq!(socket.linger()?, Some(Duration::ZERO));
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        option(self.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER).map(linger_time)
    }

    /// Sets `TCP_NODELAY`: small writes are sent at once. Accepted connections have it from their listener.
    /// Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_nodelay(true)?;
    /// assert!(socket.nodelay()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.set(libc::IPPROTO_TCP, libc::TCP_NODELAY, libc::c_int::from(nodelay))
    }

    /// Whether small writes are sent at once. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.set_nodelay(true)?;
    /// assert!(socket.nodelay()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn nodelay(&self) -> io::Result<bool> {
        self.get(libc::IPPROTO_TCP, libc::TCP_NODELAY).map(|value| value != 0)
    }

    /// Sets `IPV6_V6ONLY`: a listener at an unspecified IPv6 address does not take IPv4 connections. Does not
    /// park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`; the socket is not an IPv6 one, or is bound.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let Ok(socket) = TcpSocket::new_v6() else { return Ok(()) }; // no IPv6 here
    /// socket.set_only_v6(true)?;
    /// assert!(socket.only_v6()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        self.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, libc::c_int::from(only_v6))
    }

    /// Whether it is for IPv6 connections only. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let Ok(socket) = TcpSocket::new_v6() else { return Ok(()) }; // no IPv6 here
    /// socket.set_only_v6(true)?;
    /// assert!(socket.only_v6()?);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn only_v6(&self) -> io::Result<bool> {
        self.get(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).map(|value| value != 0)
    }

    /// Sets `SO_BINDTODEVICE`: packets go and come through that network interface only; `None` is any.
    /// Linux only. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`: there is no such interface, or the socket is bound to one and the process
    /// lacks `CAP_NET_RAW`, which kernels before 5.7 always ask for.
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

    /// The address it is bound to. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockname(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.bind("127.0.0.1:0".parse().unwrap())?;
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::name(self.as_fd(), libc::getsockname)
    }

    /// Binds it to that address; port 0 asks for any free port. Does not park.
    ///
    /// Unlike [`TcpListener::bind`] this does not set `SO_REUSEADDR` by itself.
    ///
    /// # Errors
    ///
    /// Those of `bind(2)`, such as `AddrInUse`, and `InvalidInput` if it is bound already.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let first = TcpSocket::new_v4()?;
    /// first.bind("127.0.0.1:0".parse().unwrap())?;
    /// let taken = TcpSocket::new_v4()?.bind(first.local_addr()?).unwrap_err();
    /// assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        socket::bind(self.as_fd(), &RawAddr::from(&address))
    }

    /// Makes it a listener, for which the kernel completes that many connections ahead of `accept`, or as
    /// many as the system allows (`net.core.somaxconn`). Does not park.
    ///
    /// # Errors
    ///
    /// Those of `listen(2)`; the socket is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpSocket;
    ///
    /// let socket = TcpSocket::new_v4()?;
    /// socket.bind("127.0.0.1:0".parse().unwrap())?;
    /// let listener = socket.listen(16)?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        tcp_setup::listen(self.fd, backlog).map(TcpListener::from_socket)
    }

    /// Opens a connection to that address. Parks until it has come about or failed.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::connect`]; the socket is dropped.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds, and the attempt is given up.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpSocket};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpSocket::new_v4()?.connect(listener.local_addr()?)?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        tcp_setup::connect(self.fd, &address, None).map(TcpStream::from_socket)
    }

    /// Opens a connection to that address, if it comes about within the timeout. Parks.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the timeout, `InvalidInput` if it is zero; otherwise as [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::net::{TcpListener, TcpSocket};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let address = listener.local_addr()?;
    ///     TcpSocket::new_v4()?.connect_timeout(address, Duration::from_secs(10))?;
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
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

/// It is non-blocking.
impl From<TcpSocket> for OwnedFd {
    fn from(socket: TcpSocket) -> OwnedFd {
        socket.fd
    }
}
