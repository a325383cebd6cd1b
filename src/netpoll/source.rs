//! A source: an open file that coroutines and threads can wait for, with its readiness in both directions.
//!
//! # The problem
//!
//! Callers make non-blocking calls on the file, and wait when a call would block. No event of the kernel may
//! be lost between such a call and the wait, and no caller may meet another file under the same descriptor
//! number after `close`.
//!
//! # Terms
//!
//! - *Readiness event*: the flag "a call in this direction may succeed" with its waiters
//!   (`coroutine::event`). A new source is "maybe ready": both events are set, so the first call is made
//!   without a wait.
//! - *Consume*: take the event, before the call that may use the readiness up.
//! - *Bound*: in the table of a shard, whose poller then sets the events.
//! - *Closed*: `close` was called. The descriptor stays open until the source is dropped.
//!
//! # States
//!
//! | from, to | by | cause |
//! |---|---|---|
//! | unbound, bound | `join` | a call would block, and the source is in no shard |
//! | bound, unbound | `Shard::retire` | the runtime ends; the next call that would block joins another shard |
//! | bound, unbound | `close`, `into_fd`, drop | the end of its use |
//! | open, closed | `close` | its owner has called it; never undone |
//!
//! A source joins the shard of the worker on which the first waiting coroutine runs. So a connection that is
//! accepted on one worker and handled on another is registered once, where its events are needed.
//!
//! # Why no event is lost
//!
//! - *An edge between a call and its wait.* The caller has consumed the event before the call, so the
//!   poller's `set` is kept, and the caller finds the event set when it lists itself.
//! - *A change before `join`.* Adding a descriptor reports its state at that time. If two callers join at
//!   once, the lock of `binding` makes one registration. The other caller reads `bound` as true (release,
//!   acquire), so the shard's events are for it as well.
//! - *One-shot back-ends.* The waiter lists itself, then arms its direction; arming reports the state.
//! - *`close`.* It sets `closed` before it sets the events for good. So a waiter that these wake, or that
//!   comes later and finds them set, sees that the source is closed.
//! - *A shard that retires.* It sets `bound` to false before it fires the waiters, so each of them joins
//!   another shard, or fails with it.
//!
//! # Rejected
//!
//! - *`close` closes the descriptor.* Its number may be another file's at once, and a caller that is about to
//!   make its call would meet that file. So the number is freed only with the last owner of the source.
//! - *Registration when the file is opened.* It costs a system call for files that never block, and is on the
//!   wrong worker for a connection that another worker handles.

use super::event::{Direction, Key};
use super::fd::{is_ready, wait_on_thread};
use super::readiness::{Interest, Readiness};
use super::shard::Shard;
use super::sys::Poller;
use crate::base::backoff::Backoff;
use crate::base::fork;
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::{calls, set_nonblocking};
use crate::coroutine::{Awaiting, Batch, Event};
use once_cell::race::OnceBox;
use std::io::{self, PipeReader, PipeWriter};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// An open file that can be waited for.
///
/// Invariant: the descriptor is open for as long as the source lives.
pub(crate) struct Source {
    fd: OwnedFd,
    readiness: Arc<Readiness>,
    /// The shard that it has joined. Stale once that shard has retired: then `readiness` is not bound.
    binding: Mutex<Option<(Arc<Shard>, Key)>>,
    /// Whether the file is known to be non-blocking.
    nonblocking: AtomicBool,
    closed: AtomicBool,
    /// What few sources have.
    extras: OnceBox<Extras>,
}

/// What few sources have. It is apart from the others, which are small.
#[derive(Default)]
struct Extras {
    /// For files whose blocked threads nothing else can wake.
    close_pipe: Option<Mutex<ClosePipe>>,
    /// The future that waits for the source to be readable.
    read: Slot,
    /// The future that waits for it to be writable.
    write: Slot,
}

/// A future's registration.
type Slot = std::sync::Mutex<Option<Awaiting<Interest>>>;

/// A pipe whose writing end `close` closes. It wakes the plain threads that block on a file of a kind that
/// has no `shutdown`: they wait for the reading end as well.
#[derive(Debug, Default)]
enum ClosePipe {
    /// No thread has blocked so far. The first one makes the pipe.
    #[default]
    Absent,
    /// Threads may be blocked on the reading end.
    Open { reader: Arc<PipeReader>, _writer: PipeWriter },
    /// `close` has dropped the writing end: no thread blocks any more.
    Closed,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("fd", &self.fd.as_raw_fd()).finish_non_exhaustive()
    }
}

impl Source {
    /// A source that makes its file non-blocking at the first operation.
    pub(crate) fn new(fd: OwnedFd) -> Source {
        Source {
            fd,
            readiness: Arc::new(Readiness::new()),
            binding: Mutex::new(Rank::Binding, None),
            nonblocking: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            extras: OnceBox::new(),
        }
    }

    /// A source whose file is known to be non-blocking.
    #[cfg_attr(target_vendor = "apple", allow(dead_code))]
    pub(crate) fn new_nonblocking(fd: OwnedFd) -> Source {
        let source = Source::new(fd);
        source.nonblocking.store(true, Ordering::Relaxed);
        source
    }

    /// A source whose file is known to be non-blocking, and of a kind that has no `shutdown`, which would
    /// wake threads that block on it. `close` wakes them by a pipe.
    pub(crate) fn new_with_close_pipe(fd: OwnedFd) -> Source {
        let mut source = Source::new_nonblocking(fd);
        let close_pipe = Some(Mutex::new(Rank::Binding, ClosePipe::Absent));
        source.extras = OnceBox::with_value(Box::new(Extras { close_pipe, ..Extras::default() }));
        source
    }

    /// The same source, for calls that block on different conditions: one may find nothing where another
    /// would succeed. Each event wakes all waiters of its direction, and each of them makes its call, even if
    /// another waiter has consumed the event.
    pub(crate) fn selective(mut self) -> Source {
        Arc::get_mut(&mut self.readiness).expect("it is in no shard yet").make_selective();
        self
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The readiness event of one direction.
    pub(crate) fn event(&self, direction: Direction) -> &Event {
        self.readiness.event(direction)
    }

    /// Sets the event of one direction, as the shard does when the kernel reports readiness.
    #[inline]
    pub(crate) fn set_ready(&self, direction: Direction, batch: &mut Batch) {
        self.readiness.set_ready(direction, batch);
    }

    /// How often a selective source was reported as ready; `None` for other sources. A waiter of a selective
    /// source reads it before its call and again once it is listed, and waits only if both are equal: another
    /// caller may have consumed an event in between.
    #[inline]
    pub(crate) fn times_ready(&self) -> Option<usize> {
        self.readiness.times_ready()
    }

    /// Fails with `NotConnected` after `close`.
    #[inline]
    pub(crate) fn check_open(&self) -> io::Result<()> {
        if self.is_closed() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "it was closed"));
        }
        Ok(())
    }

    /// As `check_open`, before a call that must not block: makes the file non-blocking if it is not yet.
    #[inline]
    pub(crate) fn prepare(&self) -> io::Result<()> {
        self.check_open()?;
        if !self.nonblocking.load(Ordering::Relaxed) {
            self.make_nonblocking()?;
        }
        Ok(())
    }

    /// Whether `close` was called.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Joins that shard if the source is in none. Call this before a wait for an event.
    #[inline]
    pub(crate) fn join(&self, shard: &Arc<Shard>) -> io::Result<()> {
        if !self.readiness.is_bound() {
            self.bind(shard)?;
        }
        Ok(())
    }

    /// Whether it is in no shard.
    pub(crate) fn is_unbound(&self) -> bool {
        !self.readiness.is_bound()
    }

    /// Asks a one-shot back-end for that direction's next event. Call this once the waiter is listed, so that
    /// the event finds it.
    #[inline]
    pub(crate) fn arm(&self, direction: Direction) {
        if Poller::ONE_SHOT
            && let Some((shard, key)) = &*self.binding.lock()
        {
            shard.arm(*key, direction);
        }
    }

    /// As `arm`, for the remaining waiters. A waiter that has used up the event and leaves calls this.
    #[inline]
    pub(crate) fn rearm_for_others(&self, direction: Direction) {
        if Poller::ONE_SHOT && self.event(direction).has_waiters() {
            self.arm(direction);
        }
    }

    #[cold]
    fn bind(&self, shard: &Arc<Shard>) -> io::Result<()> {
        fork::check();
        let mut binding = self.binding.lock();
        if !self.readiness.is_bound() {
            *binding = Some((Arc::clone(shard), shard.add(self.fd(), &self.readiness)?));
        }
        Ok(())
    }

    /// Ends the use of the file: fires all waiters, and makes each later `prepare` fail.
    pub(crate) fn close(&self, batch: &mut Batch) {
        // Before the events: a waiter that they wake must find the source closed.
        self.closed.store(true, Ordering::Release);
        self.unbind();
        self.readiness.read.set_for_good(batch);
        self.readiness.write.set_for_good(batch);
        if let Some(pipe) = self.close_pipe() {
            *pipe.lock() = ClosePipe::Closed;
        }
    }

    /// Blocks the thread until the file is ready in that direction, in error or closed. Returns false if the
    /// deadline has passed. All waits of one call share a `backoff`; see `fd::wait_on_thread`.
    pub(crate) fn wait_on_thread(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
        backoff: &mut Backoff,
    ) -> io::Result<bool> {
        let reader = match self.close_pipe() {
            None => None,
            Some(pipe) => match pipe.lock().reader()? {
                None => return Ok(true),
                reader => reader,
            },
        };
        let interrupt = reader.as_ref().map(|reader| reader.as_fd());
        wait_on_thread(self.fd(), interrupt, direction, deadline, backoff)
    }

    /// Whether the file's state makes each wait in that direction return at once, although a call has just
    /// found that it would block. An edge-triggered back-end reports only changes, so there it is never so.
    pub(crate) fn stays_ready(&self, direction: Direction) -> io::Result<bool> {
        Ok(Poller::ONE_SHOT && is_ready(self.fd(), direction)?)
    }

    /// Has the waker woken when the source may be ready in that direction, in place of the waker of the last
    /// call. False, and nothing is registered, if the event is set. As before a wait, the caller has joined a
    /// shard.
    pub(crate) fn register(&self, direction: Direction, waker: &Waker) -> bool {
        let interest = Interest::new(Arc::clone(&self.readiness), direction);
        let Some(awaiting) = Awaiting::list(interest, waker.clone()) else { return false };
        self.arm(direction);
        let extras = self.extras.get_or_init(Box::default);
        let slot = match direction {
            Direction::Read => &extras.read,
            Direction::Write => &extras.write,
        };
        let former = slot.lock().unwrap_or_else(PoisonError::into_inner).replace(awaiting);
        // Not under the lock: dropping a waker runs a user's code.
        drop(former);
        true
    }

    /// Leaves the shard and returns the descriptor, which stays non-blocking if it is.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.unbind();
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is neither used as a whole again nor dropped. Each field that owns anything is
        // dropped or moved out here, once.
        unsafe {
            std::ptr::drop_in_place(&raw mut this.readiness);
            std::ptr::drop_in_place(&raw mut this.binding);
            std::ptr::drop_in_place(&raw mut this.extras);
            std::ptr::read(&raw const this.fd)
        }
    }

    fn close_pipe(&self) -> Option<&Mutex<ClosePipe>> {
        self.extras.get()?.close_pipe.as_ref()
    }

    fn unbind(&self) {
        // A forked child shares the kernel's side of the shard with its parent, which still watches the file.
        if fork::forked() {
            return;
        }
        if let Some((shard, key)) = self.binding.lock().take() {
            shard.remove(self.fd(), key);
        }
    }

    #[cold]
    fn make_nonblocking(&self) -> io::Result<()> {
        set_nonblocking(self.fd(), true)?;
        self.nonblocking.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl ClosePipe {
    /// The reading end, with a new pipe if there is none yet; `None` after `close`.
    fn reader(&mut self) -> io::Result<Option<Arc<PipeReader>>> {
        if let ClosePipe::Absent = self {
            let (reader, writer) = io::pipe()?;
            *self = ClosePipe::Open { reader: Arc::new(reader), _writer: writer };
        }
        Ok(match self {
            ClosePipe::Open { reader, .. } => Some(Arc::clone(reader)),
            _ => None,
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.unbind();
        calls::closing(self.fd.as_raw_fd());
    }
}
