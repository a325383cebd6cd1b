//! AArch64.

use std::arch::asm;

/// The code of a request, and five arguments.
pub(super) fn request(words: &[usize; 6]) {
    // SAFETY: the rotations add up to 128 bits and the last instruction copies a register onto itself, so
    // nothing changes. valgrind reads the words, and sets X3.
    unsafe {
        asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") words.as_ptr(),
            inout("x3") 0_usize => _,
            // Any value will do.
            inout("x12") 0_usize => _,
            options(nostack),
        );
    }
}
