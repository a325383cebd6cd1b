//! `recv` and `send`, the two calls of each request, made without libc.
//!
//! glibc's functions are cancellation points of the thread. In a process with threads, enabling and disabling
//! that costs two atomic operations a call.
//!
//! Only on 64-bit Linux, where libc makes the same system calls, so a filter that allows libc's calls allows
//! these. On 32-bit x86, libc may use `socketcall`.

use std::os::fd::RawFd;
use std::ptr;

/// `recv(2)`.
///
/// # Safety
///
/// The buffer has room for `len` bytes.
#[inline(always)]
pub(crate) unsafe fn recv(
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
pub(crate) unsafe fn send(
    fd: RawFd,
    buf: *const libc::c_void,
    len: usize,
    flags: libc::c_int,
) -> libc::ssize_t {
    let nobody = ptr::null::<libc::c_void>();
    // SAFETY: the buffer is as the caller says; a null pointer of length zero is no address.
    unsafe { libc::syscall(libc::SYS_sendto, fd, buf, len, flags, nobody, 0usize) as libc::ssize_t }
}
