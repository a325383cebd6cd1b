//! The part of a worker that other threads see.
//!
//! It refers to its runtime, which owns it. The type of the runtime, `Shared`, stands in a file above this
//! one, so it is a parameter here.

use super::deques::Deques;
use super::idle::{Idle, SleepState};
use super::inbox::Inbox;
use super::runnable::Runnable;
use super::running::FirstSite;
use super::timers::Timers;
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::Probe;
use crate::base::sys::ThreadClock;
use crate::coroutine::{Batch, Cause, Header, Ticket, WaitReason, Waiter};
use crate::netpoll::Shard;
use crossbeam_deque::{Injector, Steal, Stealer};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

/// The part of a worker that other threads see. Aligned, so that no two share a cache line.
#[repr(align(128))]
pub(crate) struct Remote<R> {
    pub(crate) runtime: Weak<R>,
    /// Started coroutines that run on this worker alone.
    pub(crate) inbox: Inbox<Waiter>,
    /// Unstarted ones that were handed to it to be started. Others may take them back.
    pub(crate) assigned: Injector<Runnable>,
    pub(crate) sleep_state: SleepState,
    pub(crate) shard: Arc<Shard>,
    pub(crate) timers: Mutex<Timers<Ticket>>,
    pub(crate) oldest_first: Stealer<Runnable>,
    pub(crate) newest_first: Stealer<Runnable>,
    /// The worker's ends of the two, until its thread takes them.
    pub(super) deques: Mutex<Option<Deques>>,
    /// How many coroutines are in the list: those that were started here and have not ended, except for
    /// one in its first turn.
    listed: AtomicUsize,
    /// Whether there is such a one; written by the worker alone. Short coroutines have one turn, and never
    /// take the list's lock.
    pub(crate) unlisted: AtomicBool,
    /// How many assigned there are, and how many are on their way.
    pub(crate) placed: AtomicUsize,
    list: Mutex<Option<NonNull<Header>>>,
    /// Counts polls; written by the worker alone.
    pub(crate) polls: AtomicU64,
    /// Up to when the last poll has seen what there was, in nanoseconds since the runtime began; written by
    /// the worker alone.
    pub(crate) polled: AtomicU64,
    /// Counts turns; written by the worker alone.
    pub(crate) turns: AtomicU64,
    /// The id of the coroutine that it runs, 0 for none; written by the worker alone. See `running.rs`.
    pub(crate) running: AtomicU64,
    pub(crate) first_site: FirstSite,
    /// Whether others are ready to run behind that one.
    pub(crate) behind: AtomicBool,
    /// The processor time of its thread.
    pub(crate) clock: OnceLock<ThreadClock>,
    /// For what the system does with its thread.
    pub(crate) probe: OnceLock<Probe>,
    /// The `WaitReason` of the wait that blocks its thread, in a destructor that unwinds.
    pub(crate) blocked_in: AtomicU8,
    /// Whether it has left: its thread will run no coroutine any more.
    pub(crate) left: AtomicBool,
    /// Whether its present turn has lasted for half of the stall threshold.
    pub(crate) slow: AtomicBool,
    pub(crate) steals: AtomicU64,
    /// How often the netpoller thread polled on its behalf.
    pub(crate) helped: AtomicU64,
    migrate: bool,
}

// SAFETY: what is not Sync by itself is the list of headers, which is under its lock.
unsafe impl<R: Send + Sync> Sync for Remote<R> {}
// SAFETY: as above.
unsafe impl<R: Send + Sync> Send for Remote<R> {}

impl<R> Remote<R> {
    pub(crate) fn new(runtime: &Weak<R>, shard: Arc<Shard>, migrate: bool) -> Remote<R> {
        let deques = Deques::new();
        Remote {
            runtime: Weak::clone(runtime),
            inbox: Inbox::new(),
            assigned: Injector::new(),
            sleep_state: SleepState::new(),
            shard,
            timers: Mutex::new(Rank::Timers, Timers::new()),
            oldest_first: deques.oldest_first.stealer(),
            newest_first: deques.newest_first.stealer(),
            deques: Mutex::new(Rank::Deques, Some(deques)),
            listed: AtomicUsize::new(0),
            unlisted: AtomicBool::new(false),
            placed: AtomicUsize::new(0),
            list: Mutex::new(Rank::Live, None),
            polls: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            running: AtomicU64::new(0),
            first_site: FirstSite::default(),
            behind: AtomicBool::new(false),
            clock: OnceLock::new(),
            probe: OnceLock::new(),
            blocked_in: AtomicU8::new(WaitReason::None as u8),
            left: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            steals: AtomicU64::new(0),
            helped: AtomicU64::new(0),
            migrate,
        }
    }

    /// The one predicate of policy: whether a started coroutine may run on another worker.
    #[inline]
    pub(crate) fn may_move(&self, header: &Header) -> bool {
        self.migrate && !header.pinned()
    }

    /// Whether the worker is likely to start soon what is placed here: it is not while it is in a long turn.
    pub(crate) fn welcomes(&self) -> bool {
        !self.slow.load(Ordering::Relaxed)
    }

    /// The oldest that it was handed to start.
    #[inline]
    pub(crate) fn take_assigned(&self) -> Option<Runnable> {
        if self.assigned.is_empty() { None } else { take_one(&self.assigned) }
    }

    /// Whether it has anything that another worker may take.
    pub(crate) fn has_stealable(&self) -> bool {
        !self.oldest_first.is_empty() || !self.newest_first.is_empty()
    }

    /// How many coroutines were started here and have not ended.
    pub(crate) fn live(&self) -> usize {
        // In this order: the one in its first turn is listed before it ceases to be unlisted.
        let unlisted = usize::from(self.unlisted.load(Ordering::Acquire));
        unlisted + self.listed.load(Ordering::Acquire)
    }

    /// The coroutines that live here or soon will.
    pub(crate) fn load(&self) -> usize {
        self.live() + self.placed.load(Ordering::Relaxed)
    }

    /// As `load`, for a shutdown: whoever has seen the runtime running before it counted one in is seen.
    pub(crate) fn load_now(&self) -> usize {
        self.placed.load(Ordering::SeqCst) + self.live()
    }

    /// Hands the worker an unstarted coroutine, which was counted as placed.
    pub(crate) fn hand_unstarted(&self, task: Runnable, idle: &Idle) {
        self.assigned.push(task);
        self.notify(idle);
    }

    /// Hands the worker a coroutine that it has to run.
    pub(crate) fn hand(&self, waiter: NonNull<Waiter>, idle: &Idle) {
        // SAFETY: whoever schedules a coroutine has it in no queue; it stays alive until it has run.
        unsafe { self.inbox.push(waiter) };
        self.notify(idle);
    }

    /// Whether the worker neither sleeps nor has left.
    pub(crate) fn awake(&self) -> bool {
        !self.sleep_state.asleep() && !self.left.load(Ordering::Relaxed)
    }

    /// Gets the worker up if it sleeps.
    pub(crate) fn notify(&self, idle: &Idle) {
        if self.sleep_state.notify(idle, false) {
            self.shard.wake();
        }
    }

    /// Fires the timers that are due; when, if there were any.
    pub(crate) fn fire_timers(&self, batch: &mut Batch) -> Option<Instant> {
        let mut timers = self.timers.lock();
        timers.next()?;
        let now = Instant::now();
        let mut fired = None;
        while let Some(ticket) = timers.pop_due(now) {
            // SAFETY: a timer is taken back under this lock before its wait returns.
            let _ = unsafe { ticket.fire(Cause::Timeout, batch) };
            fired = Some(now);
        }
        fired
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.lock().next()
    }

    /// Counts and lists a coroutine that is about to start here, or to suspend for the first time.
    pub(crate) fn admit(&self, this: NonNull<Header>) {
        let mut head = self.list.lock();
        // SAFETY: the caller owns the coroutine, so it is alive.
        unsafe { this.as_ref() }.listed.set(true);
        // SAFETY: listed coroutines are alive, and their list links are under this lock.
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
    pub(crate) fn dismiss(&self, this: NonNull<Header>) {
        let mut head = self.list.lock();
        let neighbour = |of: &Cell<Option<NonNull<Header>>>| of.take();
        // SAFETY: as in `admit`.
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

    /// Cancels every coroutine that was started here; gives those to be scheduled. The worker itself calls
    /// this between two turns, when none is unlisted.
    pub(crate) fn cancel_all(&self) -> Batch {
        let mut batch = Batch::new();
        self.for_each_live(|header| {
            // SAFETY: listed coroutines are alive.
            unsafe { Header::cancel(header, &mut batch) };
        });
        batch
    }

    /// Calls `f` for every coroutine in the list. `f` runs under the list's lock: it neither parks nor
    /// schedules.
    pub(crate) fn for_each_live(&self, mut f: impl FnMut(NonNull<Header>)) {
        let head = self.list.lock();
        let mut at = *head;
        while let Some(header) = at {
            f(header);
            // SAFETY: listed coroutines are alive, and their list links are under this lock.
            at = unsafe { header.as_ref() }.owner.next.get();
        }
    }
}

/// Takes the oldest coroutine of a queue.
pub(crate) fn take_one(queue: &Injector<Runnable>) -> Option<Runnable> {
    loop {
        match queue.steal() {
            Steal::Success(task) => return Some(task),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}
