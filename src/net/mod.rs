//! TCP, UDP and Unix sockets, in the shape of [`std::net`]: what blocks there parks here.
//!
//! [`TcpStream`], [`TcpListener`], [`UdpSocket`], [`UnixStream`], [`UnixListener`] and [`UnixDatagram`]
//! have the methods, the errors and the conversions of std's types, so that code moves over by changing a
//! `use`; `docs/STD_PARITY.md` lists the differences. In a coroutine, a call that would block parks it; on a
//! plain thread, the same call blocks the thread. Sockets may be shared between the two.
//!
//! Four things are new. `close` ends a socket although others still hold or even use it, and it ends
//! loops over [`TcpListener::incoming`]. `accept` waits where descriptors have run out, instead of failing
//! in a loop. `try_clone` duplicates no descriptor: clones share one. And [`TcpSocket`] sets options that
//! must be set before a socket is connected or listens.
//!
//! # What parks
//!
//! Whatever connects, accepts, reads, writes, sends, receives or peeks, while it would block;
//! [`readable`](TcpStream::readable) and [`writable`](TcpStream::writable); the `next` of an [`Incoming`];
//! and what takes a [`ToSocketAddrs`], while it looks a name up. All other methods return at once.
//!
//! # Cancellation
//!
//! A coroutine that is cancelled while it is parked in one of these calls unwinds out of it. It is parked
//! only while nothing was transferred, so no bytes and no connections are lost.
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

// Rank 7. From the bottom: `options` (socket options), `sys` (what differs between systems), `addr` (the
// kernel's addresses), `linger`, `socket` (what all sockets share), `transfer` and `accept` (its calls that
// wait), `tcp_setup` (how TCP sockets are made). `macros` has what only a macro can share. `resolve` looks
// names up on the pool for blocking calls.

mod accept;
mod addr;
mod linger;
mod macros;
mod options;
mod resolve;
mod socket;
mod sys;
mod tcp_listener;
mod tcp_setup;
mod tcp_socket;
mod tcp_stream;
mod transfer;
mod udp_socket;
pub mod unix;

pub use resolve::ToSocketAddrs;
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
