//! A coroutine as the scheduler sees it, and the cell with its closure and result.
//!
//! One heap allocation per coroutine:
//!
//! ```text
//!  TaskCell<F, T>
//!  +-- Header ------------------------------------------------------------+
//!  | waiter   word, link, table           one winner per wait              |
//!  | machine  registers and stack, from its first run to its end           |
//!  | state    references | COMPLETE | JOINED                               |
//!  | done     set for good when it has ended and its stack is back         |
//!  | token    park / unpark                                                |
//!  | owner    the scheduler's: home worker, place in its list of the live  |
//!  | site     the call that spawned it                                     |
//!  +-- body ---------------------------------------------------------------+
//!  | the closure, then the result, then nothing                            |
//!  +-----------------------------------------------------------------------+
//! ```
//!
//! References: one for the scheduler, from `new` until the coroutine has ended; one for the
//! `JoinHandle`; one for each `Task` handle. Who may touch what:
//!
//! - `machine`, `switch`, `depth`, `listed`, `placed`, `taken_back`: the owner of the coroutine: the worker
//!   that runs it or is about to, or the thread that moves it between queues; and the coroutine itself while
//!   it runs.
//! - `owner.previous`, `owner.next`: whoever holds the lock of the list that it is in.
//! - `body`: the coroutine until it sets COMPLETE; then the one with JOINED, or, if JOINED was
//!   cleared before, the coroutine still (it then drops the result itself, on its own stack, where
//!   destructors may park).

use super::cancellation::Cancellation;
use super::contain::contain_panic;
use super::event::Event;
use super::join_error::{JoinError, Panic};
use super::label::{Id, Label, Site};
use super::local_record::LocalRecord;
use super::reason::WaitReason;
use super::switch::{Machine, Step, Suspend, Switch};
use super::unstarted;
use super::waiter::{Batch, Fired, Table, Waiter};
use crate::base::recycle;
use crate::base::sys::{LINE, prefetch};
use crate::stack::{Stack, StackSize};
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};
use std::time::Instant;

/// It has ended, and the body holds the result, until that is taken or dropped. Never cleared.
const COMPLETE: usize = 1;
/// A `JoinHandle` exists.
const JOINED: usize = 1 << 1;
const REFERENCE: usize = 1 << 2;

/// Cache lines of the header that a turn touches.
const HOT_LINES: usize = 3;
/// Cache lines of the frames between a waiting call of a socket and the code that calls it, about.
const FRAME_LINES: usize = 6;

/// What a coroutine is made with.
pub(crate) struct Settings {
    /// Its number.
    pub(crate) id: Id,
    /// The name in reports.
    pub(crate) name: Option<Box<str>>,
    /// The size of its stack.
    pub(crate) stack: StackSize,
    /// Whether it stays on its worker also where others migrate.
    pub(crate) pinned: bool,
    /// The time limit that it is under from the start.
    pub(crate) limit: Option<Instant>,
    /// Whether its stack is looked at before each wait.
    pub(crate) checked: bool,
    /// The call that spawned it.
    pub(crate) site: Site,
}

/// A pointer and a list link that belong to the scheduler. This layer never reads them.
pub(crate) struct Owner {
    /// The worker it was started on; before that a mark of the worker it was spawned on, or null. The
    /// scheduler's.
    pub(crate) home: AtomicPtr<()>,
    /// Neighbours in the list of live coroutines of the worker it was started on.
    pub(crate) previous: Cell<Option<NonNull<Header>>>,
    /// As above.
    pub(crate) next: Cell<Option<NonNull<Header>>>,
}

/// A coroutine, whatever it computes.
#[repr(C)]
pub(crate) struct Header {
    /// First, so that a pointer to it is a pointer to the header.
    pub(crate) waiter: Waiter,
    // What each turn touches, in as few cache lines as may be.
    machine: UnsafeCell<Option<Machine>>,
    switch: Cell<Option<Switch>>,
    id: Id,
    /// Whether it is in the list of the live coroutines of the worker it was started on; the scheduler's.
    pub(crate) listed: Cell<bool>,
    /// Whether it was handed to a worker that is to start it; the scheduler's.
    pub(crate) placed: Cell<bool>,
    stack: StackSize,
    pinned: bool,
    reason: AtomicU8,
    /// How often it was taken back from a worker that was to start it; the scheduler's.
    pub(crate) taken_back: Cell<u8>,
    /// How many cache lines of its stack it used when it was last suspended, about and modulo 2^16: for a hint.
    depth: Cell<u16>,
    state: AtomicUsize,
    /// Set for good once the coroutine has ended.
    pub(crate) done: Event,
    /// The token of `task::park`.
    pub(crate) token: Event,
    /// What few coroutines have; the header is part of what a parked one costs. Null until it is
    /// needed, then a Box that stays until the header is freed. Set by the coroutine itself, or before
    /// it is published.
    own: AtomicPtr<LocalRecord>,
    /// The scheduler's.
    pub(crate) owner: Owner,
    site: Site,
}

// SAFETY: the table in the file's head says who touches the fields that are not atomic; a coroutine
// is run by one worker at a time, and passes between workers only through queues that synchronize.
unsafe impl Sync for Header {}
// SAFETY: as above.
unsafe impl Send for Header {}

/// How a coroutine that was woken gets back to its scheduler.
pub(crate) trait Schedule {
    /// Puts the coroutine back to where it is run from.
    ///
    /// # Safety
    ///
    /// As for [`Waiter::schedule`].
    unsafe fn schedule(waiter: NonNull<Waiter>);
}

/// What depends on the types of a coroutine. It begins with the table of its waiter, so that one
/// pointer is enough for both.
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
struct TaskCell<F, T> {
    header: Header,
    body: UnsafeCell<Body<F, T>>,
}

/// Makes a coroutine: a pointer that carries the scheduler's reference, and a joining handle.
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
    let own = if settings.name.is_some() || settings.limit.is_some() {
        Box::into_raw(Box::new(LocalRecord::new(settings.name, settings.limit, settings.checked)))
    } else if settings.checked {
        checked_own()
    } else {
        ptr::null_mut()
    };
    let cell = recycle::allocate::<TaskCell<F, T>>();
    // SAFETY: this is memory for such a cell, which nobody else uses; the table is a constant.
    unsafe {
        (&raw mut (*cell.as_ptr()).header).write(Header {
            waiter: Waiter::new(NonNull::from(Vtable::of::<F, T, S>()).cast()),
            state: AtomicUsize::new((2 * REFERENCE) | JOINED),
            done: Event::new(),
            token: Event::new(),
            owner: Owner {
                home: AtomicPtr::new(ptr::null_mut()),
                previous: Cell::new(None),
                next: Cell::new(None),
            },
            placed: Cell::new(false),
            listed: Cell::new(false),
            machine: UnsafeCell::new(None),
            switch: Cell::new(None),
            depth: Cell::new(0),
            own: AtomicPtr::new(own),
            id: settings.id,
            stack: settings.stack,
            pinned: settings.pinned,
            taken_back: Cell::new(0),
            reason: AtomicU8::new(WaitReason::None as u8),
            site: settings.site,
        });
        (&raw mut (*cell.as_ptr()).body).write(UnsafeCell::new(Body::Closure(f)));
    }
    let header = cell.cast::<Header>();
    if settings.limit.is_some() {
        // SAFETY: written above; nobody else has it yet.
        unsafe { header.as_ref() }.waiter.note_limit();
    }
    (header, Handle(header))
}

/// Of a coroutine that has nothing else of its own. Apart, so that a spawn is not the slower for it.
#[cold]
#[inline(never)]
fn checked_own() -> *mut LocalRecord {
    Box::into_raw(Box::new(LocalRecord::new(None, None, true)))
}

impl Drop for Header {
    fn drop(&mut self) {
        let own = *self.own.get_mut();
        if !own.is_null() {
            // SAFETY: it came from a Box, and nobody refers to the header any more.
            let own = unsafe { Box::from_raw(own) };
            debug_assert!(own.locals.is_empty(), "locals end with their coroutine");
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
        // SAFETY: the name is never changed, and is all that others look at.
        unsafe { self.local_record_if_any() }.and_then(|own| own.name())
    }

    /// The call that spawned it.
    #[inline]
    pub(crate) fn site(&self) -> Site {
        self.site
    }

    /// The coroutine in the words of reports.
    pub(crate) fn label(&self) -> Label<'_> {
        Label { id: self.id(), name: self.name(), site: self.site() }
    }

    /// The coroutine-local record, if the coroutine has one.
    ///
    /// # Safety
    ///
    /// The caller is the coroutine, or looks at the name only.
    #[inline]
    pub(crate) unsafe fn local_record_if_any(&self) -> Option<&LocalRecord> {
        // Acquire: pairs with the release in `own`, for another thread that asks for the name.
        // SAFETY: null or a Box that lives as long as the header.
        unsafe { self.own.load(Ordering::Acquire).as_ref() }
    }

    /// What belongs to the coroutine alone.
    ///
    /// # Safety
    ///
    /// The caller is the coroutine.
    pub(crate) unsafe fn local_record(&self) -> &LocalRecord {
        // SAFETY: as the caller says.
        if let Some(own) = unsafe { self.local_record_if_any() } {
            return own;
        }
        let own = Box::into_raw(Box::new(LocalRecord::new(None, None, false)));
        self.own.store(own, Ordering::Release);
        // SAFETY: just made; it lives as long as the header.
        unsafe { &*own }
    }

    /// The size of its stack.
    pub(crate) fn stack_size(&self) -> StackSize {
        self.stack
    }

    /// Whether it was asked to stay on its worker.
    pub(crate) fn pinned(&self) -> bool {
        self.pinned
    }

    /// Why it waits.
    pub(crate) fn reason(&self) -> WaitReason {
        WaitReason::from_number(self.reason.load(Ordering::Relaxed))
    }

    /// Says why it is about to wait.
    pub(crate) fn set_reason(&self, reason: WaitReason) {
        self.reason.store(reason as u8, Ordering::Relaxed);
    }

    /// Whether it has a stack.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine: it took it from a queue, or runs it.
    pub(crate) unsafe fn started(&self) -> bool {
        // SAFETY: the machine belongs to the owner.
        unsafe { (*self.machine.get()).is_some() }
    }

    /// Gives it its stack.
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
        // SAFETY: the machine belongs to the caller, as `started` says.
        unsafe { *this.as_ref().machine.get() = Some(Machine::new(stack, entry)) };
    }

    /// Runs it until it suspends or ends.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine, it has been started, and it is not running.
    #[inline]
    pub(crate) unsafe fn resume(&self) -> Step {
        // SAFETY: the machine belongs to the caller; nothing else makes a reference to it while the
        // coroutine runs.
        match unsafe { &mut *self.machine.get() } {
            Some(machine) => machine.resume(),
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
        let here = MaybeUninit::<u8>::uninit();
        let used = switch.base().addr().wrapping_sub(here.as_ptr().addr());
        self.depth.set((used / LINE + 1) as u16);
        // SAFETY: on the coroutine's own stack, as the caller says.
        unsafe { switch.suspend(why) };
    }

    /// Asks for what of the header a turn touches. The pointer need not be good for anything else.
    #[inline]
    pub(crate) fn prefetch(this: NonNull<Header>) {
        prefetch(this.as_ptr().cast_const().cast(), HOT_LINES);
    }

    /// Asks for what is used first of the stack of a suspended coroutine: the frames from which it waits.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine.
    #[inline]
    pub(crate) unsafe fn prefetch_stack(&self) {
        if let Some(switch) = self.switch.get() {
            prefetch(switch.base().wrapping_byte_sub(usize::from(self.depth.get()) * LINE), FRAME_LINES);
        }
    }

    /// The end of its stack from which it grows.
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
        // SAFETY: the machine belongs to the caller.
        let machine = unsafe { (*self.machine.get()).take() };
        machine.expect("a finished coroutine has its stack still").into_stack()
    }

    /// Ends a coroutine that never started, with that error. Its closure is dropped here.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine, and it has not been started.
    pub(crate) unsafe fn fail(this: NonNull<Header>, error: JoinError) {
        // SAFETY: alive by the scheduler's reference; the body is ours before COMPLETE.
        unsafe { (this.as_ref().vtable().fail)(this, error) };
    }

    /// Asks for cancellation; a coroutine to be scheduled goes into the batch.
    ///
    /// # Safety
    ///
    /// The coroutine is alive, and the pointer comes from [`new`].
    pub(crate) unsafe fn cancel(this: NonNull<Header>, batch: &mut Batch) {
        // SAFETY: alive, as the caller says.
        if unsafe { this.as_ref() }.waiter.cancel() == Fired::Schedule {
            // SAFETY: the winner alone may queue the waiter, which stays until it is scheduled.
            unsafe { batch.push(this.cast()) };
        }
    }

    /// Gives up the scheduler's reference, after `done` was set.
    ///
    /// # Safety
    ///
    /// The caller owns the coroutine and does not touch it again.
    pub(crate) unsafe fn release(this: NonNull<Header>) {
        drop(Handle(this));
    }

    /// Publishes the result; whether somebody may take it.
    fn complete(&self) -> bool {
        // Releases the result to the joiner; acquires, if JOINED is gone, that nobody looks.
        self.state.fetch_or(COMPLETE, Ordering::AcqRel) & JOINED != 0
    }
}

/// A counted reference to a coroutine.
pub(crate) struct Handle(NonNull<Header>);

// SAFETY: the header is Sync, and the count atomic.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// One more reference to a coroutine.
    ///
    /// # Safety
    ///
    /// The coroutine is alive, and the pointer comes from [`new`].
    pub(crate) unsafe fn to(header: NonNull<Header>) -> Handle {
        // SAFETY: alive, as the caller says.
        let before = unsafe { header.as_ref() }.state.fetch_add(REFERENCE, Ordering::Relaxed);
        // As in Arc: handles that are forgotten must not wrap the count. The limit leaves room for all
        // threads that are between these two lines.
        if before > isize::MAX as usize {
            std::process::abort();
        }
        Handle(header)
    }

    /// The coroutine.
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the reference keeps it alive.
        unsafe { self.0.as_ref() }
    }

    /// Asks for cancellation; a coroutine to be scheduled goes into the batch.
    pub(crate) fn cancel(&self, batch: &mut Batch) {
        // SAFETY: this reference keeps it alive.
        unsafe { Header::cancel(self.0, batch) };
    }

    /// Takes the result of a coroutine that is done.
    ///
    /// # Safety
    ///
    /// `T` is the coroutine's result type, `done` is set, and this is the joining handle, which takes
    /// the result once.
    pub(crate) unsafe fn take<T>(&self) -> Result<T, JoinError> {
        let mut output = std::mem::MaybeUninit::<Result<T, JoinError>>::uninit();
        // SAFETY: the body is the joiner's after COMPLETE, and `output` has the type that it holds.
        unsafe { (self.header().vtable().take_output)(self.0, output.as_mut_ptr().cast()) };
        // SAFETY: `take_output` has written it.
        unsafe { output.assume_init() }
    }

    /// Lets the coroutine run on with nobody to join it: drops its result if there is one already.
    ///
    /// # Safety
    ///
    /// This is the joining handle, and it is not used to take the result afterwards.
    pub(crate) unsafe fn detach(&self) {
        // Acquires the result if there is one; releases our interest in it.
        let before = self.header().state.fetch_and(!JOINED, Ordering::AcqRel);
        if before & COMPLETE != 0 {
            // SAFETY: COMPLETE came before JOINED went, so the result is ours.
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
        let state = &self.header().state;
        // Acquires what the others did that are gone. If this is the only reference, nobody can make another.
        let alone = state.load(Ordering::Acquire) / REFERENCE == 1;
        // As in Arc: release what we did with it, and the last one acquires all of that.
        if !alone && state.fetch_sub(REFERENCE, Ordering::Release) / REFERENCE != 1 {
            return;
        }
        std::sync::atomic::fence(Ordering::Acquire);
        // SAFETY: that was the last reference.
        unsafe { (self.header().vtable().free)(self.0) };
    }
}

/// # Safety
///
/// The pointer comes from `new::<F, T>` and is alive; the body is the caller's.
unsafe fn body<'a, F, T>(header: NonNull<Header>) -> &'a mut Body<F, T> {
    // SAFETY: as the caller says; a raw projection, since others may look at the header.
    unsafe { &mut *UnsafeCell::raw_get(&raw const (*header.cast::<TaskCell<F, T>>().as_ptr()).body) }
}

/// The coroutine's whole run. Nothing unwinds out of it.
unsafe fn run<F: FnOnce() -> T, T>(this: NonNull<Header>) {
    // SAFETY: the scheduler's reference keeps the header.
    let header = unsafe { this.as_ref() };
    // SAFETY: the body is the coroutine's until COMPLETE.
    let Body::Closure(f) = std::mem::replace(unsafe { body::<F, T>(this) }, Body::Empty) else {
        unreachable!("a coroutine runs once");
    };
    let output = if header.waiter.cancelled() {
        contain_panic(|| drop(f));
        Err(JoinError::Cancelled)
    } else {
        catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
            if payload.is::<Cancellation>() {
                JoinError::Cancelled
            } else {
                JoinError::Panicked(Panic::new(payload, &header.label()))
            }
        })
    };
    end_locals(header);
    // SAFETY: the body is the coroutine's until COMPLETE.
    unsafe { *body::<F, T>(this) = Body::Output(output) };
    if !header.complete() {
        // SAFETY: nobody joins, so the result is ours still.
        unsafe { drop_output::<F, T>(this) };
        // The result's destructor may have made some.
        end_locals(header);
    }
}

/// Destroys the coroutine's locals. It calls this itself, on its own stack.
fn end_locals(header: &Header) {
    // SAFETY: this is the coroutine.
    if let Some(own) = unsafe { header.local_record_if_any() } {
        own.locals.end();
    }
}

unsafe fn fail<F, T>(this: NonNull<Header>, error: JoinError) {
    // SAFETY: the body is the caller's: the coroutine never ran.
    let closure = std::mem::replace(unsafe { body::<F, T>(this) }, Body::Output(Err(error)));
    contain_panic(|| drop(closure));
    // SAFETY: alive by the scheduler's reference.
    if !unsafe { this.as_ref() }.complete() {
        // SAFETY: nobody joins, so the result is ours still.
        unsafe { drop_output::<F, T>(this) };
    }
}

unsafe fn drop_output<F, T>(this: NonNull<Header>) {
    // SAFETY: the body is the caller's.
    let output = std::mem::replace(unsafe { body::<F, T>(this) }, Body::Empty);
    if let Body::Output(Err(JoinError::NoStack(error))) = &output {
        // SAFETY: the caller has a reference to the coroutine.
        unstarted::report(&unsafe { this.as_ref() }.label(), error);
    }
    contain_panic(|| drop(output));
}

unsafe fn take_output<F, T>(this: NonNull<Header>, into: *mut ()) {
    // SAFETY: the body is the caller's.
    match std::mem::replace(unsafe { body::<F, T>(this) }, Body::Empty) {
        // SAFETY: the caller gave a place for exactly this type.
        Body::Output(output) => unsafe { into.cast::<Result<T, JoinError>>().write(output) },
        _ => unreachable!("a result is taken once, after the end"),
    }
}

unsafe fn free<F, T>(this: NonNull<Header>) {
    // SAFETY: no reference is left, and `new` made the cell.
    unsafe { recycle::free(this.cast::<TaskCell<F, T>>()) };
}
