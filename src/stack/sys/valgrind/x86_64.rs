//! x86-64.

use std::arch::asm;

/// The code of a request, and five arguments.
pub(super) fn request(words: &[usize; 6]) {
    // SAFETY: the rotations add up to 128 bits and the exchange is one of a register with itself, so nothing
    // changes but the flags. valgrind reads the words, and sets RDX.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") words.as_ptr(),
            inout("rdx") 0_usize => _,
            // Any value will do.
            inout("rdi") 0_usize => _,
            options(nostack),
        );
    }
}
