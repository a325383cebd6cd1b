//! Nearly: an address in the same frame.

use std::mem::MaybeUninit;

/// An address in the frame of the function into which this is inlined.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    MaybeUninit::<u8>::uninit().as_ptr().addr()
}

/// As the head of the folder says.
pub(crate) const GOES_ON_AT: [usize; 0] = [];
