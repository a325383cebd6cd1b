//! A set of coroutines, joined in the order in which they end.
//!
//! *Problem.* `join_next` returns the coroutine that ends first, without a search through the set for each
//! end. A coroutine's result is final only with its `done`; and a cancelled `join_next` must not lose a
//! result.
//!
//! *Terms.* Each coroutine of a set has a *number*. Its closure owns an [`EndAnnouncement`], which appends
//! the number to the set's [`EndedList`] when it is dropped: after the closure has returned or unwound, or
//! when the closure is dropped unrun. The number is then *announced*. The coroutine *ends* (`done`) a little
//! later: in between its task locals are destroyed, which runs a user's code and may park.
//!
//! ```text
//!  a member:  running --> announced --> ended --> joined
//!             the number is appended    done      the number is removed
//! ```
//!
//! *Why no end is missed*: `join_next` takes the event of the list before it looks at the list, so an
//! announcement after the look sets the event again. If there are announced numbers that have not ended,
//! `join_next` waits for their `done` events as well.
//!
//! *Why no result is lost*: a number is removed only once its coroutine has ended, and from then on nothing
//! unwinds until the result is returned. A caller that unwinds out of the wait leaves the list as it was.

use super::{Builder, JoinError, JoinHandle, Task};
use crate::base::clock;
use crate::base::list_lock::ListLock;
use crate::coroutine::{Event, Facts, Subject, WaitReason, Why};
use crate::runtime::spawn::{no_runtime, start};
use crate::sched;
use crate::select::{EventArm, Order, WaitLimit, select};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A set of coroutines whose results are of one type, joined in the order in which they end. The same as
/// tokio's `JoinSet`.
///
/// Dropping the set cancels all of its coroutines and does not wait for them: they may use what they own
/// until they have unwound. [`shutdown`](Self::shutdown) waits; [`detach_all`](Self::detach_all) lets them
/// run on.
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
#[doc(alias("errgroup", "FuturesUnordered"))]
pub struct JoinSet<T> {
    ended: Arc<EndedList>,
    handles: HashMap<u64, JoinHandle<T>>,
    next: u64,
}

/// The numbers of the coroutines that were announced and are not joined yet. As long as the set has this
/// list, each number on it, and each that will be announced, belongs to a handle of the set.
struct EndedList {
    /// Set after a number was appended.
    some: Event,
    numbers: ListLock<VecDeque<u64>>,
}

/// Appends a number to the list when it is dropped.
struct EndAnnouncement {
    ended: Arc<EndedList>,
    number: u64,
}

impl Drop for EndAnnouncement {
    fn drop(&mut self) {
        self.ended.numbers.lock().push_back(self.number);
        sched::set(&self.ended.some);
    }
}

/// The fields are dropped in this order, so the end is announced after everything that the closure owned is
/// gone.
struct MemberClosure<F> {
    f: F,
    _announcement: EndAnnouncement,
}

impl<T, F: FnOnce() -> T> MemberClosure<F> {
    fn run(self) -> T {
        (self.f)()
    }
}

impl EndedList {
    fn new() -> Arc<EndedList> {
        Arc::new(EndedList { some: Event::new(), numbers: ListLock::new(VecDeque::new()) })
    }
}

impl<T> JoinSet<T> {
    /// An empty set.
    pub fn new() -> JoinSet<T> {
        JoinSet { ended: EndedList::new(), handles: HashMap::new(), next: 0 }
    }

    /// The number of coroutines that are not joined yet, whether they run or have ended.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether it has no coroutines.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Spawns a coroutine in the set; otherwise as [`spawn`](crate::spawn). Does not park.
    ///
    /// # Panics
    ///
    /// On a plain thread, if the default runtime cannot be started. [`spawn_with`](Self::spawn_with) returns
    /// an error instead.
    #[track_caller]
    pub fn spawn<F>(&mut self, f: F) -> Task
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.spawn_with(Builder::new(), f) {
            Ok(task) => task,
            Err(error) => no_runtime(error),
        }
    }

    /// Spawns a coroutine with settings of its own; otherwise as [`spawn`](Self::spawn).
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`]. The set is unchanged then.
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
        let _announcement = EndAnnouncement { ended: Arc::clone(&self.ended), number };
        let handle = start!(f: F => T, |f| {
            let member = MemberClosure { f, _announcement };
            JoinHandle::new(sched::spawn(spawn, move || member.run()))
        });
        let task = handle.task();
        self.handles.insert(number, handle);
        Ok(task)
    }

    /// Waits until one of the coroutines has ended, removes it from the set and returns its result; `None` if
    /// the set is empty. Parks. A cancelled caller unwinds out of it, and no result is lost.
    ///
    /// # Errors
    ///
    /// Those of [`JoinHandle::join`], inside: a coroutine that panicked or was cancelled counts as ended.
    pub fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.join_next_until(None)
    }

    /// As [`join_next`](Self::join_next), but returns `None` after that time as well.
    /// [`is_empty`](Self::is_empty) tells the two cases apart.
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
        self.join_next_until(clock::now().checked_add(timeout))
    }

    fn join_next_until(&mut self, deadline: Option<Instant>) -> Option<Result<T, JoinError>> {
        sched::consume_budget();
        while !self.is_empty() {
            // Before the look at the list: an end that is announced after the look sets it again.
            self.ended.some.consume();
            if let Some(handle) = self.take_ended() {
                return Some(handle.take_result());
            }
            if self.handles.values().all(JoinHandle::is_stranded)
                && let Some(&number) = self.handles.keys().next()
            {
                self.handles.remove(&number);
                return deadlock();
            }
            if !self.wait_for_some(deadline) {
                return self.take_ended().map(JoinHandle::take_result);
            }
        }
        None
    }

    /// Waits until a further end is announced, or one of the announced coroutines has ended. Whether that was
    /// in time.
    fn wait_for_some(&self, deadline: Option<Instant>) -> bool {
        let ending: Vec<_> = {
            let numbers = self.ended.numbers.lock();
            numbers.iter().filter_map(|number| self.handles.get(number)).map(JoinHandle::done).collect()
        };
        if ending.is_empty() {
            return sched::wait_for(&self.ended.some, Why::new(WaitReason::JoinSet, self), deadline).is_ok();
        }
        let mut arms: Vec<_> = ending.into_iter().chain([&self.ended.some]).map(EventArm::new).collect();
        let mut arms: Vec<_> = arms.iter_mut().map(|arm| Some(arm.any())).collect();
        let limit = deadline.map_or(WaitLimit::Endless, WaitLimit::Until);
        select(&mut arms, WaitReason::JoinSet, limit, Order::Given).is_some()
    }

    /// Removes a coroutine that has ended from the set and returns its result; `None` if none has ended. Does
    /// not wait for an end.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.first_ended()?;
        // Before the handle leaves the set: this may unwind.
        sched::consume_budget();
        self.take_ended().map(JoinHandle::take_result)
    }

    /// Where on the list the first coroutine is that has ended.
    fn first_ended(&self) -> Option<usize> {
        let has_ended = |number: &u64| self.handles.get(number).is_some_and(JoinHandle::is_finished);
        self.ended.numbers.lock().iter().position(has_ended)
    }

    /// Removes a coroutine that has ended from the set and returns its handle.
    fn take_ended(&mut self) -> Option<JoinHandle<T>> {
        let first = self.first_ended()?;
        // Others only append to the list.
        let number = self.ended.numbers.lock().remove(first)?;
        Some(self.handles.remove(&number).expect("its handle was found"))
    }

    /// Cancels all of its coroutines, as [`JoinHandle::cancel`] does. They stay in the set, and are joined
    /// with their errors. Does not park. Returns false, and does nothing, with `panic = "abort"`.
    pub fn cancel_all(&self) -> bool {
        // Each in a batch of its own: the first unwinds while the last is still to be cancelled.
        for handle in self.handles.values() {
            handle.cancel();
        }
        !cfg!(panic = "abort")
    }

    /// Removes all coroutines from the set and lets them run on. Their results are dropped where they end.
    /// Does not park.
    pub fn detach_all(&mut self) {
        self.ended = EndedList::new();
        self.handles.clear();
    }

    /// Cancels all coroutines and waits until they have ended. Their results are dropped. Parks. A cancelled
    /// caller unwinds out of it, after it has cancelled the coroutines. With `panic = "abort"` it waits until
    /// they end by themselves.
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

/// A function of its own, so that no caller's frame has room for one more result.
#[cold]
#[inline(never)]
fn deadlock<T>() -> Option<Result<T, JoinError>> {
    Some(Err(JoinError::Deadlock))
}

// SAFETY: its owner waits, so the handles stay as they are.
unsafe impl<T> Subject for JoinSet<T> {
    fn facts(&self) -> Facts {
        let alive = self.handles.values().filter(|handle| !handle.is_finished());
        let ids = alive.filter_map(|handle| handle.task().id());
        Facts::coroutines(std::ptr::from_ref(self).addr(), false, ids)
    }
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
