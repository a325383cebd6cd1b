//! What a dump knows of a runtime: its coroutines and workers, as data. [`capture`](super::capture) fills it.

use super::config::Phase;
use crate::base::lock::{Mutex, Rank};
use crate::coroutine::{Capture, Facts, Id, Site, Trace, WaitReason};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a coroutine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits.
    Parked,
    /// It waits for its turn.
    Runnable,
    /// It has its turn.
    Running,
}

/// What is known of one coroutine.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) id: Id,
    pub(crate) name: Option<Box<str>>,
    pub(crate) site: Site,
    /// The coroutine that has spawned it.
    pub(crate) parent: Option<Id>,
    pub(crate) state: State,
    /// Why it waits, or has waited.
    pub(crate) reason: WaitReason,
    /// The number of its present wait ([`Waiter::parked_in`](crate::coroutine::Waiter::parked_in)).
    pub(crate) wait: Option<u64>,
    /// When its last wait began.
    pub(crate) since: Option<Instant>,
    /// When its wait ends at the latest.
    pub(crate) deadline: Option<Instant>,
    /// What it waits for.
    pub(crate) facts: Option<Facts>,
    /// The address of that.
    pub(crate) subject: Option<usize>,
    /// Whether its cancellation was requested.
    pub(crate) cancelled: bool,
    /// Whether that does not end its present wait.
    pub(crate) masked: bool,
    /// Its frames.
    pub(crate) trace: Option<Arc<Trace>>,
    /// The bytes of address space of its stack.
    pub(crate) stack_size: usize,
    /// The index of the worker that it lives on; `None` if any worker may run it.
    pub(crate) worker: Option<usize>,
    /// Whether its own worker has captured it.
    pub(crate) by_worker: bool,
}

/// What one worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// It waits in its shard's poll.
    Asleep,
    /// It is between two turns.
    Awake,
    /// A coroutine has its turn there.
    Running(Id),
    /// Its thread has ended, or has nothing more to do.
    Left,
}

/// What is known of one worker.
#[derive(Debug)]
pub(crate) struct CapturedWorker {
    pub(crate) index: usize,
    pub(crate) state: WorkerState,
    /// How many coroutines live there.
    pub(crate) live: usize,
    /// Coroutines that are assigned to it and not started.
    pub(crate) assigned: usize,
    /// What its deques hold: unstarted coroutines; with mobile homes also homes, in migrating mode also
    /// started ones.
    pub(crate) queued: usize,
    /// How long it has not polled.
    pub(crate) since_poll: Duration,
    /// The reason of the wait in a destructor that blocks it.
    pub(crate) blocked_in: WaitReason,
}

/// What is known of one runtime.
#[derive(Debug)]
pub(crate) struct CapturedRuntime {
    /// When this was known.
    pub(crate) at: Instant,
    pub(crate) name: String,
    pub(crate) phase: Phase,
    pub(crate) migrate: bool,
    pub(crate) mobile_homes: bool,
    /// The name of its back-end.
    pub(crate) netpoll: &'static str,
    pub(crate) workers: Vec<CapturedWorker>,
    pub(crate) coroutines: Vec<Captured>,
    /// Items that wait for any worker: unstarted coroutines, mobile homes, in migrating mode started
    /// coroutines.
    pub(crate) injected: usize,
}

/// What is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The coroutines that need others to go on, without their stacks. The rest is not copied, since a
    /// search for deadlocks has no use for it.
    Waits,
    /// Each coroutine, with its stack. A worker that is stuck in a turn gets a signal.
    Stacks,
}

/// What workers have captured for one dump.
pub(super) struct Collection {
    pub(super) detail: Detail,
    pub(super) found: Mutex<Vec<Captured>>,
    /// What has captured stacks in earlier portions, and knows them. A worker takes one for a portion.
    known: Mutex<Vec<Capture>>,
}

impl Collection {
    pub(super) fn new(detail: Detail) -> Collection {
        let known = Mutex::new(Rank::Captured, Vec::new());
        Collection { detail, found: Mutex::new(Rank::Captured, Vec::new()), known }
    }

    /// Calls `f` with something to capture stacks.
    pub(super) fn with_capture<R>(&self, f: impl FnOnce(&mut Capture) -> R) -> R {
        let known = self.known.lock().pop();
        let mut capture = known.unwrap_or_else(Capture::new);
        let result = f(&mut capture);
        self.known.lock().push(capture);
        result
    }
}
