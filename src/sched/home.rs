//! A home: the group of coroutines to which a started coroutine belongs for life.
//!
//! To a coroutine its home is what a thread is to ordinary code: its siblings there interleave with it at
//! waits, and never run at the same time. A worker is a thread that runs homes, one at a time. There are two
//! kinds:
//!
//! - Each worker has one *pinned* home, a part of its [`Remote`](super::remote::Remote). Only that worker
//!   runs it, and its thread-locals are those of the worker's thread.
//! - A *mobile* home has thread-locals of its own: a storage ([`crate::storage`]). Whichever worker runs the
//!   home enters the storage first. [`Handover`] says which worker that is. A runnable mobile home is an item
//!   of the same queues as unstarted coroutines.
//!
//! A runtime with mobile homes starts its coroutines in them. A worker's pinned home stays empty, unless a
//! coroutine is to start there while all mobile homes are in use and no more can be made. All other runtimes
//! have pinned homes only. `Owner::home` in a started coroutine's header points to the home.
//!
//! In migrating mode a home is only a list of live coroutines: any worker may run them, except for pinned
//! ones.
//!
//! | field | who writes | who reads |
//! |---|---|---|
//! | `inbox` | any thread pushes | the worker that runs the home takes all |
//! | `members`, `listed`, `stack_bytes` | any thread, under the lock of `members` | any thread; the numbers without the lock |
//! | `wants_capture` | a dump, and the worker that runs the home, under the lock of `members` | any thread |
//! | `in_first_turn`, `cancelled`, `isolated` | the worker that runs the home | any thread |
//! | `queues` | the worker that runs the home; `ready` also the thread that queues an idle home | the same |
//! | `storage`, `last_worker` | the worker that runs the home | the same |
//! | `base` | the worker that adopts the home, while it is vacant | any thread |
//! | `marked_until` | the monitor; the worker that adopts the home | any thread |
//! | `runtime`, `mobile`, `migrate` | nobody after `new` | any thread |

use super::handover::Handover;
use super::home_queues::HomeQueues;
use super::inbox::Inbox;
use crate::base::lock::{Mutex, Rank};
use crate::coroutine::{Batch, Header, Waiter};
use crate::storage::Storage;
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// A group of coroutines that stay together. `R` is its runtime, whose type stands in a file above this one.
///
/// What a wake and a slice touch comes first, in [`HOT`] bytes: with many homes, these cache lines have
/// usually left the processor's first cache since the last slice. They do not begin at a cache line on
/// purpose: homes that are a multiple of 128 B apart would share few of the sets of that cache (a burst of
/// 255 wakes took 40 ns more for each).
#[repr(C)]
pub(crate) struct Home<R> {
    /// Whether it is a mobile home.
    mobile: bool,
    /// Whether started coroutines may run elsewhere, unless they are pinned.
    migrate: bool,
    /// Which worker runs a mobile home.
    pub(super) handover: Handover,
    /// Whether a dump waits for the worker that runs the home: `Members::cursor` is set, or was a moment ago.
    wants_capture: AtomicBool,
    /// Whether a coroutine of the home is in its first turn: started, and not in `members` yet. A short
    /// coroutine has one turn, and so never takes the lock of the list.
    in_first_turn: AtomicBool,
    /// Whether the home is that of one isolated coroutine.
    isolated: AtomicBool,
    /// Whether a shutdown has cancelled all coroutines here.
    cancelled: AtomicBool,
    runtime: Weak<R>,
    /// Coroutines of the home that other threads have woken.
    pub(crate) inbox: Inbox<Waiter>,
    /// How many coroutines are in `members`.
    listed: AtomicU32,
    /// The index of the worker that ran a mobile home last; `u32::MAX` at first. Its thread-locals name that
    /// worker.
    last_worker: Cell<u32>,
    /// Runnable coroutines of the home.
    pub(super) queues: HomeQueues,
    /// The thread-locals of a mobile home, until its end. [`Storage`] begins with what a slice touches.
    storage: UnsafeCell<Option<Storage>>,
    /// A pinned home: the index of the worker that runs it. A mobile one: of the worker that starts its
    /// coroutines.
    base: AtomicUsize,
    /// No coroutine starts here before that tick of the netpoller thread: one of the home's coroutines had a
    /// long turn.
    marked_until: AtomicU64,
    /// The bytes of address space of the stacks of the coroutines in `members`.
    stack_bytes: AtomicUsize,
    /// The live coroutines.
    members: Mutex<Members>,
}

/// The bytes of a home that a slice touches, beside the first two words of the storage. The compiler keeps
/// these together with the fields before them.
const HOT: usize = 2 * 64;

// Loom's atomics are larger.
#[cfg(not(loom))]
const _: () = assert!(std::mem::offset_of!(Home<()>, storage) + 2 * size_of::<usize>() <= HOT);

/// The list of a home's live coroutines. Coroutines link each other: see [`Owner`](crate::coroutine).
struct Members {
    head: Option<NonNull<Header>>,
    /// The first coroutine that the present dump has not captured. What is listed later comes before the
    /// head, and so is not part of the dump.
    cursor: Option<NonNull<Header>>,
    /// The number of the present dump.
    capture: u64,
}

/// How far a dump has come with a home.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    capture: u64,
    at: Option<NonNull<Header>>,
}

// SAFETY: the list of headers, the run queues, the storage and `last_worker` are not `Sync` by themselves.
// The list is used under its lock, the others by the worker that runs the home, and `ready` by the thread
// that queues it: one at a time, and the next one sees what the last one has written (`handover.rs`).
unsafe impl<R: Send + Sync> Sync for Home<R> {}
// SAFETY: as above.
unsafe impl<R: Send + Sync> Send for Home<R> {}

impl<R> Home<R> {
    /// The pinned home of the worker with that index.
    pub(super) fn new(runtime: &Weak<R>, worker: usize, migrate: bool) -> Home<R> {
        Home {
            mobile: false,
            migrate,
            handover: Handover::new(),
            wants_capture: AtomicBool::new(false),
            in_first_turn: AtomicBool::new(false),
            isolated: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            runtime: Weak::clone(runtime),
            inbox: Inbox::new(),
            listed: AtomicU32::new(0),
            last_worker: Cell::new(u32::MAX),
            queues: HomeQueues::new(),
            storage: UnsafeCell::new(None),
            base: AtomicUsize::new(worker),
            marked_until: AtomicU64::new(0),
            stack_bytes: AtomicUsize::new(0),
            members: Mutex::new(Rank::Live, Members { head: None, cursor: None, capture: 0 }),
        }
    }

    /// A mobile home. The caller runs it.
    pub(super) fn mobile(runtime: &Weak<R>, base: usize, storage: Storage) -> Home<R> {
        Home { mobile: true, storage: UnsafeCell::new(Some(storage)), ..Home::new(runtime, base, false) }
    }

    /// The runtime that owns it.
    pub(super) fn runtime(&self) -> &Weak<R> {
        &self.runtime
    }

    /// The index of the worker that it is based at.
    pub(super) fn base(&self) -> usize {
        self.base.load(Ordering::Relaxed)
    }

    /// Whether it is a mobile home.
    #[inline]
    pub(super) fn is_mobile(&self) -> bool {
        self.mobile
    }

    /// The thread-locals of a mobile home, until its end.
    ///
    /// # Safety
    ///
    /// The caller runs the home.
    #[inline]
    pub(super) unsafe fn storage(&self) -> Option<&Storage> {
        // SAFETY: only `end_storage` changes it, whose caller runs the home.
        unsafe { (*self.storage.get()).as_ref() }
    }

    /// A worker is about to run a slice. True if another one ran the slice before, or there was none: the
    /// home's thread-locals do not name this worker, and another thread was inside of the storage last.
    ///
    /// # Safety
    ///
    /// The caller runs the home.
    #[inline]
    pub(super) unsafe fn changes_worker(&self, index: usize) -> bool {
        let index = index as u32;
        self.last_worker.replace(index) != index
    }

    /// Runs a function on the thread-locals of the worker's thread. The worker runs this home and, if it is a
    /// mobile one, is inside of its storage.
    #[cold]
    #[inline(never)]
    pub(super) fn outside(&self, f: &mut dyn FnMut()) {
        // SAFETY: the worker runs the home.
        match unsafe { self.storage() } {
            // SAFETY: this thread is inside.
            Some(storage) => unsafe { storage.outside(f) },
            None => f(),
        }
    }

    /// Ends the thread that lends a mobile home its thread-locals: these are destroyed there.
    ///
    /// # Safety
    ///
    /// The caller runs the home, and nobody runs it afterwards. No coroutine lives there.
    pub(super) unsafe fn end_storage(&self) -> Option<JoinHandle<()>> {
        // SAFETY: as the caller says, nobody else uses it.
        unsafe { (*self.storage.get()).take() }.map(Storage::end)
    }

    /// The worker that has taken a vacant home bases it at itself.
    pub(super) fn adopt(&self, worker: usize) {
        self.base.store(worker, Ordering::Relaxed);
        // The coroutine that had a long turn is gone.
        self.marked_until.store(0, Ordering::Relaxed);
        self.isolated.store(false, Ordering::Relaxed);
    }

    /// Keeps new coroutines away until that tick.
    pub(crate) fn mark_until(&self, tick: u64) {
        self.marked_until.store(tick, Ordering::Relaxed);
    }

    /// Whether new coroutines may start here at that tick, as far as its other coroutines allow.
    pub(super) fn is_quiet(&self, tick: u64) -> bool {
        self.marked_until.load(Ordering::Relaxed) <= tick && !self.is_isolated()
    }

    /// The home is that of one isolated coroutine, until it is vacant.
    pub(super) fn isolate(&self) {
        self.isolated.store(true, Ordering::Relaxed);
    }

    /// Whether the home is that of one isolated coroutine.
    pub(super) fn is_isolated(&self) -> bool {
        self.isolated.load(Ordering::Relaxed)
    }

    /// Whether a shutdown has yet to cancel all coroutines here.
    pub(super) fn is_uncancelled(&self) -> bool {
        !self.cancelled.load(Ordering::Relaxed)
    }

    /// The one predicate of policy: whether a started coroutine of the home may run elsewhere.
    #[inline]
    pub(super) fn may_migrate(&self, header: &Header) -> bool {
        self.migrate && !header.pinned()
    }

    /// How many coroutines were started here and have not ended.
    pub(crate) fn live(&self) -> usize {
        // In this order: the coroutine in its first turn is listed before the flag is cleared.
        let first = usize::from(self.in_first_turn.load(Ordering::Acquire));
        first + self.listed.load(Ordering::Acquire) as usize
    }

    /// How many coroutines are listed here, and the bytes of address space of their stacks.
    pub(super) fn stacks(&self) -> (usize, usize) {
        (self.listed.load(Ordering::Relaxed) as usize, self.stack_bytes.load(Ordering::Relaxed))
    }

    /// Whether a coroutine is in its first turn here.
    pub(crate) fn has_first_turn(&self) -> bool {
        self.in_first_turn.load(Ordering::Acquire)
    }

    /// A coroutine is about to have its first turn here. Only the worker that runs the home calls this.
    #[inline]
    pub(super) fn begin_first_turn(&self) {
        self.in_first_turn.store(true, Ordering::Release);
    }

    /// That coroutine has ended, or is listed.
    #[inline]
    pub(super) fn end_first_turn(&self) {
        self.in_first_turn.store(false, Ordering::Release);
    }

    /// Lists a coroutine that is about to start here, or to suspend for the first time.
    pub(super) fn add(&self, this: NonNull<Header>) {
        let head = &mut self.members.lock().head;
        // SAFETY: the caller owns the coroutine, so it is alive.
        unsafe { this.as_ref() }.listed.set(true);
        // SAFETY: listed coroutines are alive, and the lock of the list guards their links.
        unsafe {
            let owner = &this.as_ref().owner;
            owner.next.set(*head);
            owner.previous.set(None);
            if let Some(next) = *head {
                next.as_ref().owner.previous.set(Some(this));
            }
        }
        *head = Some(this);
        self.listed.store(self.listed.load(Ordering::Relaxed) + 1, Ordering::Release);
        // SAFETY: alive, as above.
        let bytes = unsafe { this.as_ref() }.stack_size().stride();
        self.stack_bytes.store(self.stack_bytes.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }

    /// Takes a coroutine that has ended off the list.
    pub(super) fn remove(&self, this: NonNull<Header>) {
        let members = &mut *self.members.lock();
        let neighbour = |of: &Cell<Option<NonNull<Header>>>| of.take();
        // SAFETY: as in `add`.
        unsafe {
            let owner = &this.as_ref().owner;
            let (previous, next) = (neighbour(&owner.previous), neighbour(&owner.next));
            match previous {
                Some(previous) => previous.as_ref().owner.next.set(next),
                None => members.head = next,
            }
            if let Some(next) = next {
                next.as_ref().owner.previous.set(previous);
            }
            if members.cursor == Some(this) {
                members.cursor = next;
            }
        }
        self.listed.store(self.listed.load(Ordering::Relaxed) - 1, Ordering::Release);
        // SAFETY: alive, as above.
        let bytes = unsafe { this.as_ref() }.stack_size().stride();
        self.stack_bytes.store(self.stack_bytes.load(Ordering::Relaxed) - bytes, Ordering::Relaxed);
    }

    /// Cancels every coroutine of the home, once, as the runtime shuts down; returns those to be scheduled.
    /// The worker that runs the home calls this between two turns, when no coroutine is in its first turn.
    pub(super) fn cancel_all(&self) -> Batch {
        let mut batch = Batch::new();
        if self.cancelled.swap(true, Ordering::Relaxed) {
            return batch;
        }
        self.for_each_listed(|header| {
            // SAFETY: listed coroutines are alive.
            unsafe { Header::cancel_for_shutdown(header, &mut batch) };
        });
        batch
    }

    /// Calls `f` for every coroutine in the list. `f` runs under the list's lock: it neither parks nor
    /// schedules.
    pub(crate) fn for_each_listed(&self, mut f: impl FnMut(NonNull<Header>)) {
        let members = self.members.lock();
        let mut at = members.head;
        while let Some(header) = at {
            f(header);
            // SAFETY: listed coroutines are alive, and the lock of the list guards their links.
            at = unsafe { header.as_ref() }.owner.next.get();
        }
    }

    // A dump: `capture.rs` says who calls these, and why no coroutine is missed.

    /// Begins a dump of that number, with the coroutines that are listed now.
    pub(super) fn begin_capture(&self, capture: u64) {
        let mut members = self.members.lock();
        (members.cursor, members.capture) = (members.head, capture);
    }

    /// Asks the worker that runs the home to capture; false if nothing is left to capture.
    pub(super) fn want_capture(&self) -> bool {
        let members = self.members.lock();
        let wants = members.cursor.is_some();
        // SeqCst: the caller notifies the worker, or the home, after this, as after a push to the inbox.
        self.wants_capture.store(wants, Ordering::SeqCst);
        wants
    }

    /// Whether a dump waits for the worker that runs the home.
    #[inline]
    pub(super) fn wants_capture(&self) -> bool {
        self.wants_capture.load(Ordering::SeqCst)
    }

    /// How far the present dump has come.
    pub(super) fn cursor(&self) -> Cursor {
        let members = self.members.lock();
        Cursor { capture: members.capture, at: members.cursor }
    }

    /// Calls `f` for the coroutines from `from` on, until it returns false. Returns how far that is.
    ///
    /// # Safety
    ///
    /// The caller is the worker that runs the home, between two turns, and started coroutines do not migrate.
    /// `from` was read since the last turn.
    pub(super) unsafe fn walk_from(&self, from: Cursor, mut f: impl FnMut(&Header) -> bool) -> Cursor {
        let mut cursor = from;
        while let Some(this) = cursor.at {
            // SAFETY: listed coroutines are alive. Only the caller's thread lists coroutines of this home,
            // and takes them off the list, so the links from `this` on do not change meanwhile.
            let header = unsafe { this.as_ref() };
            cursor.at = header.owner.next.get();
            if !f(header) {
                break;
            }
        }
        cursor
    }

    /// Moves the cursor of the present dump, if it still is at `from`, and calls `keep` before another thread
    /// sees that.
    pub(super) fn advance(&self, from: Cursor, to: Cursor, keep: impl FnOnce()) {
        let mut members = self.members.lock();
        if (Cursor { capture: members.capture, at: members.cursor }) == from {
            members.cursor = to.at;
            keep();
        }
        if members.cursor.is_none() {
            self.wants_capture.store(false, Ordering::SeqCst);
        }
    }

    /// Calls `f` for the next coroutines that the dump of that number has not captured, `most` of them, under
    /// the lock of the list: `f` reads only what any thread may read. Returns whether more are left.
    pub(super) fn walk_locked(&self, capture: u64, most: usize, mut f: impl FnMut(&Header)) -> bool {
        let mut members = self.members.lock();
        if members.capture != capture {
            return false;
        }
        for _ in 0..most {
            let Some(this) = members.cursor else { break };
            // SAFETY: listed coroutines are alive, and the lock of the list guards their links.
            let header = unsafe { this.as_ref() };
            f(header);
            members.cursor = header.owner.next.get();
        }
        let more = members.cursor.is_some();
        if !more {
            self.wants_capture.store(false, Ordering::SeqCst);
        }
        more
    }
}
