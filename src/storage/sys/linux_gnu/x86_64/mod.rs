//! x86-64: the thread pointer is the base of the segment register `fs`. The word there is the pointer itself,
//! as the ABI demands, so a load reads it.
//!
//! - `pointer`: that load.
//! - `instruction`: `wrfsbase` sets it, if the kernel permits that instruction.
//! - `system_call`: the system call `arch_prctl` sets it, some hundred nanoseconds slower. Chosen by
//!   `--cfg sward_valgrind`, so that valgrind, which has no `wrfsbase`, can count the instructions of mobile
//!   homes. The counts differ by what stands in `call_on`.

#[cfg(not(sward_valgrind))]
mod instruction;
mod pointer;
#[cfg(sward_valgrind)]
mod system_call;

#[cfg(not(sward_valgrind))]
use instruction as set;
#[cfg(sward_valgrind)]
use system_call as set;

pub(crate) use pointer::thread_pointer;
pub(crate) use set::call_on;
use std::arch::asm;
use std::sync::atomic::AtomicU32;

/// The word that a program passes with each of its rseq areas.
pub(super) const RSEQ_SIGNATURE: u32 = 0x5305_3053;

/// `ARCH_SHSTK_STATUS`, and the bit that says that the calling thread has a shadow stack.
const SHADOW_STACK_STATUS: usize = 0x5005;
const SHADOW_STACK: u64 = 1;

pub(super) fn check() -> Result<(), &'static str> {
    set::check()?;
    let mut features = 0_u64;
    // SAFETY: the kernel writes the features to the variable, or fails.
    let status = unsafe {
        syscall(
            libc::SYS_arch_prctl,
            [SHADOW_STACK_STATUS, (&raw mut features).expose_provenance(), 0, 0, 0, 0],
        )
    };
    if status == 0 && features & SHADOW_STACK != 0 {
        return Err("the processor checks returns with a shadow stack, which does not move with a coroutine");
    }
    Ok(())
}

/// Stores the value in the word, wakes all threads that wait for the word, and waits until it has another
/// value, which is returned.
///
/// One block of assembly: to a function, even of Rust, compilers and sanitizers may add uses of
/// thread-locals.
pub(crate) fn publish_and_wait(word: &AtomicU32, value: u32) -> u32 {
    let found: u32;
    // SAFETY: the word exists until the function returns. The kernel changes no registers but these. Stores
    // and loads of this processor are releases and acquires.
    unsafe {
        asm!(
            "mov dword ptr [{word}], {value:e}",
            "mov eax, {futex}",
            "mov rdi, {word}",
            "mov esi, {wake}",
            "mov edx, 0x7fffffff",
            "syscall",
            "2:",
            "mov eax, dword ptr [{word}]",
            "cmp eax, {value:e}",
            "jne 3f",
            "mov eax, {futex}",
            "mov rdi, {word}",
            "mov esi, {wait}",
            "mov edx, {value:e}",
            "xor r10d, r10d",
            "syscall",
            "jmp 2b",
            "3:",
            futex = const libc::SYS_futex,
            wake = const libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            wait = const libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            word = in(reg) word.as_ptr(),
            value = in(reg) value,
            out("eax") found,
            out("rdi") _,
            out("rsi") _,
            out("rdx") _,
            out("r10") _,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    found
}

/// The canary that compilers put on stacks, and the key with which the C library disguises code addresses:
/// the ABI has them at fixed places of the block.
pub(crate) fn guards() -> [usize; 2] {
    let (canary, key): (usize, usize);
    // SAFETY: in every thread both words are readable.
    unsafe {
        asm!(
            "mov {canary}, fs:0x28",
            "mov {key}, fs:0x30",
            canary = out(reg) canary,
            key = out(reg) key,
            options(readonly, nostack, preserves_flags),
        );
    }
    [canary, key]
}

/// The second and the third argument of the system call that a signal has interrupted, if it was one.
pub(super) fn last_arguments(context: &libc::ucontext_t) -> [u64; 2] {
    [libc::REG_RSI, libc::REG_RDX].map(|at| context.uc_mcontext.gregs[at as usize] as u64)
}

/// A system call. Returns its value, or the negative error number.
///
/// # Safety
///
/// As the system call demands.
pub(super) unsafe fn syscall(number: libc::c_long, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel changes no registers but these. All else is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
