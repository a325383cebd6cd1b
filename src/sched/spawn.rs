//! Spawning: a coroutine is made and queued, unstarted.

use super::current;
use super::instruments;
use super::runnable::Runnable;
use super::schedule::ToRunQueue;
use super::shared::Shared;
use super::simulated;
use crate::base::fork;
use crate::coroutine::{self, Handle, Header, Id, Settings, Site};
use crate::stack::StackOverride;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

/// The settings of a coroutine that is about to be spawned.
pub(crate) struct Spawn {
    shared: Option<Arc<Shared>>,
    name: Option<Box<str>>,
    stack: StackOverride,
    pinned: bool,
    isolated: bool,
    limit: Option<Instant>,
    site: Site,
}

impl Spawn {
    /// In the runtime of the calling thread, which is a worker. Reports name the caller's line, unless
    /// [`at`](Self::at) sets another.
    #[track_caller]
    pub(crate) fn on_this_worker() -> Spawn {
        let site = Location::caller();
        let (name, stack) = (None, StackOverride::default());
        Spawn { shared: None, name, stack, pinned: false, isolated: false, limit: None, site }
    }

    /// In that runtime; otherwise as [`on_this_worker`](Self::on_this_worker).
    #[track_caller]
    pub(crate) fn of(shared: &Arc<Shared>) -> Spawn {
        let (shared, site) = (Some(Arc::clone(shared)), Location::caller());
        let (name, stack) = (None, StackOverride::default());
        Spawn { shared, name, stack, pinned: false, isolated: false, limit: None, site }
    }

    /// Reports name that line.
    pub(crate) fn at(mut self, site: Site) -> Spawn {
        self.site = site;
        self
    }

    /// It has that name.
    pub(crate) fn named(mut self, name: &str) -> Spawn {
        self.name = Some(name.into());
        self
    }

    /// Its stack differs from the runtime's setting.
    pub(crate) fn stack(mut self, wish: StackOverride) -> Spawn {
        self.stack = wish;
        self
    }

    /// In migrating mode: whether it stays in its home.
    pub(crate) fn pinned(mut self, pinned: bool) -> Spawn {
        self.pinned = pinned;
        self
    }

    /// With mobile homes: whether it has a home of its own.
    pub(crate) fn isolated(mut self, isolated: bool) -> Spawn {
        self.isolated = isolated;
        self
    }

    /// It is under that time limit from the start.
    pub(crate) fn limit(mut self, limit: Option<Instant>) -> Spawn {
        self.limit = limit;
        self
    }

    /// Makes the coroutine and queues it.
    ///
    /// # Safety
    ///
    /// What `F` and `T` borrow lasts until the coroutine has ended and its output was taken.
    pub(crate) unsafe fn start<T: Send, F: FnOnce() -> T + Send>(self, f: F) -> Handle {
        // SAFETY: as the caller says.
        self.queue(|settings| unsafe { coroutine::new::<_, _, ToRunQueue>(f, settings) })
    }

    /// Queues what `new` makes: a coroutine, and its handle if it has one.
    #[inline(always)]
    fn queue<H>(self, new: impl FnOnce(Settings) -> (NonNull<Header>, H)) -> H {
        fork::check();
        match self.shared {
            None => current::with(|worker| {
                let (id, parent) = (worker.next_id(), worker.remote().running.id_or_zero());
                let (header, handle) = new(self.settings(worker.shared(), id, parent));
                if instruments::any() {
                    // SAFETY: it was just made, and nobody else has it.
                    instruments::note_spawn(worker.shared(), unsafe { header.as_ref() });
                }
                if simulated::POSSIBLE {
                    worker.simulated.spawned(header);
                }
                worker.push_unstarted(header);
                handle
            })
            .expect("on this worker"),
            Some(ref shared) => {
                let shared = Arc::clone(shared);
                let parent = current::with(|worker| worker.remote().running.id_or_zero()).unwrap_or(Id(0));
                let (header, handle) = new(self.settings(&shared, id_of_another(), parent));
                if instruments::any() {
                    // SAFETY: as above.
                    instruments::note_spawn(&shared, unsafe { header.as_ref() });
                }
                if simulated::POSSIBLE {
                    current::with(|worker| worker.simulated.spawned(header));
                }
                shared.inject_from_outside(Runnable(header.cast()));
                handle
            }
        }
    }

    // A spawn passes all settings. If this is no part of the caller, they go through memory.
    #[inline(always)]
    fn settings(self, shared: &Shared, id: Id, parent: Id) -> Settings {
        let stack = shared.config().stack_size.with(self.stack);
        let Spawn { name, pinned, isolated, limit, site, .. } = self;
        let checked = shared.config().checks;
        Settings { id, name, stack, pinned, isolated, limit, checked, site, parent }
    }
}

/// A number for a coroutine that the calling worker does not spawn in its own name.
fn id_of_another() -> Id {
    let simulated = || current::with(|worker| worker.simulated.is_on().then(|| worker.next_id())).flatten();
    let id = if simulated::POSSIBLE { simulated() } else { None };
    id.unwrap_or_else(|| Id(Id::reserve(1)))
}

/// Spawns a coroutine.
pub(crate) fn spawn<T, F>(spawn: Spawn, f: F) -> Handle
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: nothing is borrowed.
    unsafe { spawn.start(f) }
}

/// Spawns a coroutine that nobody joins: as [`spawn`] without its handle, but it takes less.
pub(crate) fn spawn_detached(spawn: Spawn, f: impl FnOnce() + Send + 'static) {
    spawn.queue(|settings| (coroutine::new_detached::<_, ToRunQueue>(f, settings), ()));
}
