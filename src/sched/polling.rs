//! A worker's poll: events of its shard, and its timers, which fire in batches.
//!
//! It has two halves: the worker fetches what there is, and then wakes it. A worker that has slept says in
//! between that it is awake, since a waker of a user may block it.

use super::recorder;
use super::shared::{Remote, Shared};
use crate::base::clock;
use crate::base::fork;
use crate::base::sys::ticks;
use crate::coroutine::Batch;
use crate::netpoll::Events;
use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Events that are fetched at once.
const EVENTS: usize = 256;
/// The least time between two wake-ups of a sleeping worker by timers. Timers that are due in between fire
/// together. A timer with no other timer shortly before it fires when it is due.
const TIMER_BATCH: Duration = Duration::from_micros(250);

/// What a worker keeps from poll to poll.
pub(super) struct Polling {
    events: RefCell<Events>,
    /// How many ticks of the netpoller thread there had been at the last poll.
    ticks: Cell<u64>,
    /// When timers last fired.
    fired: Cell<Option<Instant>>,
}

/// What a poll has brought, and nobody has woken so far.
#[must_use]
pub(super) struct Fetched {
    batch: Batch,
    /// The shard had events.
    pub(super) events: bool,
    /// When the poll began, or its sleep ended, if the flight recorder is on.
    recorded: Option<u64>,
}

impl Fetched {
    /// Whether it wakes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }
}

impl Polling {
    pub(super) fn new() -> Polling {
        Polling {
            events: RefCell::new(Events::with_capacity(EVENTS)),
            ticks: Cell::new(0),
            fired: Cell::new(None),
        }
    }

    /// Whether the netpoller thread has ticked since the last poll.
    #[inline]
    pub(super) fn is_due(&self, shared: &Shared) -> bool {
        shared.ticks.load(Ordering::Relaxed) != self.ticks.get()
    }

    /// Fetches events, for up to `timeout` (`None`: without limit), and fires the timers that are due. A
    /// caller that may sleep says when it has begun. `wake` comes after it.
    pub(super) fn fetch(
        &self,
        shared: &Shared,
        remote: &Remote,
        timeout: Option<Duration>,
        began: Option<Instant>,
    ) -> Fetched {
        fork::check();
        let mut batch = Batch::new();
        let mut recorded = recorder::is_on().then(ticks);
        // A poll that does not sleep may miss what comes after its start.
        let at = began.is_none().then(clock::now);
        remote.ring.serve(&mut batch);
        // Calls of the ring that end from here on end the wait.
        let timeout = if batch.is_empty() { timeout } else { Some(Duration::ZERO) };
        if let Err(e) = remote.shard.poll(&mut self.events.borrow_mut(), timeout, &mut batch) {
            unreachable!("a poller waits on its own descriptors: {e}");
        }
        remote.ring.serve(&mut batch);
        if at.is_none()
            && let Some(began) = &mut recorded
        {
            // SAFETY: this is the worker's thread.
            unsafe { remote.track.writer() }.slept(*began);
            *began = ticks();
        }
        let at = at.unwrap_or_else(clock::now);
        shared.note_poll(remote, began.unwrap_or(at), at);
        self.ticks.set(shared.ticks.load(Ordering::Relaxed));
        let events = !batch.is_empty();
        if let Some(now) = remote.fire_timers(&mut batch) {
            self.fired.set(Some(now));
        }
        Fetched { batch, events, recorded }
    }

    /// Wakes what the poll has brought.
    pub(super) fn wake(remote: &Remote, mut fetched: Fetched) {
        let woke = !fetched.is_empty();
        fetched.batch.wake();
        remote.track.leave_turns();
        if let Some(began) = fetched.recorded {
            // SAFETY: this is the worker's thread.
            unsafe { remote.track.writer() }.polled(began, woke);
        }
    }

    /// How long the worker may sleep before its timers want it; `None` without timers.
    pub(super) fn timer_timeout(&self, remote: &Remote, now: Instant) -> Option<Duration> {
        let due = remote.next_timer()?;
        let due = self.fired.get().map_or(due, |fired| due.max(fired + TIMER_BATCH));
        Some(due.saturating_duration_since(now))
    }
}
