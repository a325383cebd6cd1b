//! 64-bit Arm.

use std::arch::asm;

#[inline(always)]
pub(super) fn line(at: *const ()) {
    // SAFETY: the instruction raises no fault whatever the address, and changes nothing.
    unsafe { asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, preserves_flags, readonly)) };
}
