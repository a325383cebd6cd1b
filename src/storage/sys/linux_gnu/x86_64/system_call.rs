//! The thread pointer is set by a system call, `arch_prctl`. Every kernel has it, and valgrind too.

use super::pointer::thread_pointer;
use std::arch::asm;

/// `ARCH_SET_FS`: the second argument becomes the base of `fs`.
const SET_FS: i32 = 0x1002;

pub(super) fn check() -> Result<(), &'static str> {
    Ok(())
}

/// Calls a function with another thread pointer, and restores this thread's.
///
/// # Safety
///
/// The pointer is the thread pointer of a block that exists and that nothing else uses during the call. The
/// function may be called with the argument.
#[inline]
pub(crate) unsafe fn call_on(pointer: usize, f: unsafe extern "C" fn(*mut ()), argument: *mut ()) {
    // SAFETY: the call cannot fail, since both pointers are addresses of this process. The kernel changes
    // rax, rcx and r11 only. The function keeps r12 to r14, as every function does, so the own pointer is
    // restored; it does not unwind, being of the "C" ABI. To the compiler the pointer did not change. All
    // else is the caller's promise.
    unsafe {
        asm!(
            "mov edi, {set}",
            "mov eax, {arch_prctl}",
            "syscall",
            "mov rdi, r13",
            "call r14",
            "mov edi, {set}",
            "mov rsi, r12",
            "mov eax, {arch_prctl}",
            "syscall",
            set = const SET_FS,
            arch_prctl = const libc::SYS_arch_prctl,
            in("rsi") pointer,
            in("r12") thread_pointer(),
            in("r13") argument,
            in("r14") f,
            clobber_abi("C"),
        );
    }
}
