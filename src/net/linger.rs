//! Closing a TCP connection with `SO_LINGER`.
//!
//! `close(2)` of such a socket blocks until the peer has received what was sent, or the time is over, even if
//! the socket is non-blocking. On a worker that would stop all coroutines that live there. So when a worker
//! drops the last handle, it asks the kernel whether the socket lingers, and if so, a thread of the pool for
//! blocking calls closes it. The kernel has to be asked, since the option may have been inherited from the
//! listener, or set through the descriptor.
//!
//! If the peer does not read, the close takes as long as the option allows. Other users of the pool, files
//! and name look-ups, must not wait for such threads, so the pool bounds their number. Beyond the bound, the
//! worker clears the option and closes the socket in place: the kernel still sends the rest, but nobody waits
//! for it.

use super::options::{option, set_option};
use crate::base::sys::calls;
use crate::blocking;
use crate::sched::on_worker;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Whether closing that socket on this thread would block a worker.
pub(super) fn would_block_worker(fd: BorrowedFd<'_>) -> bool {
    on_worker()
        && option::<libc::linger>(fd, libc::SOL_SOCKET, libc::SO_LINGER)
            .is_ok_and(|linger| linger.l_onoff != 0 && linger.l_linger != 0)
}

/// Closes a socket with `SO_LINGER`. Does not block.
pub(super) fn close(fd: OwnedFd) {
    let lingering = Lingering(fd);
    // If the pool refuses the closure, the closure and the socket are dropped here, on the worker.
    let _ = blocking::detach_aside(move || drop(lingering));
}

/// A socket with `SO_LINGER`. Dropped on a worker, it is closed without waiting; elsewhere the close may
/// wait.
struct Lingering(OwnedFd);

impl Drop for Lingering {
    fn drop(&mut self) {
        if on_worker() {
            let off = libc::linger { l_onoff: 0, l_linger: 0 };
            // Setting this option has worked before.
            let _ = set_option(self.0.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, off);
        }
        calls::closing(self.0.as_raw_fd());
    }
}
