//! The thread pointer, read.

use std::arch::asm;

#[inline]
pub(crate) fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: in every thread the word at the thread pointer is readable.
    unsafe { asm!("mov {}, fs:0", out(reg) pointer, options(readonly, nostack, preserves_flags)) };
    pointer
}
