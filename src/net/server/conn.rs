//! A connection, as the handler sees it: it reads and writes, and knows what holds for this run.

use super::buffers::{Buffer, Pools};
use super::options::Limits;
use crate::base::clock;
use crate::base::sys::{calls, check, nonblocking};
use crate::coroutine::WaitReason;
use crate::descriptor::{
    Active, Attempt, PerformError, WakerSlot, Why, deadline_after, perform, would_block,
};
use crate::net::options::set_option;
use crate::net::socket::{Short, name};
use crate::net::{Shutdown, SocketAddr, linger, sys};
use crate::netpoll::{Direction, Source};
use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most that one receive or send is asked for.
const MAX_LEN: usize = 1 << 30;

/// What holds for one run of the handler.
pub(super) struct Run {
    why: Why,
    /// The stream has ended.
    pub(super) ended: bool,
    /// Bytes were consumed or filled in since the handler began.
    pub(super) progress: bool,
    pub(super) consumed: bool,
    /// It is a run at once, for the unread bytes of the last run, and has consumed nothing so far: `fill`
    /// does not wait.
    pub(super) at_once: bool,
    /// The handler has tried to receive.
    pub(super) has_read: bool,
    /// What a receive of fewer bytes than there is room for means.
    short: Short,
    /// When the client began to send the present request.
    pub(super) began: Option<Instant>,
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

/// A connection, as the handler of [`serve`](super::serve()) sees it.
///
/// It reads and writes as [`TcpStream`](crate::net::TcpStream) does, and parks while a call would block.
/// The bytes that [`fill`](Self::fill) and [`BufRead`] have read ahead come first in each read. `S` is what
/// the server keeps for the connection between two runs of the handler.
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
    pub(super) inner: &'a mut Inner<S>,
    pub(super) run: Run,
    pub(super) pools: &'a Pools,
    pub(super) active: &'a Active<'a>,
}

/// What a connection consists of, also while it is idle. No handler can move it: what a handler has is bound
/// to its run by a lifetime.
pub(super) struct Inner<S> {
    /// Taken out once, by the destructor.
    pub(super) source: ManuallyDrop<Source>,
    /// The bytes that were read ahead, if there are any. A buffer with room, if this run has asked for one.
    pub(super) buffer: Option<Box<Buffer>>,
    pub(super) state: S,
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
    /// error waits as with [`Next::Idle`](super::Next::Idle), so `conn.fill()?` is right in both cases.
    ///
    /// # Errors
    ///
    /// `WouldBlock` as said above. `InvalidData` if there are
    /// [`max_unread`](super::ServeOptions::max_unread) bytes already; otherwise those of a read.
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
    /// listener: [`TcpSocket::set_nodelay`](crate::net::TcpSocket::set_nodelay).
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
    /// present run has returned [`Next::Idle`](super::Next::Idle). Several calls may cause one run, but the
    /// handler begins to run after each of them. Does nothing if the connection has ended. Does not park.
    pub fn wake(&self) {
        self.slot.wake();
    }
}

impl fmt::Debug for ConnWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnWaker").finish_non_exhaustive()
    }
}

impl<S> Inner<S> {
    /// A run of the handler begins.
    pub(super) fn begin(&mut self, limits: &Limits, short: Short, why: Why) -> Run {
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
            short,
            began,
            read_deadline,
            write_limit: limits.write,
            max_unread: limits.unread,
        }
    }
}
