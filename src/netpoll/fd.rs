//! Asking about one descriptor, and waiting for it on a plain thread, with no shard: `poll(2)`.

use super::Direction;
use crate::base::sys::retry;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Instant;

/// What stands in for a descriptor that there is not: `poll` passes it over.
const NONE: libc::c_int = -1;

/// Whether the descriptor is ready in that direction, or in error, at this moment.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<bool> {
    let mut entry = [entry(fd.as_raw_fd(), direction)];
    poll(&mut entry, || 0)
}

/// Blocks the thread until the descriptor is ready in that direction or in error, or until the other
/// end of `bell` is closed; false once the deadline has passed.
pub(crate) fn wait_on_thread(
    fd: BorrowedFd<'_>,
    bell: Option<BorrowedFd<'_>>,
    direction: Direction,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let bell = bell.map_or(NONE, |bell| bell.as_raw_fd());
    let mut entries = [entry(fd.as_raw_fd(), direction), entry(bell, Direction::Read)];
    loop {
        if poll(&mut entries, || deadline.map_or(-1, millis_until))? {
            return Ok(true);
        }
        if deadline.is_some_and(|at| at <= Instant::now()) {
            return Ok(false);
        }
    }
}

fn entry(fd: libc::c_int, direction: Direction) -> libc::pollfd {
    let events = match direction {
        Direction::Read => libc::POLLIN,
        Direction::Write => libc::POLLOUT,
    };
    libc::pollfd { fd, events, revents: 0 }
}

/// `limit` is asked anew for each call: one that a signal has interrupted has used some of the time.
fn poll<const N: usize>(
    entries: &mut [libc::pollfd; N],
    limit: impl Fn() -> libc::c_int,
) -> io::Result<bool> {
    // SAFETY: there are `N` entries, which live until the call ends.
    retry(|| unsafe { libc::poll(entries.as_mut_ptr(), N as libc::nfds_t, limit()) }).map(|ready| ready > 0)
}

/// Rounded up, so that the wait does not spin through its last millisecond.
fn millis_until(deadline: Instant) -> libc::c_int {
    let left = deadline.saturating_duration_since(Instant::now());
    libc::c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
}
