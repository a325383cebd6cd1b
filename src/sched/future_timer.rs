//! Timers of futures. They are in a worker's timers, as those of coroutines are, and are set from any thread.
//!
//! On a worker the timer is the worker's own: it looks at its timers before it sleeps. A thread that is no
//! worker adds the timer to the first worker of a runtime, under the lock, and notifies that worker if the
//! timer is its next one. `README.md` beside this file, argument 3, says why no such timer is missed.
//!
//! A future may outlive the runtime. So the shutdown fires the timers of futures that are left
//! ([`Shared::end_future_timers`]), each future is polled again, finds that it is too early, and sets a timer
//! elsewhere. A timer that is set meanwhile is not forgotten: `closed` is set before these timers are taken
//! under their lock, and is read after a timer was added under it.

use super::current::with;
use super::shared::{Remote, Shared};
use super::timers::TimerKey;
use crate::coroutine::{Batch, Cause, Ticket, is_of_future};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The timer of a future.
pub(crate) struct FutureTimer {
    /// Keeps the remote.
    _shared: Arc<Shared>,
    remote: *const Remote,
    key: TimerKey,
}

// SAFETY: a remote is for any thread, and `_shared` keeps it.
unsafe impl Send for FutureTimer {}
// SAFETY: as above.
unsafe impl Sync for FutureTimer {}

impl FutureTimer {
    /// Sets a timer of the calling worker; on other threads, of the runtime that `elsewhere` returns. The
    /// ticket is that of an [`Alarm`](crate::coroutine::Alarm).
    ///
    /// # Safety
    ///
    /// The ticket's waiter stays alive until [`cancel`](Self::cancel) has returned.
    pub(crate) unsafe fn set(
        at: Instant,
        ticket: Ticket,
        elsewhere: impl Fn() -> Arc<Shared>,
    ) -> FutureTimer {
        let own = with(|worker| (Arc::clone(worker.shared()), ptr::from_ref(worker.remote())));
        let (mut shared, mut remote, mut notifies) = match own {
            Some((shared, remote)) if !shared.closed.load(Ordering::SeqCst) => (shared, remote, false),
            _ => elsewhere_of(&elsewhere),
        };
        loop {
            // SAFETY: `shared` keeps it.
            let there = unsafe { &*remote };
            let (key, is_next) = {
                let mut timers = there.timers.lock();
                (timers.insert(at, ticket), timers.next() == Some(at))
            };
            let timer = FutureTimer { _shared: Arc::clone(&shared), remote, key };
            if !shared.closed.load(Ordering::SeqCst) {
                if notifies && is_next {
                    there.notify(&shared.idle);
                }
                return timer;
            }
            // The shutdown has fired it, or never will.
            if there.timers.lock().cancel(key).is_none() {
                return timer;
            }
            (shared, remote, notifies) = elsewhere_of(&elsewhere);
        }
    }

    /// Takes the timer back, if it has not fired. Afterwards it does not touch its ticket.
    pub(crate) fn cancel(self) {
        // SAFETY: `_shared` keeps it.
        unsafe { &*self.remote }.timers.lock().cancel(self.key);
    }
}

fn elsewhere_of(elsewhere: impl Fn() -> Arc<Shared>) -> (Arc<Shared>, *const Remote, bool) {
    let shared = elsewhere();
    let remote = ptr::from_ref(&shared.remotes[0]);
    (shared, remote, true)
}

impl Shared {
    /// Fires the timers of futures that are left when nothing will run any more. `closed` is set.
    pub(crate) fn end_future_timers(&self, batch: &mut Batch) {
        for remote in &self.remotes {
            let mut timers = remote.timers.lock();
            // Those of leaked coroutines never fire.
            while let Some(ticket) = timers.pop() {
                // SAFETY: a timer is taken back under this lock before its waiter goes.
                if unsafe { is_of_future(ticket) } {
                    // SAFETY: as above.
                    let _ = unsafe { ticket.fire(Cause::Event, batch) };
                }
            }
        }
    }
}
