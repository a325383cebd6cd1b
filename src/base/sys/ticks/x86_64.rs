//! The time stamp counter.

use std::arch::x86_64::{__cpuid, _rdtsc};

/// Whether the counter runs at a constant rate, also while the processor sleeps.
const INVARIANT: u32 = 1 << 8;
const ADVANCED_POWER_MANAGEMENT: u32 = 0x8000_0007;
/// Linux offers the counter as a clock only while it is the same on all processors.
const CLOCKS: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";

#[inline(always)]
pub(super) fn counter() -> u64 {
    // SAFETY: the instruction reads a register. A system that forbids it to programs has no clock that uses
    // it either, and then `has_counter` is false.
    unsafe { _rdtsc() }
}

pub(super) fn has_counter() -> bool {
    let same = std::fs::read_to_string(CLOCKS);
    if same.is_ok_and(|clocks| !clocks.split_whitespace().any(|clock| clock == "tsc")) {
        return false;
    }
    // SAFETY: each x86-64 processor has the instruction.
    #[allow(unused_unsafe, reason = "later compilers call it safe")]
    let (most, power) = unsafe { (__cpuid(0x8000_0000).eax, __cpuid(ADVANCED_POWER_MANAGEMENT).edx) };
    most >= ADVANCED_POWER_MANAGEMENT && power & INVARIANT != 0
}
