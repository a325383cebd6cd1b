//! `poll(2)` that parks.

use crate::base::clock;
use crate::descriptor::poll_entries;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// A descriptor for [`poll()`], what it is asked for, and what it has reported. It has the layout of
/// [`libc::pollfd`](https://docs.rs/libc/latest/libc/struct.pollfd.html), so an array of the one can be used
/// as one of the other.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PollFd<'a> {
    entry: libc::pollfd,
    descriptor: PhantomData<BorrowedFd<'a>>,
}

impl<'a> PollFd<'a> {
    /// There is something to read, or the end: `POLLIN`.
    pub const IN: i16 = libc::POLLIN;
    /// Writing would not block: `POLLOUT`.
    pub const OUT: i16 = libc::POLLOUT;
    /// Urgent data: `POLLPRI`.
    pub const PRI: i16 = libc::POLLPRI;
    /// An error. It is reported without being asked for: `POLLERR`.
    pub const ERR: i16 = libc::POLLERR;
    /// The other end is gone. It is reported without being asked for: `POLLHUP`.
    pub const HUP: i16 = libc::POLLHUP;
    /// The descriptor is not open. It is reported without being asked for: `POLLNVAL`.
    pub const NVAL: i16 = libc::POLLNVAL;

    /// Asks the descriptor for these events, such as `PollFd::IN | PollFd::OUT`. All that the system's `poll`
    /// knows are allowed.
    pub fn new(descriptor: BorrowedFd<'a>, events: i16) -> PollFd<'a> {
        // SAFETY: it is open for as long as this lives.
        unsafe { PollFd::from_raw(descriptor.as_raw_fd(), events) }
    }

    /// As [`new`](Self::new), for the number of a descriptor. A negative number is ignored: it reports
    /// nothing.
    ///
    /// # Safety
    ///
    /// Unless it is negative, the caller may use the descriptor of that number while this lives
    /// ([I/O safety](std::io#io-safety)). If it is not open, it reports [`NVAL`](Self::NVAL).
    pub unsafe fn from_raw(descriptor: RawFd, events: i16) -> PollFd<'a> {
        PollFd { entry: libc::pollfd { fd: descriptor, events, revents: 0 }, descriptor: PhantomData }
    }

    /// The descriptor's number.
    pub fn fd(&self) -> RawFd {
        self.entry.fd
    }

    /// What it is asked for.
    pub fn events(&self) -> i16 {
        self.entry.events
    }

    /// Asks for something else.
    pub fn set_events(&mut self, events: i16) {
        self.entry.events = events;
    }

    /// What it has reported last.
    pub fn revents(&self) -> i16 {
        self.entry.revents
    }
}

impl fmt::Debug for PollFd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let libc::pollfd { fd, events, revents } = self.entry;
        let mut debug = f.debug_struct("PollFd");
        debug.field("fd", &fd).field("events", &events).field("revents", &revents).finish()
    }
}

/// Waits until one of the descriptors has something to report, or the timeout has passed (`None`: never).
/// Returns how many have something; each says what in [`revents`](PollFd::revents). This is `poll(2)`, but it
/// parks the coroutine. On a plain thread it blocks the thread.
///
/// It leaves the mode of the descriptors alone: they may be blocking, and belong to other crates or to C.
/// What it reports is what the system's `poll` reports: a regular file is always ready, one descriptor may
/// occur several times, a number that is not open reports [`NVAL`](PollFd::NVAL). Without descriptors it is a
/// sleep. A signal does not interrupt it.
///
/// A call that has to wait duplicates each descriptor until it returns. So a descriptor that is closed
/// meanwhile is polled on, as in Linux, and its open file stays open until then. Where no descriptor is left
/// for the duplicates, the call asks the system again after naps of up to 10 ms, and so it does for urgent
/// data ([`PRI`](PollFd::PRI)) where the system's readiness does not report that (not on Linux). If one crate
/// waits for the same descriptor often, [`Pollable`](super::Pollable) is cheaper.
///
/// # Errors
///
/// Those of `poll(2)`, except for `EINTR`. In a section of [`cancel_as_error`](crate::task::cancel_as_error),
/// the [`Interruption`](crate::task::Interruption). The timeout is no error: the result is 0.
///
/// # Cancellation
///
/// The coroutine unwinds. Nothing of the call is left.
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use std::os::fd::AsFd;
/// use std::time::Duration;
/// use sward::io::{PollFd, poll};
///
/// sward::run(|| {
///     let (one, _silent) = std::io::pipe()?;
///     let (other, mut writer) = std::io::pipe()?;
///     sward::spawn(move || writer.write_all(b"x"));
///     let mut both = [PollFd::new(one.as_fd(), PollFd::IN), PollFd::new(other.as_fd(), PollFd::IN)];
///     assert_eq!(poll(&mut both, None)?, 1);
///     assert!(both[0].revents() == 0 && both[1].revents() & PollFd::IN != 0);
///     assert_eq!(poll(&mut both[..1], Some(Duration::from_millis(1)))?, 0);
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn poll(descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    let deadline = timeout.and_then(|timeout| clock::now().checked_add(timeout));
    let entries = std::ptr::from_mut(descriptors) as *mut [libc::pollfd];
    // SAFETY: a `PollFd` is a `pollfd`, which the slice is borrowed for.
    poll_entries(unsafe { &mut *entries }, deadline)
}
