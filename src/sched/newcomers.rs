//! In which mobile home a coroutine starts. `placement.rs` says why.

use super::placement::FULL;
use super::runnable::Runnable;
use super::shared::Home;
use super::worker::{Worker, forget_worker};
use crate::coroutine::Header;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// As `FULL`, for the children of the home's coroutines.
const PARTNERS: usize = 4;
/// At the limit of homes, by how much fuller homes may be than the emptiest one that was found.
const STEP: usize = 2;
/// At the limit of homes, this many are asked whether they are idle and have few coroutines.
const SAMPLE: usize = 8;

impl Worker {
    /// Whether an unstarted coroutine may start in the home that the worker runs.
    pub(super) fn admits(&self, this: NonNull<Header>) -> bool {
        let home = self.home();
        // SAFETY: the caller owns the coroutine, and it is alive.
        let header = unsafe { this.as_ref() };
        let full = self.full();
        let full = if self.spawned_in_home(header) { full.max(PARTNERS) } else { full };
        home.is_mobile()
            && !header.isolated()
            && home.live() < self.placement.full_with(full)
            && home.is_quiet(self.ticks())
    }

    /// How many coroutines make a home full. As long as there may be more homes, that is few.
    #[inline]
    fn full(&self) -> usize {
        if self.shared().mobile.has_room() {
            self.full.set(FULL);
        }
        self.full.get()
    }

    /// Another home for an unstarted coroutine. The worker has that home. `None`: it starts in the home that
    /// the worker runs, after all. That is its pinned one if the worker runs no mobile home, all mobile homes
    /// are in use, and no more can be made.
    pub(super) fn other_home(&self, this: NonNull<Header>) -> Option<NonNull<Home>> {
        let shared = self.shared();
        // SAFETY: the caller owns the coroutine, and it is alive.
        let isolated = unsafe { this.as_ref() }.isolated();
        let runtime = self.remote().home.runtime();
        if let Some(home) =
            shared.mobile.take(runtime, self.base, &shared.config().thread_name, forget_worker)
        {
            if isolated {
                home.isolate();
            }
            return Some(NonNull::from(home));
        }
        self.next_queued_home().or_else(|| self.emptiest_idle_home())
    }

    /// The home that is next in the worker's queue anyway, if that is so and newcomers may start there.
    fn next_queued_home(&self) -> Option<NonNull<Home>> {
        let suits = |home: &Home| {
            home.base() == self.base && home.live() <= self.full.get() && home.is_quiet(self.ticks())
        };
        // SAFETY: homes live as long as the runtime.
        let suits = |item: &Runnable| item.home().is_some_and(|home| suits(unsafe { home.as_ref() }));
        let home: NonNull<Home> =
            self.queues.oldest_item_if(self.home(), suits)?.home().expect("only homes suit");
        // SAFETY: as above. The item is the right to run it.
        unsafe { home.as_ref() }.handover.begin();
        Some(home)
    }

    /// The emptiest of a few idle homes, and from then on homes may be a little fuller than that one; if it
    /// is in use by now, any other that is idle. Homes that are based at this worker go first, since the
    /// sockets of their coroutines are in its shard. Marked homes go last: they are still better than the
    /// worker's pinned home, whose coroutines no other worker can run.
    fn emptiest_idle_home(&self) -> Option<NonNull<Home>> {
        let (mobile, ticks) = (&self.shared().mobile, self.ticks());
        let random = self.random();
        let quiet = || mobile.iter_from(random).filter(move |home| home.is_quiet(ticks));
        let own = || quiet().filter(|home| home.base() == self.base);
        let emptiest = own().take(SAMPLE).min_by_key(|home| home.live());
        let taken = emptiest.filter(|home| home.handover.try_take());
        let own = taken.or_else(|| own().find(|home| home.handover.try_take()));
        let quiet = own.or_else(|| quiet().find(|home| home.handover.try_take()));
        let shared = || mobile.iter_from(random).filter(|home| !home.is_isolated());
        let home = quiet.or_else(|| shared().find(|home| home.handover.try_take()))?;
        self.full.set(self.full.get().max(home.live() + STEP));
        Some(NonNull::from(home))
    }

    /// How often the netpoller thread has ticked.
    fn ticks(&self) -> u64 {
        self.shared().ticks.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::runtime::{Builder, Homes, Runtime, homes_supported};
    use crate::sched::current::with;
    use crate::sync::{Barrier, Semaphore};
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// What `stall_threshold` is where long turns matter.
    const STALL: Duration = Duration::from_millis(10);

    /// A runtime with that many homes, if this process can have any, and the runtime does not migrate.
    fn with_homes(homes: usize, stall: Duration) -> Option<Runtime> {
        homes_supported().ok()?;
        let builder = Builder::new().worker_threads(1).homes(Homes::Count(homes)).stall_threshold(stall);
        let runtime = builder.build().expect("a runtime");
        runtime.metrics().homes.is_some().then_some(runtime)
    }

    /// Spawns that many coroutines, which live at the same time; in how many homes.
    fn homes_of(coroutines: usize) -> usize {
        let all = Arc::new(Barrier::new(coroutines));
        let spawn = |_| {
            let all = Arc::clone(&all);
            crate::spawn(move || {
                all.wait();
                std::thread::current().id()
            })
        };
        let handles: Vec<_> = (0..coroutines).map(spawn).collect();
        let homes: HashSet<_> = handles.into_iter().map(|handle| handle.join().expect("no panic")).collect();
        homes.len()
    }

    /// A burst has filled all homes. After its end newcomers have vacant homes again. However slow the
    /// machine is, the turn that spawns the burst marks no home: the stall threshold is out of reach.
    #[test]
    fn homes_are_small_again_after_a_burst() {
        let Some(runtime) = with_homes(8, Duration::from_secs(3600)) else { return };
        runtime.run(|| {
            assert_eq!(homes_of(400), 8);
            assert!(homes_of(16) > 2, "the homes are still as full as in the burst");
        });
    }

    fn compute(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    /// All homes are marked, as each of them has had a long turn.
    #[test]
    fn a_marked_home_is_better_than_a_pinned_one() {
        let Some(runtime) = with_homes(1, STALL) else { return };
        let (go_on, idle) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
        let hog = {
            let (go_on, idle) = (Arc::clone(&go_on), Arc::clone(&idle));
            runtime.spawn(move || {
                compute(Duration::from_millis(300));
                idle.store(true, Ordering::Relaxed);
                go_on.acquire().expect("it is open").forget();
                std::thread::current().id()
            })
        };
        while !idle.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(50));
        let other = runtime.spawn(|| std::thread::current().id());
        let other = other.join().expect("no panic");
        go_on.add_permits(1);
        assert_eq!(hog.join().expect("no panic"), other);
    }

    /// The number of the calling thread's worker, from 1.
    fn worker() -> usize {
        1 + with(|worker| worker.index).expect("a coroutine runs on a worker")
    }

    /// The only home is in use when a coroutine is to start, so that one starts in the pinned home of a spare
    /// worker. Later the mobile home is always runnable on that worker.
    #[test]
    fn a_mobile_home_does_not_starve_a_pinned_one() {
        let Some(runtime) = with_homes(1, STALL) else { return };
        let [found, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (turns, place) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let token = Arc::new(Semaphore::new(0));
        let mobile = {
            let (token, place, found, stop) =
                (Arc::clone(&token), Arc::clone(&place), Arc::clone(&found), Arc::clone(&stop));
            runtime.spawn(move || {
                while place.load(Ordering::Relaxed) == 0 && !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                // The other one wakes it, so that its home is queued where that one runs.
                while worker() != place.load(Ordering::Relaxed) {
                    let Ok(permit) = token.acquire() else { return };
                    permit.forget();
                }
                found.store(true, Ordering::Relaxed);
                while !stop.load(Ordering::Relaxed) {
                    crate::yield_now();
                }
            })
        };
        let pinned = {
            let (token, turns) = (Arc::clone(&token), Arc::clone(&turns));
            let (found, stop) = (Arc::clone(&found), Arc::clone(&stop));
            runtime.spawn(move || {
                place.store(worker(), Ordering::Relaxed);
                while !stop.load(Ordering::Relaxed) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    crate::sleep(Duration::from_millis(1));
                    if !found.load(Ordering::Relaxed) {
                        token.add_permits(1);
                    }
                }
                std::thread::current().name().map(str::to_owned)
            })
        };
        let deadline = Instant::now() + Duration::from_secs(120);
        while !found.load(Ordering::Relaxed) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let before = turns.load(Ordering::Relaxed);
        while turns.load(Ordering::Relaxed) < before + 20 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (found, turns) = (found.load(Ordering::Relaxed), turns.load(Ordering::Relaxed) - before);
        stop.store(true, Ordering::Relaxed);
        token.close();
        mobile.join().expect("no panic");
        let name = pinned.join().expect("no panic").expect("a name");
        assert!(!name.contains("-home-"), "it was to start in a pinned home");
        assert!(found && turns >= 20, "{turns} turns beside a mobile home that is always runnable");
    }
}
