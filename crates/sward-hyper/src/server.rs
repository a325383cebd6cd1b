//! The server.

use crate::answer::{self, Answers};
use crate::listener::{Accepted, Listener, Peer, Protocol};
use crate::rt::{Clock, Io};
use crate::stop::Stop;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::service::TowerToHyperService;
use std::error::Error;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use sward::sync::Semaphore;
use sward::task::{JoinHandle, JoinSet};
use sward::time::timeout;
use tower_service::Service;

/// How long the server pauses after an error of the listener.
const PAUSE: Duration = Duration::from_millis(100);
/// How many requests an HTTP/2 connection may have at once. A handler that parks does not see that its client
/// has reset the request, so the connection may have some more handlers than that.
const STREAMS: u32 = 100;
const RESETS: usize = 20;
/// How many bytes of an HTTP/2 connection may have been received and not read, and of one request; and how
/// many of one answer may wait to be sent.
const CONNECTION_WINDOW: u32 = 256 << 10;
const STREAM_WINDOW: u32 = 64 << 10;
const SEND_BUFFER: usize = 16 << 10;
/// How many bytes an HTTP/1.1 connection buffers.
const HTTP1_BUFFER: usize = 64 << 10;
/// The time between two HTTP/2 pings, and the time for the answer.
const PING_EVERY: Duration = Duration::from_secs(60);
const PONG_TIME: Duration = Duration::from_secs(20);

/// Serves HTTP/1.1 and HTTP/2 on one listener.
///
/// The limits have defaults that bound the memory of a connection: no more than 4,000 connections at once, 10
/// seconds and 16 KiB for a head, 30 seconds for a client to read on ([`write_time`](Server::write_time)).
/// HTTP/1.1: 64 KiB of buffers. HTTP/2: 100 requests at once, 256 KiB received and not read, and up to 32 KiB
/// to be sent for each request. What a body may hold is for the handler to limit. A connection that was
/// upgraded, such as a WebSocket, is the handler's, and does not count any more.
#[derive(Clone, Debug)]
pub struct Server {
    connections: usize,
    head_time: Duration,
    head_bytes: u32,
    write_time: Duration,
    grace: Duration,
    stop: Arc<Stop>,
}

impl Default for Server {
    fn default() -> Server {
        Server::new()
    }
}

/// Shuts a [`Server`] down. Clones are handles of the same server.
#[derive(Clone, Debug)]
pub struct Handle {
    stop: Arc<Stop>,
}

impl Handle {
    /// Begins the graceful shutdown: the server accepts no more connections, finishes the requests that it
    /// has, and closes each connection after its request. [`Server::serve`] returns then. A connection that
    /// has not sent its first bytes yet is closed after the time limit for them. Does not park.
    pub fn shut_down(&self) {
        self.stop.set();
    }
}

impl Server {
    /// A server with the default limits.
    pub fn new() -> Server {
        Server {
            connections: 4_000,
            head_time: Duration::from_secs(10),
            head_bytes: 16 << 10,
            write_time: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            stop: Arc::default(),
        }
    }

    /// How many connections the server holds at once. Further ones wait in the kernel's backlog.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn connections(mut self, limit: usize) -> Server {
        assert!(limit > 0, "sward-hyper: a server without connections");
        self.connections = limit;
        self
    }

    /// The time limit for the first bytes of a connection, including a TLS handshake, and for each head of
    /// HTTP/1.1. A connection that exceeds it is closed.
    pub fn head_time(mut self, limit: Duration) -> Server {
        self.head_time = limit;
        self
    }

    /// The longest head, in bytes; at least 8 KiB, which hyper needs.
    pub fn head_bytes(mut self, limit: u32) -> Server {
        self.head_bytes = limit.max(8 << 10);
        self
    }

    /// How long a client may leave a connection unread, once all buffers are full. The connection is closed
    /// then.
    ///
    /// An HTTP/2 client may also read its connection and grant one answer no window. If it takes less than 16
    /// KiB of an answer in this time, the answer is dropped and its stream reset; the other requests of the
    /// connection go on. What h2 holds of the answer's last 32 KiB stays until the connection ends.
    pub fn write_time(mut self, limit: Duration) -> Server {
        self.write_time = limit;
        self
    }

    /// How long a graceful shutdown waits for requests. After it the connections are cancelled.
    pub fn grace(mut self, limit: Duration) -> Server {
        self.grace = limit;
        self
    }

    /// What shuts the server down.
    pub fn handle(&self) -> Handle {
        Handle { stop: Arc::clone(&self.stop) }
    }

    /// Serves each connection with a clone of the service, until [`Handle::shut_down`]. Parks; for a thread
    /// or a coroutine of its own.
    ///
    /// A connection that breaks, or a handler that panics, ends that connection alone. A cancellation of the
    /// caller ends the server and its connections at once.
    ///
    /// # Errors
    ///
    /// `TimedOut` if connections were left after the [grace](Self::grace); they are cancelled then.
    pub fn serve<L, S, B>(self, listener: L, service: S) -> io::Result<()>
    where
        L: Listener,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let listener = Arc::new(listener);
        let permits = Arc::new(Semaphore::new(self.connections));
        let mut connections = JoinSet::new();
        let closes = self.close_when_stopped(Arc::clone(&listener), Arc::clone(&permits));
        // The permit comes first, so that an accepted connection is served at once.
        while let Ok(permit) = permits.acquire_owned() {
            let raw = match listener.accept() {
                Ok(raw) => raw,
                Err(error) if self.stop.is_set() || error.kind() == ErrorKind::NotConnected => break,
                Err(_) => {
                    sward::sleep(PAUSE);
                    continue;
                }
            };
            let (server, listener, service) = (self.clone(), Arc::clone(&listener), service.clone());
            connections.spawn(move || {
                // Returned when the connection ends, also by a panic.
                let _permit = permit;
                // A broken connection ends only itself.
                let _ = server.connection(&*listener, raw, service);
            });
            while connections.try_join_next().is_some() {}
        }
        drop(closes);
        match timeout(self.grace, || while connections.join_next().is_some() {}) {
            Ok(()) => Ok(()),
            // The set cancels the connections that are left.
            Err(_) => Err(io::Error::new(ErrorKind::TimedOut, "connections were left after the grace")),
        }
    }

    /// Ends the loop that accepts when the server shuts down: it waits for a connection, or for a permit. The
    /// listener is closed also when the result is dropped.
    fn close_when_stopped<L: Listener>(&self, listener: Arc<L>, permits: Arc<Semaphore>) -> Closes<L> {
        let (its, stop) = (Arc::clone(&listener), Arc::clone(&self.stop));
        let waits = sward::spawn(move || {
            let mut listening = stop.listen();
            sward::block_on(poll_fn(|context| listening.poll(context)));
            its.close();
            permits.close();
        });
        Closes { waits, listener }
    }

    fn connection<L, S, B>(
        &self,
        listener: &L,
        raw: L::Raw,
        service: S,
    ) -> Result<(), Box<dyn Error + Send + Sync>>
    where
        L: Listener,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let peer = listener.peer(&raw).map(Peer);
        let begun = timeout(self.head_time, || listener.begin(raw))?;
        let Accepted { stream, begun, protocol } = begun?;
        let stream = Io::with_begun(stream, begun).write_time(self.write_time);
        let service = TowerToHyperService::new(WithPeer { service, peer });
        match protocol {
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                builder.timer(Clock).header_read_timeout(self.head_time).half_close(true);
                builder.max_header_size(self.head_bytes as usize);
                builder.max_buf_size(HTTP1_BUFFER.max(self.head_bytes as usize));
                let served = builder.serve_connection(stream, service).with_upgrades();
                self.until_stopped(served, |connection| connection.graceful_shutdown())?;
            }
            Protocol::Http2 => {
                let requests = Requests::default();
                let mut builder = http2::Builder::new(requests.executor(self.write_time));
                builder.timer(Clock).keep_alive_interval(PING_EVERY).keep_alive_timeout(PONG_TIME);
                builder.max_concurrent_streams(STREAMS).max_pending_accept_reset_streams(RESETS);
                builder.max_header_list_size(self.head_bytes).max_send_buf_size(SEND_BUFFER);
                builder.initial_connection_window_size(CONNECTION_WINDOW);
                builder.initial_stream_window_size(STREAM_WINDOW);
                let served = builder.serve_connection(stream, Answers(service));
                self.until_stopped(served, |connection| connection.graceful_shutdown())?;
            }
        }
        Ok(())
    }

    /// Runs a connection, and asks it once to end when the server shuts down.
    fn until_stopped<C: Future>(&self, connection: C, ends: fn(Pin<&mut C>)) -> C::Output {
        let mut connection = pin!(connection);
        let (mut listening, mut asked) = (self.stop.listen(), false);
        sward::block_on(poll_fn(|context| {
            // First, so that a request that has arrived is answered.
            let ended = connection.as_mut().poll(context);
            if ended.is_pending() && !asked && listening.poll(context).is_ready() {
                asked = true;
                ends(connection.as_mut());
                return connection.as_mut().poll(context);
            }
            ended
        }))
    }
}

/// A connection's service: its requests carry the address of the client.
#[derive(Clone)]
struct WithPeer<S> {
    service: S,
    peer: Option<Peer>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for WithPeer<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> S::Future {
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        self.service.call(request)
    }
}

/// Closes a listener.
struct Closes<L: Listener> {
    waits: JoinHandle<()>,
    listener: Arc<L>,
}

impl<L: Listener> Drop for Closes<L> {
    fn drop(&mut self) {
        self.waits.cancel();
        self.listener.close();
    }
}

/// The requests of an HTTP/2 connection: a coroutine each. The drop cancels them.
#[derive(Default)]
struct Requests(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Requests {
    fn executor(&self, write_time: Duration) -> RequestExecutor {
        RequestExecutor { requests: Arc::downgrade(&self.0), write_time }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        for request in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            request.cancel();
        }
    }
}

/// hyper gives a clone to each request, so it does not own them.
#[derive(Clone)]
struct RequestExecutor {
    requests: Weak<Mutex<Vec<JoinHandle<()>>>>,
    write_time: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for RequestExecutor {
    fn execute(&self, future: F) {
        // The connection has ended, or its client resets requests faster than their handlers end: the drop of
        // the future resets this one.
        let Some(requests) = self.requests.upgrade() else { return };
        let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.retain(|request| !request.is_finished());
        if requests.len() < STREAMS as usize + RESETS {
            let limit = self.write_time;
            requests.push(sward::spawn(move || answer::send(future, limit)));
        }
    }
}
