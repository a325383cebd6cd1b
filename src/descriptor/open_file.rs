//! An open file whose calls wait, with what its users have said about waiting: the mode and the timeouts.
//!
//! Sockets and everything else with a descriptor are built on it. All handles to a file share one
//! [`OpenFile`], so there is one source per open file, and a timeout set through one handle holds for all.

use super::readiness::{Attempt, perform, tell_again};
use crate::coroutine::{Batch, WaitReason};
use crate::netpoll::{Direction, Source, is_ready};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An open file whose calls wait.
#[derive(Debug)]
pub(crate) struct OpenFile {
    source: Source,
    /// Calls that would block fail instead, as the user has asked with `set_nonblocking`.
    nonblocking: AtomicBool,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

// A panic leaves nothing half done in it: it is atomics, and locks under which nothing panics. Through
// this, sockets are unwind safe, as std's are.
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

    /// The descriptor, with which the file is over.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.source.into_fd()
    }

    /// Makes the call, and waits while it would block: not at all in non-blocking mode, otherwise until
    /// the direction's timeout, if there is one. Both end in `WouldBlock`, as a socket's timeout does on
    /// Unix.
    pub(crate) fn perform<T>(
        &self,
        direction: Direction,
        reason: WaitReason,
        attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
    ) -> io::Result<T> {
        let deadline = self.deadline(direction);
        let result = if self.is_nonblocking() {
            self.perform_once(attempt)
        } else {
            perform(&self.source, direction, reason, deadline, attempt)
        };
        result.map_err(|error| self.translate(error, deadline))
    }

    /// Waits until a call in that direction would not block, whatever the mode; `WouldBlock` after the
    /// direction's timeout.
    pub(crate) fn wait_ready(&self, direction: Direction, reason: WaitReason) -> io::Result<()> {
        let deadline = self.deadline(direction);
        self.wait_ready_until(direction, reason, deadline).map_err(|error| self.translate(error, deadline))
    }

    /// As `wait_ready`, until a deadline, whatever the timeouts; `TimedOut` after it.
    pub(crate) fn wait_ready_until(
        &self,
        direction: Direction,
        reason: WaitReason,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        self.perform_until(direction, reason, deadline, |_| {
            Ok(if is_ready(self.fd(), direction)? { Attempt::Done(()) } else { Attempt::WouldBlock })
        })
    }

    /// The error of a call as std's type would give it.
    fn translate(&self, error: io::Error, deadline: Option<Instant>) -> io::Error {
        match self.check_open() {
            // The kernel's own error for a call that `close` has met on its way means nothing to anyone.
            Err(closed) => closed,
            Ok(()) if deadline.is_some() && is_deadline(&error) => would_block(),
            Ok(()) => error,
        }
    }

    fn perform_once<T>(&self, mut attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>) -> io::Result<T> {
        self.source.prepare()?;
        match attempt(self.fd().as_raw_fd())? {
            Attempt::Done(value) | Attempt::Drained(value) => Ok(value),
            Attempt::WouldBlock => Err(would_block()),
        }
    }

    /// As `perform`, until a deadline, whatever the mode and the timeouts; `TimedOut` after it.
    pub(crate) fn perform_until<T>(
        &self,
        direction: Direction,
        reason: WaitReason,
        deadline: Option<Instant>,
        attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
    ) -> io::Result<T> {
        perform(&self.source, direction, reason, deadline, attempt)
    }

    /// Makes the next call in that direction try before it waits, since the last attempt was not finished.
    pub(crate) fn rouse(&self, direction: Direction) {
        tell_again(&self.source, direction);
    }

    /// Fails once `close` was called.
    pub(crate) fn check_open(&self) -> io::Result<()> {
        self.source.check_open()
    }

    /// Whether `close` was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.source.is_closed()
    }

    /// Ends the use of the file: all who wait for it are woken, and its calls fail from now on.
    pub(crate) fn close(&self) {
        let mut batch = Batch::new();
        self.source.close(&mut batch);
        batch.wake();
    }

    /// Whether calls that would block fail instead.
    pub(crate) fn is_nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    /// Sets that mode. It concerns only the calls made through this.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// The longest that a call waits in that direction.
    pub(crate) fn timeout(&self, direction: Direction) -> Option<Duration> {
        self.timeout_of(direction).get()
    }

    /// Sets that. A zero duration is refused, as std does.
    pub(crate) fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        self.timeout_of(direction).set(timeout)
    }

    /// When a call that begins now ends for want of readiness.
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

/// The longest that one direction waits, in nanoseconds; zero is for ever.
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

/// The time after that duration; none if it is beyond what the clock can tell.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// The refusal of a zero timeout, in std's words.
#[cold]
pub(crate) fn zero_timeout() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout")
}

/// Whether the error is a deadline that has passed here: not the kernel's `ETIMEDOUT`, nor what is refused to
/// a thread that unwinds.
pub(crate) fn is_deadline(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() && error.get_ref().is_none()
}

/// What a call fails with that would have to wait, and must not or not any longer.
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
