//! Which coroutine a worker runs, as other threads see it.
//!
//! A worker writes `turns`, then `id` with release, both at the beginning of a turn. A reader loads `id`,
//! then `turns`, with an acquire fence between the two. If it finds the turn that it asks about, `id` was
//! the number of that turn's coroutine, or the zero between that turn and the next.

use crate::coroutine::{Id, Site};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

/// A worker's present turn. Only the worker writes it.
#[derive(Default)]
pub(crate) struct Running {
    /// Counts turns.
    turns: AtomicU64,
    /// The number of the coroutine that runs, 0 between two turns.
    id: AtomicU64,
    /// Where the coroutine was spawned that is in its first turn.
    first_site: AtomicPtr<std::panic::Location<'static>>,
}

impl Running {
    /// How many turns the worker has begun.
    #[inline]
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The number of the coroutine that runs; `None` between two turns.
    pub(crate) fn id(&self) -> Option<Id> {
        let id = self.id.load(Ordering::Relaxed);
        (id != 0).then_some(Id(id))
    }

    /// The number of the coroutine that runs; zero between two turns.
    #[inline]
    pub(crate) fn id_or_zero(&self) -> Id {
        Id(self.id.load(Ordering::Relaxed))
    }

    /// Begins a turn of that coroutine.
    #[inline]
    pub(super) fn begin(&self, id: Id) {
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.id.store(id.0, Ordering::Release);
    }

    /// Ends the turn.
    #[inline]
    pub(super) fn end(&self) {
        self.id.store(0, Ordering::Relaxed);
    }

    /// Whether that turn was the present one when the caller called `id`, or the one before.
    pub(crate) fn was_turn(&self, turn: u64) -> bool {
        // Pairs with the release in `begin`.
        fence(Ordering::Acquire);
        self.turns() == turn
    }

    /// Notes where a coroutine was spawned, before its first turn.
    #[inline]
    pub(super) fn set_first_site(&self, site: Site) {
        self.first_site.store(ptr::from_ref(site).cast_mut(), Ordering::Relaxed);
    }

    /// Where the coroutine was spawned that had the last first turn.
    pub(crate) fn first_site(&self) -> Option<Site> {
        let site = NonNull::new(self.first_site.load(Ordering::Relaxed))?;
        // SAFETY: only `set_first_site` stores, a reference that is valid for ever.
        Some(unsafe { site.as_ref() })
    }
}
