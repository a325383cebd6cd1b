//! How far a server has come, what it has done, and how others shut it down.

use crate::descriptor::{Host, Totals, deadline_after};
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How far a server has come.
#[derive(Default)]
enum Stage {
    #[default]
    New,
    /// It was shut down before it has begun.
    Stopped,
    Serving(Arc<Host>),
    Ended(Totals),
}

/// What a server shares with its handles.
#[derive(Default)]
pub(super) struct Control {
    stage: parking_lot::Mutex<Stage>,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: Arc<AtomicU64>,
}

impl Control {
    /// The server of that host begins, or has been shut down before.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if another server has begun.
    pub(super) fn begin(&self, host: &Arc<Host>) -> io::Result<()> {
        let mut stage = self.stage.lock();
        let stopped = matches!(*stage, Stage::Stopped);
        if !stopped && !matches!(*stage, Stage::New) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "these options serve another listener already",
            ));
        }
        *stage = Stage::Serving(Arc::clone(host));
        drop(stage);
        if stopped {
            host.drain();
        }
        Ok(())
    }

    /// The server has ended, and its host is let go.
    pub(super) fn end(&self, totals: Totals) {
        let former = mem::replace(&mut *self.stage.lock(), Stage::Ended(totals));
        // Outside of the lock: with the host the handler may be dropped.
        drop(former);
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Controls a server that [`serve`](super::serve()) runs.
#[derive(Clone, Debug)]
pub struct ServeHandle {
    control: Arc<Control>,
}

impl ServeHandle {
    pub(super) fn to(control: &Arc<Control>) -> ServeHandle {
        ServeHandle { control: Arc::clone(control) }
    }

    /// Shuts the server down: closes the listener and the idle connections, and waits until the handlers that
    /// run have returned, whose connections are then closed. After that limit it cancels the handlers, and
    /// waits until they have unwound. Returns whether none had to be cancelled. Then
    /// [`serve`](super::serve()) returns.
    ///
    /// Parks. A caller that is cancelled unwinds out of this, and the server goes on shutting down without
    /// the limit. A handler must not call this, since it would wait for itself.
    pub fn shutdown(&self, limit: Duration) -> bool {
        let mut stage = self.control.stage.lock();
        let host = match &*stage {
            Stage::New => {
                *stage = Stage::Stopped;
                return true;
            }
            Stage::Stopped | Stage::Ended(_) => return true,
            Stage::Serving(host) => Arc::clone(host),
        };
        drop(stage);
        host.drain();
        if host.wait_until_empty(deadline_after(limit)) {
            return true;
        }
        host.cancel();
        host.wait_until_empty(None);
        false
    }

    /// What the server has done.
    pub fn metrics(&self) -> ServeMetrics {
        let totals = match &*self.control.stage.lock() {
            Stage::New | Stage::Stopped => Totals::default(),
            Stage::Serving(host) => host.totals(),
            Stage::Ended(totals) => *totals,
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServeMetrics {
            connections: totals.open,
            idle: totals.idle.min(totals.open),
            accepted: count(&self.control.accepted),
            refused: count(&self.control.refused),
            activations: totals.activations,
            moves: totals.moves,
            failed: count(&self.control.failed) + totals.lost,
            panicked: totals.panicked,
        }
    }
}

/// What a server has done: see [`ServeHandle::metrics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeMetrics {
    /// The present connections.
    pub connections: usize,
    /// Those of them that wait, and have no coroutine.
    pub idle: usize,
    /// Connections that were accepted so far.
    pub accepted: u64,
    /// Connections that were closed at once, since their address had too many.
    pub refused: u64,
    /// How often the handler was called.
    pub activations: u64,
    /// How often a connection has moved to another worker: that one then fetches its events. A connection
    /// moves once other workers have run its handler in four periods of about ten milliseconds, and its own
    /// worker has not run it in between. Each move doubles the number of periods before the next, up to 128.
    pub moves: u64,
    /// Connections that have ended with an error of the handler, could not begin, found no stack for it, or
    /// could not be watched any more. Connections that a shutdown ends do not count.
    pub failed: u64,
    /// Connections that have ended with a panic of the handler.
    pub panicked: u64,
}
