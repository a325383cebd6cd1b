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
/// A call that would block parks the calling coroutine; on a plain thread it blocks the thread. Any
/// number of coroutines and threads may read and write at once, through clones or through `&UnixStream`.
/// The connection is closed when its last clone is dropped, or by [`close`](Self::close).
///
/// # Errors
///
/// As std's, with the same kinds: a read or write that exceeds its timeout fails with `WouldBlock`. After
/// [`close`](Self::close), `NotConnected`. Once the runtime has shut down, a call that would have to wait
/// fails.
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
    /// Opens a connection to the listener at that path.
    ///
    /// Parks while the listener's queue is full. The kernel tells nobody when there is room again, so this
    /// tries again after 100 µs, then after twice that each time, up to 20 ms.
    ///
    /// # Errors
    ///
    /// As std's: `NotFound`, `ConnectionRefused` if nobody listens there, `InvalidInput` for a path that is
    /// too long.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds, and the attempt is given up.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{UnixListener, UnixStream};
    ///
    /// sward::run(|| {
    ///     let path = std::env::temp_dir().join(format!("sward-doc-{}", std::process::id()));
    ///     let listener = UnixListener::bind(&path)?;
    ///     let stream = UnixStream::connect(&path)?;
    ///     assert_eq!(stream.peer_addr()?.as_pathname(), Some(&*path));
    ///     # std::fs::remove_file(path)?;
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`connect`](Self::connect), for any address.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::unix::SocketAddr;
    /// use sward::net::{UnixListener, UnixStream};
    ///
    /// sward::run(|| {
    ///     let name = format!("sward-doc-connect-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let listener = UnixListener::bind_addr(&address)?;
    ///     let stream = UnixStream::connect_addr(&address)?;
    ///     assert!(stream.peer_addr()?.as_abstract_name().is_some());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
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

    /// Two streams that are connected to each other. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `socketpair(2)`: descriptors or memory have run out.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixStream;
    ///
    /// let (socket, peer) = UnixStream::pair()?;
    /// assert!(peer.peer_addr()?.is_unnamed());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        sys::socket_pair(libc::SOCK_STREAM).map(|fds| fds.map(UnixStream::from_new).into())
    }

    /// The stream of a connection that was made here.
    pub(super) fn from_new(fd: OwnedFd) -> UnixStream {
        // A read also stops short where descriptors were passed along, with more behind it.
        UnixStream { socket: Socket::new(fd, Short::Nothing) }
    }

    fn adopt(fd: OwnedFd) -> UnixStream {
        UnixStream { socket: Socket::adopt(fd, Short::Nothing) }
    }

    /// The local address: of a connection that was accepted, the listener's. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockname(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixStream;
    ///
    /// let (socket, peer) = UnixStream::pair()?;
    /// assert!(socket.local_addr()?.is_unnamed());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The address of the peer. Does not park.
    ///
    /// # Errors
    ///
    /// `NotConnected` if there is no connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixStream;
    ///
    /// let (socket, peer) = UnixStream::pair()?;
    /// assert!(socket.peer_addr()?.is_unnamed());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Shuts down reading, writing, or both, for all clones. Does not park.
    ///
    /// Who is parked in a read wakes and finds the end of the stream; who is parked in a write wakes with
    /// `BrokenPipe`. The peer reads the end of the stream once writing is shut down.
    ///
    /// # Errors
    ///
    /// `NotConnected` if there is no connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Read;
    /// use sward::net::{Shutdown, UnixStream};
    ///
    /// sward::run(|| {
    ///     let (socket, mut peer) = UnixStream::pair()?;
    ///     socket.shutdown(Shutdown::Write)?;
    ///     assert_eq!(peer.read(&mut [0; 8])?, 0);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    /// Closes the connection for all clones at once, although the descriptor stays until the last of them is
    /// dropped. Does not park.
    ///
    /// Whoever is parked or blocked in a call on it wakes with `NotConnected`, and so do all later reads and
    /// writes. The peer reads the end of the stream.
    ///
    /// # Errors
    ///
    /// None at present.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use sward::net::UnixStream;
    ///
    /// sward::run(|| {
    ///     let (socket, _peer) = UnixStream::pair()?;
    ///     let mut clone = socket.try_clone()?;
    ///     let parked = sward::spawn(move || clone.read(&mut [0; 8]));
    ///     sward::yield_now();
    ///     socket.close()?;
    ///     assert_eq!(parked.join().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn close(&self) -> io::Result<()> {
        self.socket.close();
        Ok(())
    }

    /// Turns it into std's type: blocking, or in the mode that [`set_nonblocking`](Self::set_nonblocking)
    /// asked for, and with its timeouts. Does not park.
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
    /// use sward::net::UnixStream;
    ///
    /// let (socket, peer) = UnixStream::pair()?;
    /// let socket: std::os::unix::net::UnixStream = socket.into_std()?;
    /// assert!(socket.take_error()?.is_none());
    /// # Ok::<_, std::io::Error>(())
    /// ```
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
