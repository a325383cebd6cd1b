//! Waiting for a descriptor of any kind.
//!
//! The source has a duplicate of the descriptor. So it stays the same whatever `T` does, and stays open for
//! as long as somebody waits. Invariant: the open file is non-blocking from `new` until the drop.

use super::{ReadShared, WriteShared};
use crate::base::sys::set_nonblocking;
use crate::coroutine::WaitReason;
use crate::descriptor::{Attempt, OpenFile, WatchedFile, WatchedParts, deadline_after};
use crate::netpoll::{Direction, Source};
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A descriptor that coroutines can wait for, of any kind that the system can poll: a pipe, a terminal or
/// serial line, an `eventfd`, `timerfd` or `inotify`, a socket of another crate.
///
/// [`read_with`](Self::read_with) and [`write_with`](Self::write_with) make a call until it does not fail
/// with `WouldBlock`, and park between the attempts. If `&T` implements [`Read`] and [`Write`], so does
/// `Pollable<T>`. A call that would block parks the calling coroutine; on a plain thread it blocks the
/// thread. Any number of coroutines and threads may read and write at once, through `&Pollable` or an
/// [`Arc`](std::sync::Arc).
///
/// The open file is non-blocking for as long as the `Pollable` lives, for all duplicates of the descriptor,
/// even in other processes. Afterwards it has its former mode again. So do not use two of them at once for
/// one open file. Each takes one descriptor in addition to that of `T`.
///
/// # Errors
///
/// Those of `T`. `WouldBlock` if a read or write exceeds its timeout. `NotConnected` after
/// [`close`](Self::close). If the descriptor turns out not to be pollable, such as that of `/dev/null`,
/// `PermissionDenied` once a coroutine has to wait for it. Once the runtime has shut down, a call that would
/// have to wait fails.
///
/// # Cancellation
///
/// A coroutine that is cancelled while it is parked here unwinds. It parks only between the attempts, so
/// nothing is lost.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use sward::io::Pollable;
///
/// sward::run(|| {
///     let (reader, mut writer) = std::io::pipe()?;
///     let mut reader = Pollable::new(reader)?;
///     let parked = sward::spawn(move || {
///         let mut byte = [0];
///         reader.read_exact(&mut byte).map(|()| byte)
///     });
///     writer.write_all(b"x")?;
///     assert_eq!(parked.join().unwrap()?, *b"x");
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct Pollable<T> {
    watched: Watched,
    inner: T,
}

/// The duplicate. Dropping it restores the mode of the open file.
#[derive(Debug)]
struct Watched {
    file: OpenFile,
    was_nonblocking: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.was_nonblocking {
            // A destructor cannot report an error, and setting the mode has worked before.
            let _ = set_nonblocking(self.file.fd(), false);
        }
    }
}

/// Guards an attempt. If the attempt unwinds, the waiters try for themselves, since what it has left is
/// unknown. Forgotten if the attempt returns.
struct RetryOnUnwind<'a> {
    file: &'a OpenFile,
    direction: Direction,
}

impl Drop for RetryOnUnwind<'_> {
    fn drop(&mut self) {
        self.file.retry_next(self.direction);
    }
}

impl<T: AsFd> Pollable<T> {
    /// Makes the open file non-blocking, and duplicates the descriptor to wait for it. Does not park.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for files, directories and disks: these are always ready, and reading them blocks the
    /// thread all the same. Otherwise those of `fcntl(2)`: no descriptor is free.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::io::Pollable;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// Pollable::new(reader)?;
    /// let file = std::fs::File::open(std::env::current_exe()?)?;
    /// assert_eq!(Pollable::new(file).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn new(inner: T) -> io::Result<Pollable<T>> {
        let duplicate = File::from(inner.as_fd().try_clone_to_owned()?);
        let kind = duplicate.metadata()?.file_type();
        if kind.is_file() || kind.is_dir() || kind.is_block_device() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "files, directories and disks are always ready and cannot be waited for",
            ));
        }
        let was_nonblocking = set_nonblocking(duplicate.as_fd(), true)?;
        let file = OpenFile::new(Source::new_with_close_pipe(OwnedFd::from(duplicate)).selective());
        Ok(Pollable { watched: Watched { file, was_nonblocking }, inner })
    }
}

impl<T> Pollable<T> {
    /// Returns the inner value, and restores the mode of its open file. Does not park.
    pub fn into_inner(self) -> T {
        drop(self.watched);
        self.inner
    }

    /// The inner value. Does not park.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// The inner value, mutably, for a `T` that reads and writes only through `&mut T`. Does not park.
    ///
    /// The `Pollable` goes on waiting for the descriptor that `T` had in [`new`](Self::new).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use sward::io::Pollable;
    ///
    /// sward::run(|| {
    ///     let (reader, mut writer) = std::io::pipe()?;
    ///     let mut pollable = Pollable::new(reader)?;
    ///     writer.write_all(b"x")?;
    ///     pollable.readable()?;
    ///     assert_eq!(pollable.get_mut().read(&mut [0; 8])?, 1);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Waits until a read would not block: data has arrived, the stream has ended, or the descriptor is in
    /// error. Parks, whatever the timeout.
    ///
    /// Another reader may be faster, so a non-blocking read may still fail with `WouldBlock`. For the errors
    /// and a cancellation see the type.
    pub fn readable(&self) -> io::Result<()> {
        self.ready(Direction::Read, WaitReason::Readable, None)
    }

    /// As [`readable`](Self::readable), for that time at most. `TimedOut` after it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    /// use sward::io::Pollable;
    ///
    /// sward::run(|| {
    ///     let (reader, _writer) = std::io::pipe()?;
    ///     let pollable = Pollable::new(reader)?;
    ///     let error = pollable.readable_timeout(Duration::from_millis(1)).unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::TimedOut);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn readable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.ready(Direction::Read, WaitReason::Readable, deadline_after(timeout))
    }

    /// Waits until a write would not block: there is room, or the descriptor is in error. Parks, whatever the
    /// timeout.
    ///
    /// Another writer may be faster, so a non-blocking write may still fail with `WouldBlock`. For the errors
    /// and a cancellation see the type.
    pub fn writable(&self) -> io::Result<()> {
        self.ready(Direction::Write, WaitReason::Writable, None)
    }

    /// As [`writable`](Self::writable), for that time at most. `TimedOut` after it.
    pub fn writable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.ready(Direction::Write, WaitReason::Writable, deadline_after(timeout))
    }

    /// As [`readable`](Self::readable), for futures: `Pending` in place of the wait, and the task is woken
    /// when it is worth polling again. If several tasks poll it for one direction, the task that has polled
    /// last is woken. The waker is called on a worker, so it must not block. Does not park.
    ///
    /// A coroutine that polls what is always ready gets `Pending` now and then, and is woken at once, so that
    /// others go first. On a plain thread it fails if no runtime runs in the process.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched.file.poll_ready(Direction::Read, context)
    }

    /// As [`writable`](Self::writable), for futures; see [`poll_readable`](Self::poll_readable).
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched.file.poll_ready(Direction::Write, context)
    }

    fn ready(&self, direction: Direction, reason: WaitReason, deadline: Option<Instant>) -> io::Result<()> {
        Ok(self.watched.file.wait_ready_until(direction, reason, deadline)?)
    }

    /// Calls the closure until it does not fail with `WouldBlock`, and returns its result. Parks between the
    /// calls until there may be something to read.
    ///
    /// The closure makes one non-blocking call that reads. A `WouldBlock` must come from that call: after any
    /// other, the coroutine might wait for ever, and a plain thread would spin.
    ///
    /// # Errors
    ///
    /// The closure's, `Interrupted` included. `WouldBlock` after the [timeout](Self::set_read_timeout).
    /// Otherwise see the type.
    ///
    /// # Panics
    ///
    /// If the closure panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use sward::io::Pollable;
    ///
    /// sward::run(|| {
    ///     let (reader, mut writer) = std::io::pipe()?;
    ///     let pollable = Pollable::new(reader)?;
    ///     writer.write_all(b"x")?;
    ///     let mut byte = [0];
    ///     assert_eq!(pollable.read_with(|mut reader| reader.read(&mut byte))?, 1);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn read_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.perform(Direction::Read, WaitReason::PollableRead, f)
    }

    /// As [`read_with`](Self::read_with), for a closure that makes one non-blocking call that writes. Parks
    /// between the calls until there may be room. The timeout is that of
    /// [`set_write_timeout`](Self::set_write_timeout).
    pub fn write_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.perform(Direction::Write, WaitReason::PollableWrite, f)
    }

    fn perform<R>(
        &self,
        direction: Direction,
        reason: WaitReason,
        mut f: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let file = &self.watched.file;
        file.perform(direction, reason, |_| {
            let guard = RetryOnUnwind { file, direction };
            let result = f(&self.inner);
            mem::forget(guard);
            match result {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Attempt::WouldBlock),
                result => result.map(Attempt::Done),
            }
        })
    }

    /// Limits how long a read waits, from the next call on; `None` removes the limit. `InvalidInput` if the
    /// time is zero. Does not park.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use std::time::Duration;
    /// use sward::io::Pollable;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let mut pollable = Pollable::new(reader)?;
    /// pollable.set_read_timeout(Some(Duration::from_millis(1)))?;
    /// assert_eq!(pollable.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.watched.file.set_timeout(Direction::Read, timeout)
    }

    /// Limits how long a write waits. Otherwise as [`set_read_timeout`](Self::set_read_timeout).
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.watched.file.set_timeout(Direction::Write, timeout)
    }

    /// The limit that [`set_read_timeout`](Self::set_read_timeout) has set. Does not park, and does not fail.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.watched.file.timeout(Direction::Read))
    }

    /// The limit that [`set_write_timeout`](Self::set_write_timeout) has set. Does not park, and does not
    /// fail.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.watched.file.timeout(Direction::Write))
    }

    /// Ends all waits. Does not park, and does not fail.
    ///
    /// All calls on it that are parked or blocked fail with `NotConnected`, and so do all later calls. The
    /// inner value stays open and is not affected.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::sync::Arc;
    /// use sward::io::Pollable;
    ///
    /// sward::run(|| {
    ///     let (reader, _writer) = std::io::pipe()?;
    ///     let pollable = Arc::new(Pollable::new(reader)?);
    ///     let clone = pollable.clone();
    ///     let parked = sward::spawn(move || clone.readable());
    ///     sward::yield_now();
    ///     pollable.close()?;
    ///     assert_eq!(parked.join().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn close(&self) -> io::Result<()> {
        self.watched.file.close();
        Ok(())
    }
}

impl<T> WatchedParts for Pollable<T> {
    fn file(&self) -> Option<WatchedFile<'_>> {
        Some(WatchedFile::new(self.watched.file.source()))
    }
}

impl<T: ReadShared> Read for &Pollable<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(|inner| inner.read_shared(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.read_with(|inner| inner.read_vectored_shared(bufs))
    }
}

impl<T: WriteShared> Write for &Pollable<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_with(|inner| inner.write_shared(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_with(|inner| inner.write_vectored_shared(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_with(|inner| inner.flush_shared())
    }
}

impl<T: ReadShared> Read for Pollable<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl<T: WriteShared> Write for Pollable<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl<T: fmt::Debug> fmt::Debug for Pollable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pollable").field(&self.inner).finish()
    }
}

/// The descriptor of the inner value.
impl<T: AsFd> AsFd for Pollable<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// The descriptor of the inner value.
impl<T: AsFd> AsRawFd for Pollable<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_fd().as_raw_fd()
    }
}
