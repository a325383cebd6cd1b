//! What the futures of this crate's waits have in common: a registration, and a future of one select arm.
//!
//! # The problem
//!
//! A future waits without a stack: it returns from `poll`, and may be polled again for no reason, with
//! another waker, or be dropped at any time. Nothing may be lost then: no message, no permit, and no wake-up
//! that another waiter needs.
//!
//! # How a future waits
//!
//! A pending future has an [`Alarm`](crate::coroutine::Alarm) and has published its ticket, in the list of
//! what it waits for, in a worker's timers, or in both. Each poll:
//!
//! 1. If the wait goes on, it registers the waker and returns `Pending`. A spurious poll stops here.
//! 2. Otherwise it takes the ticket back ([`Registration::end`]), tries the operation, and begins a new wait
//!    if that would block.
//!
//! # Why a dropped future loses nothing
//!
//! - *A receive* waits for its turn among the receivers (`channel/chan.rs`): it is woken for one message, and
//!   is handed nothing. The message stays in its channel, or goes to a receiver that takes it. So a dropped
//!   receive has no message to lose. It passes its turn on under the channel's lock.
//! - *A send* offers its message in its own cell. A receiver takes it under the channel's lock, and the drop
//!   takes the cell off the list under the same lock: the message was received, or it is dropped with the
//!   future, as if it had never been sent.
//! - *Permits, notifications and locks* are handed over under the lock of their list. The drop looks at its
//!   node under that lock, and passes on what was handed to it (`sync/`).
//! - *A cancelled token, the end of a coroutine, a change of a topic* wakes all waiters.
//!
//! # Rejected
//!
//! - *To hand a message to a future.* It may never be polled again, and the message would wait in it while
//!   other receivers are idle. If the future is dropped the message goes back into the channel, after later
//!   messages may have been received.
//! - *To wake all futures for each message*: a thundering herd, and receivers that always wait come first.
//! - *A helper coroutine or thread for each pending future.*

use super::default::default_runtime;
use crate::coroutine::{Alarm, Ticket};
use crate::sched::{FutureTimer, budget_is_used_up};
use crate::select::Arm;
use std::future::poll_fn;
use std::marker::{PhantomData, PhantomPinned};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// The present wait of a future.
pub(crate) struct Registration {
    alarm: Option<Alarm>,
    timer: Option<FutureTimer>,
}

impl Registration {
    /// None.
    pub(crate) const fn new() -> Registration {
        Registration { alarm: None, timer: None }
    }

    /// Whether there is a wait, ended or not.
    pub(crate) fn exists(&self) -> bool {
        self.alarm.is_some()
    }

    /// Whether the wait goes on. Then the waker will be woken in place of the one before.
    pub(crate) fn goes_on(&self, waker: &Waker) -> bool {
        self.alarm.as_ref().is_some_and(|alarm| !alarm.has_rung() && alarm.register(waker))
    }

    /// Begins a wait, and returns its ticket. The caller takes it back from where it publishes it before it
    /// calls [`end`](Self::end) or drops this.
    pub(crate) fn begin(&mut self, waker: &Waker) -> Ticket {
        debug_assert!(self.alarm.is_none(), "the wait before was not ended");
        self.alarm.insert(Alarm::new(waker.clone())).ticket()
    }

    /// Has the present wait end at that time at the latest.
    ///
    /// # Panics
    ///
    /// On a thread that is no worker, if the default runtime has to be started and cannot be. The wait has
    /// ended then.
    pub(crate) fn set_timer(&mut self, at: Instant) {
        /// A wait without the timer that was to end it might never end: the next poll begins another one.
        struct EndsOnPanic<'a>(&'a Alarm);
        impl Drop for EndsOnPanic<'_> {
            fn drop(&mut self) {
                self.0.end();
            }
        }
        let alarm = EndsOnPanic(self.alarm.as_ref().expect("the wait has begun"));
        // SAFETY: `end` cancels the timer before it drops the alarm.
        self.timer = Some(unsafe { FutureTimer::set(at, alarm.0.ticket(), default_runtime) });
        std::mem::forget(alarm);
    }

    /// Ends the wait. The caller has taken the ticket back.
    pub(crate) fn end(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
        self.alarm = None;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lets the task be polled again soon.
pub(crate) fn again<T>(context: &Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

/// Counts a poll against the budget. If that was used up, the task is polled again after others.
pub(crate) fn lets_others_go_first(context: &Context<'_>) -> bool {
    let used_up = budget_is_used_up();
    if used_up {
        context.waker().wake_by_ref();
    }
    used_up
}

/// Counts a call of a future against the budget, for one that may be ready without a wait.
pub(crate) async fn let_others_go_first() {
    poll_fn(|context| if lets_others_go_first(context) { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// How an arm waits in a future.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// In turn, or as a watcher.
    Watching,
    /// Its other side may complete it.
    Offering,
}

/// A future that is ready when its arm has completed. Its output is the arm. `T` is what the arm transfers.
pub(crate) struct ArmFuture<A: Arm, T> {
    arm: Option<A>,
    waits: Waits,
    registration: Registration,
    transfers: PhantomData<T>,
    /// A list refers to the arm.
    _pinned: PhantomPinned,
}

// SAFETY: other threads use a listed arm only under its list's lock, whichever thread owns it. An arm refers
// to what is for all threads, and holds a value of type `T` at most.
unsafe impl<A: Arm, T: Send> Send for ArmFuture<A, T> {}

impl<A: Arm, T> ArmFuture<A, T> {
    /// # Safety
    ///
    /// The arm holds a `T` at most, and refers to things that are `Sync` if `T` is `Send`.
    pub(crate) unsafe fn new(arm: A, waits: Waits) -> ArmFuture<A, T> {
        ArmFuture {
            arm: Some(arm),
            waits,
            registration: Registration::new(),
            transfers: PhantomData,
            _pinned: PhantomPinned,
        }
    }
}

impl<A: Arm, T> Future for ArmFuture<A, T> {
    type Output = A;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A> {
        // SAFETY: the arm is moved out only while it is in no list.
        let this = unsafe { self.get_unchecked_mut() };
        let arm = this.arm.as_mut().expect("sward: a future is polled after it has returned its result");
        if lets_others_go_first(context) || this.registration.goes_on(context.waker()) {
            return Poll::Pending;
        }
        let mut completed = arm.leave();
        this.registration.end();
        // Twice: if an attempt to list it finds that it is possible, it is most likely possible then.
        for _ in 0..2 {
            if completed || arm.try_complete() {
                return Poll::Ready(this.arm.take().expect("it was there"));
            }
            let ticket = this.registration.begin(context.waker());
            // SAFETY: the arm is pinned, and its drop leaves the list; the ticket's waiter lives until `end`.
            let listed = unsafe {
                match this.waits {
                    Waits::Watching => arm.wait_in_turn(ticket),
                    Waits::Offering => arm.enlist(ticket),
                }
            };
            if listed {
                if let Some(at) = arm.due() {
                    this.registration.set_timer(at);
                }
                return Poll::Pending;
            }
            completed = arm.leave();
            this.registration.end();
        }
        again(context)
    }
}

impl<A: Arm, T> Drop for ArmFuture<A, T> {
    fn drop(&mut self) {
        if let Some(arm) = self.arm.as_ref().filter(|_| self.registration.exists()) {
            // A receive passes its turn on. A send needs nothing but to leave.
            arm.abandon();
        }
        self.registration.end();
    }
}
