//! The stack switch. The only file that names corosensei.
//!
//! ```text
//!   worker's stack                      coroutine's stack
//!   Continuation::resume -------------> entry(header)
//!                                         ...
//!   Step::Suspended <------------------ Switch::suspend(request)
//!   (runs the request's commit)
//!   Continuation::resume ------------->   ...
//!   Step::Finished <------------------- entry returns
//! ```
//!
//! A suspended continuation is never dropped: other code may borrow from its frames. So a coroutine that
//! cannot be unwound is leaked (`ManuallyDrop`).
//!
//! # A look at a suspended stack
//!
//! A resumption passes one word: null, or a [`Walk`]. Then the coroutine walks its own stack and suspends
//! again, inside of `Switch::suspend`; so its frames, the request among them, stay as they are. The test of
//! that word is the only price that a turn pays. corosensei's feature `unwind`, which this crate does not
//! use, has a test for forced unwinding in the same place.
//!
//! # Sanitizers
//!
//! Builds for a sanitizer announce each switch to it, here and nowhere else ([`sys`](super::sys)).

use super::subject::{Describe, Why};
use super::sys::{Fiber, Inside};
use super::waiter::Ticket;
use super::walk::Walk;
use crate::stack::Stack;
use corosensei::stack::StackPointer;
use corosensei::{CoroutineResult, Yielder};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::time::Instant;

/// What a coroutine that waits asks of the worker, and what a report may say about the wait. It is on the
/// coroutine's stack until the coroutine is resumed.
pub(crate) struct Request {
    /// The worker calls it once, on its own stack: it publishes the ticket, and returns whether there is
    /// something to wait for. It lives on the coroutine's stack, until the coroutine is resumed.
    pub(crate) commit: NonNull<dyn FnMut(Ticket) -> bool>,
    /// The ticket of the wait.
    pub(crate) ticket: Ticket,
    /// Whether a cancellation does not end this wait.
    pub(crate) masked: bool,
    /// Whether there is a deadline.
    limited: bool,
    /// When the wait ends at the latest. Without a deadline it is not written, which saves the usual wait a
    /// store.
    deadline: MaybeUninit<Instant>,
    /// How to describe what the wait is for; the header has its address. The frame that waits borrows it.
    pub(super) describe: Option<Describe>,
}

impl Request {
    /// The request of a wait.
    ///
    /// # Safety
    ///
    /// `commit` may be called, and the subject of `why` is alive, until the wait has returned.
    #[inline(always)]
    pub(crate) unsafe fn new(
        commit: NonNull<dyn FnMut(Ticket) -> bool>,
        ticket: Ticket,
        masked: bool,
        why: Why<'_>,
        deadline: Option<Instant>,
    ) -> Request {
        let limited = deadline.is_some();
        let deadline = deadline.map_or(MaybeUninit::uninit(), MaybeUninit::new);
        Request { commit, ticket, masked, limited, deadline, describe: why.describe() }
    }

    /// When the wait ends at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // SAFETY: `new` has written it then.
        self.limited.then(|| unsafe { self.deadline.assume_init() })
    }
}

/// The address of a request on the coroutine's stack. corosensei passes a value that fits into a word as a
/// number, so this is one, and the provenance of the pointer is exposed.
#[derive(Clone, Copy)]
pub(crate) struct RequestPtr(NonZeroUsize);

impl RequestPtr {
    /// The address of the request.
    #[inline(always)]
    pub(crate) fn of(request: &Request) -> RequestPtr {
        let address = std::ptr::from_ref(request).expose_provenance();
        RequestPtr(NonZeroUsize::new(address).expect("nothing is at zero"))
    }

    /// Reads what the worker needs: the commit, the ticket, and whether the wait is masked.
    ///
    /// # Safety
    ///
    /// The coroutine has not been resumed since.
    #[inline]
    pub(crate) unsafe fn read(self) -> (NonNull<dyn FnMut(Ticket) -> bool>, Ticket, bool) {
        // SAFETY: the request still exists, as the caller says.
        let request = unsafe { &*std::ptr::with_exposed_provenance::<Request>(self.0.get()) };
        (request.commit, request.ticket, request.masked)
    }
}

/// Why a coroutine left its stack. It is one word, since it passes from stack to stack in each turn.
pub(crate) enum Suspend {
    /// It lets others run first.
    Yield,
    /// It waits.
    Wait(RequestPtr),
}

const _: () = assert!(size_of::<Suspend>() == size_of::<usize>());

/// How a turn ended.
pub(crate) enum Step {
    /// The coroutine left its stack and can be resumed.
    Suspended(Suspend),
    /// The coroutine ended.
    Finished,
}

/// A stack with the interface of corosensei.
struct OnStack(Stack);

// SAFETY: a `Stack` is at least 48 KiB of memory that nothing else uses, with a guard at its low end
// within the limit, and both bounds are page-aligned (`crate::stack`).
unsafe impl corosensei::stack::Stack for OnStack {
    fn base(&self) -> StackPointer {
        self.0.base()
    }
    fn limit(&self) -> StackPointer {
        self.0.limit()
    }
}

/// What a resumption passes to the coroutine: `None` to go on, or where to store a walk over its stack.
type Resumed = Option<NonNull<Walk>>;

const _: () = assert!(size_of::<Resumed>() == size_of::<usize>());

/// The way back to the worker's stack, valid on the coroutine's stack as long as the coroutine lives.
#[derive(Clone, Copy)]
pub(crate) struct Switch {
    yielder: NonNull<Yielder<Resumed, Suspend>>,
    inside: Inside,
}

impl Switch {
    /// An address at the base of the stack.
    #[inline(always)]
    pub(crate) fn base(self) -> *const () {
        self.yielder.as_ptr().cast_const().cast()
    }

    /// Switches to the worker's stack, and returns when the coroutine is resumed.
    ///
    /// # Safety
    ///
    /// Called on the stack of the coroutine that the switch belongs to.
    #[inline(always)]
    unsafe fn leave(self, why: Suspend) -> Resumed {
        self.inside.leaving();
        // SAFETY: the yielder lives at the base of the stack that the caller runs on.
        let resumed = unsafe { self.yielder.as_ref() }.suspend(why);
        self.inside.returned();
        resumed
    }

    /// Leaves the coroutine's stack until it is resumed.
    ///
    /// # Safety
    ///
    /// Called on the stack of the coroutine that the switch belongs to.
    #[inline(always)]
    pub(crate) unsafe fn suspend(self, why: Suspend) {
        // SAFETY: as the caller says.
        if let Some(walk) = unsafe { self.leave(why) } {
            // SAFETY: as the caller says, and as `Continuation::walk` does.
            unsafe { self.walk(walk) };
        }
    }

    /// Walks this stack, until the coroutine is resumed to go on.
    ///
    /// # Safety
    ///
    /// As for [`suspend`](Self::suspend); `walk` comes from [`Continuation::walk`].
    #[cold]
    #[inline(never)]
    unsafe fn walk(self, mut walk: NonNull<Walk>) {
        loop {
            // SAFETY: the worker lends it until the coroutine suspends again.
            unsafe { walk.as_mut() }.run();
            // SAFETY: as the caller says.
            match unsafe { self.leave(Suspend::Yield) } {
                Some(next) => walk = next,
                None => return,
            }
        }
    }
}

/// A computation on a stack of its own: its registers and its stack.
pub(crate) struct Continuation {
    coroutine: ManuallyDrop<corosensei::Coroutine<Resumed, Suspend, (), OnStack>>,
    fiber: Fiber,
}

impl Continuation {
    /// Prepares `entry` to run on that stack at the first `resume`. It must not unwind. Sanitizers name it by
    /// that number.
    pub(crate) fn new(stack: Stack, id: u64, entry: impl FnOnce(Switch) + 'static) -> Continuation {
        let fiber = Fiber::new(&stack, id);
        let inside = fiber.inside();
        let coroutine = corosensei::Coroutine::with_stack(
            OnStack(stack),
            move |yielder: &Yielder<Resumed, Suspend>, _| {
                inside.entered();
                entry(Switch { yielder: NonNull::from(yielder), inside });
                inside.leaving();
            },
        );
        Continuation { coroutine: ManuallyDrop::new(coroutine), fiber }
    }

    /// Switches to the coroutine's stack, and returns when the coroutine suspends or ends.
    #[inline(always)]
    fn enter(&mut self, resumed: Resumed) -> CoroutineResult<Suspend, ()> {
        self.fiber.resuming();
        let left = self.coroutine.resume(resumed);
        self.fiber.resumed();
        left
    }

    /// Runs the computation until it suspends or ends.
    #[inline]
    pub(crate) fn resume(&mut self) -> Step {
        match self.enter(None) {
            CoroutineResult::Yield(why) => Step::Suspended(why),
            CoroutineResult::Return(()) => Step::Finished,
        }
    }

    /// Lets a suspended computation walk its own stack. What it has asked for by suspending stays as it is.
    ///
    /// # Safety
    ///
    /// The computation has been resumed before, so that it is inside of `Switch::suspend`.
    pub(super) unsafe fn walk(&mut self, walk: &mut Walk) {
        match self.enter(Some(NonNull::from(walk))) {
            CoroutineResult::Yield(_) => {}
            CoroutineResult::Return(()) => unreachable!("a walk ends in `Switch::walk`, which suspends"),
        }
    }

    /// The stack of a computation that has ended.
    pub(crate) fn into_stack(self) -> Stack {
        self.fiber.ended();
        ManuallyDrop::into_inner(self.coroutine).into_stack().0
    }
}
