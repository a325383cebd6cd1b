//! A TCP connection.
//!
//! Relies on `socket` for the waiting. Invariant: every call on the descriptor that could block is made
//! with a flag that says it must not, except `connect`, which is made while the descriptor is new and
//! non-blocking. The descriptor's own mode therefore means nothing here, and duplicates of it may block.

use super::addr::RawAddr;
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{Socket, deadline_after, is_ready, option, set_option, zero_timeout};
use super::{Shutdown, SocketAddr, sys};
use crate::base::sys::{check, nonblocking};
use crate::coroutine::WaitReason;
use crate::netpoll::{Direction, Source};
use crate::sched::Attempt;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most that one call transfers, below what the kernel cuts a length to: a call that transfers less
/// than it was asked to has met an end.
const MAX_LEN: usize = 1 << 30;

/// The most buffers that one call takes, the kernel's limit.
const MAX_BUFFERS: usize = 1024;

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
        each_address(addr, |address| TcpStream::connect_until(address, None))
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
        TcpStream::connect_until(addr, deadline_after(timeout))
    }

    fn connect_until(address: &SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
        let raw = RawAddr::from(address);
        let stream = TcpStream::from_new(sys::stream_socket(raw.family())?);
        let mut begun = false;
        stream.socket.perform_until(Direction::Write, WaitReason::Connect, deadline, |fd| {
            if begun {
                return finish_connect(stream.as_fd());
            }
            begun = true;
            begin_connect(fd, &raw)
        })?;
        Ok(stream)
    }

    /// The stream of a connection that was made here: nobody else has the descriptor.
    pub(super) fn from_new(fd: OwnedFd) -> TcpStream {
        // Whatever mode the file is in: the calls themselves say that they must not block.
        TcpStream { socket: Socket::new(Source::new_nonblocking(fd)) }
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

    /// Another handle to the same connection. It shares everything with this one: descriptor, timeouts,
    /// mode. No descriptor is duplicated.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     let clone = stream.try_clone()?;
    ///     assert_eq!(clone.local_addr()?, stream.local_addr()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        Ok(TcpStream { socket: Arc::clone(&self.socket) })
    }

    /// Sets the longest that one read or peek waits; with `None` it waits for ever. It holds for all clones,
    /// from their next call on. A call that exceeds it fails with `WouldBlock`, and the stream is as before.
    ///
    /// Each call has the whole time again, so this limits how long a connection is idle, not how long a
    /// message takes to arrive.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is zero.
    ///
    /// # Examples
    ///
    /// A server that closes connections on which nothing has come for a while. The timeout is set once.
    ///
    /// ```
    /// use std::io::{self, ErrorKind, Read, Write};
    /// use std::time::Duration;
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// fn serve(mut stream: TcpStream, idle: Duration) -> io::Result<()> {
    ///     stream.set_read_timeout(Some(idle))?;
    ///     let mut buffer = [0; 1024];
    ///     loop {
    ///         match stream.read(&mut buffer) {
    ///             Ok(0) => return Ok(()),
    ///             Ok(n) => stream.write_all(&buffer[..n])?,
    ///             Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()), // idle for too long
    ///             Err(e) => return Err(e),
    ///         }
    ///     }
    /// }
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let mut client = TcpStream::connect(listener.local_addr()?)?;
    ///     let (stream, _) = listener.accept()?;
    ///     client.write_all(b"x")?;
    ///     let server = sward::spawn(move || serve(stream, Duration::from_millis(50)));
    ///     let mut echo = Vec::new();
    ///     client.read_to_end(&mut echo)?; // the client is silent, so the server closes
    ///     assert_eq!(echo, b"x");
    ///     server.join().unwrap()
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_read_timeout(&self, dur: Option<Duration>) -> io::Result<()> {
        self.socket.read_timeout.set(dur)
    }

    /// Sets the longest that one write waits; with `None` it waits for ever. It holds for all clones, from
    /// their next call on. A call that exceeds it fails with `WouldBlock`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     let limit = Some(std::time::Duration::from_secs(1));
    ///     stream.set_write_timeout(limit)?;
    ///     assert_eq!(stream.write_timeout()?, limit);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_write_timeout(&self, dur: Option<Duration>) -> io::Result<()> {
        self.socket.write_timeout.set(dur)
    }

    /// The longest that a read waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert_eq!(stream.read_timeout()?, None);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.read_timeout.get())
    }

    /// The longest that a write waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     assert_eq!(stream.write_timeout()?, None);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.write_timeout.get())
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
        if buf.is_empty() {
            return Ok(0);
        }
        self.receive(WaitReason::Peek, |fd| {
            let len = buf.len().min(MAX_LEN);
            let flags = sys::RECV | libc::MSG_PEEK;
            // SAFETY: the buffer has room for `len` bytes.
            let got = nonblocking(|| unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), len, flags) })?;
            // What was peeked is still there: the next read does not have to wait.
            Ok(got.map_or(Attempt::WouldBlock, |n| Attempt::Done(n as usize)))
        })
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
        self.socket.wait_ready(Direction::Read, WaitReason::Readable, &self.socket.read_timeout)
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
        self.socket.wait_ready(Direction::Write, WaitReason::Writable, &self.socket.write_timeout)
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
        set_option(self.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, libc::c_int::from(nodelay))
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
        option::<libc::c_int>(self.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY).map(|value| value != 0)
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

    /// Takes the connection's pending error (`SO_ERROR`), if there is one.
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
    ///     assert!(stream.take_error()?.is_none());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Whether calls that would block fail with `WouldBlock` instead of parking, for all clones.
    ///
    /// This is not needed to keep a worker free: without it, calls park.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let stream = TcpStream::connect(listener.local_addr()?)?;
    ///     stream.set_nonblocking(true)?;
    ///     let error = stream.peek(&mut [0]).unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking);
        Ok(())
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
        self.socket.save_mode()?;
        self.socket.save_timeouts()?;
        let (fd, _) = self.socket.into_fd()?;
        Ok(fd.into())
    }

    fn receive(
        &self,
        reason: WaitReason,
        attempt: impl FnMut(RawFd) -> io::Result<Attempt<usize>>,
    ) -> io::Result<usize> {
        match self.socket.perform(Direction::Read, reason, &self.socket.read_timeout, attempt)? {
            // Not the peer's end, if it is what `close` has made of a call on its way.
            0 => self.socket.check_open().map(|()| 0),
            got => Ok(got),
        }
    }

    fn send(&self, attempt: impl FnMut(RawFd) -> io::Result<Attempt<usize>>) -> io::Result<usize> {
        self.socket.perform(Direction::Write, WaitReason::Write, &self.socket.write_timeout, attempt)
    }
}

/// The first call of a connect.
fn begin_connect(fd: RawFd, address: &RawAddr) -> io::Result<Attempt<()>> {
    let (address, len) = address.parts();
    // SAFETY: the address is `len` bytes and lives until the call ends.
    match check(unsafe { libc::connect(fd, address, len) }) {
        Ok(_) => Ok(Attempt::Done(())),
        // Interrupted, it goes on in the background all the same.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            Ok(Attempt::WouldBlock)
        }
        Err(e) => Err(e),
    }
}

/// Whether a connect that has begun is through.
fn finish_connect(fd: BorrowedFd<'_>) -> io::Result<Attempt<()>> {
    // Asked before the error: a socket without one may as well be on its way still.
    if !is_ready(fd, Direction::Write)? {
        return Ok(Attempt::WouldBlock);
    }
    match option::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(Attempt::Done(())),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// What a receive means for the readiness: a short one has emptied the stream, and the end of the
/// stream stays where it is.
fn received(got: Option<isize>, wanted: usize) -> Attempt<usize> {
    match got.map(|n| n as usize) {
        None => Attempt::WouldBlock,
        Some(n) if n == 0 || n >= wanted => Attempt::Done(n),
        Some(n) => Attempt::Drained(n),
    }
}

/// What a send means for the readiness: a short one has filled the kernel's buffer.
fn sent(put: Option<isize>, wanted: usize) -> Attempt<usize> {
    match put.map(|n| n as usize) {
        None => Attempt::WouldBlock,
        Some(n) if n >= wanted => Attempt::Done(n),
        Some(n) => Attempt::Drained(n),
    }
}

/// A message of those buffers, which have the layout of `iovec`.
fn message(buffers: *const libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: integers and pointers, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = buffers.cast_mut();
    message.msg_iovlen = count as _;
    message
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let len = buf.len().min(MAX_LEN);
        self.receive(WaitReason::Read, |fd| {
            // SAFETY: the buffer has room for `len` bytes.
            let got = nonblocking(|| unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), len, sys::RECV) })?;
            Ok(received(got, len))
        })
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFFERS);
        let bufs = &mut bufs[..count];
        let len = bufs.iter().fold(0usize, |sum, buf| sum.saturating_add(buf.len()));
        if len == 0 {
            return Ok(0);
        }
        self.receive(WaitReason::Read, |fd| {
            let mut message = message(bufs.as_mut_ptr().cast(), count);
            // SAFETY: `IoSliceMut` has the layout of `iovec`; there are `count` of them, each of a
            // buffer that is borrowed mutably.
            let got = nonblocking(|| unsafe { libc::recvmsg(fd, &raw mut message, sys::RECV) })?;
            Ok(received(got, len.min(MAX_LEN)))
        })
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let len = buf.len().min(MAX_LEN);
        self.send(|fd| {
            // SAFETY: the buffer has `len` bytes.
            let put = nonblocking(|| unsafe { libc::send(fd, buf.as_ptr().cast(), len, sys::SEND) })?;
            Ok(sent(put, len))
        })
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(MAX_BUFFERS)];
        let len = bufs.iter().fold(0usize, |sum, buf| sum.saturating_add(buf.len()));
        if len == 0 {
            return Ok(0);
        }
        self.send(|fd| {
            let message = message(bufs.as_ptr().cast(), bufs.len());
            // SAFETY: `IoSlice` has the layout of `iovec`; there are as many as said. The kernel does
            // not write to the message.
            let put = nonblocking(|| unsafe { libc::sendmsg(fd, &raw const message, sys::SEND) })?;
            Ok(sent(put, len.min(MAX_LEN)))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TcpStream");
        if let Ok(address) = self.local_addr() {
            out.field("addr", &address);
        }
        if let Ok(peer) = self.peer_addr() {
            out.field("peer", &peer);
        }
        out.field("fd", &self.as_raw_fd()).finish()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Takes the open file's timeouts over. Its mode does not matter: calls park.
impl From<OwnedFd> for TcpStream {
    fn from(fd: OwnedFd) -> TcpStream {
        let stream = TcpStream::from_new(fd);
        stream.socket.load_timeouts();
        stream
    }
}

impl FromRawFd for TcpStream {
    unsafe fn from_raw_fd(fd: RawFd) -> TcpStream {
        // SAFETY: passed on to the caller.
        unsafe { OwnedFd::from_raw_fd(fd) }.into()
    }
}

/// As [`TcpStream::into_std`].
///
/// # Panics
///
/// Clones remain and no descriptor is free for a duplicate; `into_std` reports that instead.
impl From<TcpStream> for OwnedFd {
    fn from(stream: TcpStream) -> OwnedFd {
        stream.into_std().expect("a descriptor for the duplicate").into()
    }
}

/// As the conversion to [`OwnedFd`].
impl IntoRawFd for TcpStream {
    fn into_raw_fd(self) -> RawFd {
        OwnedFd::from(self).into_raw_fd()
    }
}

/// Takes the stream's timeouts over. Its mode does not matter: calls park.
impl From<std::net::TcpStream> for TcpStream {
    fn from(stream: std::net::TcpStream) -> TcpStream {
        OwnedFd::from(stream).into()
    }
}

/// [`TcpStream::into_std`].
impl TryFrom<TcpStream> for std::net::TcpStream {
    type Error = io::Error;

    fn try_from(stream: TcpStream) -> io::Result<std::net::TcpStream> {
        stream.into_std()
    }
}
