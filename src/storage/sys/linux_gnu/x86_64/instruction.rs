//! The thread pointer is set by an instruction, `wrfsbase`.

use super::pointer::thread_pointer;
use std::arch::asm;

/// The kernel permits `wrfsbase` (`HWCAP2_FSGSBASE`).
const FSGSBASE: libc::c_ulong = 1 << 1;

pub(super) fn check() -> Result<(), &'static str> {
    if on_valgrind() {
        return Err("valgrind runs this program");
    }
    // SAFETY: the call has no conditions.
    if unsafe { libc::getauxval(libc::AT_HWCAP2) } & FSGSBASE == 0 {
        return Err(
            "the processor or the kernel does not permit programs to set their thread pointer (FSGSBASE)",
        );
    }
    let base: usize;
    // SAFETY: the kernel permits the instruction, as just seen. It reads a register.
    unsafe { asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    if base != thread_pointer() {
        return Err("the word at the thread pointer is not the thread pointer");
    }
    Ok(())
}

/// Whether valgrind runs this program. It has an x86 of its own, without `wrfsbase`, although it shows the
/// real processor's abilities. The sequence of instructions changes nothing on a processor; to valgrind it is
/// the request `RUNNING_ON_VALGRIND`.
fn on_valgrind() -> bool {
    let request = [0x1001_usize, 0, 0, 0, 0, 0];
    let mut answer = 0_usize;
    // SAFETY: the rotations add up to 128 bits, and the exchange is of a register with itself.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") request.as_ptr(),
            inout("rdx") answer,
            inout("rdi") 0_usize => _,
            options(nostack),
        );
    }
    answer != 0
}

/// Calls a function with another thread pointer, and restores this thread's.
///
/// # Safety
///
/// The pointer is the thread pointer of a block that exists and that nothing else uses during the call. The
/// function may be called with the argument.
#[inline]
pub(crate) unsafe fn call_on(pointer: usize, f: unsafe extern "C" fn(*mut ()), argument: *mut ()) {
    // SAFETY: `check` has found the instruction permitted. The function keeps r12, as every function does, so
    // the own pointer is restored; it does not unwind, being of the "C" ABI. To the compiler the pointer did
    // not change. All else is the caller's promise.
    unsafe {
        asm!(
            "wrfsbase {pointer}",
            "call {f}",
            "wrfsbase r12",
            pointer = in(reg) pointer,
            f = in(reg) f,
            in("rdi") argument,
            in("r12") thread_pointer(),
            clobber_abi("C"),
        );
    }
}
