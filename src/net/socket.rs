//! What streams and listeners have in common: the source, the mode, the timeouts, the options.
//!
//! All clones of a socket share one [`Socket`], so there is one source per open file, and a timeout set
//! through one clone holds for all. Invariant: no call made here blocks the thread.

use super::Shutdown;
use super::addr::{RawAddr, written_by};
use super::sys;
use crate::base::sys::{check, nonblocking};
use crate::coroutine::{Batch, WaitReason};
use crate::netpoll::{Direction, Source};
use crate::sched::{Attempt, perform, wake_all};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::RefUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An open socket.
#[derive(Debug)]
pub(super) struct Socket {
    source: Source,
    /// Calls that would block fail instead, as the user has asked with `set_nonblocking`.
    nonblocking: AtomicBool,
    pub(super) read_timeout: Timeout,
    pub(super) write_timeout: Timeout,
}

// A panic leaves nothing half done in it: it is atomics, and a lock under which nothing panics. Through
// this, streams and listeners are unwind safe, as std's are.
impl RefUnwindSafe for Socket {}

impl Socket {
    /// A socket without timeouts.
    pub(super) fn new(source: Source) -> Arc<Socket> {
        Arc::new(Socket {
            source,
            nonblocking: AtomicBool::new(false),
            read_timeout: Timeout::none(),
            write_timeout: Timeout::none(),
        })
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.source.fd()
    }

    /// Makes the call, and waits while it would block: not at all in non-blocking mode, otherwise
    /// until the timeout, if there is one. Both end in `WouldBlock`, as a socket's timeout does on Unix.
    pub(super) fn perform<T>(
        &self,
        direction: Direction,
        reason: WaitReason,
        timeout: &Timeout,
        attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
    ) -> io::Result<T> {
        let deadline = timeout.deadline();
        let result = if self.is_nonblocking() {
            self.perform_once(attempt)
        } else {
            perform(&self.source, direction, reason, deadline, attempt)
        };
        result.map_err(|error| self.translate(error, deadline))
    }

    /// Waits until a call in that direction would not block, whatever the mode; `WouldBlock` after the
    /// timeout.
    pub(super) fn wait_ready(
        &self,
        direction: Direction,
        reason: WaitReason,
        timeout: &Timeout,
    ) -> io::Result<()> {
        let deadline = timeout.deadline();
        let attempt = |_| {
            Ok(match is_ready(self.fd(), direction)? {
                true => Attempt::Done(()),
                false => Attempt::WouldBlock,
            })
        };
        perform(&self.source, direction, reason, deadline, attempt)
            .map_err(|error| self.translate(error, deadline))
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
        self.check_open()?;
        match attempt(self.fd().as_raw_fd())? {
            Attempt::Done(value) | Attempt::Drained(value) => Ok(value),
            Attempt::WouldBlock => Err(would_block()),
        }
    }

    /// As `perform`, until a deadline, whatever the mode; `TimedOut` after it.
    pub(super) fn perform_until<T>(
        &self,
        direction: Direction,
        reason: WaitReason,
        deadline: Option<Instant>,
        attempt: impl FnMut(RawFd) -> io::Result<Attempt<T>>,
    ) -> io::Result<T> {
        perform(&self.source, direction, reason, deadline, attempt)
    }

    /// Fails once `close` was called.
    pub(super) fn check_open(&self) -> io::Result<()> {
        self.source.check()
    }

    /// Whether `close` was called.
    pub(super) fn is_closed(&self) -> bool {
        self.source.is_closed()
    }

    /// Whether calls that would block fail instead.
    pub(super) fn is_nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    /// Sets that mode. It concerns only this socket's own calls.
    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// Ends the socket: all who wait for it are woken, and its calls fail from now on.
    pub(super) fn close(&self) {
        let mut batch = Batch::new();
        self.source.close(&mut batch);
        wake_all(&mut batch);
        // After the source is closed, so that whoever the kernel wakes finds it closed. It fails where
        // the connection is gone already: then there is nothing to tell anyone.
        let _ = self.shutdown(Shutdown::Both);
    }

    /// `shutdown(2)`.
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        // SAFETY: the call takes no pointers.
        check(unsafe { libc::shutdown(self.fd().as_raw_fd(), how) }).map(drop)
    }

    /// The descriptor, and whether it is the socket's only one: where clones share the socket, it is a
    /// duplicate.
    pub(super) fn into_fd(self: Arc<Socket>) -> io::Result<(OwnedFd, bool)> {
        match Arc::try_unwrap(self) {
            Ok(socket) => Ok((socket.source.into_fd(), true)),
            Err(shared) => Ok((shared.fd().try_clone_to_owned()?, false)),
        }
    }

    /// The address it is bound to.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.name(libc::getsockname)
    }

    /// The address it is connected to.
    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.name(libc::getpeername)
    }

    fn name(&self, call: NameCall) -> io::Result<SocketAddr> {
        let fd = self.fd().as_raw_fd();
        // SAFETY: `address` has room for `len` bytes, and both live until the call ends.
        let ((), raw): ((), RawAddr) =
            written_by(|address, len| check(unsafe { call(fd, address, len) }).map(drop))?;
        SocketAddr::try_from(&raw)
    }

    /// `IP_TTL`.
    pub(super) fn ttl(&self) -> io::Result<u32> {
        option::<libc::c_int>(self.fd(), libc::IPPROTO_IP, libc::IP_TTL).map(|ttl| ttl as u32)
    }

    /// Sets `IP_TTL`.
    pub(super) fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        set_option(self.fd(), libc::IPPROTO_IP, libc::IP_TTL, ttl as libc::c_int)
    }

    /// Takes the pending error.
    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        let errno: libc::c_int = option(self.fd(), libc::SOL_SOCKET, libc::SO_ERROR)?;
        Ok((errno != 0).then(|| io::Error::from_raw_os_error(errno)))
    }

    /// Takes over the timeouts that the open file has, for sockets that come from elsewhere.
    pub(super) fn load_timeouts(&self) {
        for (timeout, name) in self.timeouts() {
            if let Ok(value) = option::<libc::timeval>(self.fd(), libc::SOL_SOCKET, name) {
                timeout.store(from_timeval(value));
            }
        }
    }

    /// Gives the timeouts to the open file, for sockets that go elsewhere.
    pub(super) fn save_timeouts(&self) -> io::Result<()> {
        for (timeout, name) in self.timeouts() {
            set_option(self.fd(), libc::SOL_SOCKET, name, to_timeval(timeout.get()))?;
        }
        Ok(())
    }

    fn timeouts(&self) -> [(&Timeout, libc::c_int); 2] {
        [(&self.read_timeout, libc::SO_RCVTIMEO), (&self.write_timeout, libc::SO_SNDTIMEO)]
    }

    /// Sets the mode of the open file to what `set_nonblocking` asked for.
    pub(super) fn save_mode(&self) -> io::Result<()> {
        sys::set_nonblocking(self.fd(), self.is_nonblocking())
    }
}

type NameCall = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

/// The longest that one direction of a socket waits, in nanoseconds; zero is for ever.
#[derive(Debug)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    /// No timeout.
    pub(super) const fn none() -> Timeout {
        Timeout(AtomicU64::new(0))
    }

    /// Sets it. A zero duration is refused, as std does.
    pub(super) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(zero_timeout());
        }
        self.store(timeout);
        Ok(())
    }

    /// What was set.
    pub(super) fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    fn store(&self, timeout: Option<Duration>) {
        let nanos = timeout.map_or(0, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        self.0.store(nanos, Ordering::Relaxed);
    }

    fn deadline(&self) -> Option<Instant> {
        self.get().and_then(deadline_after)
    }
}

/// Whether a call in that direction would not block now. An end and an error do not block.
pub(super) fn is_ready(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<bool> {
    let events = match direction {
        Direction::Read => libc::POLLIN,
        Direction::Write => libc::POLLOUT,
    };
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one entry, which lives until the call ends.
    let count = nonblocking(|| unsafe { libc::poll(&raw mut entry, 1, 0) })?;
    Ok(count.is_some_and(|count| count > 0))
}

/// The time after that duration; none if it is beyond what the clock can tell.
pub(super) fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// The refusal of a zero timeout, in std's words.
#[cold]
pub(super) fn zero_timeout() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout")
}

/// Whether the error is a deadline that has passed here, not the kernel's `ETIMEDOUT`.
fn is_deadline(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

#[cold]
fn would_block() -> io::Error {
    io::Error::from_raw_os_error(libc::EWOULDBLOCK)
}

fn from_timeval(value: libc::timeval) -> Option<Duration> {
    let timeout = Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1_000);
    (!timeout.is_zero()).then_some(timeout)
}

/// Rounded up: zero would be for ever.
fn to_timeval(timeout: Option<Duration>) -> libc::timeval {
    let micros = timeout.map_or(0, |timeout| timeout.as_nanos().div_ceil(1_000));
    libc::timeval {
        tv_sec: libc::time_t::try_from(micros / 1_000_000).unwrap_or(libc::time_t::MAX),
        tv_usec: (micros % 1_000_000) as libc::suseconds_t,
    }
}

/// The value of a socket option.
///
/// # Safety
///
/// A C type that is valid for any bytes and has no padding.
pub(super) unsafe trait OptionValue: Copy {}

// SAFETY: an integer.
unsafe impl OptionValue for libc::c_int {}
// SAFETY: two longs.
unsafe impl OptionValue for libc::timeval {}

/// `getsockopt(2)`.
pub(super) fn option<T: OptionValue>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    let raw = fd.as_raw_fd();
    // SAFETY: the value is `len` bytes, and both live until the call ends.
    check(unsafe { libc::getsockopt(raw, level, name, value.as_mut_ptr().cast(), &raw mut len) })?;
    // SAFETY: zeros or what the kernel wrote over them; `OptionValue`: any bytes will do.
    Ok(unsafe { value.assume_init() })
}

/// `setsockopt(2)`.
pub(super) fn set_option<T: OptionValue>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is `len` bytes and lives until the call ends.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_kept_to_the_nanosecond() {
        let timeout = Timeout::none();
        assert_eq!(timeout.get(), None);
        assert!(timeout.deadline().is_none());
        timeout.set(Some(Duration::from_nanos(1))).expect("set");
        assert_eq!(timeout.get(), Some(Duration::from_nanos(1)));
        assert_eq!(timeout.set(Some(Duration::ZERO)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(timeout.get(), Some(Duration::from_nanos(1)));
        timeout.set(Some(Duration::MAX)).expect("set");
        assert!(timeout.get().is_some());
        timeout.set(None).expect("set");
        assert_eq!(timeout.get(), None);
    }

    #[test]
    fn a_kernel_timeout_is_never_rounded_to_none() {
        let back = |timeout| from_timeval(to_timeval(timeout));
        assert_eq!(back(None), None);
        assert_eq!(back(Some(Duration::from_nanos(1))), Some(Duration::from_micros(1)));
        assert_eq!(back(Some(Duration::from_millis(1_500))), Some(Duration::from_millis(1_500)));
    }
}
