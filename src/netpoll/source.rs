//! An open file that can be waited for: a descriptor and its readiness in both directions.
//!
//! A source starts as "maybe ready" and joins a shard at its first would-block, once. Readiness is
//! consumed before the syscall that uses it up; what comes in between is set again by the poller and
//! stays.
//!
//! Invariant: the descriptor is open for as long as the source lives. `close` ends its use, not its
//! number, so nobody who holds the source can meet another file under that number.

use super::backend::Poller;
use super::{Key, Shard};
use crate::base::fork;
use crate::base::lock::{Mutex, Rank};
use crate::base::sys::set_nonblocking;
use crate::coroutine::{Batch, Event, Marks};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Reading or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `read`, `accept`, `peek`.
    Read,
    /// `write`, `connect`.
    Write,
}

/// A source's readiness, shared with the table of its shard.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(super) read: Event,
    pub(super) write: Event,
    /// For both of them.
    pub(super) marks: Marks,
    bound: AtomicBool,
}

impl Ready {
    pub(super) fn new() -> Ready {
        Ready {
            read: Event::new_set(),
            write: Event::new_set(),
            marks: Marks::new(),
            bound: AtomicBool::new(false),
        }
    }

    pub(super) fn set_bound(&self, bound: bool) {
        self.bound.store(bound, Ordering::Release);
    }

    pub(super) fn set_all(&self, batch: &mut Batch) {
        self.read.set(batch);
        self.write.set(batch);
    }
}

/// An open file that can be waited for.
pub(crate) struct Source {
    fd: ManuallyDrop<OwnedFd>,
    ready: Arc<Ready>,
    binding: Mutex<Option<(Arc<Shard>, Key)>>,
    nonblocking: AtomicBool,
    closed: AtomicBool,
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
            fd: ManuallyDrop::new(fd),
            ready: Arc::new(Ready::new()),
            binding: Mutex::new(Rank::Binding, None),
            nonblocking: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// A source whose file is known to be non-blocking.
    #[cfg_attr(target_vendor = "apple", allow(dead_code))]
    pub(crate) fn new_nonblocking(fd: OwnedFd) -> Source {
        let source = Source::new(fd);
        source.nonblocking.store(true, Ordering::Relaxed);
        source
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The readiness in one direction.
    pub(crate) fn event(&self, direction: Direction) -> &Event {
        match direction {
            Direction::Read => &self.ready.read,
            Direction::Write => &self.ready.write,
        }
    }

    /// Checks that it may be used, and makes the file non-blocking if that is still to be done.
    #[inline]
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_closed() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the socket was closed"));
        }
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

    /// To be called before waiting for an event, after its readiness was consumed: joins that shard if it
    /// is in none, and has the shard tell that direction's next event.
    #[inline]
    pub(crate) fn arm(&self, shard: &Arc<Shard>, direction: Direction) -> io::Result<()> {
        self.bind(shard)?;
        if Poller::ONE_SHOT
            && let Some((shard, key)) = &*self.binding.lock()
        {
            shard.arm(*key, direction);
        }
        Ok(())
    }

    #[inline]
    fn bind(&self, shard: &Arc<Shard>) -> io::Result<()> {
        // Acquire: pairs with `set_bound`; whoever sees it bound waits for the shard's events.
        if self.ready.bound.load(Ordering::Acquire) {
            return Ok(());
        }
        fork::check();
        let mut binding = self.binding.lock();
        if !self.ready.bound.load(Ordering::Acquire) {
            *binding = Some((Arc::clone(shard), shard.add(self.fd(), &self.ready)?));
        }
        Ok(())
    }

    /// Ends the use of the file: whoever waits for it is fired, and every `check` from now on fails.
    pub(crate) fn close(&self, batch: &mut Batch) {
        // Before the events: whoever they wake finds it closed.
        self.closed.store(true, Ordering::Release);
        self.unbind();
        self.ready.read.set_for_good(batch);
        self.ready.write.set_for_good(batch);
    }

    /// Leaves the shard and gives the descriptor back, non-blocking as it is.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.unbind();
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used as a whole again, nor dropped; the other fields are read out and
        // dropped once each.
        unsafe {
            std::ptr::drop_in_place(&raw mut this.ready);
            std::ptr::drop_in_place(&raw mut this.binding);
            ManuallyDrop::take(&mut this.fd)
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
        set_nonblocking(self.fd())?;
        self.nonblocking.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.unbind();
        // SAFETY: dropped once, here; `into_fd` forgets the source instead.
        unsafe { ManuallyDrop::drop(&mut self.fd) };
    }
}
