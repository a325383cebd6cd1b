//! Which coroutine a worker runs, seen from another thread.
//!
//! A worker writes `Remote::turns`, then `Remote::running` with release. A reader loads `running`, then `turns`,
//! with an acquire fence between the two. If it finds the turn that it asks about, then `running` was that
//! turn's coroutine, or the zero between that turn and the next.

use super::shared::{Remote, Shared};
use crate::coroutine::{Id, Label, Site};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering, fence};

/// Where the coroutine was spawned that a worker has started and not listed yet.
#[derive(Default)]
pub(super) struct FirstSite(AtomicPtr<std::panic::Location<'static>>);

impl FirstSite {
    /// Notes it. The worker itself does this, before the coroutine's first turn.
    #[inline]
    pub(super) fn set(&self, site: Site) {
        self.0.store(ptr::from_ref(site).cast_mut(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Site> {
        let site = NonNull::new(self.0.load(Ordering::Relaxed))?;
        // SAFETY: only `set` stores, a reference that is valid for ever.
        Some(unsafe { site.as_ref() })
    }
}

impl Shared {
    /// The coroutine that runs in that turn of a worker, in the words of reports; `None` if the turn is over,
    /// or the worker is between two.
    pub(super) fn describe_running(&self, remote: &Remote, turn: u64) -> Option<String> {
        let id = remote.running.load(Ordering::Relaxed);
        if id == 0 {
            return None;
        }
        let mut text = None;
        // Where coroutines migrate, it may be listed at another worker than the one that runs it.
        for listed in self.active_remotes() {
            listed.for_each_live(|header| {
                // SAFETY: listed coroutines are alive.
                let header = unsafe { header.as_ref() };
                if header.id().0 == id {
                    text = Some(header.label().to_string());
                }
            });
        }
        let text = text.or_else(|| {
            let site = remote.first_site.get()?;
            Some(Label { id: Id(id), name: None, site }.to_string())
        });
        // Pairs with the release of `running`.
        fence(Ordering::Acquire);
        text.filter(|_| remote.turns.load(Ordering::Relaxed) == turn)
    }
}
