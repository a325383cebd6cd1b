//! The server over TLS.

use crate::listener::{Accepted, Listener, Protocol};
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use sward::net::{Shutdown, TcpListener, TcpStream, UnixListener, UnixStream};
use sward_compat::{PollStream, Socket};

/// A listener of TLS connections. HTTP/2 is spoken with clients that ask for `h2` by ALPN, if the
/// configuration offers it (`alpn_protocols`).
#[derive(Debug)]
pub struct Tls<L> {
    listener: L,
    config: Arc<ServerConfig>,
}

impl<L> Tls<L> {
    /// TLS on the connections of that listener.
    pub fn new(listener: L, config: Arc<ServerConfig>) -> Tls<L> {
        Tls { listener, config }
    }
}

/// A TLS connection for code that polls.
#[derive(Debug)]
pub struct TlsStream<S> {
    connection: ServerConnection,
    socket: S,
}

/// rustls asks for a reader and writer.
struct Blocking<'a, S>(&'a S);

impl<S: Socket> Read for Blocking<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<S: Socket> Write for Blocking<'_, S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write_vectored(&[IoSlice::new(data)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Socket> TlsStream<S> {
    /// Shakes hands. The socket is in blocking mode, so this parks.
    fn accept(socket: S, config: Arc<ServerConfig>) -> io::Result<(TlsStream<S>, Protocol)> {
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut Blocking(&socket))?;
        }
        socket.set_nonblocking(true)?;
        let is_h2 = connection.alpn_protocol() == Some(b"h2");
        let protocol = if is_h2 { Protocol::Http2 } else { Protocol::Http1 };
        Ok((TlsStream { connection, socket }, protocol))
    }

    /// Repeats a call until it has a result.
    fn poll_call<T>(
        &mut self,
        context: &mut Context<'_>,
        mut call: impl FnMut(&mut rustls::Stream<'_, ServerConnection, Blocking<'_, S>>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let mut blocking = Blocking(&self.socket);
            match call(&mut rustls::Stream::new(&mut self.connection, &mut blocking)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // rustls writes what it has before it reads. So if it has something left, the socket was
                    // not writable.
                    ready!(match self.connection.wants_write() {
                        true => self.socket.poll_writable(context),
                        false => self.socket.poll_readable(context),
                    })?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl<S: Socket> PollStream for TlsStream<S> {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_call(context, |stream| stream.read(buffer))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_call(context, |stream| stream.write_vectored(data))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_call(context, |stream| stream.flush())
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.send_close_notify();
        ready!(self.poll_flush(context))?;
        Poll::Ready(self.socket.shutdown(Shutdown::Write))
    }
}

impl Listener for Tls<TcpListener> {
    type Raw = TcpStream;
    type Stream = TlsStream<TcpStream>;

    fn accept(&self) -> io::Result<TcpStream> {
        Listener::accept(&self.listener)
    }

    fn begin(&self, raw: TcpStream) -> io::Result<Accepted<TlsStream<TcpStream>>> {
        raw.set_nodelay(true)?;
        let (stream, protocol) = TlsStream::accept(raw, Arc::clone(&self.config))?;
        Ok(Accepted { stream, begun: Vec::new(), protocol })
    }

    fn close(&self) {
        Listener::close(&self.listener);
    }
}

impl Listener for Tls<UnixListener> {
    type Raw = UnixStream;
    type Stream = TlsStream<UnixStream>;

    fn accept(&self) -> io::Result<UnixStream> {
        Listener::accept(&self.listener)
    }

    fn begin(&self, raw: UnixStream) -> io::Result<Accepted<TlsStream<UnixStream>>> {
        let (stream, protocol) = TlsStream::accept(raw, Arc::clone(&self.config))?;
        Ok(Accepted { stream, begun: Vec::new(), protocol })
    }

    fn close(&self) {
        Listener::close(&self.listener);
    }
}
