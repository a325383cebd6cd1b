//! The virtual counter of the generic timer. The architecture has it run at a constant rate, the same on all
//! processors, and all systems let programs read it.

use std::arch::asm;

#[inline(always)]
pub(super) fn counter() -> u64 {
    let counter: u64;
    // SAFETY: it reads a register.
    unsafe { asm!("mrs {}, cntvct_el0", out(reg) counter, options(nomem, nostack, preserves_flags)) };
    counter
}

pub(super) fn has_counter() -> bool {
    true
}
