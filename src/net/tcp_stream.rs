//! A TCP connection. The transfers are in `transfer`, and connecting is in `tcp_setup`.

use super::macros::{byte_stream, conversions, transfer_methods};
use super::options::{linger_time, linger_value};
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{Short, Socket, describe};
use super::{Shutdown, SocketAddr, tcp_setup};
use crate::descriptor::{deadline_after, zero_timeout};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// A TCP connection; [`std::net::TcpStream`] for coroutines.
///
/// Any number of coroutines and threads may read and write at once, through clones or through `&TcpStream`.
/// [`close`](Self::close) ends the connection while they wait. What holds for all sockets, such as errors and
/// cancellation, is said in [`net`](crate::net).
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::{TcpListener, TcpStream};
///
/// sward::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut client = TcpStream::connect(listener.local_addr()?)?;
///     let (mut server, _) = listener.accept()?;
///     let reader = sward::spawn(move || {
///         let mut byte = [0];
///         server.read_exact(&mut byte).map(|()| byte)
///     });
///     client.write_all(b"x")?;
///     assert_eq!(reader.join().unwrap()?, *b"x");
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct TcpStream {
    socket: Arc<Socket>,
}

impl TcpStream {
    /// Connects to the first of the addresses that accepts a connection, as [`std::net::TcpStream::connect`].
    /// Parks while names are looked up, and until each attempt has ended.
    ///
    /// # Errors
    ///
    /// The last address's error; `InvalidInput` if there is no address.
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        each_address(addr, |address| tcp_setup::connect(tcp_setup::new_socket(address)?, address, None))
            .map(TcpStream::from_socket)
    }

    /// Connects to that address within the timeout, as [`std::net::TcpStream::connect_timeout`]. Parks.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the timeout; `InvalidInput` if it is zero; otherwise as [`connect`](Self::connect).
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(zero_timeout());
        }
        tcp_setup::connect(tcp_setup::new_socket(addr)?, addr, deadline_after(timeout))
            .map(TcpStream::from_socket)
    }

    /// The stream of a connection that was made here, of which nobody else has the descriptor.
    pub(super) fn from_socket(socket: Arc<Socket>) -> TcpStream {
        TcpStream { socket }
    }

    fn adopt(fd: OwnedFd) -> TcpStream {
        TcpStream { socket: Socket::adopt(fd, Short::Drained) }
    }

    /// The address of the peer, as [`std::net::TcpStream::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// The local address, as [`std::net::TcpStream::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Shuts down reading, writing, or both, for all clones, as [`std::net::TcpStream::shutdown`].
    ///
    /// A parked read wakes and finds the end of the stream; a parked write wakes and fails with `BrokenPipe`.
    /// Once writing is shut down, the peer reads the end of the stream.
    ///
    /// # Errors
    ///
    /// `NotConnected` once the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Closes the connection, [for all clones at once](crate::net#close). Does not park, and does not fail.
    ///
    /// Calls that wait on it end with `NotConnected`, as do all later reads and writes. The peer reads the
    /// end of the stream. The descriptor is kept until the last clone is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let client = TcpStream::connect(listener.local_addr()?)?;
    ///     let mut reader = client.try_clone()?;
    ///     let parked = sward::spawn(move || reader.read(&mut [0; 8]));
    ///     sward::yield_now();
    ///     client.close()?;
    ///     assert_eq!(parked.join().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn close(&self) -> io::Result<()> {
        self.socket.close();
        Ok(())
    }

    /// Reads without removing the bytes from the stream, as [`std::net::TcpStream::peek`]. Parks until there
    /// are some, as a read does.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buf)
    }

    /// Sets `TCP_NODELAY`, as [`std::net::TcpStream::set_nodelay`]: the kernel sends small writes at once.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, libc::c_int::from(nodelay))
    }

    /// Whether small writes are sent at once, as [`std::net::TcpStream::nodelay`].
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.option(libc::IPPROTO_TCP, libc::TCP_NODELAY).map(|value: libc::c_int| value != 0)
    }

    /// Sets `TCP_QUICKACK`: the kernel acknowledges received bytes at once. It may change this by itself
    /// later. Linux only. std has this in its `TcpStreamExt`.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_TCP, libc::TCP_QUICKACK, libc::c_int::from(quickack))
    }

    /// Whether received bytes are acknowledged at once. Linux only.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn quickack(&self) -> io::Result<bool> {
        self.socket.option(libc::IPPROTO_TCP, libc::TCP_QUICKACK).map(|value: libc::c_int| value != 0)
    }

    /// Sets `SO_LINGER`: what the drop of the last clone does with bytes that were not sent yet. std has this
    /// as an unstable method.
    ///
    /// - `None`, the default: the kernel sends them in the background, and then ends the stream.
    /// - A zero duration: the connection is reset. Bytes that were not sent are lost, and the peer's calls
    ///   fail with `ConnectionReset`. A proxy does this to pass on that a connection has failed: an ordinary
    ///   end would say that the data is complete.
    /// - Any other duration, in whole seconds, rounded up: the drop waits so long for the peer to acknowledge
    ///   them. In a coroutine a thread of the pool waits instead;
    ///   [`TcpSocket::set_linger`](super::TcpSocket::set_linger) has the details.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use std::time::Duration;
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?)?;
    ///     let (stream, _) = listener.accept()?;
    ///     stream.set_linger(Some(Duration::ZERO))?;
    ///     drop(stream);
    ///     assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket.set_option(libc::SOL_SOCKET, libc::SO_LINGER, linger_value(linger))
    }

    /// What [`set_linger`](Self::set_linger) has set.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.socket.option(libc::SOL_SOCKET, libc::SO_LINGER).map(linger_time)
    }

    /// Sets `IP_TTL`, as [`std::net::TcpStream::set_ttl`].
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// The time to live, as [`std::net::TcpStream::ttl`].
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// Converts it into std's type, with its timeouts. The stream is blocking unless
    /// [`set_nonblocking`](Self::set_nonblocking) has asked for the other mode. If clones remain, std's
    /// stream has a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// No descriptor was free for the duplicate, or the mode could not be set. The handle is dropped.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.socket.release().map(Into::into)
    }
}

byte_stream!(TcpStream, &TcpStream);

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = [("addr", self.local_addr()), ("peer", self.peer_addr())];
        describe(self.as_fd(), f, "TcpStream", addresses)
    }
}

transfer_methods! {
    TcpStream,
    example: "let listener = sward::net::TcpListener::bind(\"127.0.0.1:0\")?;\n\
              let socket = sward::net::TcpStream::connect(listener.local_addr()?)?;",
    call: "socket.peek(&mut [0])"
}

conversions! {
    /// Takes the open file's timeouts over. Its mode does not matter: calls park.
    TcpStream, std::net::TcpStream
}
