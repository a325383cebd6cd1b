//! An open file that can be waited for: a descriptor and its readiness in both directions.
//!
//! A source starts as "maybe ready" and joins a shard at its first would-block, once. PollEvent is
//! consumed before the syscall that uses it up; what comes in between is set again by the poller and
//! stays.
//!
//! Invariant: the descriptor is open for as long as the source lives. `close` ends its use, not its
//! number, so nobody who holds the source can meet another file under that number.

use super::event::{Direction, Key};
use super::fd::{is_ready, wait_on_thread};
use super::shard::Shard;
use super::sys::Poller;
use crate::base::backoff::Backoff;
use crate::base::fork;
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::set_nonblocking;
use crate::coroutine::{Batch, Event, StickyNumbers};
use std::io::{self, PipeReader, PipeWriter};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// A source's readiness, shared with the table of its shard.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(super) read: Event,
    pub(super) write: Event,
    /// For both of them.
    pub(super) marks: StickyNumbers,
    bound: AtomicBool,
    /// A waiter that finds nothing for itself says nothing about what the others would find.
    selective: bool,
    /// How often a selective source has been told ready.
    tellings: AtomicUsize,
}

impl Readiness {
    pub(super) fn new() -> Readiness {
        Readiness {
            read: Event::new_set(),
            write: Event::new_set(),
            marks: StickyNumbers::new(),
            bound: AtomicBool::new(false),
            selective: false,
            tellings: AtomicUsize::new(0),
        }
    }

    fn event(&self, direction: Direction) -> &Event {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// Tells of readiness that one attempt may use up.
    #[inline]
    pub(super) fn tell(&self, direction: Direction, batch: &mut Batch) {
        let event = self.event(direction);
        if self.selective {
            // Before the event: a waiter that lists itself once this event has been taken again sees the
            // number.
            self.tellings.fetch_add(1, Ordering::AcqRel);
            event.set_all(batch);
        } else {
            event.set(batch);
        }
    }

    pub(super) fn set_bound(&self, bound: bool) {
        self.bound.store(bound, Ordering::Release);
    }

    pub(super) fn set_all(&self, batch: &mut Batch) {
        self.read.set_all(batch);
        self.write.set_all(batch);
    }
}

/// An open file that can be waited for.
pub(crate) struct Source {
    fd: OwnedFd,
    ready: Arc<Readiness>,
    binding: Mutex<Option<(Arc<Shard>, Key)>>,
    nonblocking: AtomicBool,
    closed: AtomicBool,
    bell: Option<Box<Mutex<Bell>>>,
}

/// What wakes the plain threads that block on a file which nothing else can wake: a pipe whose writing
/// end `close` closes. Made when the first of them blocks.
#[derive(Debug, Default)]
enum Bell {
    #[default]
    Unhung,
    Hung {
        reader: Arc<PipeReader>,
        _writer: PipeWriter,
    },
    Rung,
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
            ready: Arc::new(Readiness::new()),
            binding: Mutex::new(Rank::Binding, None),
            nonblocking: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            bell: None,
        }
    }

    /// A source whose file is known to be non-blocking.
    #[cfg_attr(target_vendor = "apple", allow(dead_code))]
    pub(crate) fn new_nonblocking(fd: OwnedFd) -> Source {
        let source = Source::new(fd);
        source.nonblocking.store(true, Ordering::Relaxed);
        source
    }

    /// A source whose file is known to be non-blocking, and of a kind that has no `shutdown` with which
    /// the threads that block on it could be woken.
    pub(crate) fn new_with_close_pipe(fd: OwnedFd) -> Source {
        let mut source = Source::new_nonblocking(fd);
        source.bell = Some(Box::new(Mutex::new(Rank::Binding, Bell::Unhung)));
        source
    }

    /// The same source, for attempts of different kinds: one may find nothing where another would succeed.
    /// Each event wakes all waiters of its direction, and each of them tries, even if another has taken the
    /// event.
    pub(crate) fn selective(mut self) -> Source {
        Arc::get_mut(&mut self.ready).expect("it is in no shard yet").selective = true;
        self
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The readiness in one direction.
    pub(crate) fn event(&self, direction: Direction) -> &Event {
        self.ready.event(direction)
    }

    /// Sets the event of one direction, as the shard does when it hears of readiness.
    #[inline]
    pub(crate) fn tell(&self, direction: Direction, batch: &mut Batch) {
        self.ready.tell(direction, batch);
    }

    /// How often a selective source has been told ready; `None` for one that is not. A waiter of a selective
    /// source waits only if the number is, once it is listed, what it was before its attempt: another one may
    /// have taken the event in between.
    #[inline]
    pub(crate) fn tellings(&self) -> Option<usize> {
        self.ready.selective.then(|| self.ready.tellings.load(Ordering::Acquire))
    }

    /// Fails once `close` was called.
    #[inline]
    pub(crate) fn check_open(&self) -> io::Result<()> {
        if self.is_closed() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "it was closed"));
        }
        Ok(())
    }

    /// As `check_open`, before a call that must not block: makes the file non-blocking if that is still to be done.
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

    /// Joins that shard if the source is in none. Call this before waiting for an event.
    #[inline]
    pub(crate) fn join(&self, shard: &Arc<Shard>) -> io::Result<()> {
        // Acquire: pairs with `set_bound`; whoever sees it bound waits for the shard's events.
        if !self.ready.bound.load(Ordering::Acquire) {
            self.bind(shard)?;
        }
        Ok(())
    }

    /// Asks the shard for that direction's next event. Call this once the waiter is listed: the event that
    /// ends the watch then finds it.
    #[inline]
    pub(crate) fn arm(&self, direction: Direction) {
        if Poller::ONE_SHOT
            && let Some((shard, key)) = &*self.binding.lock()
        {
            shard.arm(*key, direction);
        }
    }

    /// As `arm`, for the remaining waiters: a waiter that has used up the event and leaves calls this.
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
        if !self.ready.bound.load(Ordering::Acquire) {
            *binding = Some((Arc::clone(shard), shard.add(self.fd(), &self.ready)?));
        }
        Ok(())
    }

    /// Ends the use of the file: whoever waits for it is fired, and every `prepare` from now on fails.
    pub(crate) fn close(&self, batch: &mut Batch) {
        // Before the events: whoever they wake finds it closed.
        self.closed.store(true, Ordering::Release);
        self.unbind();
        self.ready.read.set_for_good(batch);
        self.ready.write.set_for_good(batch);
        if let Some(bell) = &self.bell {
            *bell.lock() = Bell::Rung;
        }
    }

    /// Blocks the thread until the file is ready in that direction, in error or closed; false once the
    /// deadline has passed. All waits of one call share a `backoff`; see `fd::wait_on_thread`.
    pub(crate) fn wait_on_thread(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
        backoff: &mut Backoff,
    ) -> io::Result<bool> {
        let reader = match &self.bell {
            None => None,
            Some(bell) => match hang(&mut bell.lock())? {
                None => return Ok(true),
                reader => reader,
            },
        };
        let bell = reader.as_ref().map(|reader| reader.as_fd());
        wait_on_thread(self.fd(), bell, direction, deadline, backoff)
    }

    /// Whether the file's state makes each wait in that direction return at once, although a call has just
    /// found that it would block. An edge-triggered back-end reports only changes, and need not ask.
    pub(crate) fn stays_ready(&self, direction: Direction) -> io::Result<bool> {
        Ok(Poller::ONE_SHOT && is_ready(self.fd(), direction)?)
    }

    /// Leaves the shard and gives the descriptor back, non-blocking as it is.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.unbind();
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used as a whole again, nor dropped: what owns anything is dropped or moved out here,
        // once.
        unsafe {
            std::ptr::drop_in_place(&raw mut this.ready);
            std::ptr::drop_in_place(&raw mut this.binding);
            std::ptr::drop_in_place(&raw mut this.bell);
            std::ptr::read(&raw const this.fd)
        }
    }

    fn unbind(&self) {
        // A forked child shares the kernel's side of the shard with its parent, who watches the file still.
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

/// The end of the bell's pipe to listen to, which is made if there is none yet; `None` once it was rung.
fn hang(bell: &mut Bell) -> io::Result<Option<Arc<PipeReader>>> {
    if let Bell::Unhung = bell {
        let (reader, writer) = io::pipe()?;
        *bell = Bell::Hung { reader: Arc::new(reader), _writer: writer };
    }
    Ok(match bell {
        Bell::Hung { reader, .. } => Some(Arc::clone(reader)),
        _ => None,
    })
}

impl Drop for Source {
    fn drop(&mut self) {
        self.unbind();
    }
}
