//! AArch64: the thread pointer is the register `TPIDR_EL0`, which every program may set.

use std::arch::asm;
use std::sync::atomic::AtomicU32;

/// The word that a program passes with each of its rseq areas.
pub(super) const RSEQ_SIGNATURE: u32 = 0xd428_bc00;

/// `PR_GET_SHADOW_STACK_STATUS`, and the bit that says that the calling thread has a shadow stack.
const SHADOW_STACK_STATUS: usize = 74;
const SHADOW_STACK: u64 = 1;

pub(super) fn check() -> Result<(), &'static str> {
    if on_valgrind() {
        return Err("valgrind runs this program");
    }
    let mut status = 0_u64;
    // SAFETY: the kernel writes the status to the variable, or fails.
    let result = unsafe {
        syscall(libc::SYS_prctl, [SHADOW_STACK_STATUS, (&raw mut status).expose_provenance(), 0, 0, 0, 0])
    };
    if result == 0 && status & SHADOW_STACK != 0 {
        return Err("the processor checks returns with a shadow stack, which does not move with a coroutine");
    }
    Ok(())
}

/// Whether valgrind runs this program. The sequence of instructions changes nothing on a processor; to
/// valgrind it is the request `RUNNING_ON_VALGRIND`.
fn on_valgrind() -> bool {
    let request = [0x1001_usize, 0, 0, 0, 0, 0];
    let mut answer = 0_usize;
    // SAFETY: the rotations add up to 128 bits, and the last instruction is of a register with itself.
    unsafe {
        asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            inout("x3") answer,
            in("x4") request.as_ptr(),
            options(nostack),
        );
    }
    answer != 0
}

#[inline]
pub(crate) fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: it reads a register.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) pointer, options(readonly, nostack, preserves_flags)) };
    pointer
}

/// Calls a function with another thread pointer, and restores this thread's.
///
/// # Safety
///
/// The pointer is the thread pointer of a block that exists and that nothing else uses during the call. The
/// function may be called with the argument.
#[inline]
pub(crate) unsafe fn call_on(pointer: usize, f: unsafe extern "C" fn(*mut ()), argument: *mut ()) {
    // SAFETY: the function keeps x20, as every function does, so the own pointer is restored; it does not
    // unwind, being of the "C" ABI. To the compiler the pointer did not change. All else is the caller's
    // promise.
    unsafe {
        asm!(
            "msr tpidr_el0, {pointer}",
            "blr {f}",
            "msr tpidr_el0, x20",
            pointer = in(reg) pointer,
            f = in(reg) f,
            in("x0") argument,
            in("x20") thread_pointer(),
            clobber_abi("C"),
        );
    }
}

/// Stores the value in the word, wakes all threads that wait for the word, and waits until it has another
/// value, which is returned.
///
/// One block of assembly: to a function, even of Rust, compilers and sanitizers may add uses of
/// thread-locals.
pub(crate) fn publish_and_wait(word: &AtomicU32, value: u32) -> u32 {
    let found: u32;
    // SAFETY: the word exists until the function returns. The kernel changes no register but x0. The store
    // is a release, the load an acquire.
    unsafe {
        asm!(
            "stlr {value:w}, [{word}]",
            "mov x8, {futex}",
            "mov x0, {word}",
            "mov x1, {wake}",
            "mov x2, 0x7fffffff",
            "svc 0",
            "2:",
            "ldar {found:w}, [{word}]",
            "cmp {found:w}, {value:w}",
            "b.ne 3f",
            "mov x0, {word}",
            "mov x1, {wait}",
            "mov w2, {value:w}",
            "mov x3, 0",
            "svc 0",
            "b 2b",
            "3:",
            futex = const libc::SYS_futex,
            wake = const libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            wait = const libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            word = in(reg) word.as_ptr(),
            value = in(reg) value,
            found = out(reg) found,
            out("x0") _,
            out("x1") _,
            out("x2") _,
            out("x3") _,
            out("x8") _,
            options(nostack),
        );
    }
    found
}

/// None: the canary is a variable of the process here, and the C library's key too.
pub(crate) fn guards() -> [usize; 2] {
    [0; 2]
}

/// The second and the third argument of the system call that a signal has interrupted, if it was one.
pub(super) fn last_arguments(context: &libc::ucontext_t) -> [u64; 2] {
    [context.uc_mcontext.regs[1], context.uc_mcontext.regs[2]]
}

/// A system call. Returns its value, or the negative error number.
///
/// # Safety
///
/// As the system call demands.
pub(super) unsafe fn syscall(number: libc::c_long, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel changes no register but the first. All else is the caller's promise.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    result
}
