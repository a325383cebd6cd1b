//! The context of interrupted code on aarch64.

use std::arch::naked_asm;
use std::ffi::c_void;

/// The address of the instruction that the signal has interrupted.
///
/// # Safety
///
/// The pointer is the third argument of a signal's handler.
pub(super) unsafe fn program_counter(context: *mut c_void) -> usize {
    // SAFETY: as the caller says.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.pc as usize }
}

/// Changes the context of a fault, so that its handler returns to where `interrupted` was interrupted.
///
/// # Safety
///
/// Both are such arguments, of handlers on this thread, `fault` of the inner one.
pub(super) unsafe fn leave(fault: *mut c_void, interrupted: *mut c_void) {
    // SAFETY: as the caller says. The stack pointer that `rt_sigreturn` wants is that of the kernel's frame,
    // in which the context follows the `siginfo_t`.
    unsafe {
        let registers = &mut (*fault.cast::<libc::ucontext_t>()).uc_mcontext;
        registers.pc = end_of_signal as *const () as u64;
        registers.sp = (interrupted.addr() - size_of::<libc::siginfo_t>()) as u64;
    }
}

/// Ends the handler whose frame is at the stack pointer.
#[unsafe(naked)]
unsafe extern "C" fn end_of_signal() -> ! {
    naked_asm!("mov x8, {number}", "svc 0", "brk 1", number = const libc::SYS_rt_sigreturn)
}
