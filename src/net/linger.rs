//! Closing a connection that lingers.
//!
//! `close(2)` of a TCP socket with `SO_LINGER` waits until the peer has taken what was sent, or the time is
//! over, also if the socket is non-blocking. On a worker that would stop all coroutines that live there. So
//! the last handle asks, when a worker drops it, whether the socket lingers. The kernel is asked: the option
//! may have been inherited from the listener, or set through the descriptor. Such a socket is closed by a
//! thread of the pool.
//!
//! If the peer does not read, the close takes as long as the option allows. Files and names must not wait for
//! such threads, so the pool bounds their number. Beyond the bound, the worker clears the option and closes
//! the socket in place: the kernel still sends the rest, but nobody waits for it.

use super::options::{option, set_option};
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
    // If the pool refuses the closure, it is dropped here, on the worker.
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
