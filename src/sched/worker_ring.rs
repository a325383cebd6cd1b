//! A worker's ring: made when a coroutine first needs it, and watched by the worker's shard.
//!
//! Any thread may use an open ring; only the worker's own opens it.

use crate::coroutine::Batch;
use crate::netpoll::{Direction, Shard, Source};
use crate::ring::Ring;
use std::io;
use std::sync::{Arc, OnceLock};

/// The ring of a worker, if it has one.
pub(crate) struct WorkerRing(OnceLock<Option<Box<Watched>>>);

/// What became of the ring of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingState {
    /// No coroutine has needed it so far.
    Unused,
    /// It takes calls.
    Works,
    /// The system has refused it, or refuses its calls.
    Refused,
}

struct Watched {
    ring: Arc<Ring>,
    /// A duplicate of the ring's descriptor. Nothing waits for it: its events end the worker's sleep.
    source: Source,
}

impl WorkerRing {
    pub(super) const fn new() -> WorkerRing {
        WorkerRing(OnceLock::new())
    }

    /// The ring, which this opens if need be; `None` if the system refuses it. Only the worker calls this.
    pub(super) fn open(&self, shard: &Arc<Shard>) -> Option<Arc<Ring>> {
        let watched = self.0.get_or_init(|| Watched::new(shard).ok().map(Box::new)).as_ref()?;
        watched.ring.works().then(|| Arc::clone(&watched.ring))
    }

    pub(super) fn state(&self) -> RingState {
        match self.0.get() {
            None => RingState::Unused,
            Some(Some(watched)) if watched.ring.works() => RingState::Works,
            Some(_) => RingState::Refused,
        }
    }

    /// Whether calls are under way.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        matches!(self.0.get(), Some(Some(watched)) if watched.ring.is_active())
    }

    /// Submits what is pending, and puts the callers whose calls have ended into the batch. A later
    /// completion ends the wait of the shard.
    #[inline]
    pub(crate) fn serve(&self, batch: &mut Batch) {
        if self.is_active() {
            self.serve_active(batch);
        }
    }

    /// As `serve`, between two turns of the worker.
    #[cold]
    #[inline(never)]
    pub(super) fn serve_and_wake(&self) {
        let mut batch = Batch::new();
        self.serve_active(&mut batch);
        batch.wake();
    }

    #[cold]
    #[inline(never)]
    fn serve_active(&self, batch: &mut Batch) {
        let Some(Some(watched)) = self.0.get() else { return };
        watched.ring.submit(batch);
        watched.ring.collect(batch);
        // A one-shot back-end then reports what has ended meanwhile.
        watched.source.arm(Direction::Read);
    }
}

impl Watched {
    fn new(shard: &Arc<Shard>) -> io::Result<Watched> {
        let ring = Ring::new()?;
        let source = Source::new_nonblocking(ring.fd().try_clone_to_owned()?);
        source.join(shard)?;
        source.arm(Direction::Read);
        Ok(Watched { ring: Arc::new(ring), source })
    }
}
