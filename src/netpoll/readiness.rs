//! The readiness of a source, which its shard shares with it.

use super::event::{Direction, PollEvent};
use crate::base::sync::{AtomicU8, AtomicUsize, Ordering};
use crate::coroutine::{Awaited, Batch, Event, StickyNumbers};
use std::sync::Arc;

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
static INTERESTS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

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

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::coroutine::{Cause, EventNode, Sleeper};
    use loom::thread;

    /// As `descriptor::readiness::wait_for_turn`, for reading. Sleeps unless it need not.
    fn wait(readiness: &Readiness, sleeper: &Sleeper, times_ready: Option<usize>) {
        let ticket = sleeper.ticket();
        let node = EventNode::new(ticket);
        // SAFETY: the node stays until it is removed, and the sleeper for longer.
        let listed = unsafe { readiness.read.enqueue(&node) };
        if listed && readiness.times_ready() == times_ready {
            assert_eq!(sleeper.sleep(ticket), Cause::Event);
        }
        readiness.read.remove(&node);
    }

    fn wake(set: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new();
        set(&mut batch);
        batch.wake();
    }

    /// What one caller waits for happens, while another one consumes the event and finds nothing. If the
    /// first one slept on, loom would report that.
    #[test]
    fn a_caller_of_a_selective_source_is_not_passed_over() {
        loom::model(|| {
            let mut readiness = Readiness::new();
            readiness.make_selective();
            assert!(readiness.read.consume());
            let world = Arc::new((readiness, AtomicU8::new(0), Sleeper::new()));
            let (theirs, others) = (world.clone(), world.clone());
            let poller = thread::spawn(move || {
                theirs.1.store(1, Ordering::Relaxed);
                wake(|batch| theirs.0.set_ready(Direction::Read, batch));
            });
            let other = thread::spawn(move || others.0.read.consume());
            let (readiness, happened, sleeper) = &*world;
            loop {
                let times_ready = readiness.times_ready();
                readiness.read.consume();
                if happened.load(Ordering::Relaxed) == 1 {
                    break;
                }
                wait(readiness, sleeper, times_ready);
            }
            poller.join().unwrap();
            other.join().unwrap();
        });
    }

    /// The shard retires, while a caller that has found the source bound to it goes to wait: the caller finds
    /// it unbound.
    #[test]
    fn no_caller_waits_for_a_shard_that_has_retired() {
        loom::model(|| {
            let readiness = Readiness::new();
            readiness.joined();
            let world = Arc::new((readiness, Sleeper::new()));
            let theirs = world.clone();
            // As `Shard::retire`.
            let retires = thread::spawn(move || {
                theirs.0.left();
                wake(|batch| theirs.0.set_all(batch));
            });
            let (readiness, sleeper) = &*world;
            loop {
                // Its call would block.
                readiness.read.consume();
                if !readiness.is_bound() {
                    break;
                }
                wait(readiness, sleeper, None);
            }
            retires.join().unwrap();
        });
    }
}
