//! The back-end itself.

use super::bell::Bell;
use super::call::{self, Entry};
use super::translate::{Action, changes, translate, verdict};
use crate::base::lock::{Mutex, Rank};
use crate::netpoll::event::{Direction, Key, PollEvent};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A queue, and the bell that ends its wait.
#[derive(Debug)]
pub(crate) struct Poller {
    queue: OwnedFd,
    bell: Bell,
    /// What the next wait tells besides the queue's events. Whoever adds to it rings the bell.
    at_once: Mutex<Vec<PollEvent>>,
}

impl Poller {
    pub(crate) const ONE_SHOT: bool = false;

    pub(crate) fn new() -> io::Result<Poller> {
        let queue = call::queue()?;
        let bell = Bell::new(queue.as_fd())?;
        Ok(Poller { queue, bell, at_once: Mutex::new(Rank::Poller, Vec::new()) })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let receipts = self.change(Action::Watch, fd, key)?;
        match verdict(key, &receipts) {
            Ok(None) => {}
            Ok(Some(readiness)) => {
                self.at_once.lock().push(readiness);
                self.wake();
            }
            Err(e) => {
                let _ = self.remove(fd, key);
                return Err(e);
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        // A filter that could not be watched cannot be left either.
        self.change(Action::Leave, fd, key).map(drop)
    }

    pub(crate) fn arm(&self, _key: Key, _direction: Direction) {}

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let count = match call::wait(self.queue.as_fd(), &mut events.buffer, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        };
        for told in events.buffer[..count].iter().filter_map(call::told) {
            if self.bell.heard(&told) {
                events.woken = true;
            } else {
                events.told.extend(translate(&told, call::URGENT));
            }
        }
        if events.woken {
            events.told.extend(mem::take(&mut *self.at_once.lock()));
        }
        Ok(())
    }

    pub(crate) fn wake(&self) {
        self.bell.ring(self.queue.as_fd());
    }

    fn change(
        &self,
        action: Action,
        fd: BorrowedFd<'_>,
        key: Key,
    ) -> io::Result<Vec<super::translate::Told>> {
        let fd = fd.as_raw_fd() as usize;
        call::change(self.queue.as_fd(), changes(action, fd, key, call::URGENT))
    }
}

/// Buffer for the events of one `wait`.
pub(crate) struct Events {
    buffer: Vec<Entry>,
    told: Vec<PollEvent>,
    woken: bool,
}

// SAFETY: the pointers in the buffer are numbers, which nobody follows.
unsafe impl Send for Events {}
// SAFETY: as above.
unsafe impl Sync for Events {}

impl Events {
    pub(crate) fn with_capacity(n: usize) -> Events {
        Events { buffer: vec![call::empty(); n], told: Vec::with_capacity(n), woken: false }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PollEvent> + '_ {
        self.told.iter().copied()
    }

    /// Whether `wake` was among what ended the wait.
    pub(crate) fn woken(&self) -> bool {
        self.woken
    }

    fn clear(&mut self) {
        self.told.clear();
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
        let mut told = Vec::new();
        while !readable(&told, KEY) {
            let mut events = Events::with_capacity(8);
            poller.wait(&mut events, Some(Duration::from_secs(5))).expect("waits");
            assert!(events.woken() || events.iter().next().is_some());
            told.extend(events.iter());
        }
    }
}
