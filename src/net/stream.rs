//! A TCP connection.

use super::addr::RawAddr;
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{Socket, descriptor_conversions, zero_timeout};
use super::sys;
use crate::base::sys::check;
use crate::coroutine::WaitReason;
use crate::netpoll::{Direction, Source};
use crate::sched::{Attempt, spend};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A TCP connection, as [`std::net::TcpStream`].
///
/// One reader and one writer may be parked on it at once, and several of each: they make progress in
/// turn. `&TcpStream` reads and writes as well, so a stream can be shared by reference, by `Arc`, or
/// by [`try_clone`](Self::try_clone).
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// sward::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut client = TcpStream::connect(listener.local_addr()?)?;
///     let (mut server, _peer) = listener.accept()?;
///     client.write_all(b"ping")?;
///     let mut buffer = [0; 4];
///     server.read_exact(&mut buffer)?; // parks until the bytes are there
///     assert_eq!(&buffer, b"ping");
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpStream {
    socket: Socket,
}

descriptor_conversions!(TcpStream, std::net::TcpStream);

/// A transfer that moved fewer bytes than it could have found or left the kernel's buffer drained.
fn transferred(n: Option<usize>, wanted: usize) -> Attempt<usize> {
    match n {
        None => Attempt::WouldBlock,
        Some(n) if n == 0 || n == wanted => Attempt::Done(n),
        Some(n) => Attempt::Drained(n),
    }
}

impl TcpStream {
    pub(super) fn new(source: Source) -> TcpStream {
        TcpStream { socket: Socket::new(source) }
    }

    /// Connects. Tries each of the addresses in turn; the error is that of the last. Parks until the
    /// connection stands.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpStream::connect`].
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<TcpStream> {
        each_address(&address, |address| TcpStream::connect_until(address, None))
    }

    /// Connects to one address within that time.
    ///
    /// # Errors
    ///
    /// `TimedOut` once the time has passed; `InvalidInput` for a zero duration.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(zero_timeout());
        }
        TcpStream::connect_until(address, Instant::now().checked_add(timeout))
    }

    fn connect_until(address: &SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
        let stream = TcpStream::new(Source::new_nonblocking(sys::socket(address)?));
        let raw = RawAddr::new(address);
        let (pointer, len) = raw.as_ptr();
        // SAFETY: the address lives until the call ends.
        match check(unsafe { libc::connect(stream.as_raw_fd(), pointer, len) }) {
            Ok(_) => {
                spend();
                return Ok(stream);
            }
            // A signal does not end the attempt: it goes on as if it had not come.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {}
            Err(e) => return Err(e),
        }
        let timed_out = |e: io::Error| match e.kind() {
            io::ErrorKind::TimedOut if e.raw_os_error().is_none() => {
                io::Error::new(io::ErrorKind::TimedOut, "connection timed out")
            }
            _ => e,
        };
        let ended = |fd| Ok(if sys::connect_ended(fd)? { Attempt::Done(()) } else { Attempt::WouldBlock });
        stream.socket.perform(Direction::Write, WaitReason::Connect, deadline, ended).map_err(timed_out)?;
        match stream.take_error()? {
            None => Ok(stream),
            Some(e) => Err(e),
        }
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` once the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Shuts one direction down, or both. Whoever is parked in that direction is woken: a reader gets
    /// the end of file. Does not park.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Another handle to the same connection. It shares the descriptor, the timeouts and the place
    /// at the poller; the connection is closed with the last handle.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        Ok(TcpStream { socket: self.socket.clone() })
    }

    /// Ends the use of the connection, for all its handles: coroutines that are parked on it and every
    /// later operation get an error of kind `NotConnected`, and the peer sees the end of the
    /// connection. The descriptor is given back with the last handle, so that no other file can
    /// meanwhile appear under its number. Does not park. Not in std; as Go's `Close`.
    ///
    /// # Errors
    ///
    /// The system's; the connection is closed all the same.
    pub fn close(&self) -> io::Result<()> {
        self.socket.close()
    }

    /// How long a read may take; `None` for no limit.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a zero duration. A read that takes longer fails with `WouldBlock`, as std's
    /// does on Unix.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_timeout(Direction::Read, timeout)
    }

    /// How long a write may take; `None` for no limit.
    ///
    /// # Errors
    ///
    /// As [`set_read_timeout`](Self::set_read_timeout).
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_timeout(Direction::Write, timeout)
    }

    /// How long a read may take.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.timeout(Direction::Read))
    }

    /// How long a write may take.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.socket.timeout(Direction::Write))
    }

    /// Reads without taking: the next read finds the same bytes. Parks until there are any.
    ///
    /// # Errors
    ///
    /// As for a read.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.transfer(Direction::Read, WaitReason::Peek, |fd| {
            // The bytes stay, so the socket is never drained by this.
            Ok(sys::recv(fd, buffer, libc::MSG_PEEK)?.map_or(Attempt::WouldBlock, Attempt::Done))
        })
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, libc::c_int::from(nodelay))
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn nodelay(&self) -> io::Result<bool> {
        let value: libc::c_int = self.socket.option(libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
        Ok(value != 0)
    }

    /// The time to live of packets (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// The time to live of packets.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// The error that the kernel keeps for the socket, which is cleared by this.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// In non-blocking mode a call that would park fails with `WouldBlock` instead. Shared by all
    /// handles.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking);
        Ok(())
    }

    /// The connection as std's type, in blocking mode. A duplicate of the descriptor if clones still
    /// share it; they then find the file in blocking mode and must not be used by coroutines again.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        self.socket.into_blocking_fd().map(std::net::TcpStream::from)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.socket.transfer(Direction::Read, WaitReason::Read, |fd| {
            Ok(transferred(sys::recv(fd, buffer, 0)?, buffer.len()))
        })
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        if wanted == 0 {
            return Ok(0);
        }
        self.socket.transfer(Direction::Read, WaitReason::Read, |fd| {
            Ok(transferred(sys::recv_vectored(fd, buffers)?, wanted))
        })
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.socket.transfer(Direction::Write, WaitReason::Write, |fd| {
            Ok(transferred(sys::send(fd, buffer)?, buffer.len()))
        })
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
        if wanted == 0 {
            return Ok(0);
        }
        self.socket.transfer(Direction::Write, WaitReason::Write, |fd| {
            Ok(transferred(sys::send_vectored(fd, buffers)?, wanted))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TcpStream");
        if let Ok(local) = self.local_addr() {
            debug.field("addr", &local);
        }
        if let Ok(peer) = self.peer_addr() {
            debug.field("peer", &peer);
        }
        debug.field("fd", &self.as_raw_fd()).finish()
    }
}
