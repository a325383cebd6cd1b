//! A listener of Unix stream sockets. The waiting is in `accept`.

use super::{SocketAddr, UnixStream};
use crate::net::accept::BACKLOG;
use crate::net::addr::RawAddr;
use crate::net::listen;
use crate::net::macros::{conversions, readable_methods, shared_methods};
use crate::net::socket::{self, Short, Socket, describe};
use crate::net::{IpAddr, sys};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// A Unix socket that takes connections; [`std::os::unix::net::UnixListener`] for coroutines.
///
/// Any number of coroutines and threads may [`accept`](Self::accept) at once. [`close`](Self::close) ends the
/// listener while they wait. The socket's path stays in the file system until a program removes it. What
/// holds for all sockets is said in [`net`](crate::net).
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use sward::net::{UnixListener, UnixStream};
///
/// sward::run(|| {
///     let path = std::env::temp_dir().join(format!("sward-doc-listener-{}", std::process::id()));
///     let listener = UnixListener::bind(&path)?;
///     sward::spawn(move || {
///         for stream in listener.incoming() {
///             let mut stream = stream?;
///             sward::spawn(move || stream.write_all(b"hello"));
///         }
///         Ok::<_, std::io::Error>(())
///     });
///     let greeting = std::io::read_to_string(UnixStream::connect(&path)?)?;
///     assert_eq!(greeting, "hello");
///     std::fs::remove_file(path)?;
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct UnixListener {
    socket: Arc<Socket>,
}

impl UnixListener {
    /// Listens at that path, at which the call makes a socket, as [`std::os::unix::net::UnixListener::bind`].
    /// The backlog is 4,096, or as many as the system allows (`net.core.somaxconn`).
    ///
    /// # Errors
    ///
    /// `AddrInUse` if the file exists already, `InvalidInput` for a path that is too long.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Listens at an address of any kind, as [`std::os::unix::net::UnixListener::bind_addr`]. Otherwise as
    /// [`bind`](Self::bind).
    ///
    /// # Examples
    ///
    /// A name that is in no file system (Linux):
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::unix::SocketAddr;
    /// use sward::net::{UnixListener, UnixStream};
    ///
    /// sward::run(|| {
    ///     let name = format!("sward-doc-bind_addr-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let listener = UnixListener::bind_addr(&address)?;
    ///     let stream = UnixStream::connect_addr(&address)?;
    ///     assert!(stream.peer_addr()?.as_abstract_name().is_some());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixListener> {
        let fd = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
        socket::bind(fd.as_fd(), &RawAddr::from(socket_addr))?;
        socket::listen(fd.as_fd(), BACKLOG)?;
        Ok(UnixListener { socket: Socket::new(fd, Short::Nothing) })
    }

    fn adopt(fd: OwnedFd) -> UnixListener {
        UnixListener { socket: Socket::adopt_listener(fd) }
    }

    /// Takes a connection and returns it with the peer's address, which is mostly unnamed, as
    /// [`std::os::unix::net::UnixListener::accept`]. Parks until there is one.
    ///
    /// It skips failed connections, and waits while descriptors have run out, as
    /// [`TcpListener::accept`](crate::net::TcpListener::accept).
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](Self::close). In non-blocking mode `WouldBlock`, and the system's error
    /// for a shortage.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (fd, peer) = self.socket.accept()?;
        Ok((UnixStream::from_new(fd), SocketAddr::try_from(&peer)?))
    }

    /// The address at which it listens, as [`std::os::unix::net::UnixListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Stops listening, [for all clones at once](crate::net#close). Does not park, and does not fail.
    ///
    /// Calls of [`accept`](Self::accept) that wait end with `NotConnected`, as do all later calls, and loops
    /// over [`incoming`](Self::incoming) end. Connections that were not taken end when the last clone is
    /// dropped; until then the descriptor and the address are kept.
    pub fn close(&self) -> io::Result<()> {
        self.socket.close();
        Ok(())
    }

    /// An iterator over the connections, as [`std::os::unix::net::UnixListener::incoming`]. Its `next` calls
    /// [`accept`](Self::accept), and parks. Unlike std's, it ends: after [`close`](Self::close).
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Converts it into std's type, which is blocking unless [`set_nonblocking`](Self::set_nonblocking) has
    /// asked for the other mode.
    ///
    /// If clones remain, std's listener has a duplicate of the descriptor and is non-blocking: the mode
    /// belongs to the open file, which both share, and the clones must not block their workers.
    ///
    /// # Errors
    ///
    /// No descriptor was free for the duplicate, or the mode could not be set. The handle is dropped.
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixListener> {
        self.socket.release_listener().map(Into::into)
    }
}

/// The connections of a listener, as [`UnixListener::incoming`] returns them.
///
/// Its `next` parks as [`UnixListener::accept`] does, with the same errors. It ends only after
/// [`UnixListener::close`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        match self.listener.accept() {
            Err(_) if self.listener.socket.is_closed() => None,
            accepted => Some(accepted.map(|(stream, _)| stream)),
        }
    }
}

// A closed listener stays closed.
impl std::iter::FusedIterator for Incoming<'_> {}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

impl listen::Sealed for UnixListener {
    fn accept_connection(&self) -> io::Result<(OwnedFd, Option<IpAddr>)> {
        self.socket.accept().map(|(fd, _)| (fd, None))
    }

    fn drains_if_short(&self) -> bool {
        false
    }

    fn close_handle(&self) -> Box<dyn FnOnce() + Send> {
        let socket = Arc::clone(&self.socket);
        Box::new(move || socket.close())
    }

    fn is_closed(&self) -> bool {
        self.socket.is_closed()
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.as_fd(), f, "UnixListener", [("local", self.local_addr())])
    }
}

readable_methods! {
    UnixListener,
    what: "`accept`",
    example: "let socket = sward::net::UnixListener::bind(\"\")?; // Linux finds a name"
}

shared_methods! {
    UnixListener,
    example: "let socket = sward::net::UnixListener::bind(\"\")?; // Linux finds a name",
    call: "socket.accept()"
}

conversions! {
    /// Makes the open file non-blocking at the first `accept`, for all duplicates.
    UnixListener, std::os::unix::net::UnixListener
}
