//! The readiness of a source, which its shard shares with it.

use super::event::{Direction, PollEvent};
use crate::coroutine::{Awaited, Batch, Event, StickyNumbers};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// One readiness event for each direction. The source and the table of its shard own it together, so a kernel
/// event never reaches freed memory.
#[derive(Debug)]
pub(super) struct Readiness {
    pub(super) read: Event,
    pub(super) write: Event,
    /// Numbers the sticky sets of both events.
    sticky_numbers: StickyNumbers,
    /// In the tables of how many shards it is: of two while its source changes its shard. Changed together
    /// with each table, under that table's lock.
    shards: AtomicU8,
    /// Whether callers block on different conditions: one that finds nothing for itself proves nothing for
    /// the others.
    selective: bool,
    /// How often a selective source was reported as ready.
    times_ready: AtomicUsize,
}

impl Readiness {
    /// "Maybe ready" in both directions, and in no shard.
    pub(super) fn new() -> Readiness {
        Readiness {
            read: Event::new_set(),
            write: Event::new_set(),
            sticky_numbers: StickyNumbers::new(),
            shards: AtomicU8::new(0),
            selective: false,
            times_ready: AtomicUsize::new(0),
        }
    }

    /// See [`Source::selective`](super::source::Source::selective).
    pub(super) fn make_selective(&mut self) {
        self.selective = true;
    }

    /// The event of one direction.
    pub(super) fn event(&self, direction: Direction) -> &Event {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// Sets what a kernel event reports.
    pub(super) fn apply(&self, event: &PollEvent, batch: &mut Batch) {
        let mut set = |direction: Direction, sticky: bool| match sticky {
            true => self.event(direction).set_sticky(&self.sticky_numbers, batch),
            false => self.set_ready(direction, batch),
        };
        if event.readable {
            set(Direction::Read, event.read_sticky);
        }
        if event.writable {
            set(Direction::Write, event.write_sticky);
        }
    }

    /// Sets readiness that one call may use up.
    #[inline]
    pub(super) fn set_ready(&self, direction: Direction, batch: &mut Batch) {
        let event = self.event(direction);
        if self.selective {
            // Before the event: a waiter that lists itself after another caller has consumed this event sees
            // the new number.
            self.times_ready.fetch_add(1, Ordering::AcqRel);
            event.set_all(batch);
        } else {
            event.set(batch);
        }
    }

    /// How often a selective source was reported as ready; `None` for other sources.
    #[inline]
    pub(super) fn times_ready(&self) -> Option<usize> {
        self.selective.then(|| self.times_ready.load(Ordering::Acquire))
    }

    /// Whether it is in the table of a shard. Acquire: pairs with `joined` and `left`, so a caller that reads
    /// true may rely on the shard's events.
    #[inline]
    pub(super) fn is_bound(&self) -> bool {
        self.shards.load(Ordering::Acquire) > 0
    }

    /// It is in the table of one more shard. Called by that shard, under the lock of its table.
    pub(super) fn joined(&self) {
        self.shards.fetch_add(1, Ordering::Release);
    }

    /// The opposite.
    pub(super) fn left(&self) {
        self.shards.fetch_sub(1, Ordering::Release);
    }

    /// Wakes all waiters of both directions.
    pub(super) fn set_all(&self, batch: &mut Batch) {
        self.read.set_all(batch);
        self.write.set_all(batch);
    }
}

/// How many interests of futures exist.
static INTERESTS: AtomicUsize = AtomicUsize::new(0);

/// Whether a future may be waiting for a source, or is being woken by one.
pub(crate) fn futures_wait() -> bool {
    INTERESTS.load(Ordering::Acquire) > 0
}

/// The readiness of a source in one direction, as a future waits for it.
pub(super) struct Interest {
    readiness: Arc<Readiness>,
    direction: Direction,
}

impl Interest {
    pub(super) fn new(readiness: Arc<Readiness>, direction: Direction) -> Interest {
        INTERESTS.fetch_add(1, Ordering::AcqRel);
        Interest { readiness, direction }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        INTERESTS.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Awaited for Interest {
    fn event(&self) -> &Event {
        self.readiness.event(self.direction)
    }

    fn pass_on(&self) {
        let mut batch = Batch::new();
        self.event().set(&mut batch);
        batch.wake();
    }
}
