//! Questions about one descriptor, and the wait of a plain thread for it, with `poll(2)`. Both need no shard.

use super::event::{Direction, Key};
use super::sys::{BACKENDS, new_poller};
use crate::base::backoff::Backoff;
use crate::base::sys::poll;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Instant;

/// In the place of a descriptor: `poll` skips the entry.
const NONE: libc::c_int = -1;

/// Whether the descriptor is ready in that direction, or in error, at this moment.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<bool> {
    poll_until(&mut [entry(fd.as_raw_fd(), direction)], Some(Instant::now()))
}

/// Whether the other end is gone. A FIFO that no process has opened for writing so far is not hung up.
pub(crate) fn is_hung_up(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut entries = [libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 }];
    poll_until(&mut entries, Some(Instant::now()))?;
    Ok(entries[0].revents & libc::POLLHUP != 0)
}

/// Whether the system can report that file's readiness, as far as the back-end can find out.
pub(crate) fn can_be_watched(fd: BorrowedFd<'_>) -> bool {
    new_poller(BACKENDS[0]).and_then(|poller| poller.add(fd, Key { slot: 0, generation: 0 })).is_ok()
}

/// Blocks the thread until the descriptor is ready in that direction or in error, or until the other end of
/// `interrupt` is closed. Returns false if the deadline has passed.
///
/// The caller makes its call after each of these waits, and passes the same `backoff` to all waits of one
/// call: if the descriptor is reported as ready although the call would block, this naps instead.
pub(crate) fn wait_on_thread(
    fd: BorrowedFd<'_>,
    interrupt: Option<BorrowedFd<'_>>,
    direction: Direction,
    deadline: Option<Instant>,
    backoff: &mut Backoff,
) -> io::Result<bool> {
    let interrupt = entry(interrupt.map_or(NONE, |fd| fd.as_raw_fd()), Direction::Read);
    if backoff.has_waited() {
        let now = Instant::now();
        if deadline.is_some_and(|at| at <= now) {
            return Ok(false);
        }
        if is_ready(fd, direction)? {
            let until = now + backoff.nap();
            poll_until(&mut [interrupt], Some(deadline.map_or(until, |at| at.min(until))))?;
            return Ok(true);
        }
    }
    backoff.wait();
    poll_until(&mut [entry(fd.as_raw_fd(), direction), interrupt], deadline)
}

fn entry(fd: libc::c_int, direction: Direction) -> libc::pollfd {
    let events = match direction {
        Direction::Read => libc::POLLIN,
        Direction::Write => libc::POLLOUT,
    };
    libc::pollfd { fd, events, revents: 0 }
}

/// Waits until `poll` reports something about one of the entries. Returns false if the deadline has passed.
/// The time that is left is computed anew for each call, since a call that a signal has interrupted has used
/// some.
fn poll_until(entries: &mut [libc::pollfd], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match poll(entries, left) {
            Ok(0) if deadline.is_some_and(|at| at <= Instant::now()) => return Ok(false),
            Ok(0) => {}
            Ok(_) => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
