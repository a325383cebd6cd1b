//! What [`serve`](super::serve) needs of a listener.

use super::IpAddr;
use std::io;
use std::os::fd::OwnedFd;

/// A listener whose connections [`serve`](super::serve) can serve: a [`TcpListener`](super::TcpListener) or a
/// [`UnixListener`](super::UnixListener).
///
/// No other type can implement it.
pub trait Listen: Sealed {}

impl<L: Sealed> Listen for L {}

/// What such a listener does. Its name is not public.
pub trait Sealed {
    /// Accepts a connection, as `accept` does. Returns its descriptor, and the peer if that has an address.
    fn accept_connection(&self) -> io::Result<(OwnedFd, Option<IpAddr>)>;

    /// Whether a short transfer on one of its connections has emptied or filled the socket.
    fn drains_if_short(&self) -> bool;

    /// A closure that closes all clones of the listener.
    fn close_handle(&self) -> Box<dyn FnOnce() + Send>;

    /// Whether `close` was called.
    fn is_closed(&self) -> bool;
}
