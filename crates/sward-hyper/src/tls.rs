//! The server over TLS.

use crate::listener::{Accepted, Listener, begin};
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
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
    /// Shakes hands, and reads until the protocol is clear. The socket is in blocking mode, so this parks.
    fn accept(socket: S, config: Arc<ServerConfig>) -> io::Result<Accepted<TlsStream<S>>> {
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut Blocking(&socket))?;
        }
        // The time limit of the caller is also for the first bytes.
        let (begun, protocol) = begin(&mut rustls::Stream::new(&mut connection, &mut Blocking(&socket)))?;
        socket.set_nonblocking(true)?;
        let stream = TlsStream { connection, socket };
        Ok(Accepted { stream, begun, protocol })
    }

    /// Repeats a call, which reads or writes, until it has a result.
    fn poll_call<T>(
        &mut self,
        context: &mut Context<'_>,
        reads: bool,
        mut call: impl FnMut(&mut rustls::Stream<'_, ServerConnection, Blocking<'_, S>>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            let mut blocking = Blocking(&self.socket);
            match call(&mut rustls::Stream::new(&mut self.connection, &mut blocking)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // rustls writes what it has, and then reads. What it has read may fill its buffers until
                    // it is taken, so a call that writes does not wait for more.
                    let writes = self.connection.wants_write();
                    let mut ready = false;
                    if writes {
                        ready |= self.socket.poll_writable(context)?.is_ready();
                    }
                    if reads || !writes {
                        ready |= self.socket.poll_readable(context)?.is_ready();
                    }
                    if !ready {
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl<S: Socket> PollStream for TlsStream<S> {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_call(context, true, |stream| stream.read(buffer))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_call(context, false, |stream| stream.write_vectored(data))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_call(context, false, |stream| stream.flush())
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
        TlsStream::accept(raw, Arc::clone(&self.config))
    }

    fn close(&self) {
        Listener::close(&self.listener);
    }

    fn peer(&self, raw: &TcpStream) -> Option<SocketAddr> {
        Listener::peer(&self.listener, raw)
    }
}

impl Listener for Tls<UnixListener> {
    type Raw = UnixStream;
    type Stream = TlsStream<UnixStream>;

    fn accept(&self) -> io::Result<UnixStream> {
        Listener::accept(&self.listener)
    }

    fn begin(&self, raw: UnixStream) -> io::Result<Accepted<TlsStream<UnixStream>>> {
        TlsStream::accept(raw, Arc::clone(&self.config))
    }

    fn close(&self) {
        Listener::close(&self.listener);
    }
}
