//! A TCP socket that accepts connections.

use super::addr::RawAddr;
use super::resolve::{ToSocketAddrs, each_address};
use super::socket::{Socket, descriptor_conversions};
use super::stream::TcpStream;
use super::sys;
use crate::base::sys::check;
use crate::coroutine::WaitReason;
use crate::netpoll::{Direction, Source};
use crate::sched::{Attempt, sleep_until};
use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Connections that the kernel may complete before they are accepted. std's 128 overflow when
/// thousands of clients connect at once; the kernel lowers this to its own limit (`somaxconn`).
const BACKLOG: libc::c_int = 4096;

/// A TCP socket that accepts connections, as [`std::net::TcpListener`].
///
/// ```
/// use sward::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// sward::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let client = sward::spawn(move || TcpStream::connect(address));
///     let (_stream, peer) = listener.accept()?; // parks until there is one
///     assert_eq!(client.join().unwrap()?.local_addr()?, peer);
///     Ok(())
/// })
/// # }
/// ```
pub struct TcpListener {
    socket: Socket,
}

descriptor_conversions!(TcpListener, std::net::TcpListener);

impl TcpListener {
    /// Binds to the first of the addresses that can be bound to, with `SO_REUSEADDR` as std, and
    /// listens. Port 0 asks for a free one.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpListener::bind`].
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<TcpListener> {
        each_address(&address, |address| {
            let listener =
                TcpListener { socket: Socket::new(Source::new_nonblocking(sys::socket(address)?)) };
            let reuse: libc::c_int = 1;
            listener.socket.set_option(libc::SOL_SOCKET, libc::SO_REUSEADDR, reuse)?;
            let raw = RawAddr::new(address);
            let (pointer, len) = raw.as_ptr();
            // SAFETY: the address lives until the call ends.
            check(unsafe { libc::bind(listener.as_raw_fd(), pointer, len) })?;
            // SAFETY: the call takes no pointers.
            check(unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) })?;
            Ok(listener)
        })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Another handle to the same socket; coroutines may accept on several.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener { socket: self.socket.clone() })
    }

    /// Accepts a connection. Parks until there is one.
    ///
    /// When the process or the system is out of descriptors or of memory for sockets, this does not
    /// fail: it parks for 5 ms, doubling up to a second, says so on stderr (every ten seconds at
    /// most), and tries again. Connections that fail before they are accepted are passed over.
    ///
    /// # Errors
    ///
    /// The system's; `NotConnected` once the listener was closed.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut pause = Duration::from_millis(5);
        loop {
            let accepted = self.socket.perform(Direction::Read, WaitReason::Accept, None, |fd| {
                Ok(sys::accept(fd)?.map_or(Attempt::WouldBlock, Attempt::Done))
            });
            match accepted {
                Ok((fd, peer)) => {
                    return Ok((TcpStream::new(Source::new_nonblocking(fd)), peer.to_std()?));
                }
                Err(e) if is_exhaustion(&e) => {
                    report_exhaustion(&e);
                    sleep_until(Instant::now() + pause, WaitReason::AcceptBackoff);
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(e) if is_the_peers(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The connections that come, one after the other; the iterator never ends.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// As [`incoming`](Self::incoming), owning the listener.
    pub fn into_incoming(self) -> IntoIncoming {
        IntoIncoming { listener: self }
    }

    /// Ends the use of the listener, for all its handles: coroutines that are parked in
    /// [`accept`](Self::accept) get an error of kind `NotConnected`. The descriptor, and with it the
    /// address, is given back with the last handle. Does not park. Not in std; as Go's `Close`.
    ///
    /// # Errors
    ///
    /// The system's; the listener is closed all the same.
    pub fn close(&self) -> io::Result<()> {
        self.socket.close()
    }

    /// The time to live of packets of accepted connections (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.set_ttl(ttl)
    }

    /// The time to live of packets of accepted connections.
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

    /// In non-blocking mode an `accept` that would park fails with `WouldBlock` instead. Shared by all
    /// handles.
    ///
    /// # Errors
    ///
    /// None; the signature is std's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking);
        Ok(())
    }

    /// The listener as std's type, in blocking mode. A duplicate of the descriptor if clones still
    /// share it; they then find the file in blocking mode and must not be used by coroutines again.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        self.socket.into_blocking_fd().map(std::net::TcpListener::from)
    }
}

/// Out of descriptors, or of memory for sockets: trying again at once would spin.
fn is_exhaustion(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Errors of a connection that was pending, which say nothing of the listener.
fn is_the_peers(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
        )
    )
}

fn report_exhaustion(e: &io::Error) {
    static LAST: parking_lot::Mutex<Option<Instant>> = parking_lot::Mutex::new(None);
    let mut last = LAST.lock();
    if last.is_none_or(|at| at.elapsed() >= Duration::from_secs(10)) {
        *last = Some(Instant::now());
        eprintln!("sward: accept is backing off: {e}");
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TcpListener");
        if let Ok(local) = self.local_addr() {
            debug.field("addr", &local);
        }
        debug.field("fd", &self.as_raw_fd()).finish()
    }
}

/// The connections that come to a listener: see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}

/// The connections that come to a listener: see [`TcpListener::into_incoming`].
#[derive(Debug)]
pub struct IntoIncoming {
    listener: TcpListener,
}

impl Iterator for IntoIncoming {
    type Item = io::Result<TcpStream>;
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for IntoIncoming {}
