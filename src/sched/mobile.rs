//! The mobile homes of one runtime: which exist, and which are vacant.
//!
//! A home is made when a worker first needs one more, up to a limit. A home without coroutines is *vacant*:
//! it is in the list here, RUNNING, so that no worker takes it in another way. It is used again, never freed
//! before the runtime ends: libraries keep state for each thread that they have met.
//!
//! A vacant home has nothing in its queues and its inbox, since whatever was there was alive. A thread that
//! has woken its last coroutine may still be about to call `Handover::notify`; it finds RUNNING, or later a
//! home that others use.
//!
//! The slots are made with the runtime, so that a reference to a home stays valid until the runtime is freed.
//! The end of a runtime ends the storage of the homes that are vacant then. It does so when the workers have
//! left, since code in a home may have made the worker use memory of the home's thread-locals, such as a
//! signal stack. `README.md` beside this file has the argument that no home is forgotten.

use super::home::Home;
use crate::base::lock::{Mutex, Rank};
use crate::stack::address_space_is_short;
use crate::storage::{self, Storage};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, Weak};
use std::thread::JoinHandle;

/// How many a runtime may have at most.
pub(crate) const MAX_HOMES: usize = 65_536;

/// How many tries to make a home are left out after one for which the system had no thread.
const LEFT_OUT: usize = 256;

/// The mobile homes of one runtime. Without any, its limit is zero.
pub(crate) struct MobileHomes<R> {
    slots: Box<[OnceLock<Box<Home<R>>>]>,
    /// How many slots are taken. The last one may hold no home yet.
    made: AtomicUsize,
    vacant: Mutex<Vec<NonNull<Home<R>>>>,
    /// How many are in `vacant`. It changes under the lock.
    vacant_count: AtomicUsize,
    /// How many tries to make a home are left out, since the system had no thread for one.
    left_out: AtomicUsize,
}

// SAFETY: the vacant homes are in `slots`.
unsafe impl<R: Send + Sync> Sync for MobileHomes<R> {}
// SAFETY: as above.
unsafe impl<R: Send + Sync> Send for MobileHomes<R> {}

impl<R> MobileHomes<R> {
    /// No homes yet, and at most that many later.
    pub(super) fn new(limit: usize) -> MobileHomes<R> {
        MobileHomes {
            slots: (0..limit).map(|_| OnceLock::new()).collect(),
            made: AtomicUsize::new(0),
            vacant: Mutex::new(Rank::Vacant, Vec::new()),
            vacant_count: AtomicUsize::new(0),
            left_out: AtomicUsize::new(0),
        }
    }

    /// How many there may be; 0 for a runtime without mobile homes.
    #[inline]
    pub(crate) fn limit(&self) -> usize {
        self.slots.len()
    }

    /// How many are vacant.
    pub(crate) fn vacant(&self) -> usize {
        self.vacant_count.load(Ordering::Relaxed)
    }

    /// Whether `take` is likely to find a vacant home, or to make one.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.vacant() > 0 || self.made.load(Ordering::Relaxed) < self.limit()
    }

    /// Changes the list of vacant homes.
    fn with_vacant<T>(&self, change: impl FnOnce(&mut Vec<NonNull<Home<R>>>) -> T) -> T {
        let mut vacant = self.vacant.lock();
        let result = change(&mut vacant);
        self.vacant_count.store(vacant.len(), Ordering::Relaxed);
        result
    }

    /// All that exist.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Home<R>> + '_ {
        self.iter_from(0)
    }

    /// Those from a random one on, then those before it.
    pub(super) fn iter_from(&self, random: u32) -> impl Iterator<Item = &Home<R>> + '_ {
        let made = self.made.load(Ordering::Acquire).min(self.limit());
        let (before, after) = self.slots[..made].split_at(random as usize % made.max(1));
        after.iter().chain(before).filter_map(|slot| slot.get()).map(|home| &**home)
    }

    /// A vacant home, or a new one; the caller runs it. `None` if there is none, and no more can be made. The
    /// home's lender calls `at_end` before its thread-locals are destroyed.
    pub(super) fn take(
        &self,
        runtime: &Weak<R>,
        base: usize,
        thread_name: &str,
        at_end: fn(),
    ) -> Option<&Home<R>> {
        let vacant = if self.vacant() > 0 { self.with_vacant(Vec::pop) } else { None };
        // SAFETY: it is in `slots`, for as long as these exist.
        let home = vacant.map(|home| unsafe { home.as_ref() });
        let home = home.or_else(|| self.make(runtime, base, thread_name, at_end))?;
        home.adopt(base);
        Some(home)
    }

    #[cold]
    fn make(&self, runtime: &Weak<R>, base: usize, thread_name: &str, at_end: fn()) -> Option<&Home<R>> {
        if self.made.load(Ordering::Relaxed) >= self.limit() || address_space_is_short() {
            return None;
        }
        let left_out = self.left_out.load(Ordering::Relaxed);
        if left_out > 0 {
            self.left_out.store(left_out - 1, Ordering::Relaxed);
            return None;
        }
        let index = self.made.fetch_add(1, Ordering::AcqRel);
        let slot = self.slots.get(index)?;
        let Ok(storage) = Storage::lend(format!("{thread_name}-home-{index}"), at_end) else {
            // The program is near its limit of threads. If another worker has taken a slot meanwhile, this
            // one stays empty.
            let _ = self.made.compare_exchange(index + 1, index, Ordering::AcqRel, Ordering::Relaxed);
            self.left_out.store(LEFT_OUT, Ordering::Relaxed);
            return None;
        };
        Some(slot.get_or_init(|| Box::new(Home::mobile(runtime, base, storage))))
    }

    /// Ends the vacant homes, and makes no more. A home in which a coroutine was leaked keeps its
    /// thread-locals, since that coroutine may refer to them. Returns the threads that destroy those of the
    /// others.
    pub(crate) fn end(&self) -> Vec<JoinHandle<()>> {
        self.made.store(self.limit(), Ordering::Relaxed);
        let vacant = self.with_vacant(std::mem::take);
        // SAFETY: homes live as long as `slots`. Nobody can take one any more that is out of the list.
        vacant.into_iter().filter_map(|home| unsafe { home.as_ref().end_storage() }).collect()
    }

    /// The caller runs that home no more, and no coroutine lives there.
    pub(super) fn give_back(&self, home: &Home<R>) {
        self.with_vacant(|vacant| vacant.push(NonNull::from(home)));
    }
}

/// How many mobile homes a runtime may have, by the setting and what the platform allows.
pub(crate) fn limit_of(wanted: usize) -> usize {
    if wanted > 0 && storage::supported().is_ok() { wanted } else { 0 }
}
