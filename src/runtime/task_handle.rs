//! The calling coroutine, and its basic means of waiting: parking and yielding.

use crate::base::clock;
use crate::coroutine::{Event, Handle, Id, WaitReason, with_parker};
use crate::sched;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A coroutine, or a plain thread, that can be unparked; [`std::thread::Thread`] for coroutines.
#[derive(Clone)]
pub struct Task(Kind);

#[derive(Clone)]
enum Kind {
    Coroutine(Handle),
    Thread(Arc<Event>, std::thread::Thread),
}

impl Task {
    pub(crate) fn coroutine(handle: Handle) -> Task {
        Task(Kind::Coroutine(handle))
    }

    /// Makes the present or next [`park`] of this task return, as [`std::thread::Thread::unpark`]. Several
    /// calls before that count as one. Once the coroutine or thread has ended, this does nothing. Does not
    /// park.
    ///
    /// ```
    /// sward::run(|| {
    ///     let sleeper = sward::spawn(sward::task::park);
    ///     sleeper.task().unpark();
    ///     sleeper.join().unwrap();
    /// });
    /// ```
    pub fn unpark(&self) {
        sched::set(self.token());
    }

    /// The coroutine's number; `None` for a plain thread.
    pub fn id(&self) -> Option<Id> {
        match &self.0 {
            Kind::Coroutine(handle) => Some(handle.header().id()),
            Kind::Thread(..) => None,
        }
    }

    /// The coroutine's name, or the thread's.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::Coroutine(handle) => handle.header().name(),
            Kind::Thread(_, thread) => thread.name(),
        }
    }

    /// The call that spawned the coroutine; `None` for a plain thread. A program's own panic hook can name
    /// the coroutine with it, as reports do.
    ///
    /// ```
    /// let place = sward::spawn(|| sward::task::current().spawned_at()).join().unwrap();
    /// assert_eq!(place.map(|place| place.file()), Some(file!()));
    /// ```
    pub fn spawned_at(&self) -> Option<&'static Location<'static>> {
        match &self.0 {
            Kind::Coroutine(handle) => Some(handle.header().site()),
            Kind::Thread(..) => None,
        }
    }

    fn token(&self) -> &Event {
        match &self.0 {
            Kind::Coroutine(handle) => &handle.header().token,
            Kind::Thread(token, _) => token,
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

/// Whether the caller runs in a coroutine, so that what waits here parks rather than blocks a thread. False
/// on a plain thread, and so in the closure of [`blocking`](crate::blocking()). It does not matter whether a
/// [`block_on`](crate::block_on) or another executor polls the caller: what counts is where that runs. In a
/// destructor that unwinds it is true, although a wait [blocks the worker](crate::task#destructors) there.
/// Does not park.
///
/// ```
/// assert!(!sward::in_coroutine());
/// sward::run(|| {
///     assert!(sward::in_coroutine());
///     assert!(sward::block_on(async { sward::in_coroutine() }));
///     assert!(!sward::blocking(sward::in_coroutine).unwrap());
/// });
/// ```
pub fn in_coroutine() -> bool {
    sched::current_coroutine().is_some()
}

/// The calling coroutine, or the calling thread if there is none; [`std::thread::current`] for coroutines.
///
/// ```
/// assert_eq!(sward::task::current().id(), None); // a plain thread
/// sward::run(|| assert!(sward::task::current().id().is_some()));
/// ```
pub fn current() -> Task {
    match sched::current_coroutine() {
        // SAFETY: the coroutine that runs here is alive, and the pointer is the scheduler's.
        Some(header) => Task::coroutine(unsafe { Handle::to(header) }),
        // SAFETY: this thread leases the parker.
        None => with_parker(|parker| Task(Kind::Thread(unsafe { parker.token() }, std::thread::current()))),
    }
}

/// Waits until [`Task::unpark`] is called for the caller, as [`std::thread::park`]. Returns at once if that
/// has happened since the last `park`. A cancelled coroutine unwinds out of it. As with std, the caller must
/// check what it waits for, since it may be unparked for another reason.
pub fn park() {
    park_until(None);
}

/// As [`park`], but returns after that time at the latest; as [`std::thread::park_timeout`].
pub fn park_timeout(timeout: Duration) {
    park_until(clock::now().checked_add(timeout));
}

fn park_until(deadline: Option<Instant>) {
    let task = current();
    let token = task.token();
    if token.is_set() {
        // Before the token is taken: this may unwind.
        sched::consume_budget();
    } else {
        let _ = sched::wait_for(token, WaitReason::Park, deadline);
    }
    token.consume();
}

/// Lets other runnable coroutines of this worker go first; on a plain thread, other threads, as
/// [`std::thread::yield_now`]. Returns once they have had a turn. Calls that may wait do this by themselves
/// when 128 of them in a row did not have to: see [fairness](crate::task#fairness).
///
/// It is a [cancellation point](crate::task#cancellation): a cancelled coroutine unwinds out of it, and so
/// does a coroutine or a thread whose time limit has passed.
///
/// ```
/// sward::run(|| {
///     let other = sward::spawn(|| ());
///     while !other.is_finished() {
///         sward::yield_now();
///     }
/// });
/// ```
#[inline]
#[doc(alias = "Gosched")]
pub fn yield_now() {
    sched::yield_now();
}
