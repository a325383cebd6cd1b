//! A turn: one run of one coroutine, from its start or its resumption until it parks, yields or ends.
//!
//! ```text
//!  the coroutine        the worker then
//!  waits                runs `commit`, which publishes the wait's ticket, and parks the coroutine; if the
//!                       wait was ended in between, the coroutine goes on in the same turn
//!  yields               queues it behind everything that is runnable now
//!  ends                 recycles its stack and wakes its joiner
//! ```
//!
//! An unstarted coroutine first gets a stack, in the home that the worker runs.

use super::budget;
use super::config::Phase;
use super::instruments::{self, Leaves, Observer};
use super::runnable::{Runnable, conclude};
use super::shared::Home;
use super::worker::Worker;
use crate::coroutine::{Header, JoinError, Park, Step, Suspend};
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

/// How often a coroutine may be taken back from workers that do not start it. After that it is assigned to no
/// worker. More than once, so that coroutines stay spread although the system does not run a worker's thread
/// for a moment.
const MAX_TAKEN_BACK: u8 = 16;

impl Worker {
    /// Runs a started coroutine until it parks, yields or ends. The caller has taken it from a queue, or has
    /// just started it.
    // Inlined into the loop of turns, as is `start`.
    #[inline(always)]
    pub(super) fn take_turn(&self, this: NonNull<Header>) {
        if instruments::any() {
            self.observed_turn(this);
        } else {
            self.turn(this, &mut ());
        }
    }

    /// A turn while something observes turns.
    #[cold]
    #[inline(never)]
    fn observed_turn(&self, this: NonNull<Header>) {
        // SAFETY: as in `turn`.
        let mut turn = instruments::Turn::begin(self, unsafe { this.as_ref() });
        self.turn(this, &mut turn);
        turn.end();
    }

    #[inline(always)]
    fn turn(&self, this: NonNull<Header>, observer: &mut impl Observer) {
        // SAFETY: the thread that takes a coroutine from a queue owns it, and it is alive.
        let header = unsafe { this.as_ref() };
        let remote = self.remote();
        remote.running.begin(header.id());
        remote.others_ready.store(self.home().queues.any(), Ordering::Relaxed);
        budget::begin_turn(header.id());
        if self.simulated.is_on() {
            // So each call that need not wait asks the simulation whether others run first.
            budget::use_up();
        }
        loop {
            self.current.set(Some(this));
            // SAFETY: we own it, it has been started, and it does not run.
            let step = unsafe { header.resume() };
            self.current.set(None);
            if let Step::Suspended(_) = step
                && !header.listed.get()
            {
                // Before another thread can wake it, so that it may end elsewhere.
                let home = self.home();
                self.list(home, this);
                home.end_first_turn();
                self.placement.note_long_lived();
            }
            match step {
                Step::Finished => {
                    if self.simulated.is_on() {
                        self.simulated.ends(header);
                    }
                    observer.leaves(header, Leaves::Ends);
                    break self.finish(this);
                }
                Step::Suspended(Suspend::Yield) => {
                    if self.simulated.is_on() {
                        self.simulated.yields(header);
                    }
                    observer.leaves(header, Leaves::Yields);
                    break self.push_yielded(this.cast());
                }
                Step::Suspended(Suspend::Wait(request)) => {
                    // SAFETY: nobody resumes the coroutine before it is parked, below.
                    let (commit, ticket, masked) = unsafe { request.read() };
                    // No clock is read: it is the time up to which the worker has seen all events.
                    header.set_since(remote.polled.load(Ordering::Relaxed));
                    observer.leaves(header, Leaves::Waits);
                    if self.simulated.is_on() {
                        self.simulated.waits(header, masked);
                    }
                    // SAFETY: the closure is on the coroutine's stack, which stays as it is until then.
                    let wanted = unsafe { (*commit.as_ptr())(ticket) };
                    if wanted && header.waiter.park(ticket, masked) == Park::Parked {
                        // From here on the thread that wakes the coroutine owns it.
                        break;
                    }
                    observer.goes_on();
                }
            }
        }
        remote.running.end();
    }

    /// Lists a coroutine of that home, which this worker runs.
    #[cold]
    fn list(&self, home: &Home, this: NonNull<Header>) {
        home.add(this);
        if home.is_mobile() {
            self.shared().remotes[home.base()].mobile_live.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives a coroutine its stack and its home, which is the one that this worker runs. False if the
    /// coroutine has ended because there is no stack.
    #[inline(always)]
    pub(super) fn start(&self, this: NonNull<Header>) -> bool {
        // SAFETY: we own it, and it is alive.
        let header = unsafe { this.as_ref() };
        if self.closing.get() || self.shared().phase() != Phase::Running {
            // It is not parked, so this only leaves the mark.
            let _ = header.waiter.cancel_for_shutdown();
        }
        match self.stacks.borrow_mut().take(header.stack_size()) {
            Ok(stack) => {
                if instruments::any() {
                    instruments::note_start(self, header, stack.base());
                }
                let home = self.home();
                header.owner.home.store(ptr::from_ref(home).cast_mut().cast(), Ordering::Relaxed);
                if header.name().is_some() {
                    // Listed from the start, so that a report about a coroutine that never waits has the
                    // name.
                    self.list(home, this);
                } else {
                    self.remote().running.set_first_site(header.site());
                    home.begin_first_turn();
                }
                // SAFETY: we own it, and it has not been started.
                unsafe { Header::start(this, stack) };
                true
            }
            Err(error) => {
                self.shared().no_stack.fetch_add(1, Ordering::Relaxed);
                budget::leave_turns();
                if self.simulated.is_on() {
                    self.simulated.ends(header);
                }
                // SAFETY: we own it, and it has not been started.
                unsafe { Header::fail(this, JoinError::NoStack(error)) };
                conclude(this);
                false
            }
        }
    }

    /// Assigns an unstarted coroutine to a worker with a lower load, where `placement` says so; false if it
    /// is to start here.
    #[inline(always)]
    pub(super) fn assign_elsewhere(&self, this: NonNull<Header>) -> bool {
        // SAFETY: we own it, and it is alive.
        let header = unsafe { this.as_ref() };
        if header.assigned.replace(false) {
            self.remote().assigned_count.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let spawned_here = self.spawned_in_home(header);
        if self.closing.get() {
            return false;
        }
        let Some(target) = self.placement.choose(self.remote(), self.index, self.shared(), spawned_here)
        else {
            return false;
        };
        if header.taken_back.get() >= MAX_TAKEN_BACK {
            return false;
        }
        // Counted before the check of the phase, so that the target does not leave before it has it.
        target.assigned_count.fetch_add(1, Ordering::SeqCst);
        if self.shared().phase() != Phase::Running {
            target.assigned_count.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        header.assigned.set(true);
        target.assign(Runnable(this.cast()), &self.shared().idle);
        self.shared().discard_if_closed();
        true
    }

    fn finish(&self, this: NonNull<Header>) {
        // SAFETY: we own it, and it is alive.
        let header = unsafe { this.as_ref() };
        // SAFETY: it has just finished.
        let stack = unsafe { header.take_stack() };
        self.stacks.borrow_mut().put(stack);
        if header.listed.get() {
            // SAFETY: the home is one of this runtime.
            let home = unsafe { &*header.owner.home.load(Ordering::Relaxed).cast::<Home>() };
            home.remove(this);
            if home.is_mobile() {
                self.shared().remotes[home.base()].mobile_live.fetch_sub(1, Ordering::Relaxed);
            }
        } else {
            self.home().end_first_turn();
            self.placement.note_short_lived();
        }
        conclude(this);
    }
}
