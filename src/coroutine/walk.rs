//! How a coroutine walks its own stack.
//!
//! The worker that owns a suspended coroutine resumes it with the order to walk ([`switch`](super::switch)).
//! The coroutine walks beneath the frames of its wait, and suspends again there. The unwinder that std links
//! for panics needs no frame pointers.
//!
//! Why that cannot go wrong:
//!
//! - It runs only `Switch::walk` and what that calls, beneath the frames of the wait. So it changes none of
//!   them: the wait's request and the nodes in wait lists stay as they are, and other threads may use them
//!   meanwhile.
//! - It cannot panic: it stores into an array that the worker lends, with a checked index, and allocates
//!   nothing. No frame of the coroutine is unwound, since the unwinder only reads.
//! - It cannot overflow the stack: with less than [`ROOM`] bytes left it does not walk ([`Extent::NoRoom`]).
//! - It waits for nothing but the loader's lock, where the unwinder takes that to find the frames' tables.
//! - It ends: a walk leaves the bounds of the stack, or is cut at [`MOST_FRAMES`](MOST) frames.
//! - The scheduler's words (the present turn, the current coroutine) do not change, and the code that runs
//!   reads no thread-local of this crate.

use crate::base::sys::{MOST_FRAMES as MOST, frames, stack_pointer};

/// The bytes of stack that a walk may use.
pub(super) const ROOM: usize = 12 << 10;

/// How much of a stack was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All frames.
    Whole,
    /// The innermost [`MOST_FRAMES`](MOST) frames: there are more.
    Cut,
    /// None: the coroutine has used nearly all of its stack, or waits on another stack than its own.
    NoRoom,
    /// None: the coroutine has not run yet.
    NotStarted,
}

/// A frame as a walk finds it.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) address: usize,
    /// The stack pointer in the function at that address.
    pub(super) pointer: usize,
}

/// A walk over a stack, by the code that runs on it.
pub(crate) struct Walk {
    /// The lowest address that the stack may use.
    pub(super) low: usize,
    /// The high end of the stack.
    pub(super) high: usize,
    /// An address in the frame that is the innermost one of the result: those further in belong to the walk.
    pub(super) first: usize,
    found: [Found; MOST],
    len: usize,
    pub(super) extent: Extent,
}

impl Walk {
    /// An order that is not complete.
    pub(super) fn new() -> Walk {
        let found = [Found { address: 0, pointer: 0 }; MOST];
        Walk { low: 0, high: 0, first: 0, found, len: 0, extent: Extent::NoRoom }
    }

    /// Walks the stack on which this runs.
    #[inline(never)]
    pub(super) fn run(&mut self) {
        self.len = 0;
        self.extent = Extent::NoRoom;
        let here = stack_pointer();
        if !(self.low + ROOM..self.high).contains(&here) || self.first < here {
            return;
        }
        self.extent = Extent::Whole;
        frames::walk(&mut |frame| {
            let pointer = frame.stored_at.wrapping_add(size_of::<usize>());
            if !(self.low..self.high).contains(&pointer) {
                return false; // beyond the base, on the stack of the thread that has resumed this one
            }
            if pointer <= self.first {
                // Still the frame of the wait, or one further in.
                self.len = 0;
            }
            let Some(slot) = self.found.get_mut(self.len) else {
                self.extent = Extent::Cut;
                return false;
            };
            *slot = Found { address: frame.address, pointer };
            self.len += 1;
            true
        });
    }

    /// What the last walk has found, from the innermost frame outwards.
    pub(super) fn found(&self) -> &[Found] {
        &self.found[..self.len]
    }
}
