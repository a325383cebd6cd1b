//! Who is running, and the bare means of waiting.

use super::Id;
use crate::coroutine::{Event, Handle, WaitReason, with_parker};
use crate::sched;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A coroutine, or a plain thread, seen from outside: something that can be unparked.
#[derive(Clone)]
pub struct Task(Kind);

#[derive(Clone)]
enum Kind {
    Coroutine(Handle),
    Thread(Arc<Event>, std::thread::Thread),
}

impl Task {
    pub(super) fn coroutine(handle: Handle) -> Task {
        Task(Kind::Coroutine(handle))
    }

    /// Makes the present or next [`park`] of this task return. Does not park. Several calls before it
    /// count as one. Once the coroutine or thread has ended it does nothing.
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

    /// The call that has spawned the coroutine; `None` for a plain thread. With this a panic hook of one's
    /// own can say which coroutine it is, as reports do.
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

/// The calling coroutine, or the calling thread if there is none.
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

/// Parks until somebody calls [`Task::unpark`] for the caller, or returns at once if somebody has
/// since the last `park`. On a plain thread it blocks the thread. A cancelled coroutine unwinds out of
/// it. As with [`std::thread::park`] a caller checks what it waits for, as another may have
/// unparked it for another reason.
pub fn park() {
    park_until(None);
}

/// As [`park`], but returns after that time at the latest.
///
/// ```
/// use std::time::Duration;
///
/// sward::run(|| sward::task::park_timeout(Duration::from_millis(1)));
/// ```
pub fn park_timeout(timeout: Duration) {
    park_until(Instant::now().checked_add(timeout));
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
