//! A worker's ring: made when a coroutine first needs it, and watched by the worker's shard.
//!
//! Any thread may use an open ring; only the worker's own opens it. If there is no descriptor or no memory
//! for it at the moment, a later call tries again; any other refusal is for good.

use crate::coroutine::Batch;
use crate::netpoll::{Direction, Shard, Source};
use crate::ring::Ring;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// How many calls go by after the system was short of something, before the next one tries again.
const CALLS_WITHOUT: u32 = 64;

/// The ring of a worker, if it has one.
pub(crate) struct WorkerRing {
    /// `None`: the system refuses it.
    ring: OnceLock<Option<Box<Watched>>>,
    /// How many calls are yet to go by.
    without: AtomicU32,
}

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
        WorkerRing { ring: OnceLock::new(), without: AtomicU32::new(0) }
    }

    /// The ring, which this opens if need be; `None` if the system refuses it. Only the worker calls this.
    pub(super) fn open(&self, shard: &Arc<Shard>) -> Option<Arc<Ring>> {
        if self.ring.get().is_none() {
            self.make(shard);
        }
        let watched = self.ring.get()?.as_ref()?;
        watched.ring.works().then(|| Arc::clone(&watched.ring))
    }

    #[cold]
    fn make(&self, shard: &Arc<Shard>) {
        let without = self.without.load(Ordering::Relaxed);
        if without > 0 {
            self.without.store(without - 1, Ordering::Relaxed);
            return;
        }
        let watched = Watched::new(shard).map(Box::new);
        if watched.as_ref().is_err_and(is_for_now) {
            self.without.store(CALLS_WITHOUT, Ordering::Relaxed);
        } else {
            let _ = self.ring.set(watched.ok());
        }
    }

    pub(super) fn state(&self) -> RingState {
        match self.ring.get() {
            None if self.without.load(Ordering::Relaxed) > 0 => RingState::Refused,
            None => RingState::Unused,
            Some(Some(watched)) if watched.ring.works() => RingState::Works,
            Some(_) => RingState::Refused,
        }
    }

    /// Whether calls are under way.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        matches!(self.ring.get(), Some(Some(watched)) if watched.ring.is_active())
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
        let Some(Some(watched)) = self.ring.get() else { return };
        watched.ring.submit(batch);
        watched.ring.collect(batch);
        // A one-shot back-end then reports what has ended meanwhile.
        watched.source.arm(Direction::Read);
    }
}

/// Whether the system may take another attempt: it is short of descriptors or of memory.
fn is_for_now(error: &io::Error) -> bool {
    let short = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN, libc::ENOSPC];
    error.raw_os_error().is_some_and(|errno| short.contains(&errno))
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
