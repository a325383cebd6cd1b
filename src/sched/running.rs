//! Which coroutine a worker runs, as other threads see it. Pure.
//!
//! A worker writes `turns`, then `id` with release, both at the beginning of a turn. A reader loads `id` with
//! acquire, then `turns`. If it finds the turn that it asks about, `id` was
//! the number of that turn's coroutine, or the zero between that turn and the next.
//!
//! The worker writes `first_site` before a first turn, while `id` is zero, with release. A reader loads it
//! with acquire, and then `id`. If it finds the coroutine that it asks about, the place is no later
//! coroutine's.

use crate::base::sync::{AtomicPtr, AtomicU64, Ordering};
use crate::coroutine::{Id, Site};
use std::ptr::{self, NonNull};

/// A worker's present turn. Only the worker writes it.
pub(crate) struct Running {
    /// Counts turns.
    turns: AtomicU64,
    /// The number of the coroutine that runs, 0 between two turns.
    id: AtomicU64,
    /// Where the coroutine was spawned that is in its first turn, or had the last one.
    first_site: AtomicPtr<std::panic::Location<'static>>,
}

impl Running {
    /// No turn so far.
    pub(super) fn new() -> Running {
        Running {
            turns: AtomicU64::new(0),
            id: AtomicU64::new(0),
            first_site: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// How many turns the worker has begun.
    #[inline]
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The number of the coroutine that runs; `None` between two turns. Acquires what the worker did before
    /// that turn.
    pub(crate) fn id(&self) -> Option<Id> {
        let id = self.id.load(Ordering::Acquire);
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
        // It comes after the acquire in `id`.
        self.turns() == turn
    }

    /// Notes where a coroutine was spawned, before its first turn.
    #[inline]
    pub(super) fn set_first_site(&self, site: Site) {
        // Pairs with the load in `first_site_of`, whose caller then reads `id` as zero, or a later one.
        self.first_site.store(ptr::from_ref(site).cast_mut(), Ordering::Release);
    }

    /// Where that coroutine was spawned, which the caller has found in its first turn; `None` if its turn is
    /// over.
    pub(crate) fn first_site_of(&self, id: Id) -> Option<Site> {
        let site = NonNull::new(self.first_site.load(Ordering::Acquire))?;
        if self.id() != Some(id) {
            return None;
        }
        // SAFETY: only `set_first_site` stores, a reference that is valid for ever.
        Some(unsafe { site.as_ref() })
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;
    use std::panic::Location;

    /// A turn is followed by that of another coroutine. A reader that finds one of them gets its turn and its
    /// site.
    #[test]
    fn a_coroutine_its_turn_and_its_site_belong_together() {
        loom::model(|| {
            let sites: [Site; 2] = [Location::caller(), Location::caller()];
            let running = Arc::new(Running::new());
            running.set_first_site(sites[0]);
            running.begin(Id(1));
            let worker = {
                let running = running.clone();
                thread::spawn(move || {
                    running.end();
                    running.set_first_site(sites[1]);
                    running.begin(Id(2));
                    running.end();
                })
            };
            let turn = running.turns();
            if let Some(id) = running.id()
                && running.was_turn(turn)
            {
                assert_eq!(id.0, turn, "the coroutine of another turn");
                if let Some(site) = running.first_site_of(id) {
                    assert!(ptr::eq(site, sites[id.0 as usize - 1]), "the site of another coroutine");
                }
            }
            worker.join().unwrap();
        });
    }
}
