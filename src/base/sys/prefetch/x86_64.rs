//! x86-64.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

#[inline(always)]
pub(super) fn line(at: *const ()) {
    // SAFETY: each x86-64 has the instruction, and it raises no fault whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}
