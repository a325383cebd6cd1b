//! TCP, as in [`std::net`]: same names, same signatures, same errors.
//!
//! In a coroutine, a call that would block parks the coroutine and frees the thread. On a plain
//! thread it blocks the thread. Sockets may be used from both, at the same time and one after the other.
//!
//! What differs from std:
//!
//! - [`TcpStream::try_clone`] gives another handle to the same descriptor, not a duplicate: all clones
//!   share one registration with the poller, so that closing, timeouts and cancellation have one
//!   place to act.
//! - `close` on [`TcpStream`] and [`TcpListener`] ends the use of a socket for all its clones: whoever
//!   is parked on it gets an error at once. As Go's.
//! - [`TcpListener::accept`] does not fail when descriptors run out; it backs off and tries again.
//! - Names are resolved on a helper thread when a coroutine asks; see [`ToSocketAddrs`].
//!
//! Cancelling a coroutine that is parked in any of these calls unwinds out of the call; the socket
//! stays usable. Bytes that were read or written by the call before that are not given back; a single
//! `read` or `write` that has moved bytes returns and does not park again.

mod addr;
mod listener;
mod resolve;
mod socket;
mod stream;
mod sys;

pub use listener::{Incoming, IntoIncoming, TcpListener};
pub use resolve::ToSocketAddrs;
pub use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
pub use stream::TcpStream;
