//! The condition variable: those who wait, in the order in which they came.
//!
//! A waiter lists itself before it unlocks the mutex, both in its wait's commit. So a notification that
//! comes after the unlocking finds it, and nothing happens between looking at the condition and being
//! listed.

use super::raw_mutex::RawMutex;
use super::{LockResult, MutexGuard, PoisonError};
use crate::base::list_lock::ListLock;
use crate::base::sync::const_fn;
use crate::coroutine::{Batch, WaitList, WaitNode, WaitReason};
use crate::sched::{self, Cancel, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// Waiting for a condition of data under a [`Mutex`](super::Mutex), as [`std::sync::Condvar`].
///
/// Waiters are notified in the order in which they came. A wait returns without a notification only
/// at its time limit, but as with std a caller looks at the condition again: another may have
/// changed it in between.
///
/// # Cancellation
///
/// A coroutine that is cancelled before it was notified unwinds out of the wait without the mutex, which
/// it does not take again. One that was notified takes the mutex, whatever cancellation there may be, and
/// returns: the notification is not lost with it.
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
pub struct Condvar {
    waiting: ListLock<WaitList>,
}

impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}

/// Whether a wait ended at its time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(pub(super) bool);

impl WaitTimeoutResult {
    /// Whether it did.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    const_fn! {
        /// A condition variable for which nobody waits.
        pub fn new() -> Condvar {
            Condvar { waiting: ListLock::new(WaitList::new()) }
        }
    }

    /// Releases the mutex, waits for a notification, and takes the mutex again. Parks the coroutine or
    /// blocks the thread.
    ///
    /// # Errors
    ///
    /// A panic has poisoned the mutex. The error holds the guard.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.wait_until(guard, None).map(|(guard, _)| guard).map_err(|error| {
            let (guard, _) = error.into_inner();
            PoisonError::new(guard)
        })
    }

    /// [Waits](Self::wait) while the condition holds; it is asked with the mutex held.
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

    /// As [`wait`](Self::wait), but for a notification within that time. The mutex is taken again also
    /// after it, however long that takes.
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
        self.wait_until(guard, Instant::now().checked_add(timeout))
    }

    /// As [`wait_while`](Self::wait_while), but for that time altogether. If the time is over and the
    /// condition still holds, the result says so.
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
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Ok((guard, WaitTimeoutResult(true)));
            }
            guard = self.wait_until(guard, deadline)?.0;
        }
    }

    /// Notifies the one who has waited longest, if anybody waits. Does not park. The mutex need not be
    /// held.
    pub fn notify_one(&self) {
        let mut batch = Batch::new();
        self.waiting.lock().hand_turn_to_first(&mut batch);
        batch.wake();
    }

    /// Notifies all who wait now. Does not park. The mutex need not be held.
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
        let (mutex, raw) = MutexGuard::into_lock(guard);
        let (timed_out, cancel) = match self.wait_unlocked(raw, deadline) {
            Woken::Event => (false, Cancel::Mask),
            Woken::Timeout => (true, Cancel::Obey),
            Woken::Cancelled => sched::unwind_cancelled(),
        };
        let result = WaitTimeoutResult(timed_out);
        match mutex.lock_for(WaitReason::CondvarRelock, cancel) {
            Ok(guard) => Ok((guard, result)),
            Err(error) => Err(PoisonError::new((error.into_inner(), result))),
        }
    }

    /// Lists the caller, unlocks the mutex, and waits.
    fn wait_unlocked(&self, raw: &RawMutex, deadline: Option<Instant>) -> Woken {
        let enlist = |node: &WaitNode| {
            // SAFETY: `wait_at` keeps the node until it was handed a turn, woken, or has been taken off
            // below.
            unsafe { self.waiting.lock().push_back(node) };
            raw.unlock();
            true
        };
        let leave = |node: &WaitNode| _ = self.waiting.lock().remove(node);
        let how = Wait { deadline, ..Wait::new(WaitReason::Condvar) };
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
