//! TCP, UDP and Unix sockets, in the shape of [`std::net`]: what blocks there parks here.
//!
//! [`TcpStream`], [`TcpListener`], [`UdpSocket`], [`UnixStream`], [`UnixListener`] and [`UnixDatagram`] have
//! the methods, the errors and the conversions of std's types, so code moves over by changing a `use`. A
//! method that std has too is described there; its page here links to std's and says what differs.
//! `docs/STD_PARITY.md` lists all differences. [`TcpSocket`] has no counterpart in std: it sets options that
//! must be set before a socket is connected or listens.
//!
//! The rest of this page holds for all of these types. The pages of the methods do not repeat it.
//!
//! # What parks
//!
//! In a coroutine, a call that would block parks the coroutine, and its worker runs others. On a plain thread
//! the same call blocks the thread. One socket may be used by both, and by any number of them at a time.
//!
//! These calls may park: connecting a stream; accepting, reading, writing, sending, receiving and peeking;
//! [`readable`](TcpStream::readable) and [`writable`](TcpStream::writable); the `next` of an [`Incoming`];
//! and calls that take a [`ToSocketAddrs`], while they look a name up. All other calls return at once.
//!
//! # Clones
//!
//! `try_clone` duplicates no descriptor. All clones are handles to one socket: they share its descriptor, its
//! timeouts and its mode. The socket is closed when the last clone is dropped.
//!
//! `into_std` and the other conversions to std's types hand the descriptor over. If clones remain, std's type
//! gets a duplicate of the descriptor, and the clones go on working.
//!
//! # Errors
//!
//! Calls fail with std's kinds of errors. `ErrorKind::Interrupted` is not one of them: a call goes on after a
//! signal. These errors have a meaning of their own:
//!
//! - `WouldBlock`: the call has waited for the read or write timeout, as on Unix in std, or would block in
//!   non-blocking mode.
//! - `NotConnected`: the socket was [closed](#close), or is not connected.
//! - `TimedOut` or `Other`, in a destructor: the call would have to wait while a time limit or a cancellation
//!   [unwinds](crate::task#destructors).
//! - A call that would have to wait also fails once its coroutine's runtime has shut down.
//!
//! Calls that set or read an option or an address fail as `setsockopt(2)`, `getsockopt(2)`, `getsockname(2)`
//! and `getpeername(2)` do.
//!
//! # Timeouts and non-blocking mode
//!
//! `set_read_timeout` and `set_write_timeout` limit each single wait, of all clones. They are kept by this
//! crate, to the nanosecond, and not by the kernel; they go along to std's types and come back. To limit a
//! whole section of code, use [`time::timeout`](crate::time::timeout()).
//!
//! `set_nonblocking` concerns the calls that are made through this crate, of all clones. A program does not
//! need it to keep its workers free.
//!
//! # Cancellation
//!
//! A coroutine that is cancelled while it is parked in one of these calls unwinds out of it, and so does one
//! whose time limit passes. A call is parked only while it has transferred nothing, so no byte, no datagram
//! and no connection is lost. A connect is given up. A name that is being looked up is awaited first.
//!
//! # Close
//!
//! `close` ends a socket although others hold it or wait in a call on it, for all clones at once. Their calls
//! end with `NotConnected`, and so does every later call; loops over `incoming` end. The peer reads the end
//! of the stream. The descriptor, and with it the port, is kept until the last clone is dropped.
//!
//! # When descriptors run out
//!
//! Opening a socket fails, as in std. `accept` does not: it waits until it can take the connection (see
//! [`TcpListener::accept`]). So a shortage does not end a server, and does not make its loop spin.
//!
//! # Examples
//!
//! ```
//! use std::io::{Read, Write};
//! use sward::net::{Shutdown, TcpListener, TcpStream};
//!
//! sward::run(|| {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     let server = sward::spawn(move || {
//!         let (mut stream, _) = listener.accept()?;
//!         let mut request = String::new();
//!         stream.read_to_string(&mut request)?;
//!         stream.write_all(request.to_uppercase().as_bytes())
//!     });
//!
//!     let mut stream = TcpStream::connect(address)?;
//!     stream.write_all(b"hello")?;
//!     stream.shutdown(Shutdown::Write)?;
//!     let mut reply = String::new();
//!     stream.read_to_string(&mut reply)?;
//!     assert_eq!(reply, "HELLO");
//!     server.join().unwrap()
//! })
//! # .unwrap();
//! ```

// Rank 9. From the bottom: `options` (socket options), `sys` (what differs between systems), `addr` (the
// kernel's addresses), `linger`, `socket` (what all sockets share), `transfer` and `accept` (its calls that
// wait), `tcp_setup` (how TCP sockets are made). `macros` has what only a macro can share. `resolve` looks
// names up on the pool for blocking calls. `tcp_listener`, `tcp_socket`, `tcp_stream`, `udp_socket`: the
// types.
// `server` is one whose idle connections have no stacks; `listen` is what it needs of a listener.

mod accept;
mod addr;
mod linger;
mod listen;
mod macros;
mod options;
mod resolve;
mod server;
mod socket;
mod sys;
mod tcp_listener;
mod tcp_setup;
mod tcp_socket;
mod tcp_stream;
mod transfer;
mod udp_socket;
pub mod unix;

pub use crate::descriptor::{Next, Why};
pub use listen::Listen;
pub use resolve::ToSocketAddrs;
pub use server::{Conn, ConnWaker, ServeHandle, ServeMetrics, ServeOptions, serve};
#[doc(no_inline)]
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};
pub use tcp_listener::{Incoming, TcpListener};
pub use tcp_socket::TcpSocket;
pub use tcp_stream::TcpStream;
pub use udp_socket::UdpSocket;
#[doc(no_inline)]
pub use unix::{UnixDatagram, UnixListener, UnixStream};
