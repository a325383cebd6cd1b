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

use super::linger;
use super::listen::Listen;
use super::options::set_option;
use super::socket::{Short, name};
use super::sys;
use super::{IpAddr, Shutdown, SocketAddr};
use crate::base::clock;
use crate::base::sys::{calls, check, nonblocking};
use crate::coroutine::{WaitReason, contain_panic};
use crate::descriptor::{
    Active, Attempt, Body, Host, Next, PerformError, Totals, Verdict, WakerSlot, Why, adopt, deadline_after,
    perform, would_block,
};
use crate::netpoll::{Direction, Source};
use crate::runtime::runtime_here;
use crate::sched::worker_index;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The bytes of a lent buffer.
const BUFFER: usize = 16 * 1024;
/// How many buffers the pool of a worker keeps.
const POOLED: usize = 16;
/// The most that one receive or send is asked for.
const MAX_LEN: usize = 1 << 30;

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
        pools: Pools((0..shared.config().workers).map(|_| Pool::default()).collect()),
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
        let ended = Stage::Ended(self.host.totals());
        let former = mem::replace(&mut *self.control.stage.lock(), ended);
        drop(former);
    }
}

/// Settings of [`serve`]. By default there are no limits.
#[derive(Debug)]
pub struct ServeOptions {
    limits: Limits,
    control: Arc<Control>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    idle: Option<Duration>,
    request: Option<Duration>,
    write: Option<Duration>,
    connections: usize,
    per_peer: usize,
    unread: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions::new()
    }
}

impl ServeOptions {
    /// No limits.
    pub fn new() -> ServeOptions {
        let limits = Limits {
            idle: None,
            request: None,
            write: None,
            connections: usize::MAX,
            per_peer: usize::MAX,
            unread: 64 * 1024,
        };
        ServeOptions { limits, control: Arc::default() }
    }

    /// Closes a connection on which nothing has happened for that long after its handler has returned
    /// [`Next::Idle`], or after it was accepted. The handler does not run for that; [`Next::IdleFor`] is for
    /// handlers that want to. The limit is observed as late as that one.
    #[must_use]
    pub fn idle_limit(mut self, limit: Duration) -> ServeOptions {
        self.limits.idle = Some(limit);
        self
    }

    /// How long a client may take to send a request: from the run of the handler that meets its first byte
    /// until it was read. After that time reads fail with `TimedOut`, and a connection that idles with a part
    /// of a request in its buffer is closed. The first request has to begin within this time, too.
    ///
    /// Each run of the handler has the time anew, unless bytes were left in the buffer that it has not
    /// consumed.
    #[must_use]
    pub fn request_limit(mut self, limit: Duration) -> ServeOptions {
        self.limits.request = Some(limit);
        self
    }

    /// How long each single write may wait for a client that does not read. After that time it fails with
    /// `TimedOut`.
    #[must_use]
    pub fn write_limit(mut self, limit: Duration) -> ServeOptions {
        self.limits.write = Some(limit);
        self
    }

    /// Accepts no further connection while there are so many. Others wait in the listener's backlog.
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> ServeOptions {
        self.limits.connections = most.max(1);
        self
    }

    /// Closes a new connection at once if there are so many from its address already. IPv6 addresses with the
    /// same first 64 bits count as one. Connections of a Unix listener have no address, and no such limit.
    #[must_use]
    pub fn max_connections_per_peer(mut self, most: usize) -> ServeOptions {
        self.limits.per_peer = most.max(1);
        self
    }

    /// How many unread bytes [`Conn::fill`] gathers at most; it is 64 KiB by default.
    #[must_use]
    pub fn max_unread(mut self, most: usize) -> ServeOptions {
        self.limits.unread = most.max(1);
        self
    }

    /// A handle to the server that is started with these options.
    pub fn handle(&self) -> ServeHandle {
        ServeHandle { control: Arc::clone(&self.control) }
    }
}

/// How far a server has come.
#[derive(Default)]
enum Stage {
    #[default]
    New,
    /// It was shut down before it has begun.
    Stopped,
    Serving(Arc<Host>),
    Ended(Totals),
}

#[derive(Default)]
struct Control {
    stage: parking_lot::Mutex<Stage>,
    accepted: AtomicU64,
    refused: AtomicU64,
    failed: Arc<AtomicU64>,
}

impl Control {
    fn begin(&self, host: &Arc<Host>) -> io::Result<()> {
        let mut stage = self.stage.lock();
        let stopped = matches!(*stage, Stage::Stopped);
        if !stopped && !matches!(*stage, Stage::New) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "these options serve another listener already",
            ));
        }
        *stage = Stage::Serving(Arc::clone(host));
        drop(stage);
        if stopped {
            host.drain();
        }
        Ok(())
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Controls a server that [`serve`] runs.
#[derive(Clone, Debug)]
pub struct ServeHandle {
    control: Arc<Control>,
}

impl ServeHandle {
    /// Shuts the server down: closes the listener and the idle connections, and waits until the handlers that
    /// run have returned, whose connections are then closed. After that limit it cancels the handlers, and
    /// waits until they have unwound. Returns whether none had to be cancelled. Then [`serve`] returns.
    ///
    /// Parks. A caller that is cancelled unwinds out of this, and the server goes on shutting down without
    /// the limit. A handler must not call this, since it would wait for itself.
    pub fn shutdown(&self, limit: Duration) -> bool {
        let mut stage = self.control.stage.lock();
        let host = match &*stage {
            Stage::New => {
                *stage = Stage::Stopped;
                return true;
            }
            Stage::Stopped | Stage::Ended(_) => return true,
            Stage::Serving(host) => Arc::clone(host),
        };
        drop(stage);
        host.drain();
        if host.wait_until_empty(deadline_after(limit)) {
            return true;
        }
        host.cancel();
        host.wait_until_empty(None);
        false
    }

    /// What the server has done.
    pub fn metrics(&self) -> ServeMetrics {
        let totals = match &*self.control.stage.lock() {
            Stage::New | Stage::Stopped => Totals::default(),
            Stage::Serving(host) => host.totals(),
            Stage::Ended(totals) => *totals,
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServeMetrics {
            connections: totals.open,
            idle: totals.idle.min(totals.open),
            accepted: count(&self.control.accepted),
            refused: count(&self.control.refused),
            activations: totals.activations,
            moves: totals.moves,
            failed: count(&self.control.failed) + totals.lost,
            panicked: totals.panicked,
        }
    }
}

/// What a server has done: see [`ServeHandle::metrics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeMetrics {
    /// The present connections.
    pub connections: usize,
    /// Those of them that wait, and have no coroutine.
    pub idle: usize,
    /// Connections that were accepted so far.
    pub accepted: u64,
    /// Connections that were closed at once, since their address had too many.
    pub refused: u64,
    /// How often the handler was called.
    pub activations: u64,
    /// How often a connection has moved to another worker: that one then fetches its events. A connection
    /// moves once other workers have run its handler in four periods of about ten milliseconds, and its own
    /// worker has not run it in between. Each move doubles the number of periods before the next, up to 128.
    pub moves: u64,
    /// Connections that have ended with an error of the handler, could not begin, found no stack for it, or
    /// could not be watched any more. Connections that a shutdown ends do not count.
    pub failed: u64,
    /// Connections that have ended with a panic of the handler.
    pub panicked: u64,
}

/// What counts as one peer: an IPv4 address, or a network of 64 bits of IPv6, which one host usually has to
/// itself.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// How many connections each address has.
#[derive(Default)]
struct Peers {
    counts: HashMap<IpAddr, usize>,
    addresses: HashMap<RawFd, IpAddr>,
}

impl Peers {
    /// False if the address has the most already.
    fn enter(&mut self, fd: RawFd, address: IpAddr, most: usize) -> bool {
        let address = network_of(address);
        let count = self.counts.entry(address).or_insert(0);
        if *count >= most {
            return false;
        }
        *count += 1;
        self.addresses.insert(fd, address);
        true
    }

    fn leave(&mut self, fd: RawFd) {
        let Some(address) = self.addresses.remove(&fd) else { return };
        if let Some(count) = self.counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }
}

/// Buffers of one worker. The lock is for workers that are stolen from, and plain threads.
#[derive(Default)]
#[repr(align(64))]
#[expect(clippy::vec_box, reason = "a connection has the box itself")]
struct Pool(parking_lot::Mutex<Vec<Box<Buffer>>>);

/// The buffers of a server, by worker.
struct Pools(Box<[Pool]>);

impl Pools {
    fn here(&self) -> &Pool {
        &self.0[worker_index().unwrap_or(0) % self.0.len()]
    }

    fn lend(&self) -> Box<Buffer> {
        let pooled = self.here().0.lock().pop();
        pooled.unwrap_or_else(|| Box::new(Buffer::with(vec![0; BUFFER].into_boxed_slice())))
    }

    /// Sees to it that the connection has a buffer with room, and returns it.
    fn lend_to<'a>(&self, buffer: &'a mut Option<Box<Buffer>>) -> &'a mut Buffer {
        if buffer.as_ref().is_none_or(|buffer| buffer.bytes.len() < BUFFER) {
            let mut lent = self.lend();
            if let Some(small) = buffer {
                let unread = small.unread();
                lent.bytes[..unread.len()].copy_from_slice(unread);
                lent.end = unread.len();
            }
            *buffer = Some(lent);
        }
        buffer.as_deref_mut().expect("just lent, if there was none")
    }

    fn take_back(&self, mut buffer: Box<Buffer>) {
        // One that has grown is freed, as is one that a connection had while it waited.
        if buffer.bytes.len() != BUFFER {
            return;
        }
        buffer.clear();
        let mut pool = self.here().0.lock();
        if pool.len() < POOLED {
            pool.push(buffer);
        }
    }
}

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

/// Bytes that were read ahead: in a buffer of a pool, or, while the connection waits, in one of their size.
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// For the next run: when the client began to send the request that these bytes begin.
    began: Option<Instant>,
    /// For the next run: it follows at once.
    at_once: bool,
}

impl Buffer {
    fn with(bytes: Box<[u8]>) -> Buffer {
        Buffer { bytes, start: 0, end: 0, began: None, at_once: false }
    }

    fn clear(&mut self) {
        (self.start, self.end, self.began, self.at_once) = (0, 0, None, false);
    }

    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The unread bytes alone.
    fn compact(&self) -> Box<Buffer> {
        let (bytes, end, began) = (self.unread().into(), self.end - self.start, self.began);
        Box::new(Buffer { end, began, ..Buffer::with(bytes) })
    }

    /// Makes room behind the unread bytes, and returns where the room ends: there are no more than
    /// `max_unread` then.
    fn make_room(&mut self, max_unread: usize) -> usize {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.bytes.len() {
            let unread = self.end - self.start;
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
            } else {
                let mut grown = vec![0; (2 * unread).max(BUFFER)];
                grown[..unread].copy_from_slice(self.unread());
                self.bytes = grown.into_boxed_slice();
            }
            (self.start, self.end) = (0, unread);
        }
        self.start.saturating_add(max_unread).min(self.bytes.len())
    }
}

/// What holds for one run of the handler.
struct Run {
    why: Why,
    /// The stream has ended.
    ended: bool,
    /// Bytes were consumed or filled in since the handler began.
    progress: bool,
    consumed: bool,
    /// It is a run at once, for the unread bytes of the last run, and has consumed nothing so far: `fill`
    /// does not wait.
    at_once: bool,
    /// The handler has tried to receive.
    has_read: bool,
    /// What a receive of fewer bytes than there is room for means.
    short: Short,
    /// When the client began to send the present request.
    began: Option<Instant>,
    read_deadline: Option<Instant>,
    write_limit: Option<Duration>,
    max_unread: usize,
}

impl Run {
    fn note_consumed(&mut self, amount: usize) {
        if amount > 0 {
            (self.consumed, self.progress) = (true, true);
            // What was consumed must not be lost by an error of `fill`, so that waits from now on.
            self.at_once = false;
        }
    }
}

/// A connection, as the handler of [`serve`] sees it.
///
/// It reads and writes as [`TcpStream`](super::TcpStream) does, and parks while a call would block. The bytes
/// that [`fill`](Self::fill) and [`BufRead`] have read ahead come first in each read. `S` is what the server
/// keeps for the connection between two runs of the handler.
///
/// # Examples
///
/// A server that answers each line with its number:
///
/// ```
/// use std::io::{self, BufRead, BufReader, Write};
/// use std::time::Duration;
/// use sward::net::{Conn, Next, ServeOptions, TcpListener, TcpStream, serve};
///
/// fn answer(conn: &mut Conn<u64>) -> io::Result<Next> {
///     let Some(end) = conn.buffer().iter().position(|byte| *byte == b'\n') else {
///         // Not a whole line yet. `fill` takes what there is; the end of the stream closes the connection.
///         return conn.fill().map(|_| Next::Idle);
///     };
///     conn.consume(end + 1);
///     *conn.state() += 1;
///     let number = *conn.state();
///     writeln!(conn, "{number}")?;
///     Ok(Next::Idle)
/// }
///
/// sward::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut client = TcpStream::connect(listener.local_addr()?)?;
///     let options = ServeOptions::new();
///     let handle = options.handle();
///     let server = sward::spawn(|| serve(listener, options, answer));
///     client.write_all(b"one\ntwo\n")?;
///     let mut answers = String::new();
///     let mut reader = BufReader::new(&client);
///     reader.read_line(&mut answers)?;
///     reader.read_line(&mut answers)?;
///     assert_eq!(answers, "1\n2\n");
///     handle.shutdown(Duration::ZERO);
///     server.join().unwrap()
/// })
/// # .unwrap();
/// ```
pub struct Conn<'a, S = ()> {
    inner: &'a mut Inner<S>,
    run: Run,
    pools: &'a Pools,
    active: &'a Active<'a>,
}

/// What a connection consists of, also while it is idle. No handler can move it: what a handler has is bound
/// to its run by a lifetime.
struct Inner<S> {
    /// Taken out once, by the destructor.
    source: ManuallyDrop<Source>,
    /// The bytes that were read ahead, if there are any. A buffer with room, if this run has asked for one.
    buffer: Option<Box<Buffer>>,
    state: S,
}

impl<S> Conn<'_, S> {
    /// The state of the connection.
    pub fn state(&mut self) -> &mut S {
        &mut self.inner.state
    }

    /// Why the handler runs.
    pub fn why(&self) -> Why {
        self.run.why
    }

    /// Whether the server is being shut down: the connection is closed when the handler returns.
    pub fn is_draining(&self) -> bool {
        !self.active.host.is_open()
    }

    /// The bytes that were read ahead, and not yet consumed. Does not park.
    pub fn buffer(&self) -> &[u8] {
        self.inner.buffer.as_deref().map_or(&[], Buffer::unread)
    }

    /// Reads more into the [`buffer`](Self::buffer), behind what it has, and returns how many bytes. Parks
    /// until there are some. Zero is the end of the stream.
    ///
    /// The first call in a run takes a buffer of 16 KiB from a pool of the worker. A handler that reads with
    /// a buffer of its own needs none.
    ///
    /// If the last run has left unread bytes, of which it had filled in or consumed some, this run follows at
    /// once, and may find a whole request in the buffer. Then, until the run has consumed something, this
    /// does not park, but fails with `WouldBlock` if there are no more bytes yet. A handler that returns this
    /// error waits as with [`Next::Idle`], so `conn.fill()?` is right in both cases.
    ///
    /// # Errors
    ///
    /// `WouldBlock` as said above. `InvalidData` if there are [`max_unread`](ServeOptions::max_unread) bytes
    /// already; otherwise those of a read.
    pub fn fill(&mut self) -> io::Result<usize> {
        let Conn { inner, run, pools, .. } = self;
        let Inner { source, buffer, .. } = &mut **inner;
        if buffer.as_ref().is_some_and(|buffer| buffer.unread().len() >= run.max_unread) {
            return Err(io::Error::new(ErrorKind::InvalidData, "too many bytes without a whole request"));
        }
        let buffer = pools.lend_to(buffer);
        let room = buffer.make_room(run.max_unread);
        run.has_read = true;
        let place = &mut buffer.bytes[buffer.end..room];
        let n = match run.at_once {
            true => receive_at_once(source, place, run.short)?,
            false => receive(source, place, run.short, run.read_deadline)?,
        };
        buffer.end += n;
        run.progress |= n > 0;
        run.ended |= n == 0;
        Ok(n)
    }

    /// The address of the peer.
    ///
    /// # Errors
    ///
    /// As `getpeername(2)`: `NotConnected` if the connection is gone. `InvalidInput` for a connection of a
    /// Unix listener.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        name(self.inner.source.fd(), calls::getpeername)
    }

    /// The local address. `InvalidInput` for a connection of a Unix listener.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        name(self.inner.source.fd(), calls::getsockname)
    }

    /// Sets `TCP_NODELAY`, as [`std::net::TcpStream::set_nodelay`]. Connections inherit it from their
    /// listener: [`TcpSocket::set_nodelay`](super::TcpSocket::set_nodelay).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        set_option(self.inner.source.fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, libc::c_int::from(nodelay))
    }

    /// Shuts down reading, writing, or both, as [`std::net::TcpStream::shutdown`].
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        // SAFETY: the call takes no pointers.
        check(unsafe { calls::shutdown(self.inner.source.fd().as_raw_fd(), how) }).map(drop)
    }

    /// A handle with which any other coroutine or thread has the handler run, for instance to send what has
    /// happened elsewhere. Costs about 100 bytes as long as the connection lives.
    pub fn waker(&self) -> ConnWaker {
        ConnWaker { slot: self.active.waker() }
    }
}

fn receive_at_once(source: &Source, buf: &mut [u8], short: Short) -> io::Result<usize> {
    if !source.event(Direction::Read).is_set() {
        return Err(would_block());
    }
    receive(source, buf, short, Some(clock::now())).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => would_block(),
        _ => error,
    })
}

fn receive(source: &Source, buf: &mut [u8], short: Short, deadline: Option<Instant>) -> io::Result<usize> {
    let len = buf.len().min(MAX_LEN);
    if len == 0 {
        return Ok(0);
    }
    let received = perform(source, Direction::Read, WaitReason::Read, deadline, |fd| {
        // SAFETY: the buffer has room for `len` bytes.
        let got = nonblocking(|| unsafe { calls::recv(fd, buf.as_mut_ptr().cast(), len, sys::RECV) })?;
        Ok(match got.map(|n| n as usize) {
            None => Attempt::WouldBlock,
            // Zero bytes are the end of the stream, where each call returns at once.
            Some(n) if n > 0 && n < len && short == Short::Drained => Attempt::Drained(n),
            Some(n) => Attempt::Done(n),
        })
    });
    received.map_err(timed_out)
}

fn timed_out(error: PerformError) -> io::Error {
    match error {
        PerformError::TimedOut => io::Error::new(ErrorKind::TimedOut, "the limit for the client has passed"),
        PerformError::Failed(error) => error,
    }
}

impl<S> Read for Conn<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Conn { inner, run, .. } = self;
        if let Some(buffer) = inner.buffer.as_deref_mut().filter(|buffer| !buffer.is_empty()) {
            let n = buffer.unread().read(buf)?;
            buffer.start += n;
            run.note_consumed(n);
            return Ok(n);
        }
        run.has_read = true;
        let n = receive(&inner.source, buf, run.short, run.read_deadline)?;
        if n == 0 && !buf.is_empty() {
            run.ended = true;
        }
        Ok(n)
    }
}

/// Parks while there are no bytes. The buffer has room for 16 KiB.
impl<S> BufRead for Conn<'_, S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffer().is_empty() {
            self.fill()?;
        }
        Ok(self.buffer())
    }

    fn consume(&mut self, amount: usize) {
        let Some(buffer) = self.inner.buffer.as_deref_mut() else { return };
        let amount = amount.min(buffer.unread().len());
        buffer.start += amount;
        self.run.note_consumed(amount);
    }
}

/// Each write is a `send`. Collect small ones, for instance in a `Vec`.
impl<S> Write for Conn<'_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = buf.len().min(MAX_LEN);
        if len == 0 {
            return Ok(0);
        }
        let (short, deadline) = (self.run.short, self.run.write_limit.and_then(deadline_after));
        let sent = perform(&self.inner.source, Direction::Write, WaitReason::Write, deadline, |fd| {
            // SAFETY: the buffer has `len` bytes.
            let put = nonblocking(|| unsafe { calls::send(fd, buf.as_ptr().cast(), len, sys::SEND) })?;
            Ok(match put.map(|n| n as usize) {
                None => Attempt::WouldBlock,
                Some(n) if n < len && short == Short::Drained => Attempt::Drained(n),
                Some(n) => Attempt::Done(n),
            })
        });
        sent.map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S> AsFd for Conn<'_, S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.source.fd()
    }
}

impl<S: fmt::Debug> fmt::Debug for Conn<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Conn");
        if let Ok(peer) = self.peer_addr() {
            out.field("peer", &peer);
        }
        out.field("state", &self.inner.state).finish_non_exhaustive()
    }
}

impl<S> Drop for Inner<S> {
    fn drop(&mut self) {
        // SAFETY: a destructor runs once, and nothing else takes the source.
        let source = unsafe { ManuallyDrop::take(&mut self.source) };
        if linger::would_block_worker(source.fd()) {
            linger::close(source.into_fd());
        }
    }
}

/// Wakes a connection by hand: see [`Conn::waker`].
#[derive(Clone)]
pub struct ConnWaker {
    slot: Arc<WakerSlot>,
}

impl ConnWaker {
    /// Has the handler run, with [`Why::Woken`]: at once if the connection is idle, otherwise once the
    /// present run has returned [`Next::Idle`]. Several calls may cause one run, but the handler begins to
    /// run after each of them. Does nothing if the connection has ended. Does not park.
    pub fn wake(&self) {
        self.slot.wake();
    }
}

impl fmt::Debug for ConnWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnWaker").finish_non_exhaustive()
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
        let run = self.inner.begin(server, active.why);
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

impl<S> Inner<S> {
    /// A run of the handler begins.
    fn begin<F>(&mut self, server: &Server<S, F>, why: Why) -> Run {
        let limits = &server.limits;
        let (mut began, mut at_once) = (None, false);
        if let Some(buffer) = &mut self.buffer {
            (began, at_once) = (buffer.began, mem::take(&mut buffer.at_once));
        }
        let read_deadline = match limits.request {
            // A read that would wait fails at once.
            _ if why == Why::Limit => Some(clock::now()),
            None => None,
            Some(limit) => began.get_or_insert_with(clock::now).checked_add(limit),
        };
        Run {
            why,
            ended: false,
            progress: false,
            consumed: false,
            at_once,
            has_read: false,
            short: server.short,
            began,
            read_deadline,
            write_limit: limits.write,
            max_unread: limits.unread,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn pools() -> Pools {
        Pools((0..2).map(|_| Pool::default()).collect())
    }

    fn waiting(bytes: &[u8]) -> Box<Buffer> {
        Box::new(Buffer { end: bytes.len(), ..Buffer::with(bytes.into()) })
    }

    #[test]
    fn a_buffer_is_lent_with_what_the_connection_has_kept() {
        let pools = pools();
        let mut buffer = Some(waiting(b"GET "));
        let lent = pools.lend_to(&mut buffer);
        assert_eq!((lent.unread(), lent.bytes.len()), (&b"GET "[..], BUFFER));
        let address = lent.bytes.as_ptr();
        assert_eq!(pools.lend_to(&mut buffer).bytes.as_ptr(), address, "it has room already");
        pools.take_back(buffer.take().expect("lent above"));
        let again = pools.lend_to(&mut buffer);
        assert_eq!((again.unread(), again.bytes.as_ptr()), (&b""[..], address));
    }

    #[test]
    fn a_pool_keeps_a_few_buffers_of_its_size() {
        let pools = pools();
        pools.take_back(waiting(b"GET "));
        pools.take_back(waiting(&[0; BUFFER + 1]));
        assert!(pools.here().0.lock().is_empty());
        let lent: Vec<_> = (0..2 * POOLED).map(|_| pools.lend()).collect();
        lent.into_iter().for_each(|buffer| pools.take_back(buffer));
        assert_eq!(pools.here().0.lock().len(), POOLED);
    }

    #[test]
    fn room_is_made_behind_the_unread_bytes() {
        let mut buffer = waiting(b"abcdef");
        buffer.start = 4;
        assert_eq!(buffer.make_room(4), 4, "no more than may be unread");
        assert_eq!(buffer.unread(), b"ef");
        buffer.end = buffer.bytes.len();
        let end = buffer.make_room(usize::MAX);
        assert_eq!((&buffer.unread()[..2], end), (&b"ef"[..], BUFFER));
        buffer.start = buffer.end;
        assert_eq!((buffer.make_room(usize::MAX), buffer.unread()), (BUFFER, &b""[..]));
    }
}
