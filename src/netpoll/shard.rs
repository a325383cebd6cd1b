//! A shard: a poller and the table of what it watches. Each worker has one.
//!
//! The table maps the key of a kernel event to the readiness of a source. It owns a reference to the
//! readiness, so an event never reaches freed memory. Its keys carry generations, so an event for a source
//! that has left is recognised. The memory that a burst of sources has used is freed (`base::slab`).
//!
//! Invariant: a readiness counts the shards in whose tables it is. Each table and that count change together,
//! under the lock of that table.

use super::backend::Backend;
use super::event::{Direction, Key};
use super::readiness::Readiness;
use super::sys::{Events, Poller, backend_of, new_poller};
use crate::base::fork;
use crate::base::lock::{Mutex, Rank};
use crate::base::slab::Slab;
use crate::base::sys::prefetch;
use crate::coroutine::Batch;
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

struct Table {
    sources: Slab<Arc<Readiness>>,
    /// Whether the runtime has ended: no source joins any more.
    retired: bool,
}

impl Shard {
    /// An empty shard with the back-end of the system.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn new() -> io::Result<Shard> {
        Shard::on(super::sys::BACKENDS[0])
    }

    /// An empty shard with that back-end, or with the system's own if it refuses that one.
    pub(crate) fn on(backend: Backend) -> io::Result<Shard> {
        Ok(Shard {
            poller: new_poller(backend)?,
            table: Mutex::new(Rank::Shard, Table { sources: Slab::new(), retired: false }),
        })
    }

    /// Its back-end.
    pub(crate) fn backend(&self) -> Backend {
        backend_of(&self.poller)
    }

    /// How many descriptors it watches.
    pub(crate) fn watched(&self) -> usize {
        self.table.lock().sources.count()
    }

    /// Calls `f` while no source joins or leaves.
    #[cfg(all(test, not(loom)))]
    pub(super) fn hold(&self, f: impl FnOnce()) {
        let _table = self.table.lock();
        f();
    }

    /// Waits for kernel events, and fires the waiters for which they are.
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
        // Prefetches for the next iterations: first the readiness, then its first waiter.
        let mut ahead = events.iter().skip(1).map(|event| table.get(event.key));
        let mut next = ahead.next().flatten();
        for event in events.iter() {
            let after_next = ahead.next().flatten();
            if let Some(next) = next {
                next.read.prefetch_waiter();
            }
            if let Some(after_next) = after_next {
                prefetch(ptr::from_ref(after_next).cast(), 1);
            }
            next = after_next;
            if let Some(readiness) = table.get(event.key) {
                readiness.apply(&event, batch);
            }
        }
        Ok(())
    }

    /// As `poll`, in the place of the shard's worker, without waiting. If this takes a wake-up that was meant
    /// for the worker, it writes another one.
    pub(crate) fn poll_for_worker(&self, events: &mut Events, batch: &mut Batch) -> io::Result<()> {
        self.poll(events, Some(Duration::ZERO), batch)?;
        if events.woken() {
            self.wake();
        }
        Ok(())
    }

    /// Ends a `poll` that is in progress, or else the next one.
    pub(crate) fn wake(&self) {
        // A forked child has its parent's descriptor, and no thread that polls.
        if !fork::forked() {
            self.poller.wake();
        }
    }

    /// As `add_unarmed`. A one-shot back-end arms both directions.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, readiness: &Arc<Readiness>) -> io::Result<Key> {
        let key = self.add_unarmed(fd, readiness)?;
        self.arm(key, Direction::Read);
        self.arm(key, Direction::Write);
        Ok(key)
    }

    /// Watches a source's descriptor. A one-shot back-end arms no direction.
    ///
    /// # Errors
    ///
    /// The shard has retired, or the back-end cannot watch the file.
    pub(super) fn add_unarmed(&self, fd: BorrowedFd<'_>, readiness: &Arc<Readiness>) -> io::Result<Key> {
        let mut table = self.table.lock();
        if table.retired {
            return Err(io::Error::other("the runtime has shut down"));
        }
        let key = table.sources.insert(Arc::clone(readiness));
        if let Err(e) = self.poller.add_unarmed(fd, key) {
            table.sources.remove(key);
            return Err(e);
        }
        readiness.joined();
        Ok(key)
    }

    /// Makes a one-shot back-end report that direction again.
    pub(super) fn arm(&self, key: Key, direction: Direction) {
        self.poller.arm(key, direction);
    }

    /// Ends the watch; false if the shard has retired. The source calls it before it closes the descriptor:
    /// if another process has a duplicate, closing alone would leave the kernel's registration alive.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>, key: Key) -> bool {
        let mut table = self.table.lock();
        let removed = table.sources.remove(key);
        if let Some(readiness) = &removed {
            readiness.left();
            let _ = self.poller.remove(fd, key);
        }
        removed.is_some()
    }

    /// Ends the shard: its sources leave it, and all their waiters are fired. They may join another shard.
    pub(crate) fn retire(&self, batch: &mut Batch) {
        let mut table = self.table.lock();
        table.retired = true;
        for readiness in table.sources.drain() {
            readiness.left();
            readiness.set_all(batch);
        }
        self.poller.retire();
    }
}

impl Table {
    fn get(&self, key: Key) -> Option<&Readiness> {
        self.sources.get(key).map(|readiness| &**readiness)
    }
}
