//! An open file whose calls wait, with the settings for its waits: the mode and the timeouts.
//!
//! Sockets, pipes and every other type with a descriptor are built on it. All handles to a file share one
//! [`OpenFile`], so each open file has one source, and a timeout that is set through one handle applies to
//! all.

use super::readiness::{Attempt, PerformError, perform, poll_ready, set_again};
use crate::base::clock;
use crate::coroutine::{Batch, WaitReason};
use crate::netpoll::{Direction, Source, is_ready};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// An open file whose calls wait.
#[derive(Debug)]
pub(crate) struct OpenFile {
    source: Source,
    /// Calls that would block fail instead. The user sets this with `set_nonblocking`; the descriptor's own
    /// mode is another matter.
    nonblocking: AtomicBool,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

// A panic leaves nothing half done in it: it consists of atomics, and of locks under which nothing panics.
// This makes sockets unwind safe, as std's are.
impl UnwindSafe for OpenFile {}
impl RefUnwindSafe for OpenFile {}

impl OpenFile {
    /// A file without timeouts.
    pub(crate) fn new(source: Source) -> OpenFile {
        OpenFile {
            source,
            nonblocking: AtomicBool::new(false),
            read_timeout: Timeout::none(),
            write_timeout: Timeout::none(),
        }
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.source.fd()
    }

    /// What its calls wait for.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Takes the descriptor out.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.source.into_fd()
    }

    /// Makes the call, and waits while it would block: not at all in non-blocking mode, otherwise until the
    /// timeout of the direction, if it has one. Either way the error is then `WouldBlock`, as for std's
    /// sockets on Unix.
    pub(crate) fn perform<T>(
        &self,
        direction: Direction,
        reason: WaitReason,
        attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
    ) -> io::Result<T> {
        let result = if self.is_nonblocking() {
            self.perform_once(attempt).map_err(PerformError::Failed)
        } else {
            perform(&self.source, direction, reason, self.deadline(direction), attempt)
        };
        result.map_err(|error| self.translate(error))
    }

    /// Waits until a call in that direction would not block, whatever the mode; `WouldBlock` after the
    /// timeout of the direction.
    pub(crate) fn wait_ready(&self, direction: Direction, reason: WaitReason) -> io::Result<()> {
        let deadline = self.deadline(direction);
        self.wait_ready_until(direction, reason, deadline).map_err(|error| self.translate(error))
    }

    /// As `wait_ready`, with a deadline in place of the timeout.
    pub(crate) fn wait_ready_until(
        &self,
        direction: Direction,
        reason: WaitReason,
        deadline: Option<Instant>,
    ) -> Result<(), PerformError> {
        self.perform_until(direction, reason, deadline, |_| {
            Ok(if is_ready(self.fd(), direction)? { Attempt::Done(()) } else { Attempt::WouldBlock })
        })
    }

    /// As `wait_ready`, for a future: its task is woken when it may be worth polling again.
    pub(crate) fn poll_ready(&self, direction: Direction, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_ready(&self.source, direction, context)
    }

    /// The error as std's types would return it.
    fn translate(&self, error: PerformError) -> io::Error {
        // A call that `close` has interrupted fails with some error of the kernel, which would mislead.
        if let Err(closed) = self.check_open() {
            return closed;
        }
        match error {
            PerformError::TimedOut => would_block(),
            PerformError::Failed(error) => error,
        }
    }

    fn perform_once<T>(&self, mut attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>) -> io::Result<T> {
        self.source.prepare()?;
        match attempt(self.fd().as_raw_fd())? {
            Attempt::Done(value) | Attempt::Drained(value) => Ok(value),
            Attempt::WouldBlock => Err(would_block()),
        }
    }

    /// As `perform`, with a deadline in place of the timeout, and whatever the mode.
    pub(crate) fn perform_until<T>(
        &self,
        direction: Direction,
        reason: WaitReason,
        deadline: Option<Instant>,
        attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
    ) -> Result<T, PerformError> {
        perform(&self.source, direction, reason, deadline, attempt)
    }

    /// Has the next call in that direction try before it waits, since the last attempt did not end.
    pub(crate) fn retry_next(&self, direction: Direction) {
        set_again(&self.source, direction);
    }

    /// Fails with `NotConnected` once `close` was called.
    pub(crate) fn check_open(&self) -> io::Result<()> {
        self.source.check_open()
    }

    /// Whether `close` was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.source.is_closed()
    }

    /// Wakes all waiters of the file, and makes its calls fail from now on.
    pub(crate) fn close(&self) {
        let mut batch = Batch::new();
        self.source.close(&mut batch);
        batch.wake();
    }

    /// Whether calls that would block fail instead.
    pub(crate) fn is_nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    /// Sets whether calls that would block fail instead. The descriptor's mode stays as it is.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// How long a call in that direction waits at most; `None` if there is no limit.
    pub(crate) fn timeout(&self, direction: Direction) -> Option<Duration> {
        self.timeout_of(direction).get()
    }

    /// Sets the timeout of that direction. `InvalidInput` if it is zero, as for std's types.
    pub(crate) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        self.timeout_of(direction).set(timeout)
    }

    /// The deadline of a call in that direction that begins now.
    pub(crate) fn deadline(&self, direction: Direction) -> Option<Instant> {
        self.timeout(direction).and_then(deadline_after)
    }

    fn timeout_of(&self, direction: Direction) -> &Timeout {
        match direction {
            Direction::Read => &self.read_timeout,
            Direction::Write => &self.write_timeout,
        }
    }
}

/// The timeout of one direction in nanoseconds. Zero means none.
#[derive(Debug)]
struct Timeout(AtomicU64);

impl Timeout {
    fn none() -> Timeout {
        Timeout(AtomicU64::new(0))
    }

    fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(zero_timeout());
        }
        let nanos = timeout.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

/// The time after that duration; `None` if the clock cannot express it.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    clock::now().checked_add(timeout)
}

/// The error for a timeout of zero, in std's words.
#[cold]
pub(crate) fn zero_timeout() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout")
}

/// The error of a call that would have to wait, in non-blocking mode or after its timeout.
#[cold]
pub(crate) fn would_block() -> io::Error {
    io::Error::from_raw_os_error(libc::EWOULDBLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_kept_to_the_nanosecond() {
        let timeout = Timeout::none();
        assert_eq!(timeout.get(), None);
        timeout.set(Some(Duration::from_nanos(1))).expect("set");
        assert_eq!(timeout.get(), Some(Duration::from_nanos(1)));
        assert_eq!(timeout.set(Some(Duration::ZERO)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(timeout.get(), Some(Duration::from_nanos(1)));
        timeout.set(Some(Duration::MAX)).expect("set");
        assert!(timeout.get().is_some());
        timeout.set(None).expect("set");
        assert_eq!(timeout.get(), None);
    }
}
