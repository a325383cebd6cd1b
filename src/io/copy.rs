//! Copying a stream to its end, in one direction or in both.
//!
//! The bytes go through a buffer. (Rejected: `splice(2)`, which leaves them in the kernel. Measured over
//! loopback, a GiB costs the machine 0.7 s of processor time either way, and `splice` takes two pipes for
//! each connection.) A large buffer does help, so the buffer grows if a stream fills it.

use super::shared::{By, ReadShared, WriteShared};
use crate::base::clock;
use crate::base::sys::{calls, check};
use crate::channel::{Receiver, RecvTimeoutError, bounded};
use crate::task::{as_file_operation, try_scope};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The size of the buffer at first. It is small, since most of many connections are idle.
const FIRST_BUFFER: usize = 8 << 10;

/// The size beyond which a larger buffer gains nothing.
const LARGEST_BUFFER: usize = 256 << 10;

/// Copies everything from the reader to the writer, and returns the number of bytes: [`std::io::copy`] with a
/// buffer that grows up to 256 KiB if the reader fills it. Parks if the reader or the writer does.
///
/// # Errors
///
/// The first error of the reader or the writer, except `Interrupted`, after which the copying goes on. What
/// was read and not yet written is lost.
///
/// # Cancellation
///
/// The coroutine unwinds out of the reader or the writer. What was read and not yet written is lost.
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// sward::run(|| {
///     let (mut reader, mut writer) = sward::io::pipe()?;
///     let copying = sward::spawn(move || {
///         let mut all = Vec::new();
///         sward::io::copy(&mut reader, &mut all).map(|count| (count, all))
///     });
///     writer.write_all(b"hello")?;
///     drop(writer);
///     assert_eq!(copying.join().unwrap()?, (5, b"hello".to_vec()));
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn copy<R: Read + ?Sized, W: Write + ?Sized>(reader: &mut R, writer: &mut W) -> io::Result<u64> {
    copy_with(reader, writer, LARGEST_BUFFER)
}

fn copy_with<R: Read + ?Sized, W: Write + ?Sized>(
    reader: &mut R,
    writer: &mut W,
    largest_buffer: usize,
) -> io::Result<u64> {
    let mut buffer = vec![0; FIRST_BUFFER.min(largest_buffer)];
    let mut total = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        writer.write_all(&buffer[..count])?;
        total += count as u64;
        if count == buffer.len() && count < largest_buffer {
            buffer = vec![0; (count * 4).min(largest_buffer)];
        }
    }
}

/// A stream that can end its sending direction and still receive. As Go's `CloseWrite`.
///
/// Every type with a descriptor implements it, which works for sockets. Implement it for streams that are
/// built on sockets and have no descriptor.
pub trait CloseWrite {
    /// Ends the sending direction. The peer then reads the end of the stream.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone.
    fn close_write(&self) -> io::Result<()>;
}

/// Calls `shutdown(2)`, which fails if the descriptor is not a socket.
impl<T: AsFd> CloseWrite for T {
    fn close_write(&self) -> io::Result<()> {
        // SAFETY: the call takes no pointers.
        check(unsafe { calls::shutdown(self.as_fd().as_raw_fd(), libc::SHUT_WR) }).map(drop)
    }
}

/// Copies both ways between two streams until both have ended. Returns the number of bytes from `a` to `b`,
/// and from `b` to `a`. Parks. [`CopyBidirectional`] has settings: an idle limit, which a proxy needs, and
/// the size of the buffers.
///
/// When one stream ends, [`close_write`](CloseWrite::close_write) passes the end on to the other one, and the
/// opposite direction goes on. Two coroutines copy, one for each direction. On a plain thread these run in
/// the default runtime, as with [`scope`](crate::scope).
///
/// # Errors
///
/// The first error in either direction, which ends the other direction as well. What was read and not yet
/// written is lost. A timeout of a stream counts as an error of the stream.
///
/// If the peer of one stream has reset it, the error is `ConnectionReset`. Dropping the other stream then
/// looks to its peer like the normal end of the data. A proxy that has to pass the reset on calls
/// [`TcpStream::set_linger`](crate::net::TcpStream::set_linger) with a duration of zero before the drop.
///
/// # Cancellation
///
/// Both directions are cancelled, and then the caller unwinds. The streams stay open.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use sward::net::{Shutdown, UnixStream};
///
/// sward::run(|| {
///     let (mut client, a) = UnixStream::pair()?;
///     let (b, mut server) = UnixStream::pair()?;
///     let proxy = sward::spawn(move || sward::io::copy_bidirectional(&a, &b));
///     client.write_all(b"question")?;
///     client.shutdown(Shutdown::Write)?;
///     let mut question = String::new();
///     server.read_to_string(&mut question)?;
///     server.write_all(b"answer")?;
///     drop(server);
///     let mut answer = String::new();
///     client.read_to_string(&mut answer)?;
///     assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
///     assert_eq!(proxy.join().unwrap()?, (8, 6));
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn copy_bidirectional<A, B>(a: &A, b: &B) -> io::Result<(u64, u64)>
where
    A: ReadShared + WriteShared + CloseWrite + Sync,
    B: ReadShared + WriteShared + CloseWrite + Sync,
{
    CopyBidirectional::new().copy(a, b)
}

/// [`copy_bidirectional`] with settings. Use it in a proxy: without an idle limit, two silent peers keep
/// their connections for ever.
///
/// # Examples
///
/// ```
/// use std::io::{ErrorKind, Read, Write};
/// use std::time::Duration;
/// use sward::io::{CopyBidirectional, CopyIdle};
/// use sward::net::UnixStream;
///
/// sward::run(|| {
///     let (mut client, a) = UnixStream::pair()?;
///     let (b, mut server) = UnixStream::pair()?;
///     let settings = CopyBidirectional::new().idle_timeout(Duration::from_millis(50));
///     let proxy = sward::spawn(move || settings.copy(&a, &b));
///     client.write_all(b"question")?;
///     server.read_exact(&mut [0; 8])?;
///     // Neither peer sends anything from now on.
///     let error = proxy.join().unwrap().unwrap_err();
///     assert_eq!(error.kind(), ErrorKind::TimedOut);
///     let idle = error.get_ref().and_then(|inner| inner.downcast_ref::<CopyIdle>()).unwrap();
///     assert_eq!((idle.a_to_b, idle.b_to_a), (8, 0));
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings copy nothing by themselves"]
pub struct CopyBidirectional {
    idle: Option<Duration>,
    largest_buffer: usize,
}

impl CopyBidirectional {
    /// No idle limit, and buffers that grow up to 256 KiB.
    pub const fn new() -> CopyBidirectional {
        CopyBidirectional { idle: None, largest_buffer: LARGEST_BUFFER }
    }

    /// Ends the copying once no byte was read or written in either direction for that long. A transfer in one
    /// direction renews the limit for both, so a download may go on although its client is silent. A duration
    /// that the clock cannot express means no limit.
    pub const fn idle_timeout(mut self, limit: Duration) -> CopyBidirectional {
        self.idle = Some(limit);
        self
    }

    /// Limits the buffer of each direction, to at least one byte. A buffer begins with 8 KiB, or with this
    /// limit if it is lower, and grows if the stream fills it.
    pub const fn buffer_size(mut self, bytes: usize) -> CopyBidirectional {
        self.largest_buffer = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// Copies both ways, as [`copy_bidirectional`] does.
    ///
    /// # Errors
    ///
    /// Those of [`copy_bidirectional`]. `TimedOut`, with a [`CopyIdle`] inside, if the idle limit is
    /// exceeded; both directions have ended by then, and the streams are open. With `panic = "abort"`, a
    /// direction that waits cannot be cancelled, so this error is returned only when that direction ends by
    /// itself.
    ///
    /// # Cancellation
    ///
    /// As [`copy_bidirectional`].
    pub fn copy<A, B>(&self, a: &A, b: &B) -> io::Result<(u64, u64)>
    where
        A: ReadShared + WriteShared + CloseWrite + Sync,
        B: ReadShared + WriteShared + CloseWrite + Sync,
    {
        as_file_operation(|| self.copy_until_cancelled(a, b))
    }

    fn copy_until_cancelled<A, B>(&self, a: &A, b: &B) -> io::Result<(u64, u64)>
    where
        A: ReadShared + WriteShared + CloseWrite + Sync,
        B: ReadShared + WriteShared + CloseWrite + Sync,
    {
        let largest = self.largest_buffer;
        let (mut there, mut back) = (0, 0);
        let Some(limit) = self.idle else {
            // Two coroutines, not one beside the caller: an error in either direction has to end the other
            // direction's wait.
            try_scope(|s| {
                s.spawn(|| one_way(By(a), By(b), b, largest).map(|count| there = count));
                s.spawn(|| one_way(By(b), By(a), a, largest).map(|count| back = count));
                Ok::<(), io::Error>(())
            })?;
            return Ok((there, back));
        };
        let activity = Activity::new();
        // Nobody sends: the channel disconnects once both directions have dropped their ends.
        let (running, ended) = bounded::<()>(1);
        let done = try_scope(|s| {
            let (running_there, running_back) = (running.clone(), running);
            let (activity, there, back) = (&activity, &mut there, &mut back);
            s.spawn(move || {
                let _running = running_there;
                let reader = Tracked { stream: By(a), activity, written: None };
                let writer = Tracked { stream: By(b), activity, written: Some(&activity.there) };
                one_way(reader, writer, b, largest).map(|count| *there = count).map_err(Cause::Failed)
            });
            s.spawn(move || {
                let _running = running_back;
                let reader = Tracked { stream: By(b), activity, written: None };
                let writer = Tracked { stream: By(a), activity, written: Some(&activity.back) };
                one_way(reader, writer, a, largest).map(|count| *back = count).map_err(Cause::Failed)
            });
            activity.watch(limit, &ended)
        });
        match done {
            Ok(()) => Ok((there, back)),
            Err(Cause::Failed(error)) => Err(error),
            // Both directions have ended, so what they have written is counted.
            Err(Cause::Idle) => Err(io::Error::new(ErrorKind::TimedOut, activity.copied())),
        }
    }
}

impl Default for CopyBidirectional {
    fn default() -> CopyBidirectional {
        CopyBidirectional::new()
    }
}

/// The inner error of a [`CopyBidirectional`] that has exceeded its idle limit: how much was copied until
/// then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyIdle {
    /// The bytes that were written to the second stream.
    pub a_to_b: u64,
    /// The bytes that were written to the first stream.
    pub b_to_a: u64,
}

impl fmt::Display for CopyIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CopyIdle { a_to_b, b_to_a } = self;
        write!(f, "nothing was copied for too long, after {a_to_b} bytes one way and {b_to_a} the other")
    }
}

impl std::error::Error for CopyIdle {}

/// Why copying has ended early.
enum Cause {
    /// The idle limit is exceeded.
    Idle,
    /// The first error of a direction.
    Failed(io::Error),
}

/// What the two directions have done so far. `Relaxed` is enough: the numbers are independent of each other,
/// and the watcher reads them again after each wait.
struct Activity {
    begun: Instant,
    /// The time of the last transfer, in nanoseconds after `begun`.
    last: AtomicU64,
    /// How many bytes were written to the second stream.
    there: AtomicU64,
    /// And to the first.
    back: AtomicU64,
}

impl Activity {
    fn new() -> Activity {
        let zero = || AtomicU64::new(0);
        Activity { begun: clock::now(), last: zero(), there: zero(), back: zero() }
    }

    fn renew(&self) {
        let now = u64::try_from(clock::since(self.begun).as_nanos()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// When the idle limit ends the copying unless a transfer renews it; `None` for never.
    fn ends(&self, limit: Duration) -> Option<Instant> {
        let last = self.begun.checked_add(Duration::from_nanos(self.last.load(Ordering::Relaxed)))?;
        last.checked_add(limit)
    }

    /// Waits until both directions have ended, or until the limit is exceeded.
    fn watch(&self, limit: Duration, ended: &Receiver<()>) -> Result<(), Cause> {
        loop {
            let Some(ends) = self.ends(limit) else { return Ok(()) };
            match ended.recv_deadline(ends) {
                Err(RecvTimeoutError::Timeout) if self.ends(limit) == Some(ends) => return Err(Cause::Idle),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// How much was copied. A direction that still runs may have written more.
    fn copied(&self) -> CopyIdle {
        CopyIdle { a_to_b: self.there.load(Ordering::Relaxed), b_to_a: self.back.load(Ordering::Relaxed) }
    }
}

/// A stream whose transfers renew the limit. Bytes that are written are counted as well.
struct Tracked<'a, S> {
    stream: S,
    activity: &'a Activity,
    written: Option<&'a AtomicU64>,
}

impl<S: Read> Read for Tracked<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buf)?;
        self.activity.renew();
        Ok(count)
    }
}

impl<S: Write> Write for Tracked<'_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(buf)?;
        self.activity.renew();
        if let Some(written) = self.written {
            written.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Copies until the stream ends, and passes the end on.
fn one_way<B: CloseWrite>(
    mut from: impl Read,
    mut to: impl Write,
    target: &B,
    largest_buffer: usize,
) -> io::Result<u64> {
    let count = copy_with(&mut from, &mut to, largest_buffer)?;
    match target.close_write() {
        // The connection is gone. The opposite direction finds out by itself.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(count),
        done => done.map(|()| count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_transfer_counts_for_the_limit() {
        let activity = Activity::new();
        let second = Duration::from_secs(1);
        assert_eq!(activity.ends(second), Some(activity.begun + second));
        activity.renew();
        let renewed = activity.ends(second).expect("a time");
        assert!(renewed > activity.begun + second);
        // An older time that is recorded late does not shorten the limit.
        activity.last.fetch_max(0, Ordering::Relaxed);
        assert_eq!(activity.ends(second), Some(renewed));
        assert_eq!(activity.ends(Duration::MAX), None);
    }
}
