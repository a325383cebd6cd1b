//! The back-end `poll`, for any Unix. The contract is in `mod.rs`.
//!
//! # The problem
//!
//! `poll(2)` takes its list of descriptors as an argument, and reports states instead of changes. So this
//! back-end keeps a table of what to ask about, each `wait` asks with a copy of the table, and a copy must
//! not be used any longer once the table has changed.
//!
//! # Armed directions
//!
//! A direction is in the copies only while it is armed. `add` and `arm` arm it, and an event disarms it. A
//! waiter arms its direction once it is listed. What has changed before that is reported at once, as it is a
//! state by then.
//!
//! # Copies that are out of date
//!
//! Each copy contains the reading end of the *wake-up pipe*. The table counts the waits that use a copy
//! (`waiting`). A thread that changes the table while `waiting` is not zero writes a byte to the pipe, which
//! ends all of them. So no wait goes on without what was armed since, and none keeps a removed descriptor
//! open.
//!
//! | the pipe, from, to | by | cause |
//! |---|---|---|
//! | empty, full | a thread that changes the table, or `wake` | some wait uses a copy |
//! | full, empty | the last wait that returns from `poll(2)` | no wait uses a copy any more |
//!
//! The pipe stays full until the last one has returned. A wait that begins meanwhile ends at once, and starts
//! anew with a fresh copy.
//!
//! No event is reported as sticky: a state that lasts is reported again each time its direction is armed.

use crate::base::lock::{Mutex, Rank};
use crate::base::slab::shrink;
use crate::base::sys::{poll, retry, set_nonblocking};
use crate::netpoll::event::{Direction, Key, PollEvent};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// What `poll` reports whether it was asked for or not. It ends waits in both directions.
const GONE: libc::c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
const BOTH: libc::c_short = libc::POLLIN | libc::POLLOUT;

/// A table of descriptors, and the pipe that ends the waits.
#[derive(Debug)]
pub(crate) struct Poller {
    table: Mutex<Table>,
    wakeup_reader: PipeReader,
    wakeup_writer: PipeWriter,
}

#[derive(Debug, Default)]
struct Table {
    /// By the slots of the keys.
    watches: Vec<Option<Watch>>,
    /// Calls of `wait` that have taken their copy, and have not returned from `poll(2)`.
    waiting: usize,
    /// Whether the wake-up pipe holds its byte.
    pipe_is_full: bool,
    /// Whether there was a `wake` that no wait has taken yet.
    woken: bool,
}

#[derive(Debug)]
struct Watch {
    fd: RawFd,
    generation: u32,
    /// Of `POLLIN` and `POLLOUT`, what is armed.
    armed: libc::c_short,
}

impl Poller {
    pub(crate) const ONE_SHOT: bool = true;
    #[allow(dead_code, reason = "a test build compiles this beside the system's own back-end")]
    pub(crate) const REPORTS_PRIORITY: bool = false;

    pub(crate) fn new() -> io::Result<Poller> {
        let (wakeup_reader, wakeup_writer) = io::pipe()?;
        set_nonblocking(wakeup_reader.as_fd(), true)?;
        set_nonblocking(wakeup_writer.as_fd(), true)?;
        Ok(Poller { table: Mutex::new(Rank::Poller, Table::default()), wakeup_reader, wakeup_writer })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        self.watch(fd, key, BOTH)
    }

    pub(crate) fn add_unarmed(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        self.watch(fd, key, 0)
    }

    fn watch(&self, fd: BorrowedFd<'_>, key: Key, armed: libc::c_short) -> io::Result<()> {
        let mut table = self.table.lock();
        let slot = key.slot as usize;
        if table.watches.len() <= slot {
            table.watches.resize_with(slot + 1, || None);
        }
        table.watches[slot] = Some(Watch { fd: fd.as_raw_fd(), generation: key.generation, armed });
        if armed != 0 {
            self.end_waits(&mut table);
        }
        Ok(())
    }

    pub(crate) fn remove(&self, _fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let mut table = self.table.lock();
        if table.watch(key).is_some() {
            table.watches[key.slot as usize] = None;
            // The table of sources uses its lowest free slot first, so the end becomes free.
            while let Some(None) = table.watches.last() {
                table.watches.pop();
            }
            shrink(&mut table.watches);
            self.end_waits(&mut table);
        }
        Ok(())
    }

    pub(crate) fn retire(&self) {}

    pub(crate) fn arm(&self, key: Key, direction: Direction) {
        let bit = match direction {
            Direction::Read => libc::POLLIN,
            Direction::Write => libc::POLLOUT,
        };
        let mut table = self.table.lock();
        if let Some(watch) = table.watch(key).filter(|watch| watch.armed & bit == 0) {
            watch.armed |= bit;
            self.end_waits(&mut table);
        }
    }

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        loop {
            self.copy_table(events);
            let result = poll(&mut events.entries, if events.woken { Some(Duration::ZERO) } else { left });
            self.collect(events);
            match result {
                Ok(0) => return Ok(()),
                Ok(_) if events.woken || !events.found.is_empty() => return Ok(()),
                // The table has changed, or the byte was for another wait: this one goes on.
                Ok(_) => left = deadline.map(|at| at.saturating_duration_since(Instant::now())),
                // Some systems report a shortage of memory as a reason to try again.
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
            if left == Some(Duration::ZERO) {
                return Ok(());
            }
        }
    }

    pub(crate) fn wake(&self) {
        let mut table = self.table.lock();
        table.woken = true;
        self.end_waits(&mut table);
    }

    /// Takes the copy to ask with, and a `wake` that came before.
    fn copy_table(&self, events: &mut Events) {
        events.clear();
        let mut table = self.table.lock();
        table.waiting += 1;
        events.woken = std::mem::take(&mut table.woken);
        events.ask(self.wakeup_reader.as_raw_fd(), libc::POLLIN);
        for (slot, watch) in table.watches.iter().enumerate() {
            if let Some(watch) = watch.as_ref().filter(|watch| watch.armed != 0) {
                events.ask(watch.fd, watch.armed);
                events.keys.push(Key { slot: slot as u32, generation: watch.generation });
            }
        }
    }

    /// Turns the answers into events, and disarms what they report.
    fn collect(&self, events: &mut Events) {
        let mut table = self.table.lock();
        table.waiting -= 1;
        if table.pipe_is_full && table.waiting == 0 {
            table.pipe_is_full = false;
            let mut byte = 0u8;
            let reader = self.wakeup_reader.as_raw_fd();
            // SAFETY: the buffer is one byte. The pipe holds one, written before `pipe_is_full` was set.
            let _ = retry(|| unsafe { libc::read(reader, (&raw mut byte).cast(), 1) });
        }
        events.woken |= std::mem::take(&mut table.woken);
        for (answer, &key) in events.entries[1..].iter().zip(&events.keys) {
            if answer.revents != 0
                && let Some(watch) = table.watch(key)
            {
                let bits = reported(watch.armed, answer.revents);
                watch.armed &= !bits;
                events.found.extend(translate(key, bits));
            }
        }
    }

    /// Ends the waits whose copies are out of date.
    fn end_waits(&self, table: &mut Table) {
        if table.waiting > 0 && !table.pipe_is_full {
            let byte = 0u8;
            let writer = self.wakeup_writer.as_raw_fd();
            // SAFETY: the buffer is one byte. The pipe is empty, so there is room for it.
            let _ = retry(|| unsafe { libc::write(writer, (&raw const byte).cast(), 1) });
            table.pipe_is_full = true;
        }
    }
}

impl Table {
    fn watch(&mut self, key: Key) -> Option<&mut Watch> {
        let watch = self.watches.get_mut(key.slot as usize)?.as_mut()?;
        (watch.generation == key.generation).then_some(watch)
    }
}

/// Of what is armed, what that answer reports.
fn reported(armed: libc::c_short, answer: libc::c_short) -> libc::c_short {
    if answer & GONE != 0 { armed } else { armed & answer }
}

fn translate(key: Key, bits: libc::c_short) -> Option<PollEvent> {
    (bits != 0).then_some(PollEvent {
        key,
        readable: bits & libc::POLLIN != 0,
        writable: bits & libc::POLLOUT != 0,
        read_sticky: false,
        write_sticky: false,
    })
}

/// What one `wait` asks with, and what it finds.
pub(crate) struct Events {
    /// The wake-up pipe, then what is armed.
    entries: Vec<libc::pollfd>,
    /// The key of each entry but the first.
    keys: Vec<Key>,
    found: Vec<PollEvent>,
    woken: bool,
}

impl Events {
    pub(crate) fn with_capacity(n: usize) -> Events {
        let (entries, keys) = (Vec::with_capacity(n + 1), Vec::with_capacity(n));
        Events { entries, keys, found: Vec::with_capacity(n), woken: false }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PollEvent> + '_ {
        self.found.iter().copied()
    }

    pub(crate) fn woken(&self) -> bool {
        self.woken
    }

    fn clear(&mut self) {
        // Before they are cleared: `shrink` compares the capacity with what the last wait needed.
        shrink(&mut self.entries);
        shrink(&mut self.keys);
        shrink(&mut self.found);
        self.entries.clear();
        self.keys.clear();
        self.found.clear();
        self.woken = false;
    }

    fn ask(&mut self, fd: RawFd, events: libc::c_short) {
        self.entries.push(libc::pollfd { fd, events, revents: 0 });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::netpoll::sys::contract::contract;

    contract!(crate::netpoll::sys::poll);

    #[test]
    fn an_answer_reports_what_is_armed_and_no_more() {
        let (read, write) = (libc::POLLIN, libc::POLLOUT);
        assert_eq!(reported(BOTH, read), read);
        assert_eq!(reported(write, read), 0);
        assert_eq!(reported(0, BOTH), 0);
        assert_eq!(reported(write, libc::POLLHUP), write);
        assert_eq!(reported(BOTH, libc::POLLERR | write), BOTH);
        assert_eq!(reported(BOTH, libc::POLLNVAL), BOTH);
    }
}
