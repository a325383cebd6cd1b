//! A Unix socket that takes connections. The waiting is in `accept`.

use super::{SocketAddr, UnixStream};
use crate::net::accept::BACKLOG;
use crate::net::addr::RawAddr;
use crate::net::macros::{conversions, shared_methods};
use crate::net::socket::{self, Short, Socket, describe};
use crate::net::sys;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// A Unix socket that takes connections; [`std::os::unix::net::UnixListener`] for coroutines.
///
/// [`accept`](Self::accept) parks the calling coroutine; on a plain thread it blocks the thread. Any
/// number of them may accept at once. The socket is closed when its last clone is dropped; its path stays in
/// the file system until somebody removes it.
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
    /// Listens at that path, where the call makes a socket. Does not park.
    ///
    /// # Errors
    ///
    /// As std's: `AddrInUse` if there is a file already, `InvalidInput` for a path that is too long.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::UnixListener;
    ///
    /// let path = std::env::temp_dir().join(format!("sward-doc-bind-{}", std::process::id()));
    /// let listener = UnixListener::bind(&path)?;
    /// assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    /// std::fs::remove_file(path)?;
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&SocketAddr::from_pathname(path)?)
    }

    /// As [`bind`](Self::bind), for any address.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::UnixListener;
    /// use sward::net::unix::SocketAddr;
    ///
    /// let name = format!("sward-doc-bind_addr-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixListener::bind_addr(&address)?;
    /// assert!(socket.local_addr()?.as_abstract_name().is_some());
    /// # Ok::<_, std::io::Error>(())
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

    /// Takes a connection, and tells the peer's address, which is mostly unnamed. Parks until there is one.
    ///
    /// What concerns one connection or passes, such as a lack of descriptors, is not an error, as for
    /// [`TcpListener::accept`](crate::net::TcpListener::accept).
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](Self::close); `WouldBlock` in non-blocking mode, which also reports
    /// a shortage as it is. Once the runtime has shut down, a call that would have to wait fails.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; no connection is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::unix::SocketAddr;
    /// use sward::net::{UnixListener, UnixStream};
    ///
    /// sward::run(|| {
    ///     let name = format!("sward-doc-accept-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let socket = UnixListener::bind_addr(&address)?;
    ///     let _client = UnixStream::connect_addr(&address)?;
    ///     let (_stream, peer) = socket.accept()?;
    ///     assert!(peer.is_unnamed());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (fd, peer) = self.socket.accept()?;
        Ok((UnixStream::from_new(fd), SocketAddr::try_from(&peer)?))
    }

    /// The address it listens at. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `getsockname(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::UnixListener;
    /// use sward::net::unix::SocketAddr;
    ///
    /// let name = format!("sward-doc-local-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixListener::bind_addr(&address)?;
    /// assert!(!socket.local_addr()?.is_unnamed());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Stops listening, for all clones at once, although the descriptor and its address are kept until the
    /// last of them is dropped. Does not park.
    ///
    /// Whoever is parked or blocked in [`accept`](Self::accept) wakes with `NotConnected`, and so do all
    /// later calls. Connections that were not taken end when the last clone is dropped.
    ///
    /// # Errors
    ///
    /// None at present.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::UnixListener;
    /// use sward::net::unix::SocketAddr;
    ///
    /// sward::run(|| {
    ///     let name = format!("sward-doc-close-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let socket = UnixListener::bind_addr(&address)?;
    ///     let clone = socket.try_clone()?;
    ///     let parked = sward::spawn(move || clone.accept());
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

    /// The connections as they come: an iterator that calls [`accept`](Self::accept). It ends only after
    /// [`close`](Self::close).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::unix::SocketAddr;
    /// use sward::net::{UnixListener, UnixStream};
    ///
    /// sward::run(|| {
    ///     let name = format!("sward-doc-incoming-{}", std::process::id());
    ///     let address = SocketAddr::from_abstract_name(name)?;
    ///     let socket = UnixListener::bind_addr(&address)?;
    ///     let _client = UnixStream::connect_addr(&address)?;
    ///     let _stream = socket.incoming().next().expect("it was not closed")?;
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Turns it into std's type: blocking, or in the mode that [`set_nonblocking`](Self::set_nonblocking)
    /// asked for. Does not park.
    ///
    /// If clones remain, std's listener has a duplicate of the descriptor, and is non-blocking: the mode
    /// belongs to both, and the clones must not block their workers.
    ///
    /// # Errors
    ///
    /// No descriptor was free for the duplicate, or the mode could not be set; the handle is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use sward::net::UnixListener;
    /// use sward::net::unix::SocketAddr;
    ///
    /// let name = format!("sward-doc-into_std-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixListener::bind_addr(&address)?;
    /// let socket: std::os::unix::net::UnixListener = socket.into_std()?;
    /// assert!(socket.take_error()?.is_none());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn into_std(self) -> io::Result<std::os::unix::net::UnixListener> {
        self.socket.release_listener().map(Into::into)
    }
}

/// The connections of a listener, as [`UnixListener::incoming`] gives them.
///
/// Parks as [`UnixListener::accept`] does, with the same errors. It ends only after `close`.
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

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.as_fd(), f, "UnixListener", [("local", self.local_addr())])
    }
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
