//! Which coroutine a worker runs, seen from another thread.
//!
//! A worker writes `Remote::turns`, then `Remote::running` with release. A reader loads `running`, then
//! `turns`, with an acquire fence between the two. If it finds the turn that it asks about, then `running`
//! was that turn's coroutine, or the zero between that turn and the next.

use crate::coroutine::Site;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Where the coroutine was spawned that a worker has started and not listed yet.
#[derive(Default)]
pub(crate) struct FirstSite(AtomicPtr<std::panic::Location<'static>>);

impl FirstSite {
    /// Notes it. The worker itself does this, before the coroutine's first turn.
    #[inline]
    pub(crate) fn set(&self, site: Site) {
        self.0.store(ptr::from_ref(site).cast_mut(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Site> {
        let site = NonNull::new(self.0.load(Ordering::Relaxed))?;
        // SAFETY: only `set` stores, a reference that is valid for ever.
        Some(unsafe { site.as_ref() })
    }
}
