//! The poll back-end, for any Unix. The contract is in the folder's `mod.rs`.
//!
//! `poll(2)` tells states, not changes, so each direction of a descriptor is asked about only while it is
//! armed: `add` and `arm` arm it, and an event disarms it. A waiter
//! arms its direction once it is listed; what has come in between is told at once, since it is a state.
//!
//! A call of `wait` asks with a copy of what is armed. It is counted in `inside` from the copy on, and
//! whoever changes the table while anybody is inside rings the bell, a pipe that each copy contains: so
//! no wait goes on with a copy that lacks what was armed since, and none holds on to a descriptor that
//! was removed and is to be closed. The bell stays rung until nobody is inside, and is silenced then.
//!
//! Nothing is told for good: what lasts is told again as often as a direction is armed.

use crate::base::lock::{Mutex, Rank};
use crate::base::slab::shrink;
use crate::base::sys::poll;
use crate::base::sys::{retry, set_nonblocking};
use crate::netpoll::event::{Direction, Key, PollEvent};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// What is told whether it was asked for or not, and ends waits in both directions.
const GONE: libc::c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
const BOTH: libc::c_short = libc::POLLIN | libc::POLLOUT;

/// A table of descriptors, and the bell that ends the waits.
#[derive(Debug)]
pub(crate) struct Poller {
    table: Mutex<Table>,
    heard: PipeReader,
    bell: PipeWriter,
}

#[derive(Debug, Default)]
struct Table {
    /// By the slots of the keys.
    watches: Vec<Option<Watch>>,
    /// Calls of `wait` that have taken their copy and not come back.
    inside: usize,
    /// The bell has been rung and not been silenced.
    rung: bool,
    /// There was a `wake` that no wait has taken yet.
    woken: bool,
}

#[derive(Debug)]
struct Watch {
    fd: RawFd,
    generation: u32,
    /// Of `POLLIN` and `POLLOUT`, what is to be told.
    armed: libc::c_short,
}

impl Poller {
    pub(crate) const ONE_SHOT: bool = true;

    pub(crate) fn new() -> io::Result<Poller> {
        let (heard, bell) = io::pipe()?;
        set_nonblocking(heard.as_fd(), true)?;
        set_nonblocking(bell.as_fd(), true)?;
        Ok(Poller { table: Mutex::new(Rank::Poller, Table::default()), heard, bell })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let mut table = self.table.lock();
        let slot = key.slot as usize;
        if table.watches.len() <= slot {
            table.watches.resize_with(slot + 1, || None);
        }
        table.watches[slot] = Some(Watch { fd: fd.as_raw_fd(), generation: key.generation, armed: BOTH });
        self.changed(&mut table);
        Ok(())
    }

    pub(crate) fn remove(&self, _fd: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let mut table = self.table.lock();
        if table.watch(key).is_some() {
            table.watches[key.slot as usize] = None;
            // The table of sources uses its lowest free slot first.
            while let Some(None) = table.watches.last() {
                table.watches.pop();
            }
            shrink(&mut table.watches);
            self.changed(&mut table);
        }
        Ok(())
    }

    pub(crate) fn arm(&self, key: Key, direction: Direction) {
        let bit = match direction {
            Direction::Read => libc::POLLIN,
            Direction::Write => libc::POLLOUT,
        };
        let mut table = self.table.lock();
        if let Some(watch) = table.watch(key).filter(|watch| watch.armed & bit == 0) {
            watch.armed |= bit;
            self.changed(&mut table);
        }
    }

    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        loop {
            self.copy(events);
            let result = poll(&mut events.asked, if events.woken { Some(Duration::ZERO) } else { left });
            self.collect(events);
            match result {
                Ok(0) => return Ok(()),
                Ok(_) if events.woken || !events.told.is_empty() => return Ok(()),
                // The bell rang for others, or the table has changed: this wait goes on.
                Ok(_) => left = deadline.map(|at| at.saturating_duration_since(Instant::now())),
                // Some systems call a shortage of memory a reason to try again.
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
        self.changed(&mut table);
    }

    /// Takes the copy to ask with, and a wake-up that came before.
    fn copy(&self, events: &mut Events) {
        events.clear();
        let mut table = self.table.lock();
        table.inside += 1;
        events.woken = std::mem::take(&mut table.woken);
        events.ask(self.heard.as_raw_fd(), libc::POLLIN);
        for (slot, watch) in table.watches.iter().enumerate() {
            if let Some(watch) = watch.as_ref().filter(|watch| watch.armed != 0) {
                events.ask(watch.fd, watch.armed);
                events.keys.push(Key { slot: slot as u32, generation: watch.generation });
            }
        }
    }

    /// Turns the answers into events, and disarms what they tell.
    fn collect(&self, events: &mut Events) {
        let mut table = self.table.lock();
        table.inside -= 1;
        if table.rung && table.inside == 0 {
            table.rung = false;
            let mut byte = 0u8;
            // SAFETY: the buffer is one byte. The pipe holds one, written before `rung` was set.
            let _ = retry(|| unsafe { libc::read(self.heard.as_raw_fd(), (&raw mut byte).cast(), 1) });
        }
        events.woken |= std::mem::take(&mut table.woken);
        for (answer, &key) in events.asked[1..].iter().zip(&events.keys) {
            if answer.revents != 0
                && let Some(watch) = table.watch(key)
            {
                let bits = told(watch.armed, answer.revents);
                watch.armed &= !bits;
                events.told.extend(translate(key, bits));
            }
        }
    }

    /// Ends the waits whose copies are out of date.
    fn changed(&self, table: &mut Table) {
        if table.inside > 0 && !table.rung {
            let byte = 0u8;
            // SAFETY: the buffer is one byte. The pipe is empty, so there is room for it.
            let _ = retry(|| unsafe { libc::write(self.bell.as_raw_fd(), (&raw const byte).cast(), 1) });
            table.rung = true;
        }
    }
}

impl Table {
    fn watch(&mut self, key: Key) -> Option<&mut Watch> {
        let watch = self.watches.get_mut(key.slot as usize)?.as_mut()?;
        (watch.generation == key.generation).then_some(watch)
    }
}

/// Of what is armed, what that answer tells.
fn told(armed: libc::c_short, answer: libc::c_short) -> libc::c_short {
    if answer & GONE != 0 { armed } else { armed & answer }
}

fn translate(key: Key, bits: libc::c_short) -> Option<PollEvent> {
    (bits != 0).then_some(PollEvent {
        key,
        readable: bits & libc::POLLIN != 0,
        writable: bits & libc::POLLOUT != 0,
        read_for_good: false,
        write_for_good: false,
    })
}

/// What one `wait` asks with, and what it is told.
pub(crate) struct Events {
    /// The bell, then what is armed.
    asked: Vec<libc::pollfd>,
    /// Whose each is, but for the bell.
    keys: Vec<Key>,
    told: Vec<PollEvent>,
    woken: bool,
}

impl Events {
    pub(crate) fn with_capacity(n: usize) -> Events {
        let (asked, keys) = (Vec::with_capacity(n + 1), Vec::with_capacity(n));
        Events { asked, keys, told: Vec::with_capacity(n), woken: false }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PollEvent> + '_ {
        self.told.iter().copied()
    }

    /// Whether `wake` was among what ended the wait.
    pub(crate) fn woken(&self) -> bool {
        self.woken
    }

    fn clear(&mut self) {
        // They hold what the last wait was about.
        shrink(&mut self.asked);
        shrink(&mut self.keys);
        shrink(&mut self.told);
        self.asked.clear();
        self.keys.clear();
        self.told.clear();
        self.woken = false;
    }

    fn ask(&mut self, fd: RawFd, events: libc::c_short) {
        self.asked.push(libc::pollfd { fd, events, revents: 0 });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::netpoll::sys::contract::contract;

    contract!(crate::netpoll::sys::poll);

    #[test]
    fn an_answer_tells_what_is_armed_and_no_more() {
        let (read, write) = (libc::POLLIN, libc::POLLOUT);
        assert_eq!(told(BOTH, read), read);
        assert_eq!(told(write, read), 0);
        assert_eq!(told(0, BOTH), 0);
        assert_eq!(told(write, libc::POLLHUP), write);
        assert_eq!(told(BOTH, libc::POLLERR | write), BOTH);
        assert_eq!(told(BOTH, libc::POLLNVAL), BOTH);
    }
}
