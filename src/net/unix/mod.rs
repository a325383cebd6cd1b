//! Unix sockets, in the shape of [`std::os::unix::net`]: what blocks there parks here.
//!
//! [`UnixStream`], [`UnixListener`] and [`UnixDatagram`] are in [`sward::net`](crate::net) as well, where the
//! page says what holds for all sockets. Addresses are std's: paths, and on Linux abstract names
//! ([`SocketAddrExt`](std::os::linux::net::SocketAddrExt)).

mod datagram;
mod listener;
mod stream;

use crate::base::clock;
use crate::coroutine::WaitReason;
use crate::sched::{refusal, sleep_until};
use std::io;
use std::time::{Duration, Instant};

pub use datagram::UnixDatagram;
pub use listener::{Incoming, UnixListener};
#[doc(no_inline)]
pub use std::os::unix::net::SocketAddr;
pub use stream::UnixStream;

/// Waits for room in another socket's queue. The kernel reports no event for that, so the caller tries again
/// after a delay that doubles each time.
struct Backoff {
    delay: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_micros(100);
    const LONGEST: Duration = Duration::from_millis(20);

    fn new() -> Backoff {
        Backoff { delay: Backoff::FIRST }
    }

    /// Parks for the delay, or until the deadline. Fails while a cancellation or a time limit unwinds.
    fn wait(&mut self, reason: WaitReason, deadline: Option<Instant>) -> io::Result<()> {
        if let Some(refused) = refusal() {
            return Err(refused);
        }
        let until = clock::now() + self.delay;
        sleep_until(deadline.map_or(until, |deadline| deadline.min(until)), reason);
        self.delay = (self.delay * 2).min(Backoff::LONGEST);
        Ok(())
    }
}
