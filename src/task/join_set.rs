//! A set of coroutines that come and go, joined in the order of their ends.
//!
//! A coroutine's closure owns an [`Announce`], which puts its number on a list when it is dropped: after the
//! closure has returned or unwound, or when it is dropped unrun. From there to the coroutine's end its task
//! locals are destroyed, which is a user's code and may park. So a number is taken off the list only once its
//! coroutine has ended; until then it stays, and no cancellation loses the result.

use super::{Builder, JoinError, JoinHandle, Task, start};
use crate::base::list_lock::ListLock;
use crate::coroutine::{Event, WaitReason};
use crate::sched;
use crate::select::{EventArm, Order, WaitLimit, select};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A set of coroutines whose results are of one type, taken in the order in which they end. As tokio's
/// `JoinSet`.
///
/// Dropping the set cancels all of its coroutines and does not wait for them: what they own may go on to be
/// used until they have unwound. [`shutdown`](Self::shutdown) waits; [`detach_all`](Self::detach_all) lets
/// them run on.
///
/// ```
/// let mut squares = sward::task::JoinSet::new();
/// for i in 1..=10 {
///     squares.spawn(move || i * i);
/// }
/// let mut sum = 0;
/// while let Some(square) = squares.join_next() {
///     sum += square.unwrap();
/// }
/// assert_eq!(sum, 385);
/// ```
pub struct JoinSet<T> {
    ended: Arc<Ended>,
    handles: HashMap<u64, JoinHandle<T>>,
    next: u64,
}

/// The coroutines that have ended, or are about to, and are not joined yet. Each number that is on the list
/// or is still to come belongs to a handle of the set, as long as the set has this list.
struct Ended {
    /// Set after a number was put on the list.
    some: Event,
    numbers: ListLock<VecDeque<u64>>,
}

/// Puts a number on the list when it goes.
struct Announce {
    ended: Arc<Ended>,
    number: u64,
}

impl Drop for Announce {
    fn drop(&mut self) {
        self.ended.numbers.lock().push_back(self.number);
        sched::set(&self.ended.some);
    }
}

/// The fields are dropped in this order, so that the end is announced after all that the closure owned.
struct Job<F> {
    f: F,
    _announce: Announce,
}

impl<T, F: FnOnce() -> T> Job<F> {
    fn run(self) -> T {
        (self.f)()
    }
}

impl Ended {
    fn new() -> Arc<Ended> {
        Arc::new(Ended { some: Event::new(), numbers: ListLock::new(VecDeque::new()) })
    }
}

impl<T> JoinSet<T> {
    /// An empty set.
    pub fn new() -> JoinSet<T> {
        JoinSet { ended: Ended::new(), handles: HashMap::new(), next: 0 }
    }

    /// How many coroutines it has: those that run and those that have ended and are not joined yet.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Spawns a coroutine in the set; otherwise as [`spawn`](crate::spawn). Does not park.
    ///
    /// # Panics
    ///
    /// On a plain thread, if the default runtime cannot be started. [`spawn_with`](Self::spawn_with) gives
    /// an error instead.
    #[track_caller]
    pub fn spawn<F>(&mut self, f: F) -> Task
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.spawn_with(Builder::new(), f) {
            Ok(task) => task,
            Err(error) => super::no_runtime(error),
        }
    }

    /// Spawns a coroutine with settings of its own; otherwise as [`spawn`](Self::spawn).
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`]: the set is as it was.
    ///
    /// ```
    /// let mut set = sward::task::JoinSet::new();
    /// set.spawn_with(sward::task::Builder::new().name("first"), || 1)?;
    /// assert_eq!(set.join_next().unwrap().unwrap(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_with<F>(&mut self, builder: Builder, f: F) -> io::Result<Task>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let spawn = builder.prepare()?;
        let number = self.next;
        self.next += 1;
        let _announce = Announce { ended: Arc::clone(&self.ended), number };
        let handle = start!(f: F => T, |f| {
            let job = Job { f, _announce };
            JoinHandle::new(sched::spawn(spawn, move || job.run()))
        });
        let task = handle.task();
        self.handles.insert(number, handle);
        Ok(task)
    }

    /// Waits until one of the coroutines has ended and takes it out of the set; `None` if the set is
    /// empty. Parks the calling coroutine, or blocks the calling thread. A cancelled caller unwinds out of
    /// it, and nothing is lost.
    ///
    /// # Errors
    ///
    /// Those of [`JoinHandle::join`], inside: a coroutine that panicked or was cancelled counts as ended.
    pub fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.join_next_until(None)
    }

    /// As [`join_next`](Self::join_next), but gives up after that time: then, too, it is `None`, and
    /// [`is_empty`](Self::is_empty) says no.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut set = sward::task::JoinSet::new();
    /// set.spawn(sward::task::park);
    /// assert!(set.join_next_timeout(Duration::from_millis(1)).is_none());
    /// assert_eq!(set.len(), 1);
    /// ```
    pub fn join_next_timeout(&mut self, timeout: Duration) -> Option<Result<T, JoinError>> {
        self.join_next_until(Instant::now().checked_add(timeout))
    }

    fn join_next_until(&mut self, deadline: Option<Instant>) -> Option<Result<T, JoinError>> {
        sched::consume_budget();
        while !self.is_empty() {
            // Before the list is looked at: an end that comes after the look sets it again.
            self.ended.some.consume();
            if let Some(handle) = self.take_ended() {
                return Some(handle.join());
            }
            if self.handles.values().all(JoinHandle::is_stranded)
                && let Some(&number) = self.handles.keys().next()
            {
                self.handles.remove(&number);
                return deadlock();
            }
            if !self.wait_for_some(deadline) {
                return self.try_join_next();
            }
        }
        None
    }

    /// Waits until a further end is announced or one of those that were has come; whether that was in time.
    fn wait_for_some(&self, deadline: Option<Instant>) -> bool {
        let ending: Vec<_> = {
            let numbers = self.ended.numbers.lock();
            numbers.iter().filter_map(|number| self.handles.get(number)).map(JoinHandle::done).collect()
        };
        if ending.is_empty() {
            return sched::wait_for(&self.ended.some, WaitReason::JoinSet, deadline).is_ok();
        }
        let mut arms: Vec<_> = ending.into_iter().chain([&self.ended.some]).map(EventArm::new).collect();
        let mut arms: Vec<_> = arms.iter_mut().map(|arm| Some(arm.any())).collect();
        let patience = deadline.map_or(WaitLimit::Endless, WaitLimit::Until);
        select(&mut arms, WaitReason::JoinSet, patience, Order::Given).is_some()
    }

    /// Takes a coroutine that has ended out of the set; `None` if there is none. Does not wait for any to
    /// end.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        let handle = self.take_ended()?;
        Some(handle.join())
    }

    /// Takes the handle of a coroutine that has ended out of the set.
    fn take_ended(&mut self) -> Option<JoinHandle<T>> {
        let mut numbers = self.ended.numbers.lock();
        let has_ended = |number: &u64| self.handles.get(number).is_some_and(JoinHandle::is_finished);
        let first = numbers.iter().position(has_ended)?;
        let number = numbers.remove(first)?;
        drop(numbers);
        Some(self.handles.remove(&number).expect("its handle was found"))
    }

    /// Cancels all of its coroutines, as [`JoinHandle::cancel`] does. They stay in the set, and are joined
    /// with their errors. Does not park. Returns false, and does nothing, where panics abort.
    pub fn cancel_all(&self) -> bool {
        // Each by itself: the first is on its way while the last is looked up.
        for handle in self.handles.values() {
            handle.cancel();
        }
        !cfg!(panic = "abort")
    }

    /// Takes all coroutines out of the set and lets them run on; their results are dropped where they end.
    pub fn detach_all(&mut self) {
        self.ended = Ended::new();
        self.handles.clear();
    }

    /// Cancels all coroutines and waits until they have ended; their results are dropped. A cancelled caller
    /// unwinds out of it with the coroutines cancelled. Where panics abort it waits until they end by
    /// themselves.
    ///
    /// ```
    /// let mut set = sward::task::JoinSet::new();
    /// for _ in 0..10 {
    ///     set.spawn(sward::task::park);
    /// }
    /// set.shutdown();
    /// assert!(set.is_empty());
    /// ```
    pub fn shutdown(&mut self) {
        self.cancel_all();
        while self.join_next().is_some() {}
    }
}

/// Apart, so that no caller's frame holds room for one more result.
#[cold]
#[inline(never)]
fn deadlock<T>() -> Option<Result<T, JoinError>> {
    Some(Err(JoinError::Deadlock))
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        JoinSet::new()
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len()).finish_non_exhaustive()
    }
}

// A call that unwinds leaves the set with what it had.
impl<T> UnwindSafe for JoinSet<T> {}
impl<T> RefUnwindSafe for JoinSet<T> {}
