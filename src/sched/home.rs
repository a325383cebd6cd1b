//! A home: the group of coroutines to which a started coroutine belongs for life.
//!
//! To a coroutine its home is what a thread is to ordinary code: its siblings there interleave with it at
//! waits, and never run at the same time. Today each worker has exactly one home, which is a part of its
//! [`Remote`](super::remote::Remote) and never moves. The rest of the scheduler does not count on that:
//! `Owner::home` in a started coroutine's header points to the home, and the home knows which worker runs
//! it.
//!
//! In migrating mode a home is only a list of live coroutines: any worker may run them, except for pinned
//! ones.
//!
//! | field | who writes | who reads |
//! |---|---|---|
//! | `inbox` | any thread pushes | the worker that runs the home takes all |
//! | `members`, `listed` | any thread, under the lock of `members` | any thread; `listed` without the lock |
//! | `in_first_turn` | the worker that runs the home | any thread |
//! | `runtime`, `worker`, `migrate` | nobody after `new` | any thread |

use super::inbox::Inbox;
use crate::base::lock::{Mutex, Rank};
use crate::coroutine::{Batch, Header, Waiter};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A group of coroutines that stay together. `R` is its runtime, whose type stands in a file above this one.
pub(crate) struct Home<R> {
    runtime: Weak<R>,
    /// The index of the worker that runs it.
    worker: usize,
    /// Whether started coroutines may run elsewhere, unless they are pinned.
    migrate: bool,
    /// Coroutines of the home that other threads have woken.
    pub(crate) inbox: Inbox<Waiter>,
    /// How many coroutines are in `members`.
    listed: AtomicUsize,
    /// Whether a coroutine of the home is in its first turn: started, and not in `members` yet. A short
    /// coroutine has one turn, and so never takes the lock of the list.
    in_first_turn: AtomicBool,
    /// The head of the list of live coroutines. Coroutines link each other: see [`Owner`](crate::coroutine).
    members: Mutex<Option<NonNull<Header>>>,
}

// SAFETY: only the list of headers is not `Sync` by itself, and it is used under its lock.
unsafe impl<R: Send + Sync> Sync for Home<R> {}
// SAFETY: as above.
unsafe impl<R: Send + Sync> Send for Home<R> {}

impl<R> Home<R> {
    /// The home of the worker with that index.
    pub(super) fn new(runtime: &Weak<R>, worker: usize, migrate: bool) -> Home<R> {
        Home {
            runtime: Weak::clone(runtime),
            worker,
            migrate,
            inbox: Inbox::new(),
            listed: AtomicUsize::new(0),
            in_first_turn: AtomicBool::new(false),
            members: Mutex::new(Rank::Live, None),
        }
    }

    /// The runtime that owns it.
    pub(super) fn runtime(&self) -> &Weak<R> {
        &self.runtime
    }

    /// The index of the worker that runs it.
    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    /// The one predicate of policy: whether a started coroutine of the home may run elsewhere.
    #[inline]
    pub(super) fn may_migrate(&self, header: &Header) -> bool {
        self.migrate && !header.pinned()
    }

    /// How many coroutines were started here and have not ended.
    pub(crate) fn live(&self) -> usize {
        // In this order: the coroutine in its first turn is listed before the flag is cleared.
        let first = usize::from(self.in_first_turn.load(Ordering::Acquire));
        first + self.listed.load(Ordering::Acquire)
    }

    /// Whether a coroutine is in its first turn here.
    pub(crate) fn has_first_turn(&self) -> bool {
        self.in_first_turn.load(Ordering::Acquire)
    }

    /// A coroutine is about to have its first turn here. Only the worker that runs the home calls this.
    #[inline]
    pub(super) fn begin_first_turn(&self) {
        self.in_first_turn.store(true, Ordering::Release);
    }

    /// That coroutine has ended, or is listed.
    #[inline]
    pub(super) fn end_first_turn(&self) {
        self.in_first_turn.store(false, Ordering::Release);
    }

    /// Lists a coroutine that is about to start here, or to suspend for the first time.
    pub(super) fn add(&self, this: NonNull<Header>) {
        let mut head = self.members.lock();
        // SAFETY: the caller owns the coroutine, so it is alive.
        unsafe { this.as_ref() }.listed.set(true);
        // SAFETY: listed coroutines are alive, and the lock of the list guards their links.
        unsafe {
            let owner = &this.as_ref().owner;
            owner.next.set(*head);
            owner.previous.set(None);
            if let Some(next) = *head {
                next.as_ref().owner.previous.set(Some(this));
            }
        }
        *head = Some(this);
        self.listed.store(self.listed.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Takes a coroutine that has ended off the list.
    pub(super) fn remove(&self, this: NonNull<Header>) {
        let mut head = self.members.lock();
        let neighbour = |of: &Cell<Option<NonNull<Header>>>| of.take();
        // SAFETY: as in `add`.
        unsafe {
            let owner = &this.as_ref().owner;
            let (previous, next) = (neighbour(&owner.previous), neighbour(&owner.next));
            match previous {
                Some(previous) => previous.as_ref().owner.next.set(next),
                None => *head = next,
            }
            if let Some(next) = next {
                next.as_ref().owner.previous.set(previous);
            }
        }
        self.listed.store(self.listed.load(Ordering::Relaxed) - 1, Ordering::Release);
    }

    /// Cancels every coroutine of the home; returns those to be scheduled. The worker that runs the home
    /// calls this between two turns, when no coroutine is in its first turn.
    pub(super) fn cancel_all(&self) -> Batch {
        let mut batch = Batch::new();
        self.for_each_listed(|header| {
            // SAFETY: listed coroutines are alive.
            unsafe { Header::cancel(header, &mut batch) };
        });
        batch
    }

    /// Calls `f` for every coroutine in the list. `f` runs under the list's lock: it neither parks nor
    /// schedules.
    pub(crate) fn for_each_listed(&self, mut f: impl FnMut(NonNull<Header>)) {
        let head = self.members.lock();
        let mut at = *head;
        while let Some(header) = at {
            f(header);
            // SAFETY: listed coroutines are alive, and the lock of the list guards their links.
            at = unsafe { header.as_ref() }.owner.next.get();
        }
    }
}
