//! Linux: epoll, or io_uring where a runtime asks for it and the system allows it.
//!
//! Both fill the same buffer with the same bits, so only the calls on a poller are told apart.

use super::{epoll, io_uring};
use crate::netpoll::backend::Backend;
use crate::netpoll::event::{Direction, Key};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) use super::epoll::Events;

/// What this system has; the first is the default.
pub(crate) const BACKENDS: &[Backend] = &[Backend::Epoll, Backend::IoUring];

/// Whether a poller of this process is one-shot. It is set before that poller exists. To arm a source of
/// another one does nothing.
static ONE_SHOT: AtomicBool = AtomicBool::new(false);

/// Whether sources must arm a direction before they wait.
#[inline]
pub(crate) fn one_shot() -> bool {
    ONE_SHOT.load(Ordering::Relaxed)
}

/// Whether all pollers of this process report urgent data as an event of its own.
pub(crate) fn reports_priority() -> bool {
    !one_shot()
}

/// A poller of either kind.
#[derive(Debug)]
pub(crate) enum Poller {
    Epoll(epoll::Poller),
    Ring(Box<io_uring::Poller>),
}

const _: () = assert!(!epoll::Poller::ONE_SHOT && epoll::Poller::REPORTS_PRIORITY);
const _: () = assert!(io_uring::Poller::ONE_SHOT && !io_uring::Poller::REPORTS_PRIORITY);

/// A poller of that kind. If the system refuses a ring, for whatever reason, it is epoll. A simulated runtime
/// asks for epoll, since a world answers the calls of epoll, and none answers a ring's.
pub(crate) fn new_poller(wanted: Backend) -> io::Result<Poller> {
    if wanted == Backend::IoUring
        && let Ok(ring) = io_uring::Poller::new()
    {
        ONE_SHOT.store(true, Ordering::Relaxed);
        return Ok(Poller::Ring(Box::new(ring)));
    }
    epoll::Poller::new().map(Poller::Epoll)
}

/// Its kind.
pub(crate) fn backend_of(poller: &Poller) -> Backend {
    match poller {
        Poller::Epoll(_) => Backend::Epoll,
        Poller::Ring(_) => Backend::IoUring,
    }
}

impl Poller {
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        match self {
            Poller::Epoll(poller) => poller.add(fd, key),
            Poller::Ring(poller) => poller.add(fd, key),
        }
    }

    pub(crate) fn add_unarmed(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        match self {
            Poller::Epoll(poller) => poller.add_unarmed(fd, key),
            Poller::Ring(poller) => poller.add_unarmed(fd, key),
        }
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        match self {
            Poller::Epoll(poller) => poller.remove(fd, key),
            Poller::Ring(poller) => poller.remove(fd, key),
        }
    }

    pub(crate) fn retire(&self) {
        match self {
            Poller::Epoll(poller) => poller.retire(),
            Poller::Ring(poller) => poller.retire(),
        }
    }

    pub(crate) fn arm(&self, key: Key, direction: Direction) {
        match self {
            Poller::Epoll(poller) => poller.arm(key, direction),
            Poller::Ring(poller) => poller.arm(key, direction),
        }
    }

    #[inline]
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Poller::Epoll(poller) => poller.wait(events, timeout),
            Poller::Ring(poller) => poller.wait(events, timeout),
        }
    }

    pub(crate) fn wake(&self) {
        match self {
            Poller::Epoll(poller) => poller.wake(),
            Poller::Ring(poller) => poller.wake(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also in builds whose system calls a simulation may answer, as all tests are.
    #[test]
    fn a_ring_is_used_if_it_is_asked_for_and_there_is_one() {
        let is_ring = matches!(new_poller(Backend::IoUring), Ok(Poller::Ring(_)));
        assert_eq!(is_ring, io_uring::Poller::new().is_ok());
        assert!(matches!(new_poller(Backend::Epoll), Ok(Poller::Epoll(_))));
    }
}
