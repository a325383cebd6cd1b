//! A coroutine as the scheduler sees it, and the cell with its closure and result.
//!
//! A coroutine is one heap allocation:
//!
//! ```text
//!  CoroutineCell<F, T>
//!  +-- Header ------------------------------------------------------------+
//!  | waiter        which party ends a wait; queue link; how to schedule   |
//!  | continuation  registers and stack, from the start to the end         |
//!  | lifetime      references, and who owns the result                    |
//!  | done          set for good when it has ended and its stack is back   |
//!  | token         park / unpark                                          |
//!  | record        the coroutine-local record, if there is one            |
//!  | owner         the scheduler's: home, links of its live list          |
//!  | site, parent  the call that spawned it, and the coroutine that made it |
//!  +-- body ---------------------------------------------------------------+
//!  | the closure, then the result, then nothing                           |
//!  +----------------------------------------------------------------------+
//! ```
//!
//! # Access
//!
//! Who may touch what, and when:
//!
//! - `waiter`, `lifetime`, `done`, `token`, `reason`, `subject`, `since`, `runnable_at`, `owner.home`: every
//!   thread with a reference; they are atomic.
//! - `id`, `parent`, `site`, `stack`, `pinned`, `isolated`: every thread with a reference; they never change.
//! - `continuation`, `switch`, `request`, `used`, `listed`, `assigned`, `taken_back`, `measured`: the worker
//!   that runs the coroutine or is about to, or the thread that moves it between queues; and the coroutine
//!   itself while it runs.
//! - `owner.previous`, `owner.next`: the thread that holds the lock of the list in which the coroutine is.
//! - `record`: the coroutine; all others only the name in it, which never changes.
//! - `body`: the coroutine until it has published its result. Then the joiner. The result of a detached
//!   coroutine is still the coroutine's, which drops it on its own stack, where destructors may park.
//!   `lifetime.rs` says who owns what, and when the cell is freed.

use super::cancellation::{Cancellation, Interruption};
use super::contain::contain_panic;
use super::event::Event;
use super::join_error::{JoinError, Panic};
use super::label::{Id, Label, Site};
use super::lifetime::Lifetime;
use super::local_record::LocalRecord;
use super::lost_panics;
use super::reason::WaitReason;
use super::subject::{Facts, Subject, SubjectRef, Waiting, Why};
use super::switch::{Continuation, Request, RequestPtr, Step, Suspend, Switch};
use super::unstarted;
use super::waiter::{Batch, Fired, Table, Waiter};
use super::walk::Walk;
use crate::base::recycle;
use crate::base::sys::{LINE, prefetch, stack_pointer};
use crate::stack::{Stack, StackSize};
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Cache lines of the header that a turn touches.
const HOT_LINES: usize = 3;
/// Roughly the cache lines of the frames between a socket call that waits and the code that made the call.
const FRAME_LINES: usize = 6;

/// What a coroutine is made with.
pub(crate) struct Settings {
    /// Its number.
    pub(crate) id: Id,
    /// The name in reports.
    pub(crate) name: Option<Box<str>>,
    /// The size of its stack.
    pub(crate) stack: StackSize,
    /// Whether it stays in its home also where others migrate.
    pub(crate) pinned: bool,
    /// Whether it has a home of its own, where homes are mobile.
    pub(crate) isolated: bool,
    /// Its time limit from the start.
    pub(crate) limit: Option<Instant>,
    /// Whether its waits are checked: each one looks at the stack first.
    pub(crate) checked: bool,
    /// The call that spawned it.
    pub(crate) site: Site,
    /// The coroutine that spawned it; zero if a plain thread did.
    pub(crate) parent: Id,
}

#[cfg(test)]
impl Settings {
    /// A coroutine with a default stack, and nothing else set.
    #[track_caller]
    pub(crate) fn of_tests(id: Id) -> Settings {
        Settings {
            id,
            name: None,
            stack: StackSize::DEFAULT,
            pinned: false,
            isolated: false,
            limit: None,
            checked: false,
            site: std::panic::Location::caller(),
            parent: Id(0),
        }
    }
}

/// A pointer and list links that belong to the scheduler. This layer never reads them.
pub(crate) struct Owner {
    /// The home in which it was started; before that a mark of the home in which it was spawned, or null.
    pub(crate) home: AtomicPtr<()>,
    /// Links of its home's list of live coroutines.
    pub(crate) previous: Cell<Option<NonNull<Header>>>,
    /// As above.
    pub(crate) next: Cell<Option<NonNull<Header>>>,
}

/// A coroutine, whatever it computes.
#[repr(C)]
pub(crate) struct Header {
    /// First, so that a pointer to it is a pointer to the header.
    pub(crate) waiter: Waiter,
    // The fields that each turn touches come first, to share few cache lines.
    continuation: UnsafeCell<Option<Continuation>>,
    switch: Cell<Option<Switch>>,
    id: Id,
    /// The scheduler's: whether it is in the list of live coroutines.
    pub(crate) listed: Cell<bool>,
    /// The scheduler's: whether it is assigned to a worker, which has not started it yet.
    pub(crate) assigned: Cell<bool>,
    stack: StackSize,
    pinned: bool,
    isolated: bool,
    reason: AtomicU8,
    /// The scheduler's: how often it was taken back from a worker that it was assigned to.
    pub(crate) taken_back: Cell<u8>,
    /// The scheduler's: whether its stack had no pages when it started, so that its depth can be measured.
    pub(crate) measured: Cell<bool>,
    /// The bytes of stack in use at the last suspension, modulo 2^32.
    used: Cell<u32>,
    /// The scheduler's, while accounting is on: since when the coroutine has waited for its turn
    /// (`sched::accounts`).
    pub(crate) runnable_at: AtomicU32,
    lifetime: Lifetime,
    /// Set for good once the coroutine has ended, if anybody has a reference.
    pub(crate) done: Event,
    /// The token of `task::park`.
    pub(crate) token: Event,
    /// The address of what it waits for, or null; for a reader that cannot use `request`. Such a reader never
    /// follows it.
    subject: AtomicPtr<()>,
    /// When the last wait began, in nanoseconds since the runtime began.
    since: AtomicU64,
    /// The request of the present wait, on the coroutine's stack. Valid while the coroutine is suspended and
    /// has a reason.
    request: Cell<*const Request>,
    /// Null until it is needed, as few coroutines need it and the header is part of the cost of a parked one.
    /// Then a Box that stays until the header is freed. Set by the coroutine itself, or before it is
    /// published.
    record: AtomicPtr<LocalRecord>,
    /// The scheduler's.
    pub(crate) owner: Owner,
    site: Site,
    parent: Id,
}

// SAFETY: the head of the file says who touches the fields that are not atomic. One worker at a time runs a
// coroutine, and it passes between workers only through queues that synchronize.
unsafe impl Sync for Header {}
// SAFETY: as above.
unsafe impl Send for Header {}

/// How a woken coroutine gets back to its scheduler.
pub(crate) trait Schedule {
    /// Puts the coroutine into a queue of its scheduler.
    ///
    /// # Safety
    ///
    /// As for [`Waiter::schedule`].
    unsafe fn schedule(waiter: NonNull<Waiter>);
}

/// The functions that depend on the types of a coroutine. It begins with the table of its waiter, so that
/// one pointer is enough for both.
#[repr(C)]
struct Vtable {
    waiter: Table,
    run: unsafe fn(NonNull<Header>),
    fail: unsafe fn(NonNull<Header>, JoinError),
    drop_output: unsafe fn(NonNull<Header>),
    take_output: unsafe fn(NonNull<Header>, *mut ()),
    free: unsafe fn(NonNull<Header>),
}

impl Vtable {
    const fn of<F: FnOnce() -> T, T, S: Schedule>() -> &'static Vtable {
        const {
            &Vtable {
                waiter: Table { schedule: S::schedule },
                run: run::<F, T>,
                fail: fail::<F, T>,
                drop_output: drop_output::<F, T>,
                take_output: take_output::<F, T>,
                free: free::<F, T>,
            }
        }
    }
}

enum Body<F, T> {
    Closure(F),
    Output(Result<T, JoinError>),
    Empty,
}

#[repr(C)]
struct CoroutineCell<F, T> {
    header: Header,
    body: UnsafeCell<Body<F, T>>,
}

/// Makes a coroutine: a pointer that carries the scheduler's reference, and the handle to join it.
///
/// # Safety
///
/// If `F` or `T` borrows, the borrows last until the coroutine has ended and its output was taken.
pub(crate) unsafe fn new<F, T, S>(f: F, settings: Settings) -> (NonNull<Header>, Handle)
where
    F: FnOnce() -> T + Send,
    T: Send,
    S: Schedule,
{
    // SAFETY: as the caller says.
    let header = unsafe { make::<F, T, S>(f, settings, Lifetime::joined()) };
    (header, Handle(header))
}

/// Makes a coroutine that nobody joins: a pointer that carries the scheduler's reference, the only one.
pub(crate) fn new_detached<F, S>(f: F, settings: Settings) -> NonNull<Header>
where
    F: FnOnce() + Send + 'static,
    S: Schedule,
{
    // SAFETY: nothing is borrowed.
    unsafe { make::<F, (), S>(f, settings, Lifetime::detached()) }
}

/// # Safety
///
/// As for [`new`].
#[inline(always)]
unsafe fn make<F, T, S>(f: F, settings: Settings, lifetime: Lifetime) -> NonNull<Header>
where
    F: FnOnce() -> T + Send,
    T: Send,
    S: Schedule,
{
    let record = if settings.name.is_some() || settings.limit.is_some() {
        Box::into_raw(Box::new(LocalRecord::new(settings.name, settings.limit, settings.checked)))
    } else if settings.checked {
        checked_record()
    } else {
        ptr::null_mut()
    };
    let cell = recycle::allocate::<CoroutineCell<F, T>>();
    // SAFETY: this is memory for such a cell, which no other thread uses; the table is a constant.
    unsafe {
        (&raw mut (*cell.as_ptr()).header).write(Header {
            waiter: Waiter::new(NonNull::from(Vtable::of::<F, T, S>()).cast()),
            lifetime,
            done: Event::new(),
            token: Event::new(),
            subject: AtomicPtr::new(ptr::null_mut()),
            since: AtomicU64::new(0),
            request: Cell::new(ptr::null()),
            owner: Owner {
                home: AtomicPtr::new(ptr::null_mut()),
                previous: Cell::new(None),
                next: Cell::new(None),
            },
            assigned: Cell::new(false),
            listed: Cell::new(false),
            continuation: UnsafeCell::new(None),
            switch: Cell::new(None),
            measured: Cell::new(false),
            used: Cell::new(0),
            runnable_at: AtomicU32::new(0),
            record: AtomicPtr::new(record),
            id: settings.id,
            stack: settings.stack,
            pinned: settings.pinned,
            isolated: settings.isolated,
            taken_back: Cell::new(0),
            reason: AtomicU8::new(WaitReason::None as u8),
            site: settings.site,
            parent: settings.parent,
        });
        (&raw mut (*cell.as_ptr()).body).write(UnsafeCell::new(Body::Closure(f)));
    }
    let header = cell.cast::<Header>();
    if settings.limit.is_some() {
        // SAFETY: written above; no other thread has it yet.
        unsafe { header.as_ref() }.waiter.note_limit();
    }
    header
}

/// The record of a coroutine that needs one only for checked waits. Apart, to keep `new` fast.
#[cold]
#[inline(never)]
fn checked_record() -> *mut LocalRecord {
    Box::into_raw(Box::new(LocalRecord::new(None, None, true)))
}

/// What its joiner waits for.
// SAFETY: the number never changes.
unsafe impl Subject for Header {
    fn facts(&self) -> Facts {
        Facts::Coroutine(self.id)
    }
}

impl Drop for Header {
    fn drop(&mut self) {
        let record = *self.record.get_mut();
        if !record.is_null() {
            // SAFETY: it came from a Box, and no reference to the header is left.
            let record = unsafe { Box::from_raw(record) };
            debug_assert!(record.locals.is_empty(), "locals end with their coroutine");
        }
    }
}

impl Header {
    fn vtable(&self) -> &'static Vtable {
        // SAFETY: a header's waiter is made with a whole vtable, in `new`.
        unsafe { self.waiter.table().cast::<Vtable>().as_ref() }
    }

    /// The coroutine's number.
    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// The coroutine's name.
    pub(crate) fn name(&self) -> Option<&str> {
        // SAFETY: this reads only the name, which never changes.
        unsafe { self.local_record_if_any() }.and_then(|record| record.name())
    }

    /// The call that spawned it.
    #[inline]
    pub(crate) fn site(&self) -> Site {
        self.site
    }

    /// The coroutine that spawned it; `None` if a plain thread did.
    pub(crate) fn parent(&self) -> Option<Id> {
        (self.parent != Id(0)).then_some(self.parent)
    }

    /// The coroutine as reports name it.
    pub(crate) fn label(&self) -> Label<'_> {
        Label { id: self.id(), name: self.name(), site: self.site() }
    }

    /// The coroutine-local record, if the coroutine has one.
    ///
    /// # Safety
    ///
    /// The caller is the coroutine, or reads only the name and the limit under which it was spawned.
    #[inline]
    pub(crate) unsafe fn local_record_if_any(&self) -> Option<&LocalRecord> {
        // Acquire: pairs with the release in `local_record`, for another thread that reads what never
        // changes. SAFETY: null or a Box that lives as long as the header.
        unsafe { self.record.load(Ordering::Acquire).as_ref() }
    }

    /// The coroutine-local record, made at its first use.
    ///
    /// # Safety
    ///
    /// The caller is the coroutine.
    pub(crate) unsafe fn local_record(&self) -> &LocalRecord {
        // SAFETY: as the caller says.
        if let Some(record) = unsafe { self.local_record_if_any() } {
            return record;
        }
        let record = Box::into_raw(Box::new(LocalRecord::new(None, None, false)));
        self.record.store(record, Ordering::Release);
        // SAFETY: just made; it lives as long as the header.
        unsafe { &*record }
    }

    /// The size of its stack.
    pub(crate) fn stack_size(&self) -> StackSize {
        self.stack
    }

    /// Whether it stays in its home, even in migrating mode.
    pub(crate) fn pinned(&self) -> bool {
        self.pinned
    }

    /// Whether it has a home of its own, where homes are mobile.
    pub(crate) fn isolated(&self) -> bool {
        self.isolated
    }

    /// Why it waits.
    pub(crate) fn reason(&self) -> WaitReason {
        WaitReason::from_number(self.reason.load(Ordering::Relaxed))
    }

    /// The address of what it waits for, as far as another thread can say: the wait may be over by now.
    pub(crate) fn subject_address(&self) -> Option<NonNull<()>> {
        let address = self.subject.load(Ordering::Relaxed);
        NonNull::new(address).filter(|_| self.reason() != WaitReason::None)
    }

    /// When its last wait began, in nanoseconds since the runtime began.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// The present wait.
    ///
    /// # Safety
    ///
    /// The caller runs on the worker that runs the coroutine's home, and the coroutine is suspended. The
    /// caller uses the result before the coroutine runs again: it does not wait before that.
    pub(crate) unsafe fn waiting(&self) -> Option<Waiting<'_>> {
        if self.reason() == WaitReason::None {
            return None;
        }
        // SAFETY: a coroutine with a reason is suspended in `suspend_for`, as it does not run. Its frames
        // keep the request, and what that refers to, until it runs again.
        let request = unsafe { &*self.request.get() };
        let at = NonNull::new(self.subject.load(Ordering::Relaxed));
        // SAFETY: both are of the `Why` of the present wait, which borrows its subject.
        let refer = |(at, describe)| unsafe { SubjectRef::from_parts(at, describe) };
        Some(Waiting {
            subject: at.zip(request.describe).map(refer),
            deadline: request.deadline(),
            masked: request.masked,
        })
    }

    /// Leaves the coroutine's stack for a wait. Meanwhile reports find the wait in the header.
    ///
    /// # Safety
    ///
    /// Called by the coroutine itself, on its own stack.
    #[inline(always)]
    pub(crate) unsafe fn suspend_for(&self, request: &Request, why: Why<'_>) {
        self.request.set(request);
        self.subject.store(why.address(), Ordering::Relaxed);
        self.reason.store(why.reason as u8, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { self.suspend(Suspend::Wait(RequestPtr::of(request))) };
        self.reason.store(WaitReason::None as u8, Ordering::Relaxed);
    }

    /// Notes when the wait begins, in nanoseconds since the runtime began. The worker calls it before another
    /// thread can end the wait.
    #[inline(always)]
    pub(crate) fn set_since(&self, since: u64) {
        self.since.store(since, Ordering::Relaxed);
    }

    /// Whether it has a stack.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine: it took it from a queue, or runs it.
    pub(crate) unsafe fn started(&self) -> bool {
        // SAFETY: the continuation belongs to the owner.
        unsafe { (*self.continuation.get()).is_some() }
    }

    /// Whether it has had a turn. Called by the thread that owns the coroutine.
    pub(crate) fn has_run(&self) -> bool {
        self.switch.get().is_some()
    }

    /// Gives it a stack, so that it can be resumed.
    ///
    /// # Safety
    ///
    /// The caller took the coroutine from a queue, and it has not been started.
    pub(crate) unsafe fn start(this: NonNull<Header>, stack: Stack) {
        let entry = move |switch: Switch| {
            // SAFETY: the scheduler's reference keeps the header until the coroutine has ended.
            let header = unsafe { this.as_ref() };
            header.switch.set(Some(switch));
            // SAFETY: run once, at the start, on the coroutine's own stack.
            unsafe { (header.vtable().run)(this) };
        };
        // SAFETY: alive, as above.
        let id = unsafe { this.as_ref() }.id.0;
        // SAFETY: the continuation belongs to the caller, as `started` says.
        unsafe { *this.as_ref().continuation.get() = Some(Continuation::new(stack, id, entry)) };
    }

    /// Runs it until it suspends or ends.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine, it has been started, and it is not running.
    #[inline]
    pub(crate) unsafe fn resume(&self) -> Step {
        // SAFETY: the continuation belongs to the caller; nothing else makes a reference to it while the
        // coroutine runs.
        match unsafe { &mut *self.continuation.get() } {
            Some(continuation) => continuation.resume(),
            None => unreachable!("a coroutine is started before it is resumed"),
        }
    }

    /// Leaves the coroutine's stack.
    ///
    /// # Safety
    ///
    /// Called by the coroutine itself, on its own stack.
    #[inline(always)]
    pub(crate) unsafe fn suspend(&self, why: Suspend) {
        let switch = self.switch.get().expect("set at the coroutine's first instruction");
        let used = switch.base().addr().wrapping_sub(stack_pointer());
        self.used.set(used as u32);
        // SAFETY: on the coroutine's own stack, as the caller says.
        unsafe { switch.suspend(why) };
    }

    /// Prefetches the part of the header that a turn touches. The pointer need not be valid.
    #[inline]
    pub(crate) fn prefetch(this: NonNull<Header>) {
        prefetch(this.as_ptr().cast_const().cast(), HOT_LINES);
    }

    /// Prefetches the part of a suspended coroutine's stack that it uses first: the frames from which it
    /// waits.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine.
    #[inline]
    pub(crate) unsafe fn prefetch_stack(&self) {
        if let Some(switch) = self.switch.get() {
            prefetch(switch.base().wrapping_byte_sub(self.used.get() as usize + LINE), FRAME_LINES);
        }
    }

    /// Lets it walk its own stack, if it has run; false if it has not.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine, or is the worker that runs its home, between two turns. The coroutine
    /// does not run.
    pub(super) unsafe fn walk(&self, walk: &mut Walk) -> bool {
        if self.switch.get().is_none() {
            return false;
        }
        // SAFETY: the continuation belongs to the caller.
        let Some(continuation) = (unsafe { (*self.continuation.get()).as_mut() }) else { return false };
        // SAFETY: the switch is set by the first resumption.
        unsafe { continuation.walk(walk) };
        true
    }

    /// An address in the topmost page of its stack, and how many bytes of the stack were in use when it
    /// suspended last; `None` if it has not run.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine, which does not run.
    pub(crate) unsafe fn stack_in_use(&self) -> Option<(usize, usize)> {
        Some((self.switch.get()?.base().addr(), self.used.get() as usize))
    }

    /// The high end of its stack, and the stack pointer of the function in which it has suspended; `None` if
    /// it has not run.
    ///
    /// # Safety
    ///
    /// As for [`walk`](Self::walk).
    pub(super) unsafe fn suspended_at(&self) -> Option<(usize, usize)> {
        let base = self.switch.get()?.base().addr();
        Some((base, base.wrapping_sub(self.used.get() as usize)))
    }

    /// The high end of its stack, from which the stack grows.
    ///
    /// # Safety
    ///
    /// The caller is the coroutine.
    pub(crate) unsafe fn stack_base(&self) -> *const u8 {
        self.switch.get().expect("set at the coroutine's first instruction").base().cast()
    }

    /// The stack of a coroutine that has ended.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine, and `resume` said `Finished`.
    pub(crate) unsafe fn take_stack(&self) -> Stack {
        // SAFETY: the continuation belongs to the caller.
        let continuation = unsafe { (*self.continuation.get()).take() };
        continuation.expect("a finished coroutine has its stack still").into_stack()
    }

    /// Ends a coroutine that never started, with an error. Its closure is dropped here.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine, and it has not been started.
    pub(crate) unsafe fn fail(this: NonNull<Header>, error: JoinError) {
        // SAFETY: alive by the scheduler's reference; the body is ours, since it never ran.
        unsafe { (this.as_ref().vtable().fail)(this, error) };
    }

    /// Requests cancellation. If that ends a wait, the coroutine goes into the batch.
    ///
    /// # Safety
    ///
    /// The coroutine is alive, and the pointer comes from [`new`].
    pub(crate) unsafe fn cancel(this: NonNull<Header>, batch: &mut Batch) {
        // SAFETY: alive, as the caller says.
        let header = unsafe { this.as_ref() };
        // The first cause counts, so it is found out now: the limit may pass before the coroutine unwinds.
        // SAFETY: this reads only the limit under which it was spawned, which never changes.
        let late = unsafe { header.local_record_if_any() }.is_some_and(LocalRecord::is_late);
        let fired = if late { header.waiter.cancel_late() } else { header.waiter.cancel() };
        if fired == Fired::Schedule {
            // SAFETY: only the winner may queue the waiter, which stays parked until it is scheduled.
            unsafe { batch.push(this.cast()) };
        }
    }

    /// As [`cancel`](Self::cancel), since the runtime shuts down.
    ///
    /// # Safety
    ///
    /// As there.
    pub(crate) unsafe fn cancel_for_shutdown(this: NonNull<Header>, batch: &mut Batch) {
        // SAFETY: alive, as the caller says.
        if unsafe { this.as_ref() }.waiter.cancel_for_shutdown() == Fired::Schedule {
            // SAFETY: as above.
            unsafe { batch.push(this.cast()) };
        }
    }

    /// What the cancellation of the coroutine is. The caller has found that it is cancelled, or ends it as
    /// its runtime is gone.
    pub(crate) fn interruption(&self) -> Interruption {
        if !self.waiter.cancelled() || self.waiter.shut_down() {
            Interruption::ShutDown
        } else if self.waiter.cancelled_late() {
            // A scope cancels its coroutines when the limit of its caller passes, which is theirs, too.
            Interruption::TimedOut
        } else {
            Interruption::Cancelled
        }
    }

    /// Whether nobody waits for its end, nor will: the scheduler's reference is the only one.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine, which has ended and is in no list.
    #[inline]
    pub(crate) unsafe fn ends_unseen(&self) -> bool {
        self.lifetime.is_alone()
    }

    /// Gives up the scheduler's reference, after `done` was set.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine and does not touch it again.
    pub(crate) unsafe fn release(this: NonNull<Header>) {
        drop(Handle(this));
    }
}

/// A counted reference to a coroutine.
pub(crate) struct Handle(NonNull<Header>);

// SAFETY: the header is Sync, and the count atomic.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// Makes another reference to a coroutine.
    ///
    /// # Safety
    ///
    /// The coroutine is alive, and the pointer comes from [`new`].
    pub(crate) unsafe fn to(header: NonNull<Header>) -> Handle {
        // SAFETY: alive, as the caller says.
        unsafe { header.as_ref() }.lifetime.add_reference();
        Handle(header)
    }

    /// The coroutine.
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the reference keeps it alive.
        unsafe { self.0.as_ref() }
    }

    /// Requests cancellation. If that ends a wait, the coroutine goes into the batch.
    pub(crate) fn cancel(&self, batch: &mut Batch) {
        // SAFETY: this reference keeps it alive.
        unsafe { Header::cancel(self.0, batch) };
    }

    /// As [`cancel`](Self::cancel), since the runtime shuts down.
    pub(crate) fn cancel_for_shutdown(&self, batch: &mut Batch) {
        // SAFETY: this reference keeps it alive.
        unsafe { Header::cancel_for_shutdown(self.0, batch) };
    }

    /// Takes the result of a coroutine that is done.
    ///
    /// # Safety
    ///
    /// `T` is the coroutine's result type, `done` is set, and this is the joining handle, which takes
    /// the result once.
    pub(crate) unsafe fn take<T>(&self) -> Result<T, JoinError> {
        let mut output = std::mem::MaybeUninit::<Result<T, JoinError>>::uninit();
        // SAFETY: a published result is the joiner's, and `output` has the type that the body holds.
        unsafe { (self.header().vtable().take_output)(self.0, output.as_mut_ptr().cast()) };
        // SAFETY: `take_output` has written it.
        unsafe { output.assume_init() }
    }

    /// Detaches the coroutine: its result is not wanted, and is dropped here if there is one already.
    ///
    /// # Safety
    ///
    /// This is the joining handle, and does not take the result afterwards.
    pub(crate) unsafe fn detach(&self) {
        if self.header().lifetime.detach() {
            // SAFETY: the result was published before, so it is ours.
            unsafe { (self.header().vtable().drop_output)(self.0) };
        }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        // SAFETY: this reference keeps it alive.
        unsafe { Handle::to(self.0) }
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        if !self.header().lifetime.drop_reference() {
            return;
        }
        // SAFETY: that was the last reference.
        unsafe { (self.header().vtable().free)(self.0) };
    }
}

/// # Safety
///
/// The pointer comes from `new::<F, T>` and is alive; the body is the caller's.
unsafe fn body<'a, F, T>(header: NonNull<Header>) -> &'a mut Body<F, T> {
    // SAFETY: as the caller says; a raw projection, since other threads may use the header.
    unsafe { &mut *UnsafeCell::raw_get(&raw const (*header.cast::<CoroutineCell<F, T>>().as_ptr()).body) }
}

/// The coroutine's whole run. Nothing unwinds out of it.
unsafe fn run<F: FnOnce() -> T, T>(this: NonNull<Header>) {
    // SAFETY: the scheduler's reference keeps the header.
    let header = unsafe { this.as_ref() };
    // SAFETY: the body is the coroutine's until it has published its result.
    let Body::Closure(f) = std::mem::replace(unsafe { body::<F, T>(this) }, Body::Empty) else {
        unreachable!("a coroutine runs once");
    };
    let output = if header.waiter.cancelled() {
        contain_panic(|| drop(f));
        Err(header.interruption().into())
    } else {
        catch_unwind(AssertUnwindSafe(f)).map_err(|payload| match payload.downcast_ref::<Cancellation>() {
            Some(cancellation) => cancellation.why.into(),
            None => JoinError::Panicked(Panic::new(payload, &header.label())),
        })
    };
    end_locals(header);
    // SAFETY: the body is the coroutine's, and empty.
    if unsafe { publish::<F, T>(this, output) } {
        return;
    }
    // The destructor of the result may have made locals again.
    end_locals(header);
}

/// Leaves the result to the joiner. If there is none, drops the result; then returns false.
///
/// # Safety
///
/// The body is the caller's, and empty.
#[inline(always)]
unsafe fn publish<F, T>(this: NonNull<Header>, output: Result<T, JoinError>) -> bool {
    // SAFETY: alive by the scheduler's reference.
    let header = unsafe { this.as_ref() };
    if header.lifetime.is_detached() {
        lose(header, output);
        return false;
    }
    // SAFETY: the body is the caller's.
    unsafe { *body::<F, T>(this) = Body::Output(output) };
    if header.lifetime.complete() {
        return true;
    }
    // SAFETY: there is no joiner, so the result is still the caller's.
    unsafe { drop_output::<F, T>(this) };
    false
}

/// Drops a result that nobody takes.
#[inline]
fn lose<T>(header: &Header, output: Result<T, JoinError>) {
    match output {
        Ok(value) => contain_panic(|| drop(value)),
        Err(error) => lose_error(header, error),
    }
}

/// Reports an error that nobody else would hear of, and drops it.
#[cold]
fn lose_error(header: &Header, error: JoinError) {
    match &error {
        JoinError::NoStack(error) => unstarted::report(&header.label(), error),
        JoinError::Panicked(panic) => lost_panics::count(&header.label(), panic.message()),
        _ => {}
    }
    contain_panic(|| drop(error));
}

/// Destroys the coroutine's task locals. The coroutine calls this itself, on its own stack.
fn end_locals(header: &Header) {
    // SAFETY: this is the coroutine.
    if let Some(record) = unsafe { header.local_record_if_any() } {
        record.locals.end();
    }
}

unsafe fn fail<F, T>(this: NonNull<Header>, error: JoinError) {
    // SAFETY: the body is the caller's: the coroutine never ran.
    let closure = std::mem::replace(unsafe { body::<F, T>(this) }, Body::Empty);
    contain_panic(|| drop(closure));
    // SAFETY: as above.
    unsafe { publish::<F, T>(this, Err(error)) };
}

unsafe fn drop_output<F, T>(this: NonNull<Header>) {
    // SAFETY: the body is the caller's.
    if let Body::Output(output) = std::mem::replace(unsafe { body::<F, T>(this) }, Body::Empty) {
        // SAFETY: the caller has a reference to the coroutine.
        lose(unsafe { this.as_ref() }, output);
    }
}

unsafe fn take_output<F, T>(this: NonNull<Header>, into: *mut ()) {
    // SAFETY: the body is the caller's.
    match std::mem::replace(unsafe { body::<F, T>(this) }, Body::Empty) {
        // SAFETY: the caller passes memory for exactly this type.
        Body::Output(output) => unsafe { into.cast::<Result<T, JoinError>>().write(output) },
        _ => unreachable!("a result is taken once, after the end"),
    }
}

unsafe fn free<F, T>(this: NonNull<Header>) {
    // SAFETY: no reference is left, and `new` made the cell.
    unsafe { recycle::free(this.cast::<CoroutineCell<F, T>>()) };
}
