//! A socket that takes TCP connections. The waiting is in `accept`.

use super::accept::BACKLOG;
use super::addr::RawAddr;
use super::macros::{conversions, shared_methods};
use super::options::set_option;
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{self, Short, Socket, describe};
use super::tcp_stream::TcpStream;
use super::{SocketAddr, tcp_setup};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A socket that takes TCP connections; [`std::net::TcpListener`] for coroutines.
///
/// [`accept`](Self::accept) parks the calling coroutine; on a plain thread it blocks the thread. Any
/// number of them may accept at once. The socket is closed when its last clone is dropped;
/// [`close`](Self::close) ends it before.
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
    /// Listens at the first of the addresses that can be had. Port 0 asks for any free port, which
    /// [`local_addr`](Self::local_addr) tells.
    ///
    /// Parks while names are looked up ([`ToSocketAddrs`]). As std's, it sets `SO_REUSEADDR`.
    ///
    /// # Errors
    ///
    /// The last address's error, such as `AddrInUse`; `InvalidInput` if there is no address.
    ///
    /// # Examples
    ///
    /// ```
    /// sward::run(|| {
    ///     let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
    ///     let taken = sward::net::TcpListener::bind(listener.local_addr()?).unwrap_err();
    ///     assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        each_address(addr, |address| {
            let fd = tcp_setup::new_socket(address)?;
            set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
            socket::bind(fd.as_fd(), &RawAddr::from(address))?;
            tcp_setup::listen(fd, BACKLOG)
        })
        .map(TcpListener::from_socket)
    }

    /// The listener of a socket that was made here, and is non-blocking.
    pub(super) fn from_socket(socket: Arc<Socket>) -> TcpListener {
        TcpListener { socket }
    }

    fn adopt(fd: OwnedFd) -> TcpListener {
        TcpListener { socket: Socket::adopt_listener(fd) }
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
    /// use sward::net::TcpListener;
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     assert_ne!(listener.local_addr()?.port(), 0);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Takes a connection, and tells the peer's address. Parks until there is one.
    ///
    /// A connection that has failed before it was taken is passed over. Where descriptors or memory have
    /// run out, or a firewall forbids the call, it backs off: it tries again after 5 ms, then after twice
    /// that each time, up to a second, and says so on stderr, at most every ten seconds. So an error is the
    /// listener's own, and `accept()?` is right for a server: it does not end because of one connection or of
    /// a shortage.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](Self::close); `InvalidInput` for a socket that does not listen;
    /// `WouldBlock` in non-blocking mode, which also reports a shortage as it is. Once the runtime has shut
    /// down, a call that would have to wait fails.
    ///
    /// # Cancellation
    ///
    /// The coroutine unwinds; no connection is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::{TcpListener, TcpStream};
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let client = TcpStream::connect(listener.local_addr()?)?;
    ///     let (_stream, peer) = listener.accept()?;
    ///     assert_eq!(peer, client.local_addr()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, peer) = self.socket.accept()?;
        Ok((TcpStream::from_socket(Socket::new(fd, Short::Drained)), SocketAddr::try_from(&peer)?))
    }

    /// The connections as they come: an iterator that calls [`accept`](Self::accept). Its `next` parks.
    ///
    /// It ends only after [`close`](Self::close). An error does not end it: the next call may succeed.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpListener;
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let _client = sward::net::TcpStream::connect(listener.local_addr()?)?;
    ///     let stream = listener.incoming().next().expect("it ends only after `close`")?;
    ///     assert_eq!(stream.local_addr()?, listener.local_addr()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Stops listening, for all clones at once, although the descriptor and its port are kept until the
    /// last of them is dropped.
    ///
    /// Whoever is parked or blocked in [`accept`](Self::accept) wakes with `NotConnected`, and all later
    /// calls fail with it; loops over [`incoming`](Self::incoming) end. Connections that were not taken
    /// are reset.
    ///
    /// # Examples
    ///
    /// A graceful shutdown: take no more connections, let those that there are come to their end, and
    /// return. Whoever decides that it is time, a coroutine that waits for a signal for instance, has a
    /// clone of the listener and closes it.
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
    ///     // The listener was closed. What is still running when `run` returns would be cancelled.
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

    /// Sets `IP_TTL` for the connections to come, how many hops a packet may make.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpListener;
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     listener.set_ttl(100)?;
    ///     assert_eq!(listener.ttl()?, 100);
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
    /// use sward::net::TcpListener;
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     assert!(listener.ttl()? > 0);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.ttl()
    }

    /// Turns it into std's type: blocking, or in the mode that [`set_nonblocking`](Self::set_nonblocking)
    /// asked for.
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
    /// sward::run(|| {
    ///     let listener = sward::net::TcpListener::bind("127.0.0.1:0")?;
    ///     let address = listener.local_addr()?;
    ///     let listener: std::net::TcpListener = listener.into_std()?;
    ///     assert_eq!(listener.local_addr()?, address);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        self.socket.release_listener().map(Into::into)
    }
}

/// The connections of a listener, as [`TcpListener::incoming`] gives them.
///
/// Parks as [`TcpListener::accept`] does, with the same errors. It ends only after
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

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.as_fd(), f, "TcpListener", [("addr", self.local_addr())])
    }
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
