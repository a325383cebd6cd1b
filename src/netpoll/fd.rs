//! Waiting for one descriptor on a plain thread, which needs no shard: `poll(2)`.

use super::Direction;
use crate::base::sys::retry;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Instant;

/// Blocks the thread until the descriptor is ready in that direction or in error; false once the
/// deadline has passed.
pub(crate) fn wait_on_thread(
    fd: BorrowedFd<'_>,
    direction: Direction,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let events = match direction {
        Direction::Read => libc::POLLIN,
        Direction::Write => libc::POLLOUT,
    };
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    loop {
        let ready = retry(|| {
            // Anew for each call: one that a signal has interrupted has used some of the time.
            let limit = deadline.map_or(-1, millis_until);
            // SAFETY: one entry, which lives until the call ends.
            unsafe { libc::poll(&raw mut entry, 1, limit) }
        })?;
        if ready > 0 {
            return Ok(true);
        }
        if deadline.is_some_and(|at| at <= Instant::now()) {
            return Ok(false);
        }
    }
}

/// Rounded up, so that the wait does not spin through its last millisecond.
fn millis_until(deadline: Instant) -> libc::c_int {
    let left = deadline.saturating_duration_since(Instant::now());
    libc::c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
}
