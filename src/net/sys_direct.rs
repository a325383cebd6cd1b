//! The two calls of each request, past libc: where a socket call is a system call of its own, which a filter that
//! lets libc's through lets through as well (on 32-bit x86 it may be `socketcall`).
//!
//! glibc's functions are points where a thread can be cancelled. In a process with threads, saying that it can and
//! then that it cannot takes two atomic operations each.

use std::os::fd::RawFd;
use std::ptr;

/// `recv(2)`.
///
/// # Safety
///
/// The buffer has room for `len` bytes.
#[inline(always)]
pub(super) unsafe fn recv(
    fd: RawFd,
    buf: *mut libc::c_void,
    len: usize,
    flags: libc::c_int,
) -> libc::ssize_t {
    let nobody = ptr::null::<libc::c_void>();
    // SAFETY: the buffer is as the caller says; null pointers ask for no address.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, buf, len, flags, nobody, nobody) as libc::ssize_t }
}

/// `send(2)`.
///
/// # Safety
///
/// The buffer has `len` bytes.
#[inline(always)]
pub(super) unsafe fn send(
    fd: RawFd,
    buf: *const libc::c_void,
    len: usize,
    flags: libc::c_int,
) -> libc::ssize_t {
    let nobody = ptr::null::<libc::c_void>();
    // SAFETY: the buffer is as the caller says; a null pointer of length zero is no address.
    unsafe { libc::syscall(libc::SYS_sendto, fd, buf, len, flags, nobody, 0usize) as libc::ssize_t }
}
