//! The stack switch. The only file that names corosensei.
//!
//! ```text
//!   worker's stack                      coroutine's stack
//!   Machine::resume ------------------> entry(header)
//!                                         ...
//!   Step::Suspended <------------------ Switch::suspend(request)
//!   (runs the request's commit)
//!   Machine::resume ------------------>   ...
//!   Step::Finished <------------------- entry returns
//! ```
//!
//! A machine that is suspended is never dropped: its frames may be borrowed from, so a coroutine
//! that cannot be unwound is leaked (`ManuallyDrop`).

use super::waiter::Ticket;
use crate::stack::Stack;
use corosensei::stack::StackPointer;
use corosensei::{CoroutineResult, Yielder};
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// What a coroutine that waits asks for.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// To be called once, by the worker on its own stack: publishes the ticket and says whether there is
    /// something to wait for. Lives on the coroutine's stack, until the coroutine is resumed.
    pub(crate) commit: NonNull<dyn FnMut(Ticket) -> bool>,
    /// The wait's ticket.
    pub(crate) ticket: Ticket,
    /// Whether cancellation leaves this wait alone.
    pub(crate) masked: bool,
}

/// Where a request is: on the coroutine's stack, until the coroutine is resumed. corosensei hands over as a
/// number what fits into a word, so this is one, and the pointer's provenance is exposed.
#[derive(Clone, Copy)]
pub(crate) struct RequestAt(NonZeroUsize);

impl RequestAt {
    /// The place of that request.
    #[inline(always)]
    pub(crate) fn of(request: &Request) -> RequestAt {
        let address = std::ptr::from_ref(request).expose_provenance();
        RequestAt(NonZeroUsize::new(address).expect("nothing is at zero"))
    }

    /// What is asked for.
    ///
    /// # Safety
    ///
    /// The coroutine has not been resumed since.
    #[inline]
    pub(crate) unsafe fn read(self) -> Request {
        // SAFETY: the request is there still, as the caller says.
        unsafe { *std::ptr::with_exposed_provenance(self.0.get()) }
    }
}

/// Why a coroutine left its stack. One word, as it passes from stack to stack at each turn.
pub(crate) enum Suspend {
    /// It lets others run first.
    Yield,
    /// It waits, and asks for this.
    Wait(RequestAt),
}

const _: () = assert!(size_of::<Suspend>() == size_of::<usize>());

/// What `resume` came back with.
pub(crate) enum Step {
    /// The coroutine left its stack and can be resumed.
    Suspended(Suspend),
    /// The coroutine ended.
    Finished,
}

/// A stack as corosensei wants to see it.
struct OnStack(Stack);

// SAFETY: a `Stack` is at least 48 KiB of memory that nobody else uses, with a guard at its low end
// within the limit, and both bounds are page-aligned (`crate::stack`).
unsafe impl corosensei::stack::Stack for OnStack {
    fn base(&self) -> StackPointer {
        self.0.base()
    }
    fn limit(&self) -> StackPointer {
        self.0.limit()
    }
}

/// The way back to the worker's stack, valid on the coroutine's stack for the coroutine's life.
#[derive(Clone, Copy)]
pub(crate) struct Switch(NonNull<Yielder<(), Suspend>>);

impl Switch {
    /// An address at the base of the stack.
    #[inline(always)]
    pub(crate) fn base(self) -> *const () {
        self.0.as_ptr().cast_const().cast()
    }

    /// Leaves the coroutine's stack until it is resumed.
    ///
    /// # Safety
    ///
    /// Called on the stack of the coroutine that the switch belongs to.
    #[inline(always)]
    pub(crate) unsafe fn suspend(self, why: Suspend) {
        // SAFETY: the yielder lives at the base of the stack that the caller runs on.
        unsafe { self.0.as_ref() }.suspend(why);
    }
}

/// A computation on a stack of its own.
pub(crate) struct Machine(ManuallyDrop<corosensei::Coroutine<(), Suspend, (), OnStack>>);

impl Machine {
    /// Prepares `entry` to run on that stack at the first `resume`. It must not unwind.
    pub(crate) fn new(stack: Stack, entry: impl FnOnce(Switch) + 'static) -> Machine {
        Machine(ManuallyDrop::new(corosensei::Coroutine::with_stack(
            OnStack(stack),
            move |yielder: &Yielder<(), Suspend>, ()| entry(Switch(NonNull::from(yielder))),
        )))
    }

    /// Runs the computation until it suspends or ends.
    #[inline]
    pub(crate) fn resume(&mut self) -> Step {
        match self.0.resume(()) {
            CoroutineResult::Yield(why) => Step::Suspended(why),
            CoroutineResult::Return(()) => Step::Finished,
        }
    }

    /// The stack of a computation that has ended.
    pub(crate) fn into_stack(self) -> Stack {
        ManuallyDrop::into_inner(self.0).into_stack().0
    }
}
