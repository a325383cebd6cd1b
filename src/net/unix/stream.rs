//! A connection through a Unix socket. The transfers are in `transfer`.

use super::{Backoff, SocketAddr};
use crate::coroutine::WaitReason;
use crate::net::addr::RawAddr;
use crate::net::macros::{byte_stream, conversions, transfer_methods};
use crate::net::socket::{self, Short, Socket, describe};
use crate::net::{Shutdown, sys};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// A connection through a Unix socket; [`std::os::unix::net::UnixStream`] for coroutines.
///
/// Any number of coroutines and threads may read and write at once, through clones or through `&UnixStream`.
/// [`close`](Self::close) ends the connection while they wait. What holds for all sockets, such as errors and
/// cancellation, is said in [`net`](crate::net).
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::UnixStream;
///
/// sward::run(|| {
///     let (mut ours, mut theirs) = UnixStream::pair()?;
///     let reader = sward::spawn(move || {
///         let mut byte = [0];
///         theirs.read_exact(&mut byte).map(|()| byte)
///     });
///     ours.write_all(b"x")?;
///     assert_eq!(reader.join().unwrap()?, *b"x");
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct UnixStream {
    socket: Arc<Socket>,
}

impl UnixStream {
    /// Connects to the listener at that path, as [`std::os::unix::net::UnixStream::connect`]. Parks while the
    /// listener's queue is full.
    ///
    /// The kernel reports no event when the queue has room again. So this tries again after 100 µs and
    /// doubles the delay each time, up to 20 ms.
    ///
    /// # Errors
    ///
    /// `NotFound`; `ConnectionRefused` if no socket listens there; `InvalidInput` for a path that is too
    /// long.
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to an address of any kind, as [`std::os::unix::net::UnixStream::connect_addr`]. Parks and
    /// fails as [`connect`](Self::connect).
    pub fn connect_addr(socket_addr: &SocketAddr) -> io::Result<UnixStream> {
        let fd = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
        let raw = RawAddr::from(socket_addr);
        let mut backoff = Backoff::new();
        loop {
            match socket::connect(fd.as_raw_fd(), &raw) {
                Ok(()) => return Ok(UnixStream::from_new(fd)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    backoff.wait(WaitReason::UnixConnect, None)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Two streams that are connected to each other, as [`std::os::unix::net::UnixStream::pair`].
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        sys::socket_pair(libc::SOCK_STREAM).map(|fds| fds.map(UnixStream::from_new).into())
    }

    /// The stream of a connection that was made here.
    pub(super) fn from_new(fd: OwnedFd) -> UnixStream {
        // A read also stops short at a passed descriptor, with more bytes behind it.
        UnixStream { socket: Socket::new(fd, Short::Nothing) }
    }

    fn adopt(fd: OwnedFd) -> UnixStream {
        UnixStream { socket: Socket::adopt(fd, Short::Nothing) }
    }

    /// The local address, as [`std::os::unix::net::UnixStream::local_addr`]. An accepted connection has the
    /// listener's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The address of the peer, as [`std::os::unix::net::UnixStream::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Shuts down reading, writing, or both, for all clones, as [`std::os::unix::net::UnixStream::shutdown`].
    ///
    /// A parked read wakes and finds the end of the stream; a parked write wakes and fails with `BrokenPipe`.
    /// Once writing is shut down, the peer reads the end of the stream.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Closes the connection, [for all clones at once](crate::net#close). Does not park, and does not fail.
    ///
    /// Calls that wait on it end with `NotConnected`, as do all later reads and writes. The peer reads the
    /// end of the stream. The descriptor is kept until the last clone is dropped.
    pub fn close(&self) -> io::Result<()> {
        self.socket.close();
        Ok(())
    }

    /// Converts it into std's type, with its timeouts. The stream is blocking unless
    /// [`set_nonblocking`](Self::set_nonblocking) has asked for the other mode. If clones remain, std's
    /// stream has a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// No descriptor was free for the duplicate, or the mode could not be set. The handle is dropped.
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixStream> {
        self.socket.release().map(Into::into)
    }
}

byte_stream!(UnixStream, &UnixStream);

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = [("local", self.local_addr()), ("peer", self.peer_addr())];
        describe(self.as_fd(), f, "UnixStream", addresses)
    }
}

transfer_methods! {
    UnixStream,
    example: "let (socket, _peer) = sward::net::UnixStream::pair()?;",
    call: "std::io::Read::read(&mut &socket, &mut [0])"
}

conversions! {
    /// Takes the open file's timeouts over. Its mode does not matter: calls park.
    UnixStream, std::os::unix::net::UnixStream
}
