//! The context of interrupted code on x86-64.

use std::arch::naked_asm;
use std::ffi::c_void;

/// The address of the instruction that the signal has interrupted.
///
/// # Safety
///
/// The pointer is the third argument of a signal's handler.
pub(super) unsafe fn program_counter(context: *mut c_void) -> usize {
    // SAFETY: as the caller says.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as usize }
}

/// Changes the context of a fault, so that its handler returns to where `interrupted` was interrupted.
///
/// # Safety
///
/// Both are such arguments, of handlers on this thread, `fault` of the inner one.
pub(super) unsafe fn leave(fault: *mut c_void, interrupted: *mut c_void) {
    // SAFETY: as the caller says. The kernel passes a context whose address is the stack pointer that
    // `rt_sigreturn` wants.
    unsafe {
        let registers = &mut (*fault.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        registers[libc::REG_RIP as usize] = end_of_signal as *const () as i64;
        registers[libc::REG_RSP as usize] = interrupted.addr() as i64;
    }
}

/// Ends the handler whose context is at the stack pointer.
#[unsafe(naked)]
unsafe extern "C" fn end_of_signal() -> ! {
    naked_asm!("mov eax, {number}", "syscall", "ud2", number = const libc::SYS_rt_sigreturn)
}
