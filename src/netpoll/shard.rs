//! A poller and the table of what it watches; one per worker.
//!
//! The table maps the key in an event to the readiness of a source. It owns a reference to it, so an
//! event never meets freed memory, and its keys carry generations, so an event for a source that has
//! left is recognised. What a burst of sources has used of it is given back (`base::slab`). Invariant: a
//! source is `bound` exactly while it is in the table of one shard.

use super::event::{Direction, Key, PollEvent};
use super::source::Readiness;
use super::sys::Events;
use super::sys::Poller;
use crate::base::fork;
use crate::base::lock::{Mutex, Rank};
use crate::base::slab::Slab;
use crate::base::sys::prefetch;
use crate::coroutine::{Batch, Event};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

/// One poller with its table.
pub(crate) struct Shard {
    poller: Poller,
    table: Mutex<Table>,
}

impl Shard {
    /// An empty shard.
    pub(crate) fn new() -> io::Result<Shard> {
        Ok(Shard {
            poller: Poller::new()?,
            table: Mutex::new(Rank::Shard, Table { sources: Slab::new(), retired: false }),
        })
    }

    /// Waits for events and fires those who wait for them.
    pub(crate) fn poll(
        &self,
        events: &mut Events,
        timeout: Option<Duration>,
        batch: &mut Batch,
    ) -> io::Result<()> {
        self.poller.wait(events, timeout)?;
        if events.iter().next().is_none() {
            return Ok(());
        }
        let table = self.table.lock();
        // Prefetches for the coming turns of the loop: first the readiness word, then its first waiter.
        let mut ahead = events.iter().skip(1).map(|readiness| table.get(readiness.key));
        let mut next = ahead.next().flatten();
        for readiness in events.iter() {
            let after_next = ahead.next().flatten();
            if let Some(next) = next {
                next.read.prefetch_waiter();
            }
            if let Some(after_next) = after_next {
                prefetch(ptr::from_ref(after_next).cast(), 1);
            }
            next = after_next;
            if let Some(ready) = table.get(readiness.key) {
                ready.set(&readiness, batch);
            }
        }
        Ok(())
    }

    /// As `poll`, on behalf of the shard's worker, without waiting. A wake-up that was meant for the
    /// worker is passed on.
    pub(crate) fn poll_for_worker(&self, events: &mut Events, batch: &mut Batch) -> io::Result<()> {
        self.poll(events, Some(Duration::ZERO), batch)?;
        if events.woken() {
            self.wake();
        }
        Ok(())
    }

    /// Ends the present or next `poll`.
    pub(crate) fn wake(&self) {
        // A forked child has the parent's descriptor, and nobody who polls.
        if !fork::forked() {
            self.poller.wake();
        }
    }

    /// Watches a source's descriptor. Fails once the shard has retired.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, ready: &Arc<Readiness>) -> io::Result<Key> {
        let mut table = self.table.lock();
        if table.retired {
            return Err(io::Error::other("the runtime has shut down"));
        }
        let key = table.sources.insert(Arc::clone(ready));
        if let Err(e) = self.poller.add(fd, key) {
            table.sources.remove(key);
            return Err(e);
        }
        ready.set_bound(true);
        Ok(key)
    }

    /// Has a change of that direction told, where the back-end does so only once it is asked to.
    pub(super) fn arm(&self, key: Key, direction: Direction) {
        self.poller.arm(key, direction);
    }

    /// Watches it no more. Explicitly, before its descriptor is closed: a duplicate in another
    /// process would keep the kernel's entry alive.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>, key: Key) {
        let mut table = self.table.lock();
        if let Some(ready) = table.sources.remove(key) {
            ready.set_bound(false);
            let _ = self.poller.remove(fd, key);
        }
    }

    /// The end of the shard: its sources leave, and whoever waits for them is fired and may join
    /// another shard.
    pub(crate) fn retire(&self, batch: &mut Batch) {
        let mut table = self.table.lock();
        table.retired = true;
        for ready in table.sources.drain() {
            ready.set_bound(false);
            ready.set_all(batch);
        }
    }
}

struct Table {
    sources: Slab<Arc<Readiness>>,
    retired: bool,
}

impl Table {
    fn get(&self, key: Key) -> Option<&Readiness> {
        self.sources.get(key).map(|ready| &**ready)
    }
}

impl Readiness {
    fn set(&self, readiness: &PollEvent, batch: &mut Batch) {
        let mut set = |direction: Direction, event: &Event, for_good: bool| match for_good {
            true => event.set_sticky(&self.marks, batch),
            false => self.tell(direction, batch),
        };
        if readiness.readable {
            set(Direction::Read, &self.read, readiness.read_for_good);
        }
        if readiness.writable {
            set(Direction::Write, &self.write, readiness.write_for_good);
        }
    }
}
