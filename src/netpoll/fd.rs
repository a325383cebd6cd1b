//! Waiting for one descriptor on a plain thread, which needs no shard: `poll(2)`.

use super::Direction;
use crate::base::poll::poll;
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
    let mut entry = [libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }];
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match poll(&mut entry, left) {
            Ok(0) if deadline.is_some_and(|at| at <= Instant::now()) => return Ok(false),
            Ok(0) => {}
            Ok(_) => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
