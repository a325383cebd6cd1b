//! Where a server's connections come from.

use std::io::{self, Read};
use std::net::SocketAddr;
use sward::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use sward_compat::{PollStream, Polled};

/// The first bytes of a client that speaks HTTP/2 without negotiation.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection that is ready for HTTP.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The stream.
    pub stream: S,
    /// Its first bytes, which were read to find out the protocol.
    pub begun: Vec<u8>,
    /// What it speaks.
    pub protocol: Protocol,
}

/// The address of the client, in the extensions of each request that came over TCP.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use sward_hyper::Peer;
///
/// let router: Router = Router::new()
///     .route("/", get(async |Extension(Peer(address)): Extension<Peer>| format!("you are {address}\n")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Accepts connections: [`TcpListener`], [`UnixListener`], or [`Tls`](crate::Tls) around one of them.
pub trait Listener: Send + Sync + 'static {
    /// A connection as it was accepted.
    type Raw: Send + 'static;
    /// The stream that HTTP is spoken on.
    type Stream: PollStream;

    /// Waits for a connection. Parks.
    ///
    /// # Errors
    ///
    /// `NotConnected` after [`close`](Self::close), others if no connection can be accepted at the moment.
    fn accept(&self) -> io::Result<Self::Raw>;

    /// Makes a connection ready, in its own coroutine. Parks; the server limits the time.
    ///
    /// # Errors
    ///
    /// Those of the connection, which they end.
    fn begin(&self, raw: Self::Raw) -> io::Result<Accepted<Self::Stream>>;

    /// Accepts no more connections: `accept` fails from now on.
    fn close(&self);

    /// The address of the client, which its requests carry as [`Peer`]. `None`, as by default, for a listener
    /// whose clients have none. Does not park.
    fn peer(&self, _raw: &Self::Raw) -> Option<SocketAddr> {
        None
    }
}

/// Reads until it is clear whether the client speaks HTTP/2.
pub(crate) fn begin(stream: &mut impl Read) -> io::Result<(Vec<u8>, Protocol)> {
    let (mut buffer, mut len) = ([0; PREFACE.len()], 0);
    while len < PREFACE.len() && buffer[..len] == PREFACE[..len] {
        match stream.read(&mut buffer[len..])? {
            0 => break,
            n => len += n,
        }
    }
    let protocol = if buffer[..len] == *PREFACE { Protocol::Http2 } else { Protocol::Http1 };
    Ok((buffer[..len].to_vec(), protocol))
}

impl Listener for TcpListener {
    type Raw = TcpStream;
    type Stream = Polled<TcpStream>;

    fn accept(&self) -> io::Result<TcpStream> {
        Ok(TcpListener::accept(self)?.0)
    }

    fn begin(&self, mut raw: TcpStream) -> io::Result<Accepted<Polled<TcpStream>>> {
        raw.set_nodelay(true)?;
        let (begun, protocol) = begin(&mut raw)?;
        Ok(Accepted { stream: Polled::new(raw)?, begun, protocol })
    }

    fn close(&self) {
        let _ = TcpListener::close(self);
    }

    fn peer(&self, raw: &TcpStream) -> Option<SocketAddr> {
        raw.peer_addr().ok()
    }
}

impl Listener for UnixListener {
    type Raw = UnixStream;
    type Stream = Polled<UnixStream>;

    fn accept(&self) -> io::Result<UnixStream> {
        Ok(UnixListener::accept(self)?.0)
    }

    fn begin(&self, mut raw: UnixStream) -> io::Result<Accepted<Polled<UnixStream>>> {
        let (begun, protocol) = begin(&mut raw)?;
        Ok(Accepted { stream: Polled::new(raw)?, begun, protocol })
    }

    fn close(&self) {
        let _ = UnixListener::close(self);
    }
}
