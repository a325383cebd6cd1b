//! Linux with glibc. System calls are made without the C library, whose functions set `errno`.
//!
//! Of glibc three facts are used, all of them part of its interface or the kernel's: the symbols by which it
//! shows a thread's rseq area, the handler for signal 33 as the kernel reports it, and that `errno` is at
//! `__errno_location()`. Any version will do.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod rseq;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as arch;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

use arch::syscall;
pub(crate) use arch::{call_on, guards, publish_and_wait, thread_pointer};
#[cfg(test)]
pub(crate) use rseq::no_rseq;
pub(crate) use rseq::{leave_rseq, leave_rseq_of, occupy_rseq};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// glibc's signal for `setuid` and its kin.
const SETXID: i32 = 33;
/// The bytes of the kernel's signal sets.
const SIGNAL_SET: usize = size_of::<u64>();

pub(crate) fn check() -> Result<(), &'static str> {
    // SAFETY: the name ends with a null byte.
    let version = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"gnu_get_libc_version".as_ptr()) };
    if version.is_null() {
        return Err("the C library is not glibc, or is linked statically");
    }
    arch::check()
}

pub(crate) fn swap_errno(value: i32) -> i32 {
    // SAFETY: the address is that of the calling thread's variable.
    unsafe { ptr::replace(libc::__errno_location(), value) }
}

/// Waits until the word is woken, if it has that value. May return at any time.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32) {
    let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the word exists until the call returns.
    unsafe {
        syscall(libc::SYS_futex, [word.as_ptr().expose_provenance(), operation, value as usize, 0, 0, 0])
    };
}

/// Wakes all threads that wait for the word.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let operation = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel uses the address only to find threads.
    unsafe {
        syscall(libc::SYS_futex, [word.as_ptr().expose_provenance(), operation, i32::MAX as usize, 0, 0, 0])
    };
}

pub(crate) fn thread_id() -> i32 {
    // SAFETY: the call has no conditions.
    unsafe { syscall(libc::SYS_gettid, [0; 6]) as i32 }
}

fn set_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    let arguments = [
        libc::SIG_SETMASK as usize,
        (&raw const mask).expose_provenance(),
        (&raw mut before).expose_provenance(),
        SIGNAL_SET,
        0,
        0,
    ];
    // SAFETY: both variables have the size of a signal set.
    unsafe { syscall(libc::SYS_rt_sigprocmask, arguments) };
    before
}

/// Blocks all signals of the calling thread but the C library's for `setuid`. Returns what was blocked
/// before.
pub(crate) fn block_signals() -> u64 {
    set_mask(!(1 << (SETXID - 1)))
}

pub(crate) fn restore_signals(mask: u64) {
    set_mask(mask);
}

/// Stores the address of the C library's handler and replaces it. Returns false if there is none with three
/// arguments, or if the kernel refuses.
pub(crate) fn wrap_setxid(
    handler: unsafe extern "C" fn(libc::c_int, *mut libc::c_void, *mut libc::c_void),
    previous: &AtomicUsize,
) -> bool {
    /// The kernel's `struct sigaction`.
    #[repr(C)]
    struct Action {
        handler: usize,
        flags: usize,
        restorer: usize,
        mask: u64,
    }
    let mut action = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    let at = (&raw mut action).expose_provenance();
    // SAFETY: the kernel writes to the variable.
    let found = unsafe { syscall(libc::SYS_rt_sigaction, [SETXID as usize, 0, at, SIGNAL_SET, 0, 0]) };
    let has_handler = ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.handler);
    if found != 0 || !has_handler || action.flags & libc::SA_SIGINFO as usize == 0 {
        return false;
    }
    previous.store(action.handler, Ordering::Relaxed);
    let wrapped = Action { handler: handler as *const () as usize, ..action };
    let at = (&raw const wrapped).expose_provenance();
    // SAFETY: the kernel reads the variable. The handler calls nothing that a signal handler must not.
    unsafe { syscall(libc::SYS_rt_sigaction, [SETXID as usize, at, 0, SIGNAL_SET, 0, 0]) == 0 }
}

/// Whether the calling thread has sent itself the signal of `setuid` that it is handling: the interrupted
/// call is a `tgkill` of this thread with that signal. The kernel delivers a signal that a thread sends
/// itself when that call returns, with the call's arguments in their registers.
///
/// # Safety
///
/// The context is the third argument of the signal's handler.
pub(crate) unsafe fn has_signalled_itself(context: *mut libc::c_void) -> bool {
    // SAFETY: as the caller says.
    let [thread, signal] = unsafe { arch::last_arguments(&*context.cast::<libc::ucontext_t>()) };
    thread == thread_id() as u64 && signal == SETXID as u64
}

fn triple(number: libc::c_long) -> [u32; 3] {
    let mut ids = [0_u32; 3];
    let [a, b, c] = ids.each_mut().map(|id| ptr::from_mut(id).expose_provenance());
    // SAFETY: the kernel writes a number to each of the three.
    unsafe { syscall(number, [a, b, c, 0, 0, 0]) };
    ids
}

fn set_triple(number: libc::c_long, [a, b, c]: [u32; 3]) -> bool {
    // SAFETY: the call takes numbers.
    unsafe { syscall(number, [a as usize, b as usize, c as usize, 0, 0, 0]) == 0 }
}

/// The real, effective and saved user of the calling kernel thread.
pub(crate) fn users() -> [u32; 3] {
    triple(libc::SYS_getresuid)
}

/// The same of its group.
pub(crate) fn group() -> [u32; 3] {
    triple(libc::SYS_getresgid)
}

/// The number of its supplementary groups, which are written to the buffer.
pub(crate) fn groups(buffer: &mut [u32]) -> Option<usize> {
    // SAFETY: the kernel writes to the buffer, whose length it gets.
    let count = unsafe {
        syscall(libc::SYS_getgroups, [buffer.len(), buffer.as_mut_ptr().expose_provenance(), 0, 0, 0, 0])
    };
    usize::try_from(count).ok()
}

pub(crate) fn set_users(users: [u32; 3]) -> bool {
    set_triple(libc::SYS_setresuid, users)
}

pub(crate) fn set_group(group: [u32; 3]) -> bool {
    set_triple(libc::SYS_setresgid, group)
}

pub(crate) fn set_groups(groups: &[u32]) -> bool {
    // SAFETY: the kernel reads the list, whose length it gets.
    unsafe {
        syscall(libc::SYS_setgroups, [groups.len(), groups.as_ptr().expose_provenance(), 0, 0, 0, 0]) == 0
    }
}

/// Fresh memory, zeroed.
pub(crate) fn map(bytes: usize) -> Option<*mut libc::c_void> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    // SAFETY: a mapping at an address of the kernel's choice.
    let address = unsafe { syscall(libc::SYS_mmap, [0, bytes, protection, flags, usize::MAX, 0]) };
    (address > 0).then(|| ptr::with_exposed_provenance_mut(address as usize))
}

/// Frees what `map` has returned for as many bytes.
pub(crate) fn unmap(memory: *mut libc::c_void, bytes: usize) {
    // SAFETY: the caller has mapped it and uses it no more.
    unsafe { syscall(libc::SYS_munmap, [memory.expose_provenance(), bytes, 0, 0, 0, 0]) };
}
