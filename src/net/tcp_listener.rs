//! A socket that takes TCP connections.
//!
//! Relies on `socket` for the waiting. Invariant: the descriptor is non-blocking for as long as it is a
//! listener's: `accept` has no flag for it.

use super::addr::RawAddr;
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{Socket, Timeout, set_option};
use super::tcp_stream::TcpStream;
use super::{SocketAddr, sys};
use crate::base::sys::{check, report};
use crate::coroutine::WaitReason;
use crate::netpoll::{Direction, Source};
use crate::sched::{Attempt, sleep_until};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many connections the kernel completes ahead of `accept`. It cuts this to `net.core.somaxconn`,
/// whose default it is. std's 128 overflows where thousands connect at once, and whoever does not fit
/// tries again only after a second.
const BACKLOG: libc::c_int = 4096;

/// The first and the longest wait of an `accept` that has found no descriptor free.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The least time between two messages about that.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The process's last message about that.
static COMPLAINED: Mutex<Option<Instant>> = Mutex::new(None);

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
            let raw = RawAddr::from(address);
            let fd = sys::stream_socket(raw.family())?;
            set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
            let (address, len) = raw.parts();
            // SAFETY: the address is `len` bytes and lives until the call ends.
            check(unsafe { libc::bind(fd.as_raw_fd(), address, len) })?;
            // SAFETY: the call takes no pointers.
            check(unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) })?;
            Ok(TcpListener { socket: Socket::new(sys::source(fd)) })
        })
    }

    /// The address it listens at.
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

    /// Another handle to the same socket. It shares everything with this one; no descriptor is duplicated.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpListener;
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let clone = listener.try_clone()?;
    ///     assert_eq!(clone.local_addr()?, listener.local_addr()?);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener { socket: Arc::clone(&self.socket) })
    }

    /// Takes a connection, and tells the peer's address. Parks until there is one.
    ///
    /// A connection that has failed before it was taken is passed over. Where descriptors or memory have
    /// run out, it waits for others to free some: it tries again after 5 ms, then after twice that each
    /// time, up to a second, and says so on stderr, at most every ten seconds.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](Self::close); `WouldBlock` in non-blocking mode, which also
    /// reports exhaustion as it is. Once the runtime has shut down, a call that would have to wait fails.
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
        let (mut delay, longest) = BACKOFF;
        loop {
            let error = match self.socket.perform(Direction::Read, WaitReason::Accept, &FOREVER, attempt) {
                Ok((fd, address)) => {
                    let peer = SocketAddr::try_from(&address)?;
                    return Ok((TcpStream::from_new(fd), peer));
                }
                Err(error) => error,
            };
            let exhausted = error.raw_os_error().is_some_and(sys::is_exhaustion);
            if !exhausted || self.socket.is_nonblocking() {
                return Err(error);
            }
            complain(&error);
            self.back_off(Instant::now() + delay)?;
            delay = (delay * 2).min(longest);
        }
    }

    /// Waits until that time; [`close`](Self::close) ends it with an error.
    fn back_off(&self, until: Instant) -> io::Result<()> {
        // A TCP listener never becomes writable, so this waits for nothing but the time and `close`.
        let never = |_| Ok(Attempt::<()>::WouldBlock);
        let waited =
            self.socket.perform_until(Direction::Write, WaitReason::AcceptBackoff, Some(until), never);
        if waited.is_err_and(|error| error.kind() != io::ErrorKind::TimedOut) {
            self.socket.check_open()?;
            // What is exhausted is missing for that wait, too: this one needs nothing, and is deaf.
            sleep_until(until, WaitReason::AcceptBackoff);
        }
        self.socket.check_open()
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

    /// Takes the socket's pending error (`SO_ERROR`), if there is one.
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
    ///     assert!(listener.take_error()?.is_none());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Whether an [`accept`](Self::accept) that would block fails with `WouldBlock` instead of parking,
    /// for all clones.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::net::TcpListener;
    ///
    /// sward::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     listener.set_nonblocking(true)?;
    ///     let error = listener.accept().unwrap_err();
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
        let nonblocking = self.socket.is_nonblocking();
        let (fd, sole) = self.socket.into_fd()?;
        if sole {
            sys::set_nonblocking(fd.as_fd(), nonblocking)?;
        }
        Ok(fd.into())
    }
}

/// `accept` has no timeout.
static FOREVER: Timeout = Timeout::none();

fn attempt(listener: RawFd) -> io::Result<Attempt<(OwnedFd, RawAddr)>> {
    loop {
        match sys::accept(listener) {
            Ok(connection) => return Ok(Attempt::Done(connection)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Attempt::WouldBlock),
            Err(error) if error.raw_os_error().is_some_and(sys::concerns_one_connection) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cold]
fn complain(error: &io::Error) {
    let now = Instant::now();
    let mut last = COMPLAINED.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY) {
        *last = Some(now);
        drop(last);
        report(format_args!("sward: accept is backing off: {error}"));
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
        let mut out = f.debug_struct("TcpListener");
        if let Ok(address) = self.local_addr() {
            out.field("addr", &address);
        }
        out.field("fd", &self.as_raw_fd()).finish()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Makes the open file non-blocking at the first `accept`, for all duplicates.
impl From<OwnedFd> for TcpListener {
    fn from(fd: OwnedFd) -> TcpListener {
        TcpListener { socket: Socket::new(Source::new(fd)) }
    }
}

impl FromRawFd for TcpListener {
    unsafe fn from_raw_fd(fd: RawFd) -> TcpListener {
        // SAFETY: passed on to the caller.
        unsafe { OwnedFd::from_raw_fd(fd) }.into()
    }
}

/// As [`TcpListener::into_std`].
///
/// # Panics
///
/// Clones remain and no descriptor is free for a duplicate; `into_std` reports that instead.
impl From<TcpListener> for OwnedFd {
    fn from(listener: TcpListener) -> OwnedFd {
        listener.into_std().expect("a descriptor for the duplicate").into()
    }
}

/// As the conversion to [`OwnedFd`].
impl IntoRawFd for TcpListener {
    fn into_raw_fd(self) -> RawFd {
        OwnedFd::from(self).into_raw_fd()
    }
}

/// Makes the open file non-blocking at the first `accept`, for all duplicates.
impl From<std::net::TcpListener> for TcpListener {
    fn from(listener: std::net::TcpListener) -> TcpListener {
        OwnedFd::from(listener).into()
    }
}

/// [`TcpListener::into_std`].
impl TryFrom<TcpListener> for std::net::TcpListener {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<std::net::TcpListener> {
        listener.into_std()
    }
}
