//! The condition variable: a list of waiters in FIFO order.
//!
//! *No wake-up is lost.* The commit of a wait lists the waiter, then unlocks the mutex. So a thread that
//! locks the mutex afterwards, changes the condition and notifies finds the waiter in the list; and no other
//! thread has the mutex between the waiter's check of the condition and the listing.

use super::mutex::lock_for;
use super::raw_mutex::RawMutex;
use super::{LockResult, MutexGuard, PoisonError};
use crate::base::clock;
use crate::base::list_lock::ListLock;
use crate::base::sync::const_fn;
use crate::coroutine::{Batch, Facts, Subject, WaitList, WaitNode, WaitReason, Why};
use crate::sched::{self, Cancel, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// [`std::sync::Condvar`], whose waits park the coroutine.
///
/// Waiters are notified in FIFO order. There are no spurious wake-ups: a wait returns when it is notified or
/// its time is over. The caller has to check the condition again all the same, as another party may have
/// locked the [`Mutex`](super::Mutex) first and changed it.
///
/// # Cancellation
///
/// A coroutine that is cancelled before it was notified unwinds out of the wait, without locking the mutex
/// again. A coroutine that was notified locks the mutex and returns, even if it is cancelled meanwhile: so
/// the notification is not lost.
///
/// ```
/// use std::sync::Arc;
/// use sward::sync::{Condvar, Mutex};
///
/// sward::run(|| {
///     let pair = Arc::new((Mutex::new(false), Condvar::new()));
///     let theirs = pair.clone();
///     sward::spawn(move || {
///         *theirs.0.lock().unwrap() = true;
///         theirs.1.notify_one();
///     });
///     let (ready, changed) = &*pair;
///     let mut guard = ready.lock().unwrap();
///     while !*guard {
///         guard = changed.wait(guard).unwrap();
///     }
/// });
/// ```
#[doc(alias = "Cond")]
pub struct Condvar {
    waiting: ListLock<WaitList>,
}

impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}

/// Whether a wait timed out, as [`std::sync::WaitTimeoutResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(pub(super) bool);

impl WaitTimeoutResult {
    /// Whether the wait timed out.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

// SAFETY: the address alone.
unsafe impl Subject for Condvar {
    fn facts(&self) -> Facts {
        Facts::Signal { at: std::ptr::from_ref(self).addr() }
    }
}

impl Condvar {
    const_fn! {
        /// A condition variable without waiters.
        pub fn new() -> Condvar {
            Condvar { waiting: ListLock::new(WaitList::new()) }
        }
    }

    /// Unlocks the mutex, waits for a notification, and locks the mutex again. Parks the coroutine, or blocks
    /// the plain thread.
    ///
    /// # Errors
    ///
    /// A panic has poisoned the mutex. The error holds the guard. This holds for all waits.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until(guard, None).map(|(guard, _)| guard).map_err(|error| {
            let (guard, _) = error.into_inner();
            PoisonError::new(guard)
        })
    }

    /// [Waits](Self::wait) as long as the condition is true. The condition is called with the mutex locked.
    ///
    /// # Errors
    ///
    /// A panic has poisoned the mutex. The error holds the guard.
    ///
    /// ```
    /// let (items, changed) = (sward::sync::Mutex::new(vec![1]), sward::sync::Condvar::new());
    /// let mut items = changed.wait_while(items.lock().unwrap(), |items| items.is_empty()).unwrap();
    /// assert_eq!(items.pop(), Some(1));
    /// ```
    pub fn wait_while<'a, T: ?Sized, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As [`wait`](Self::wait), for no longer than `timeout`. The mutex is locked again in any case, however
    /// long that takes.
    ///
    /// # Errors
    ///
    /// A panic has poisoned the mutex. The error holds the guard.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (mutex, never) = (sward::sync::Mutex::new(()), sward::sync::Condvar::new());
    /// let (_guard, result) = never.wait_timeout(mutex.lock().unwrap(), Duration::from_millis(1)).unwrap();
    /// assert!(result.timed_out());
    /// ```
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.wait_until(guard, clock::now().checked_add(timeout))
    }

    /// As [`wait_while`](Self::wait_while), for no longer than `timeout` altogether. The result has timed out
    /// if the condition is still true then.
    ///
    /// # Errors
    ///
    /// A panic has poisoned the mutex. The error holds the guard.
    pub fn wait_timeout_while<'a, T: ?Sized, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>
    where
        F: FnMut(&mut T) -> bool,
    {
        let deadline = clock::now().checked_add(timeout);
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if deadline.is_some_and(|at| at <= clock::now()) {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.wait_until(guard, deadline)?.0;
        }
    }

    /// Notifies the waiter that has waited longest, if there is one. Does not park. The mutex need not be
    /// locked.
    pub fn notify_one(&self) {
        let mut batch = Batch::new();
        self.waiting.lock().hand_turn_to_first(&mut batch);
        batch.wake();
    }

    /// Notifies all present waiters. Does not park. The mutex need not be locked.
    pub fn notify_all(&self) {
        let mut batch = Batch::new();
        self.waiting.lock().wake_all(&mut batch);
        batch.wake();
    }

    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let lock = MutexGuard::into_lock(guard);
        let (timed_out, cancel) = match self.wait_unlocked(&lock.raw, deadline) {
            Woken::Event => (false, Cancel::Mask),
            Woken::Timeout => (true, Cancel::Obey),
            Woken::Cancelled => sched::unwind_cancelled(),
        };
        let result = WaitTimeoutResult(timed_out);
        match lock_for(lock, WaitReason::CondvarRelock, cancel) {
            Ok(guard) => Ok((guard, result)),
            Err(error) => Err(PoisonError::new((error.into_inner(), result))),
        }
    }

    /// Lists the caller as a waiter, unlocks the mutex, and waits.
    fn wait_unlocked(&self, raw: &RawMutex, deadline: Option<Instant>) -> Woken {
        let enlist = |node: &WaitNode| {
            // SAFETY: `wait_at` keeps the node until it was handed a turn, woken, or has been taken off
            // below.
            unsafe { self.waiting.lock().push_back(node) };
            raw.unlock();
            true
        };
        let leave = |node: &WaitNode| _ = self.waiting.lock().remove(node);
        let how = Wait { deadline, ..Wait::new(Why::new(WaitReason::Condvar, self)) };
        sched::wait_at(how, enlist, leave).woken()
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
