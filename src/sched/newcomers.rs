//! In which mobile home a coroutine starts. `placement.rs` says why.

use super::placement::FULL;
use super::shared::{Home, Shared};
use super::worker::Worker;
use crate::coroutine::Header;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// The same for the children of the home's coroutines.
const PARTNERS: usize = 4;
/// At the limit of homes, by how much fuller homes may be than the emptiest one that was found.
const STEP: usize = 2;
/// At the limit of homes, so many are asked whether they are idle and have few coroutines.
const SAMPLE: usize = 8;

impl Worker {
    /// Whether an unstarted coroutine may start in the home that the worker runs.
    pub(super) fn admits(&self, this: NonNull<Header>) -> bool {
        let home = self.home();
        // SAFETY: the caller owns the coroutine, and it is alive.
        let header = unsafe { this.as_ref() };
        let full = self.full.get();
        let full = if self.spawned_in_home(header) { full.max(PARTNERS) } else { full };
        home.is_mobile()
            && !header.isolated()
            && home.live() < self.placement.full_with(full)
            && home.is_quiet(self.ticks())
    }

    /// Another home for an unstarted coroutine. The worker has that home. `None`: it starts in the home that
    /// the worker runs, after all, which may be its pinned one if no thread can be had for a first mobile
    /// home.
    pub(super) fn other_home(&self, this: NonNull<Header>) -> Option<NonNull<Home>> {
        let shared = self.shared();
        // SAFETY: the caller owns the coroutine, and it is alive.
        let isolated = unsafe { this.as_ref() }.isolated();
        let runtime = self.remote().home.runtime();
        if let Some(home) = shared.mobile.take(runtime, self.base, &shared.config().thread_name) {
            if isolated {
                home.isolate();
            }
            self.full.set(FULL);
            return Some(NonNull::from(home));
        }
        self.next_queued_home().or_else(|| self.emptiest_idle_home())
    }

    /// The home that is next in the worker's queue anyway, if that is so and newcomers may start there.
    fn next_queued_home(&self) -> Option<NonNull<Home>> {
        let item = self.queues.oldest_item()?;
        let found = item.home::<Shared>().filter(|home| {
            // SAFETY: homes live as long as the runtime.
            let home: &Home = unsafe { home.as_ref() };
            home.base() == self.base && home.live() <= self.full.get() && home.is_quiet(self.ticks())
        });
        match found {
            Some(home) => {
                // SAFETY: as above. The item is the right to run it.
                unsafe { home.as_ref() }.handover.begin();
                Some(home)
            }
            None => {
                self.queues.push_oldest_first(item);
                None
            }
        }
    }

    /// The emptiest of a few idle homes, and from then on homes may be a little fuller than that one; if it
    /// is in use by now, any other that is idle. Homes that are based at this worker go first, since the
    /// sockets of their coroutines are in its shard.
    fn emptiest_idle_home(&self) -> Option<NonNull<Home>> {
        let (mobile, ticks) = (&self.shared().mobile, self.ticks());
        let random = self.random();
        let quiet = || mobile.iter_from(random).filter(move |home| home.is_quiet(ticks));
        let own = || quiet().filter(|home| home.base() == self.base);
        let emptiest = own().take(SAMPLE).min_by_key(|home| home.live());
        let taken = emptiest.filter(|home| home.handover.try_take());
        let own = taken.or_else(|| own().find(|home| home.handover.try_take()));
        let home = own.or_else(|| quiet().find(|home| home.handover.try_take()))?;
        self.full.set(self.full.get().max(home.live() + STEP));
        Some(NonNull::from(home))
    }

    /// How often the netpoller thread has ticked.
    fn ticks(&self) -> u64 {
        self.shared().ticks.load(Ordering::Relaxed)
    }
}
