//! TCP, in the shape of [`std::net`]: what blocks there parks here.
//!
//! [`TcpStream`] and [`TcpListener`] have the methods, the errors and the conversions of std's types,
//! so that code moves over by changing a `use`. In a coroutine, a call that would block parks it; on a
//! plain thread, the same call blocks the thread. Sockets may be shared between the two.
//!
//! Three things are new. `close` ends a socket although others still hold or even use it, and it ends
//! loops over [`TcpListener::incoming`]. `accept` waits where descriptors have run out, instead of failing
//! in a loop. And `try_clone` duplicates no descriptor: clones share one.
//!
//! # What parks
//!
//! [`connect`](TcpStream::connect) and [`connect_timeout`](TcpStream::connect_timeout),
//! [`bind`](TcpListener::bind) while it looks a name up, [`accept`](TcpListener::accept) and the `next` of
//! [`Incoming`], the reads and writes of a stream, [`peek`](TcpStream::peek),
//! [`readable`](TcpStream::readable) and [`writable`](TcpStream::writable). All other methods return at once.
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

// Rank 6. `socket` is what streams and listeners share; `resolve` looks names up on the threads of
// `blocking`; `addr` knows the kernel's addresses and `sys` what differs between systems.

mod addr;
mod resolve;
mod socket;
mod sys;
mod tcp_listener;
mod tcp_stream;

pub use resolve::ToSocketAddrs;
#[doc(no_inline)]
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};
pub use tcp_listener::{Incoming, TcpListener};
pub use tcp_stream::TcpStream;
