//! A server whose connections have a coroutine only while there is something to do.
//!
//! What waits, and how no event is lost, is in `descriptor/activation.rs` and `coroutine/dormant.rs`. Here is
//! what a connection is: a socket, the bytes that were read ahead, and the user's state.
//!
//! # Buffers
//!
//! What a handler reads with a buffer of its own goes there at once. For [`Conn::fill`] and [`BufRead`] the
//! connection gets a buffer from the pool of the worker. When the handler returns, the pool gets it back.
//! Bytes that were not consumed move to a box of their size.
//!
//! *Unread bytes, and a handler that wants to wait.* If it has consumed or filled in something, the rest may
//! be another whole request, so it runs again at once. Otherwise the rest is the beginning of a request, and
//! it runs when there is more to read. In the run at once, `fill` does not wait: it fails with `WouldBlock`,
//! and a handler that returns this error waits as with `Next::Idle`. So no stack is held for the rest of a
//! request, be it that the handler fills first or looks into the buffer first.
//!
//! # Files
//!
//! - [`buffers`]: what was read ahead, and the pools. [`peers`]: connections by address.
//! - [`handle`]: how far a server has come. [`options`]: its settings.
//! - [`conn`]: a connection, as the handler sees it.
//! - This file: the loop that accepts, and the verdict after each run of the handler.

use super::linger;
use super::listen::Listen;
use super::socket::Short;
use super::sys;
use crate::base::clock;
use crate::base::sys::calls;
use crate::coroutine::contain_panic;
use crate::descriptor::{Active, Body, Host, Next, Verdict, adopt};
use crate::netpoll::Source;
use crate::runtime::runtime_here;
use buffers::Pools;
use conn::Inner;
use handle::Control;
use options::Limits;
use peers::Peers;
use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

mod buffers;
mod conn;
mod handle;
mod options;
mod peers;

pub use conn::{Conn, ConnWaker};
pub use handle::{ServeHandle, ServeMetrics};
pub use options::ServeOptions;

/// Serves the connections of a listener: runs the handler, in a coroutine, each time that there is something
/// to read on one of them. Between two runs a connection has no coroutine and no stack, only a record of
/// about 250 bytes of user memory.
///
/// Use this for servers with many connections that are idle most of the time, and for connections whose load
/// is uneven: each run may take place on another worker. A loop that accepts, and a coroutine for each
/// connection, is simpler if a connection has much to remember between two requests: that is then on its
/// stack, and here it has to be in the state `S`.
///
/// The handler is ordinary code: it reads, writes, locks, sleeps. It returns [`Next::Idle`] when it has
/// served what there was, or [`Next::Close`]. Whatever it returns at the end of the stream, the connection is
/// closed then. If it returns an error or panics, its connection is closed; the others go on. It should read
/// until a read returns less than its buffer has room for, as a handler that reads once with a buffer of its
/// own, or through [`Conn::fill`], usually does. Otherwise the handler runs again at once, after one system
/// call that asks whether there is more. If it does not read at all in two such runs, it has given up what is
/// there: it runs again for new bytes, the end of the stream, a limit or a wake-up by hand. On the back-ends
/// `poll` and `io_uring`, which would report the same state again at once, only a limit or a wake-up by hand
/// runs it. If the connection moves to another worker, it may run once more.
///
/// Each connection begins with the state `S::default()`, which is made before the next connection is
/// accepted. It is dropped with the connection: in a coroutine, or on the thread that shuts the server down.
///
/// This parks until the server is shut down by [`ServeHandle::shutdown`], or the listener is closed, and all
/// connections have ended. Either way all clones of the listener are closed. The listener is a
/// [`TcpListener`](super::TcpListener) or a [`UnixListener`](super::UnixListener). This may be called on a
/// plain thread, and blocks it then; handlers run in the default runtime. If the caller is cancelled, or the
/// runtime shuts down, idle connections are closed and running handlers are cancelled.
///
/// What the handler has captured is dropped when the last [`ServeHandle`] and the last [`ConnWaker`] are
/// gone, which may be some time after this has returned.
///
/// # Errors
///
/// - The listener's error, if it cannot accept any more. A shortage of descriptors is none: see
///   [`TcpListener::accept`](super::TcpListener::accept).
/// - `InvalidInput` if the options were used for another server.
/// - `OutOfMemory` if there was no stack for the coroutine that observes the time limits. The connections are
///   closed then.
/// - On a plain thread, if the default runtime cannot start.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::{Conn, Next, ServeOptions, TcpListener, TcpStream, serve};
/// use std::time::Duration;
///
/// sward::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let options = ServeOptions::new().idle_limit(Duration::from_secs(60));
///     let handle = options.handle();
///     let server = sward::spawn(|| {
///         serve(listener, options, |conn: &mut Conn| {
///             let mut buf = [0; 4096];
///             let n = conn.read(&mut buf)?;
///             conn.write_all(&buf[..n])?;
///             Ok(Next::Idle)
///         })
///     });
///
///     let mut client = TcpStream::connect(address)?;
///     client.write_all(b"hello")?;
///     let mut echo = [0; 5];
///     client.read_exact(&mut echo)?;
///     assert_eq!(&echo, b"hello");
///     handle.shutdown(Duration::from_secs(5));
///     server.join().unwrap()
/// })
/// # .unwrap();
/// ```
#[track_caller]
pub fn serve<L, S, F>(listener: L, options: ServeOptions, handler: F) -> io::Result<()>
where
    L: Listen,
    S: Default + Send + 'static,
    F: Fn(&mut Conn<'_, S>) -> io::Result<Next> + Send + Sync + 'static,
{
    let site = Location::caller();
    let ServeOptions { limits, control } = options;
    let shared = runtime_here()?;
    let server = Server {
        handler,
        short: if listener.drains_if_short() { Short::Drained } else { Short::Nothing },
        pools: Pools::new(shared.config().workers),
        peers: (limits.per_peer < usize::MAX).then(Default::default),
        limits,
        failed: Arc::clone(&control.failed),
        state: PhantomData::<fn() -> S>,
    };
    let first_limit = match (limits.idle, limits.request) {
        (Some(idle), Some(request)) => Some(idle.min(request)),
        (idle, request) => idle.or(request),
    };
    let host = Host::new(&shared, site, Box::new(server));
    host.on_end(listener.close_handle());
    control.begin(&host)?;
    let serving = Serving { host, control };
    let Serving { host, control } = &serving;
    host.hold()?;
    let server = host.extension.downcast_ref::<Server<S, F>>().expect("made above");
    let ended = loop {
        host.wait_for_room(limits.connections);
        let (fd, peer) = match listener.accept_connection() {
            Ok(accepted) => accepted,
            Err(_) if listener.is_closed() => break Ok(()),
            Err(error) => break Err(error),
        };
        if let Some((peers, peer)) = server.peers.as_ref().zip(peer)
            && !peers.lock().enter(fd.as_raw_fd(), peer, limits.per_peer)
        {
            control.refused.fetch_add(1, Ordering::Relaxed);
            close(fd);
            continue;
        }
        control.accepted.fetch_add(1, Ordering::Relaxed);
        let fd = Closing(Some(fd));
        let mut state = None;
        contain_panic(|| state = Some(S::default()));
        let Some(state) = state else {
            host.count_panic();
            server.forget_peer(fd.as_raw_fd());
            continue;
        };
        let inner = Inner { source: ManuallyDrop::new(sys::source(fd.take())), buffer: None, state };
        let record = Served::<S, F> { inner, handler: PhantomData };
        if adopt(host, record, first_limit, true, |_| ()).is_err() && host.is_open() {
            control.failed.fetch_add(1, Ordering::Relaxed);
        }
    };
    host.drain();
    host.wait_until_empty(None);
    match host.has_no_keeper() {
        true => Err(io::Error::new(ErrorKind::OutOfMemory, "no stack for the coroutine of the time limits")),
        false => ended,
    }
}

/// Closes the socket of a new connection. A `SO_LINGER` that it has from its listener does not block the
/// worker.
fn close(fd: OwnedFd) {
    if linger::would_block_worker(fd.as_fd()) {
        linger::close(fd);
    } else {
        calls::closing(fd.as_raw_fd());
    }
}

/// The socket of a new connection, which is closed if the connection cannot begin.
struct Closing(Option<OwnedFd>);

impl Closing {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_ref().expect("not taken").as_raw_fd()
    }

    fn take(mut self) -> OwnedFd {
        self.0.take().expect("taken once")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(close);
    }
}

/// Ends the host if the caller of `serve` is cancelled, and in the end lets the keeper go.
struct Serving {
    host: Arc<Host>,
    control: Arc<Control>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.host.open() > 0 {
            self.host.cancel();
        } else {
            self.host.drain();
        }
        self.host.release();
        if self.host.open() > 0 {
            // Handlers still unwind: `shutdown` waits for them, and metrics count them.
            return;
        }
        self.control.end(self.host.totals());
    }
}

/// What the connections of a server share.
struct Server<S, F> {
    handler: F,
    pools: Pools,
    peers: Option<parking_lot::Mutex<Peers>>,
    limits: Limits,
    short: Short,
    failed: Arc<AtomicU64>,
    state: PhantomData<fn() -> S>,
}

impl<S, F> Server<S, F> {
    fn forget_peer(&self, fd: RawFd) {
        if let Some(peers) = &self.peers {
            peers.lock().leave(fd);
        }
    }
}

/// A connection with its handler's type.
struct Served<S, F> {
    inner: Inner<S>,
    handler: PhantomData<fn() -> F>,
}

impl<S, F> Body for Served<S, F>
where
    S: Send + 'static,
    F: Fn(&mut Conn<'_, S>) -> io::Result<Next> + Send + Sync + 'static,
{
    fn source(&self) -> Option<&Source> {
        Some(&self.inner.source)
    }

    fn run(&mut self, active: &Active<'_>) -> Verdict {
        let server = active.host.extension.downcast_ref::<Server<S, F>>().expect("the host of such records");
        let run = self.inner.begin(&server.limits, server.short, active.why);
        let mut conn = Conn { inner: &mut self.inner, run, pools: &server.pools, active };
        let result = (server.handler)(&mut conn);
        let (run, buffer) = (conn.run, self.inner.buffer.take());
        let has_read = run.has_read;
        let has_unread = buffer.as_ref().is_some_and(|buffer| !buffer.is_empty());
        // After the end of the stream, further requests may be in the buffer.
        let goes_on = !run.ended || run.consumed && has_unread;
        let (limit, closes) = match result {
            Ok(Next::Idle) if goes_on => (server.limits.idle, true),
            Err(error) if error.kind() == ErrorKind::WouldBlock && run.at_once => (server.limits.idle, true),
            Ok(Next::IdleFor(limit)) if goes_on => (Some(limit), false),
            result => {
                if result.is_err() {
                    server.failed.fetch_add(1, Ordering::Relaxed);
                }
                if let Some(buffer) = buffer {
                    server.pools.take_back(buffer);
                }
                return Verdict::Close;
            }
        };
        let Some(mut buffer) = buffer else { return Verdict::Idle { limit, closes, has_read } };
        if !has_unread {
            server.pools.take_back(buffer);
            return Verdict::Idle { limit, closes, has_read };
        }
        buffer.began = match run.consumed {
            // The rest belongs to another request.
            true => server.limits.request.map(|_| clock::now()),
            false => run.began,
        };
        if run.progress {
            buffer.at_once = true;
            self.inner.buffer = Some(buffer);
            return Verdict::Again;
        }
        let left = buffer
            .began
            .zip(server.limits.request)
            .map(|(began, most)| most.saturating_sub(clock::since(began)));
        if buffer.unread().len() < buffer.bytes.len() {
            self.inner.buffer = Some(buffer.compact());
            server.pools.take_back(buffer);
        } else {
            self.inner.buffer = Some(buffer);
        }
        match left {
            Some(left) if limit.is_none_or(|limit| left < limit) => {
                Verdict::Idle { limit: Some(left), closes: true, has_read }
            }
            _ => Verdict::Idle { limit, closes, has_read },
        }
    }

    fn leave(&mut self, host: &Host) {
        let server = host.extension.downcast_ref::<Server<S, F>>().expect("the host of such records");
        server.forget_peer(self.inner.source.fd().as_raw_fd());
    }
}
