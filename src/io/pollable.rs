//! Waiting for a descriptor of any kind.
//!
//! What is waited for is a duplicate of the descriptor: it stays what it is whatever `T` does, and stays open
//! for as long as somebody waits. Invariant: the open file is non-blocking from `new` until the end.

use super::{ReadShared, WriteShared};
use crate::base::sys::set_nonblocking;
use crate::coroutine::WaitReason;
use crate::descriptor::{Attempt, OpenFile, deadline_after};
use crate::netpoll::{Direction, Source};
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::time::{Duration, Instant};

/// A descriptor that coroutines can wait for, of any kind that the system can tell the readiness of: a pipe,
/// a terminal or serial line, an `eventfd`, `timerfd` or `inotify`, a socket of another crate.
///
/// It reads and writes through [`read_with`](Self::read_with) and [`write_with`](Self::write_with), which
/// make a call again and again until it does not fail with `WouldBlock`, and park in between. Where `&T`
/// has [`Read`] and [`Write`], so has this. A call that would block parks the calling coroutine; on a plain
/// thread it blocks the thread. Any number of them may read and write at once, through
/// `&Pollable` or an [`Arc`](std::sync::Arc).
///
/// The open file is non-blocking for as long as this lives, for all duplicates, be they in other processes.
/// Afterwards it is what it was before. Two of these at once for one open file would therefore disturb each
/// other. One takes a descriptor beside that of `T`.
///
/// # Errors
///
/// Those of `T`. A read or write that exceeds its timeout fails with `WouldBlock`. After
/// [`close`](Self::close), `NotConnected`. What cannot be waited for after all, such as `/dev/null`, fails
/// with `PermissionDenied` once a coroutine has to wait for it. Once the runtime has shut down, a call that
/// would have to wait fails.
///
/// # Cancellation
///
/// A coroutine that is cancelled while parked here unwinds, and nothing is lost: it is parked only
/// between the calls.
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

/// The duplicate. When it is dropped, the file gets its mode back.
#[derive(Debug)]
struct Watched {
    file: OpenFile,
    was_nonblocking: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.was_nonblocking {
            // There is nobody to tell, and setting the mode has worked before.
            let _ = set_nonblocking(self.file.fd(), false);
        }
    }
}

/// An attempt on its way: if it unwinds, those who wait find out for themselves what it has left.
struct Unfinished<'a> {
    file: &'a OpenFile,
    direction: Direction,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.file.retry_next(self.direction);
    }
}

impl<T: AsFd> Pollable<T> {
    /// Makes the open file non-blocking, and a descriptor to wait for. Does not park.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for files, directories and disks: these are always ready, and reading them blocks the
    /// thread all the same. Otherwise those of `fcntl(2)`: no descriptor was free.
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
    /// Gives back what it was made of, in the mode that it had: blocking, unless it was non-blocking before.
    /// Does not park.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::io::Pollable;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let reader: std::io::PipeReader = Pollable::new(reader)?.into_inner();
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn into_inner(self) -> T {
        drop(self.watched);
        self.inner
    }

    /// What it was made of. Does not park.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::io::Pollable;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let pollable = Pollable::new(reader)?;
    /// let _: &std::io::PipeReader = pollable.get_ref();
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// What it was made of, for a `T` that reads and writes through `&mut T` only. Does not park.
    ///
    /// What is waited for stays the descriptor that `T` had at first.
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

    /// Waits until it is readable, at its end, or in error. Parks.
    ///
    /// Another who reads may be faster: what is non-blocking may still fail with `WouldBlock` then.
    ///
    /// # Errors
    ///
    /// See the type. No timeout ends it.
    ///
    /// # Cancellation
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use sward::io::Pollable;
    ///
    /// sward::run(|| {
    ///     let (reader, mut writer) = std::io::pipe()?;
    ///     let pollable = Pollable::new(reader)?;
    ///     writer.write_all(b"x")?;
    ///     pollable.readable()
    /// })
    /// # .unwrap();
    /// ```
    pub fn readable(&self) -> io::Result<()> {
        self.ready(Direction::Read, WaitReason::Readable, None)
    }

    /// As [`readable`](Self::readable), for that time at most.
    ///
    /// # Errors
    ///
    /// `TimedOut` after that time, and see the type.
    ///
    /// # Cancellation
    ///
    /// See the type.
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

    /// Waits until it is writable, or in error. Parks.
    ///
    /// Another who writes may be faster: what is non-blocking may still fail with `WouldBlock` then.
    ///
    /// # Errors
    ///
    /// See the type. No timeout ends it.
    ///
    /// # Cancellation
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::io::Pollable;
    ///
    /// sward::run(|| {
    ///     let (_reader, writer) = std::io::pipe()?;
    ///     Pollable::new(writer)?.writable()
    /// })
    /// # .unwrap();
    /// ```
    pub fn writable(&self) -> io::Result<()> {
        self.ready(Direction::Write, WaitReason::Writable, None)
    }

    /// As [`writable`](Self::writable), for that time at most.
    ///
    /// # Errors
    ///
    /// `TimedOut` after that time, and see the type.
    ///
    /// # Cancellation
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::io::Pollable;
    ///
    /// sward::run(|| {
    ///     let (_reader, writer) = std::io::pipe()?;
    ///     Pollable::new(writer)?.writable_timeout(std::time::Duration::from_secs(10))
    /// })
    /// # .unwrap();
    /// ```
    pub fn writable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.ready(Direction::Write, WaitReason::Writable, deadline_after(timeout))
    }

    fn ready(&self, direction: Direction, reason: WaitReason, deadline: Option<Instant>) -> io::Result<()> {
        Ok(self.watched.file.wait_ready_until(direction, reason, deadline)?)
    }

    /// Calls the closure until it does not fail with `WouldBlock`, and gives what it gives. Parks in between,
    /// until there is something to read.
    ///
    /// The closure makes one non-blocking call that reads. `WouldBlock` must be that call's own: for any
    /// other, the coroutine might wait in vain, and a plain thread would spin.
    ///
    /// # Errors
    ///
    /// The closure's, `Interrupted` included; `WouldBlock` after the
    /// [timeout](Self::set_read_timeout). See the type.
    ///
    /// # Panics
    ///
    /// If the closure does.
    ///
    /// # Cancellation
    ///
    /// See the type.
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

    /// Calls the closure until it does not fail with `WouldBlock`, and gives what it gives. Parks in between,
    /// until there is room to write.
    ///
    /// The closure makes one non-blocking call that writes, as with [`read_with`](Self::read_with).
    ///
    /// # Errors
    ///
    /// The closure's, `Interrupted` included; `WouldBlock` after the
    /// [timeout](Self::set_write_timeout). See the type.
    ///
    /// # Panics
    ///
    /// If the closure does.
    ///
    /// # Cancellation
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    /// use sward::io::Pollable;
    ///
    /// sward::run(|| {
    ///     let (_reader, writer) = std::io::pipe()?;
    ///     let pollable = Pollable::new(writer)?;
    ///     assert_eq!(pollable.write_with(|mut writer| writer.write(b"hello"))?, 5);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
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
            let unfinished = Unfinished { file, direction };
            let result = f(&self.inner);
            mem::forget(unfinished);
            match result {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Attempt::WouldBlock),
                result => result.map(Attempt::Done),
            }
        })
    }

    /// Sets the longest that a read waits; `None` is for ever. It holds for the next call on. Does not park.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is zero.
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

    /// Sets the longest that a write waits; `None` is for ever. It holds for the next call on. Does not park.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::io::Pollable;
    ///
    /// let (_reader, writer) = std::io::pipe()?;
    /// let pollable = Pollable::new(writer)?;
    /// let limit = Some(std::time::Duration::from_secs(1));
    /// pollable.set_write_timeout(limit)?;
    /// assert_eq!(pollable.write_timeout()?, limit);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.watched.file.set_timeout(Direction::Write, timeout)
    }

    /// The longest that a read waits. Does not park.
    ///
    /// # Errors
    ///
    /// None.
    ///
    /// # Examples
    ///
    /// ```
    /// let (reader, _writer) = std::io::pipe()?;
    /// assert_eq!(sward::io::Pollable::new(reader)?.read_timeout()?, None);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.watched.file.timeout(Direction::Read))
    }

    /// The longest that a write waits. Does not park.
    ///
    /// # Errors
    ///
    /// None.
    ///
    /// # Examples
    ///
    /// ```
    /// let (_reader, writer) = std::io::pipe()?;
    /// assert_eq!(sward::io::Pollable::new(writer)?.write_timeout()?, None);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.watched.file.timeout(Direction::Write))
    }

    /// Ends the waiting. Does not park.
    ///
    /// Whoever is parked or blocked in a call on it wakes with `NotConnected`, and so do all later calls.
    /// What it was made of stays open, and is not told.
    ///
    /// # Errors
    ///
    /// None at present.
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

/// The descriptor of what it was made of.
impl<T: AsFd> AsFd for Pollable<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// The descriptor of what it was made of.
impl<T: AsFd> AsRawFd for Pollable<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_fd().as_raw_fd()
    }
}
