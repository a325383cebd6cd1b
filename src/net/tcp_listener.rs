//! A socket that takes TCP connections. The waiting is in `accept`.

use super::accept::BACKLOG;
use super::addr::RawAddr;
use super::macros::{conversions, readable_methods, shared_methods};
use super::options::set_option;
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{self, Short, Socket, describe};
use super::tcp_stream::TcpStream;
use super::{IpAddr, SocketAddr, listen, tcp_setup};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A socket that takes TCP connections; [`std::net::TcpListener`] for coroutines.
///
/// Any number of coroutines and threads may [`accept`](Self::accept) at once. [`close`](Self::close) ends the
/// listener while they wait. What holds for all sockets is said in [`net`](crate::net).
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use sward::net::{TcpListener, TcpStream};
///
/// sward::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     sward::spawn(move || {
///         for stream in listener.incoming() {
///             let mut stream = stream?;
///             sward::spawn(move || stream.write_all(b"hello"));
///         }
///         Ok::<_, std::io::Error>(())
///     });
///     let greeting = std::io::read_to_string(TcpStream::connect(address)?)?;
///     assert_eq!(greeting, "hello");
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct TcpListener {
    socket: Arc<Socket>,
}

impl TcpListener {
    /// Listens at the first of the addresses that can be bound, as [`std::net::TcpListener::bind`]. Parks
    /// while names are looked up.
    ///
    /// It sets `SO_REUSEADDR`, as std does. The kernel completes up to 4,096 connections ahead of `accept`
    /// (std: 128), or as many as `net.core.somaxconn` allows. [`TcpSocket`](super::TcpSocket) makes listeners
    /// with other options.
    ///
    /// # Errors
    ///
    /// The last address's error, such as `AddrInUse`; `InvalidInput` if there is no address.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        each_address(addr, |address| {
            let fd = tcp_setup::new_socket(address)?;
            set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
            socket::bind(fd.as_fd(), &RawAddr::from(address))?;
            tcp_setup::listen(fd, BACKLOG)
        })
        .map(TcpListener::from_socket)
    }

    /// The listener of a non-blocking socket, of which nobody else has the descriptor.
    pub(super) fn from_socket(socket: Arc<Socket>) -> TcpListener {
        TcpListener { socket }
    }

    fn adopt(fd: OwnedFd) -> TcpListener {
        TcpListener { socket: Socket::adopt_listener(fd) }
    }

    /// The address at which it listens, as [`std::net::TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Takes a connection and returns it with the peer's address, as [`std::net::TcpListener::accept`]. Parks
    /// until there is one.
    ///
    /// Unlike std's, it fails only with an error of the listener itself, so a server may use `accept()?`. It
    /// skips a connection that failed before it was taken. If descriptors or memory have run out, or a
    /// firewall forbids the call, it backs off: it tries again after 5 ms and doubles the delay each time, up
    /// to one second. It reports this on stderr, at most every ten seconds.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](Self::close); `InvalidInput` for a socket that does not listen. In
    /// non-blocking mode `WouldBlock`, and the system's error for a shortage.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, peer) = self.accept_fd()?;
        Ok((TcpStream::from_socket(Socket::new(fd, Short::Drained)), peer))
    }

    /// As `accept`, and returns the bare descriptor of the connection.
    fn accept_fd(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        loop {
            let (fd, peer) = self.socket.accept()?;
            // Some systems return a connection that has failed already, without its address.
            if !peer.is_empty() {
                return Ok((fd, SocketAddr::try_from(&peer)?));
            }
        }
    }

    /// An iterator over the connections, as [`std::net::TcpListener::incoming`]. Its `next` calls
    /// [`accept`](Self::accept), and parks.
    ///
    /// Unlike std's, it ends: after [`close`](Self::close). An error does not end it; the next call may
    /// succeed.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Stops listening, [for all clones at once](crate::net#close). Does not park, and does not fail.
    ///
    /// Calls of [`accept`](Self::accept) that wait end with `NotConnected`, as do all later calls, and loops
    /// over [`incoming`](Self::incoming) end. The kernel resets the connections that were not taken. The port
    /// is kept until the last clone is dropped.
    ///
    /// # Examples
    ///
    /// A graceful shutdown: take no more connections, wait until the present ones have ended, and return. The
    /// coroutine that decides about the shutdown, because it has received a signal for instance, closes its
    /// clone of the listener.
    ///
    /// ```
    /// use std::io::{self, Write};
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// fn serve(listener: &TcpListener) -> io::Result<()> {
    ///     let mut connections = Vec::new();
    ///     for stream in listener.incoming() {
    ///         let mut stream = stream?;
    ///         connections.retain(|connection: &sward::task::JoinHandle<_>| !connection.is_finished());
    ///         connections.push(sward::spawn(move || stream.write_all(b"hello")));
    ///     }
    ///     // The listener was closed. Connections that still run when `run` returns would be cancelled.
    ///     for connection in connections {
    ///         let _ = connection.join();
    ///     }
    ///     Ok(())
    /// }
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let (address, closer) = (listener.local_addr()?, listener.try_clone()?);
    ///     sward::spawn(move || {
    ///         assert_eq!(io::read_to_string(TcpStream::connect(address)?)?, "hello");
    ///         closer.close()
    ///     });
    ///     serve(&listener)
    /// })
    /// # .unwrap();
    /// ```
    pub fn close(&self) -> io::Result<()> {
        self.socket.close();
        Ok(())
    }

    /// Sets `IP_TTL` for the connections to come, as [`std::net::TcpListener::set_ttl`].
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// The time to live, as [`std::net::TcpListener::ttl`].
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
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
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        self.socket.release_listener().map(Into::into)
    }
}

/// The connections of a listener, as [`TcpListener::incoming`] returns them.
///
/// Its `next` parks as [`TcpListener::accept`] does, with the same errors. It ends only after
/// [`TcpListener::close`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        match self.listener.accept() {
            Err(_) if self.listener.socket.is_closed() => None,
            accepted => Some(accepted.map(|(stream, _)| stream)),
        }
    }
}

// A closed listener stays closed.
impl std::iter::FusedIterator for Incoming<'_> {}

impl listen::Sealed for TcpListener {
    fn accept_connection(&self) -> io::Result<(OwnedFd, Option<IpAddr>)> {
        self.accept_fd().map(|(fd, peer)| (fd, Some(peer.ip())))
    }

    fn drains_if_short(&self) -> bool {
        true
    }

    fn close_handle(&self) -> Box<dyn FnOnce() + Send> {
        let socket = Arc::clone(&self.socket);
        Box::new(move || socket.close())
    }

    fn is_closed(&self) -> bool {
        self.socket.is_closed()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.as_fd(), f, "TcpListener", [("addr", self.local_addr())])
    }
}

readable_methods! {
    TcpListener,
    what: "`accept`",
    example: "let socket = sward::net::TcpListener::bind(\"127.0.0.1:0\")?;"
}

shared_methods! {
    TcpListener,
    example: "let socket = sward::net::TcpListener::bind(\"127.0.0.1:0\")?;",
    call: "socket.accept()"
}

conversions! {
    /// Makes the open file non-blocking at the first `accept`, for all duplicates.
    TcpListener, std::net::TcpListener
}
