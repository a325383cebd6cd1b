//! The back-end `epoll`. The contract is in `mod.rs`.
//!
//! Every descriptor is edge-triggered. An `eventfd`, edge-triggered as well, is what `wake` writes to: each
//! write is an event, so its counter is never read.

use crate::base::sys::{calls, check, retry};
use crate::netpoll::event::{Direction, Key, PollEvent};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The data of the wake-up descriptor. No slot of a table has this number.
pub(super) const WAKE: u64 = u64::MAX;

/// Whether `epoll_pwait2` (Linux 5.11) works, as far as is known.
static PWAIT2: AtomicBool = AtomicBool::new(true);

/// An epoll instance, and the eventfd that ends its wait.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    wakeup: OwnedFd,
}

impl Poller {
    pub(crate) const ONE_SHOT: bool = false;
    pub(crate) const REPORTS_PRIORITY: bool = true;

    pub(crate) fn new() -> io::Result<Poller> {
        // SAFETY: the call takes no pointers.
        let epoll = check(unsafe { calls::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a fresh descriptor, with no other owner.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        // SAFETY: the call takes no pointers.
        let wakeup = check(unsafe { calls::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: a fresh descriptor, with no other owner.
        let wakeup = unsafe { OwnedFd::from_raw_fd(wakeup) };
        let poller = Poller { epoll, wakeup };
        poller.control(libc::EPOLL_CTL_ADD, poller.wakeup.as_raw_fd(), libc::EPOLLIN, WAKE)?;
        Ok(poller)
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI;
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), interest, key.pack())
    }

    pub(crate) fn add_unarmed(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        self.add(fd, key)
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>, _key: Key) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, 0)
    }

    pub(crate) fn retire(&self) {}

    pub(crate) fn arm(&self, _key: Key, _direction: Direction) {}

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.filled = 0;
        let precise = PWAIT2.load(Ordering::Relaxed).then(|| self.wait_precise(events, timeout));
        let result = match precise {
            Some(Err(e)) if e.kind() != io::ErrorKind::Interrupted => self.without_pwait2(events, timeout),
            Some(result) => result,
            None => self.wait_coarse(events, timeout),
        };
        match result {
            Ok(n) => {
                events.filled = n as usize;
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight bytes, as an eventfd wants. The counter cannot overflow in the
        // life of a process, so the write does not fail.
        let _ = retry(|| unsafe { libc::write(self.wakeup.as_raw_fd(), one.as_ptr().cast(), 8) });
    }

    fn wait_precise(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<libc::c_int> {
        let limit = timeout.map(|t| libc::timespec {
            tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (buffer, capacity) = events.buffer();
        // SAFETY: the buffer has room for `capacity` events; the timeout lives until the call ends;
        // there is no signal mask.
        check(unsafe { calls::epoll_pwait2(self.epoll.as_raw_fd(), buffer, capacity, limit) })
    }

    /// Runs after `epoll_pwait2` has failed. The kernel does not know the call, or a sandbox forbids it, with
    /// any errno that its author has chosen. So the call is given up if the older one succeeds. Other threads
    /// may find out at the same time, each by its own call.
    #[cold]
    fn without_pwait2(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<libc::c_int> {
        let result = self.wait_coarse(events, timeout);
        if result.is_ok() {
            PWAIT2.store(false, Ordering::Relaxed);
        }
        result
    }

    fn wait_coarse(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<libc::c_int> {
        // Rounded up: a timeout rounded down returns too early and spins.
        let limit = timeout.map_or(-1, |t| {
            libc::c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
        });
        let (buffer, capacity) = events.buffer();
        // SAFETY: the buffer has room for `capacity` events.
        check(unsafe { calls::epoll_wait(self.epoll.as_raw_fd(), buffer, capacity, limit) })
    }

    fn control(&self, op: libc::c_int, fd: libc::c_int, interest: libc::c_int, data: u64) -> io::Result<()> {
        let events = interest as u32 | libc::EPOLLET as u32;
        let mut event = libc::epoll_event { events, u64: data };
        // SAFETY: the event lives until the call ends; the kernel copies it.
        check(unsafe { calls::epoll_ctl(self.epoll.as_raw_fd(), op, fd, &raw mut event) }).map(drop)
    }
}

/// Buffer for the events of one `wait`.
pub(crate) struct Events {
    buffer: Vec<libc::epoll_event>,
    filled: usize,
}

impl Events {
    pub(crate) fn with_capacity(n: usize) -> Events {
        Events { buffer: vec![libc::epoll_event { events: 0, u64: 0 }; n], filled: 0 }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PollEvent> + '_ {
        self.buffer[..self.filled].iter().filter(|event| event.u64 != WAKE).map(translate)
    }

    pub(crate) fn woken(&self) -> bool {
        self.buffer[..self.filled].iter().any(|event| event.u64 == WAKE)
    }

    /// Empties the buffer. This and what follows is for `io_uring.rs`, whose events have the same bits.
    #[cfg_attr(any(not(target_os = "linux"), loom, miri), allow(dead_code))]
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Whether there is room for another event.
    #[cfg_attr(any(not(target_os = "linux"), loom, miri), allow(dead_code))]
    pub(super) fn has_room(&self) -> bool {
        self.filled < self.buffer.len()
    }

    /// Whether the last `wait` has brought nothing.
    #[cfg_attr(any(not(target_os = "linux"), loom, miri), allow(dead_code))]
    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Adds an event. If there is no room, the buffer grows.
    #[cfg_attr(any(not(target_os = "linux"), loom, miri), allow(dead_code))]
    pub(super) fn push(&mut self, bits: u32, data: u64) {
        let event = libc::epoll_event { events: bits, u64: data };
        match self.buffer.get_mut(self.filled) {
            Some(place) => *place = event,
            None => self.buffer.push(event),
        }
        self.filled += 1;
    }

    fn buffer(&mut self) -> (*mut libc::epoll_event, libc::c_int) {
        (self.buffer.as_mut_ptr(), libc::c_int::try_from(self.buffer.len()).unwrap_or(libc::c_int::MAX))
    }
}

fn translate(event: &libc::epoll_event) -> PollEvent {
    let bits = event.events;
    let has = |mask: libc::c_int| bits & mask as u32 != 0;
    let gone = has(libc::EPOLLHUP | libc::EPOLLERR);
    // A read also stops short at the mark of urgent data.
    let read_sticky = gone || has(libc::EPOLLRDHUP | libc::EPOLLPRI);
    PollEvent {
        key: Key::unpack(event.u64),
        readable: read_sticky || has(libc::EPOLLIN),
        writable: gone || has(libc::EPOLLOUT),
        read_sticky,
        write_sticky: gone,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::netpoll::sys::contract::{KEY, contract};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    contract!(crate::netpoll::sys::epoll);

    fn wait(poller: &Poller, timeout: Option<Duration>) -> Vec<PollEvent> {
        let mut events = Events::with_capacity(8);
        poller.wait(&mut events, timeout).expect("epoll waits");
        events.iter().collect()
    }

    #[test]
    fn edges_are_reported_once_with_their_key() {
        let poller = Poller::new().expect("a poller");
        let (mut a, b) = UnixStream::pair().expect("a pair");
        poller.add(b.as_fd(), KEY).expect("added");
        let first = wait(&poller, None);
        assert_eq!(first.len(), 1);
        assert!(first[0].writable && !first[0].readable && first[0].key == KEY);
        assert!(wait(&poller, Some(Duration::ZERO)).is_empty());
        a.write_all(b"x").expect("written");
        assert!(wait(&poller, None)[0].readable);
        assert!(wait(&poller, Some(Duration::ZERO)).is_empty());
        drop(a);
        assert!(wait(&poller, None)[0].read_sticky);
        poller.remove(b.as_fd(), KEY).expect("removed");
    }

    #[test]
    fn a_timeout_is_not_cut_short() {
        let poller = Poller::new().expect("a poller");
        let limit = Duration::from_micros(2_300);
        let mut events = Events::with_capacity(8);
        for coarse in [false, true] {
            let start = std::time::Instant::now();
            if coarse {
                poller.wait_coarse(&mut events, Some(limit)).expect("waits");
            } else {
                poller.wait(&mut events, Some(limit)).expect("waits");
            }
            assert!(start.elapsed() >= limit, "coarse: {coarse}");
        }
    }
}
