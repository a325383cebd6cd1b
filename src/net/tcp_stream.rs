//! A TCP connection. The transfers are in `transfer`, how it comes about in `tcp_socket`.

use super::macros::{byte_stream, conversions, transfer_methods};
use super::options::{linger_time, linger_value};
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{Short, Socket, describe};
use super::{Shutdown, SocketAddr, tcp_setup};
use crate::coroutine::WaitReason;
use crate::descriptor::{deadline_after, zero_timeout};
use crate::netpoll::Direction;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// A TCP connection; [`std::net::TcpStream`] for coroutines.
///
/// A call that would block parks the calling coroutine; on a plain thread it blocks the thread. Any
/// number of coroutines and threads may read and write at once, through clones or through `&TcpStream`.
/// The connection is closed when its last clone is dropped, or by [`close`](Self::close).
///
/// # Errors
///
/// As std's, with the same kinds: a read or write that exceeds its timeout fails with `WouldBlock`, as
/// on Unix. After [`close`](Self::close), `NotConnected`. Once the runtime has shut down, a call that
/// would have to wait fails.
///
/// # Cancellation
///
/// A coroutine that is cancelled while parked in a read or write unwinds, and no bytes are lost: it is
/// parked only while none were transferred.
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
    /// Opens a connection to the first of the addresses that takes one.
    ///
    /// Parks while names are looked up ([`ToSocketAddrs`]) and until each attempt has ended.
    ///
    /// # Errors
    ///
    /// The last address's error; `InvalidInput` if there is no address.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds, and the attempt is given up.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        each_address(addr, |address| tcp_setup::connect(tcp_setup::new_socket(address)?, address, None))
            .map(TcpStream::from_socket)
    }

    /// Opens a connection to that address, if it comes about within the timeout. Parks.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the timeout, `InvalidInput` if it is zero; otherwise as
    /// [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let address = listener.local_addr()?;
    ///     TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    ///     let refused = TcpStream::connect_timeout(&address, Duration::ZERO).unwrap_err();
    ///     assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(zero_timeout());
        }
        tcp_setup::connect(tcp_setup::new_socket(addr)?, addr, deadline_after(timeout))
            .map(TcpStream::from_socket)
    }

    /// The stream of a connection that was made here: nobody else has the descriptor.
    pub(super) fn from_socket(socket: Arc<Socket>) -> TcpStream {
        TcpStream { socket }
    }

    fn adopt(fd: OwnedFd) -> TcpStream {
        TcpStream { socket: Socket::adopt(fd, Short::Drained) }
    }

    /// The address of the peer.
    ///
    /// # Errors
    ///
    /// `NotConnected` once the connection is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// The local address.
    ///
    /// # Errors
    ///
    /// Those of `getsockname(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert!(stream.local_addr()?.ip().is_loopback());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Shuts down reading, writing, or both, for all clones.
    ///
    /// A parked read wakes and finds the end of the stream; a parked write wakes and fails with
    /// `BrokenPipe`. The peer reads the end of the stream once writing is shut down.
    ///
    /// # Errors
    ///
    /// `NotConnected` once the connection is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Read;
    /// use sward::net::{Shutdown, TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?)?;
    ///     let (server, _) = listener.accept()?;
    ///     server.shutdown(Shutdown::Write)?;
    ///     assert_eq!(client.read(&mut [0; 8])?, 0);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Closes the connection for all clones at once, although the descriptor stays until the last of
    /// them is dropped.
    ///
    /// Whoever is parked or blocked in a call on it wakes with `NotConnected`, and all later reads and
    /// writes fail with it. The peer reads the end of the stream.
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

    /// Reads without taking what it reads out of the stream. Parks until there is something.
    ///
    /// # Errors
    ///
    /// As a read.
    ///
    /// # Cancellation
    ///
    /// As a read.
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
    ///     client.write_all(b"x")?;
    ///     let mut byte = [0];
    ///     assert_eq!((server.peek(&mut byte)?, byte), (1, *b"x"));
    ///     assert_eq!((server.read(&mut byte)?, byte), (1, *b"x"));
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.peek(buf)
    }

    /// Waits until a read would not block: there is something to read, or the end of the stream, or an error.
    /// Parks until then, in non-blocking mode too.
    ///
    /// A read waits by itself. This is for code that must not park in its calls, such as a future's `poll`:
    /// it makes them in non-blocking mode, and a coroutine of its own waits here and wakes it. Whoever else
    /// reads may be faster, so that the read after it would block all the same.
    ///
    /// # Errors
    ///
    /// As a read's own waiting: `WouldBlock` after the read timeout, `NotConnected` after
    /// [`close`](Self::close). What has befallen the connection is left for the read to tell.
    ///
    /// # Cancellation
    ///
    /// As a read.
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
    ///     server.set_nonblocking(true)?;
    ///     client.write_all(b"x")?;
    ///     server.readable()?;
    ///     assert_eq!(server.read(&mut [0; 8])?, 1);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn readable(&self) -> io::Result<()> {
        self.socket.wait_ready(Direction::Read, WaitReason::Readable)
    }

    /// Waits until a write would not block: there is room for a part of it at least, or an error to be told.
    /// Parks until then, in non-blocking mode too. Otherwise as [`readable`](Self::readable).
    ///
    /// # Errors
    ///
    /// As a write's own waiting: `WouldBlock` after the write timeout, `NotConnected` after
    /// [`close`](Self::close).
    ///
    /// # Cancellation
    ///
    /// As a write.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     TcpStream::connect(listener.local_addr()?)?.writable()
    /// })
    /// # .unwrap();
    /// ```
    pub fn writable(&self) -> io::Result<()> {
        self.socket.wait_ready(Direction::Write, WaitReason::Writable)
    }

    /// Sets `TCP_NODELAY`: small writes are sent at once.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     stream.set_nodelay(true)?;
    ///     assert!(stream.nodelay()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, libc::c_int::from(nodelay))
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert!(!stream.nodelay()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.option(libc::IPPROTO_TCP, libc::TCP_NODELAY).map(|value: libc::c_int| value != 0)
    }

    /// Sets `TCP_QUICKACK`: what is received is acknowledged at once. The kernel may change this by itself
    /// later. Linux only. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     stream.set_quickack(false)?;
    ///     assert!(!stream.quickack()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_TCP, libc::TCP_QUICKACK, libc::c_int::from(quickack))
    }

    /// Whether what is received is acknowledged at once. Linux only. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     stream.set_quickack(true)?;
    ///     assert!(stream.quickack()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn quickack(&self) -> io::Result<bool> {
        self.socket.option(libc::IPPROTO_TCP, libc::TCP_QUICKACK).map(|value: libc::c_int| value != 0)
    }

    /// Sets `SO_LINGER`: what the drop of the last clone does with the connection. Does not park.
    ///
    /// With `None`, the default, the peer gets all that was written and then the end of the stream. With a
    /// duration of zero the connection is reset: what was not sent is lost, and the peer's calls fail with
    /// `ConnectionReset`. Use this to pass on that a connection has failed, where an end would say that the
    /// data is complete. With any other duration the drop waits so long, in whole seconds, for the peer to
    /// take what was written; in a coroutine a thread of the pool does that wait.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
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

    /// What [`set_linger`](Self::set_linger) has set. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.socket.option(libc::SOL_SOCKET, libc::SO_LINGER).map(linger_time)
    }

    /// Sets `IP_TTL`, how many hops a packet may make.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     stream.set_ttl(100)?;
    ///     assert_eq!(stream.ttl()?, 100);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// How many hops a packet may make.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert!(stream.ttl()? > 0);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// Turns it into std's type: blocking, or in the mode that [`set_nonblocking`](Self::set_nonblocking)
    /// asked for, and with its timeouts.
    ///
    /// If clones remain, std's stream has a duplicate of the descriptor, and the clones go on working as
    /// before.
    ///
    /// # Errors
    ///
    /// No descriptor was free for the duplicate, or the mode could not be set; the handle is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     let address = stream.local_addr()?;
    ///     let stream: std::net::TcpStream = stream.into_std()?;
    ///     assert_eq!(stream.local_addr()?, address);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
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
