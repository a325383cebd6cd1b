//! Closing a connection that lingers.
//!
//! `close(2)` of a TCP socket with `SO_LINGER` waits until the peer has taken what was sent, or the time is over, also
//! if the socket is non-blocking. On a worker that would stop all coroutines that live there. So the last handle asks,
//! when a worker drops it, whether the socket lingers. The kernel is asked: the option may have been inherited from the
//! listener, or set through the descriptor. Such a socket is closed by a thread of the pool.
//!
//! A peer that does not read makes that take as long as it may, and such threads must not be what files and names
//! wait for: the pool has a bound on them. Beyond it, the option is cleared and the socket closed in place. The kernel
//! sends the rest all the same; what is lost is only that somebody waits for it.

use super::socket::{option, set_option};
use crate::blocking;
use crate::sched::on_worker;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Whether a close of that socket, here, would block a worker.
pub(super) fn would_block_worker(fd: BorrowedFd<'_>) -> bool {
    on_worker()
        && option::<libc::linger>(fd, libc::SOL_SOCKET, libc::SO_LINGER)
            .is_ok_and(|linger| linger.l_onoff != 0 && linger.l_linger != 0)
}

/// Closes a socket that lingers. Does not block.
pub(super) fn close(fd: OwnedFd) {
    let lingering = Lingering(fd);
    // Refused, the closure is dropped here, on the worker.
    let _ = blocking::detach_aside(move || drop(lingering));
}

/// A socket whose close may wait, if it is not a worker that closes it.
struct Lingering(OwnedFd);

impl Drop for Lingering {
    fn drop(&mut self) {
        if on_worker() {
            let off = libc::linger { l_onoff: 0, l_linger: 0 };
            // It has worked when the socket was told to linger.
            let _ = set_option(self.0.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, off);
        }
    }
}
