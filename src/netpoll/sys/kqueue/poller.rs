//! The poller: a queue, its wake-up, and what a wait reports besides.

use super::call::{self, Entry};
use super::translate::{Action, QueueEvent, changes, translate, verdict};
use super::wakeup::Wakeup;
use crate::base::lock::{Mutex, Rank};
use crate::netpoll::event::{Direction, Key, PollEvent};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A queue, and what ends its wait.
#[derive(Debug)]
pub(crate) struct Poller {
    queue: OwnedFd,
    wakeup: Wakeup,
    /// What the next wait reports besides the queue's events. A thread that adds to it calls `wake`.
    at_once: Mutex<Vec<PollEvent>>,
}

impl Poller {
    pub(crate) const ONE_SHOT: bool = false;
    pub(crate) const REPORTS_PRIORITY: bool = false;

    pub(crate) fn new() -> io::Result<Poller> {
        let queue = call::queue()?;
        let wakeup = Wakeup::new(queue.as_fd())?;
        Ok(Poller { queue, wakeup, at_once: Mutex::new(Rank::Poller, Vec::new()) })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let receipts = self.change(Action::Add, fd, key)?;
        match verdict(key, &receipts) {
            Ok(None) => {}
            Ok(Some(event)) => {
                self.at_once.lock().push(event);
                self.wake();
            }
            Err(e) => {
                let _ = self.remove(fd, key);
                return Err(e);
            }
        }
        Ok(())
    }

    pub(crate) fn add_unarmed(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        self.add(fd, key)
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        // Deleting a filter that could not be added fails, which does no harm.
        self.change(Action::Delete, fd, key).map(drop)
    }

    pub(crate) fn retire(&self) {}

    pub(crate) fn arm(&self, _key: Key, _direction: Direction) {}

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let count = match call::wait(self.queue.as_fd(), &mut events.buffer, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        };
        for event in events.buffer[..count].iter().filter_map(call::decode) {
            if self.wakeup.take(&event) {
                events.woken = true;
            } else {
                events.found.extend(translate(&event, call::OUT_OF_BAND));
            }
        }
        if events.woken {
            events.found.extend(mem::take(&mut *self.at_once.lock()));
        }
        Ok(())
    }

    pub(crate) fn wake(&self) {
        self.wakeup.wake(self.queue.as_fd());
    }

    fn change(&self, action: Action, fd: BorrowedFd<'_>, key: Key) -> io::Result<Vec<QueueEvent>> {
        let fd = fd.as_raw_fd() as usize;
        call::change(self.queue.as_fd(), changes(action, fd, key, call::OUT_OF_BAND))
    }
}

/// Buffer for the events of one `wait`.
pub(crate) struct Events {
    buffer: Vec<Entry>,
    found: Vec<PollEvent>,
    woken: bool,
}

// SAFETY: the pointers in the buffer are numbers, and are never dereferenced.
unsafe impl Send for Events {}
// SAFETY: as above.
unsafe impl Sync for Events {}

impl Events {
    pub(crate) fn with_capacity(n: usize) -> Events {
        Events { buffer: vec![call::empty(); n], found: Vec::with_capacity(n), woken: false }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PollEvent> + '_ {
        self.found.iter().copied()
    }

    pub(crate) fn woken(&self) -> bool {
        self.woken
    }

    fn clear(&mut self) {
        self.found.clear();
        self.woken = false;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::netpoll::sys::contract::{KEY, contract, readable, writable};

    contract!(crate::netpoll::sys::kqueue);

    #[test]
    fn a_pipe_without_a_reader_is_writable() {
        let poller = Poller::new().expect("a poller");
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        poller.add(writer.as_fd(), KEY).expect("added");
        let mut events = Events::with_capacity(8);
        poller.wait(&mut events, None).expect("waits");
        assert!(writable(&events.iter().collect::<Vec<_>>(), KEY));
    }

    #[test]
    fn a_pipe_without_a_writer_is_readable() {
        let poller = Poller::new().expect("a poller");
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(writer);
        poller.add(reader.as_fd(), KEY).expect("added");
        let mut found = Vec::new();
        while !readable(&found, KEY) {
            let mut events = Events::with_capacity(8);
            poller.wait(&mut events, Some(Duration::from_secs(5))).expect("waits");
            assert!(events.woken() || events.iter().next().is_some());
            found.extend(events.iter());
        }
    }
}
