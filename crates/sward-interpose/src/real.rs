//! The C library's own functions, which the overrides hide.
//!
//! They are looked up before `main`. Until then (constructors of libraries may run earlier) a raw system call
//! takes their place, since a look-up allocates, and an allocator may make such calls itself.

use crate::errno::{errno, set_errno};
use libc::{
    SYS_accept4, SYS_clock_nanosleep, SYS_close, SYS_close_range, SYS_connect, SYS_dup3, SYS_nanosleep,
    SYS_ppoll, SYS_pselect6, SYS_read, SYS_readv, SYS_recvfrom, SYS_recvmsg, SYS_sendmsg, SYS_sendto,
    SYS_wait4, SYS_write, SYS_writev, addrinfo, c_char, c_int, c_uint, c_void, clockid_t, fd_set, iovec,
    msghdr, nfds_t, pid_t, pollfd, sigset_t, size_t, sockaddr, socklen_t, ssize_t, syscall, timespec,
    timeval, useconds_t,
};
use std::ffi::CStr;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

macro_rules! real {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $output:ty = $raw:expr;)+) => {
        $(
            /// The function of that name in the C library.
            ///
            /// # Safety
            ///
            /// That of the function.
            #[allow(clippy::too_many_arguments, unused_unsafe)]
            #[inline]
            pub(crate) unsafe fn $name($($argument: $type),*) -> $output {
                let found = slots::$name.load(Ordering::Relaxed);
                if found.is_null() {
                    // SAFETY: the system call that the function makes, and its contract is the caller's.
                    return unsafe { $raw } as $output;
                }
                // SAFETY: the symbol of that name has this type, and its contract is the caller's.
                unsafe {
                    let function = mem::transmute::<
                        *mut c_void,
                        unsafe extern "C" fn($($type),*) -> $output,
                    >(found);
                    function($($argument),*)
                }
            }
        )+

        #[allow(non_upper_case_globals)]
        mod slots {
            use super::{AtomicPtr, c_void, ptr};
            $(pub(super) static $name: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());)+
        }

        fn slots() -> impl Iterator<Item = (&'static CStr, &'static AtomicPtr<c_void>)> {
            [$((concat!(stringify!($name), "\0"), &slots::$name)),+].into_iter().map(|(name, slot)| {
                (CStr::from_bytes_with_nul(name.as_bytes()).expect("one zero, at the end"), slot)
            })
        }
    };
}

real! {
    fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t =
        syscall(SYS_recvfrom, fd, buf, len, flags, 0usize, 0usize);
    fn recvfrom(
        fd: c_int, buf: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr, size: *mut socklen_t
    ) -> ssize_t = syscall(SYS_recvfrom, fd, buf, len, flags, from, size);
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t =
        syscall(SYS_recvmsg, fd, message, flags);
    fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t =
        syscall(SYS_sendto, fd, buf, len, flags, 0usize, 0usize);
    fn sendto(
        fd: c_int, buf: *const c_void, len: size_t, flags: c_int, to: *const sockaddr, size: socklen_t
    ) -> ssize_t = syscall(SYS_sendto, fd, buf, len, flags, to, size);
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t =
        syscall(SYS_sendmsg, fd, message, flags);
    fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t = syscall(SYS_read, fd, buf, len);
    fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t = syscall(SYS_readv, fd, parts, count);
    fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t = syscall(SYS_write, fd, buf, len);
    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t =
        syscall(SYS_writev, fd, parts, count);
    fn accept(fd: c_int, from: *mut sockaddr, size: *mut socklen_t) -> c_int =
        syscall(SYS_accept4, fd, from, size, 0);
    fn accept4(fd: c_int, from: *mut sockaddr, size: *mut socklen_t, flags: c_int) -> c_int =
        syscall(SYS_accept4, fd, from, size, flags);
    fn connect(fd: c_int, to: *const sockaddr, size: socklen_t) -> c_int = syscall(SYS_connect, fd, to, size);
    fn poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int = {
        let mut time = timespec {
            tv_sec: (timeout / 1000).into(),
            tv_nsec: (timeout % 1000 * 1_000_000).into(),
        };
        let limit = if timeout < 0 { ptr::null_mut() } else { &raw mut time };
        syscall(SYS_ppoll, entries, count, limit, 0usize, 8usize)
    };
    fn ppoll(
        entries: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const sigset_t
    ) -> c_int = {
        let mut time = timeout.as_ref().copied();
        let limit = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        syscall(SYS_ppoll, entries, count, limit, mask, 8usize)
    };
    fn select(
        count: c_int, reads: *mut fd_set, writes: *mut fd_set, others: *mut fd_set, timeout: *mut timeval
    ) -> c_int = {
        let mut time = timeout.as_ref().map(|time| timespec {
            tv_sec: time.tv_sec,
            tv_nsec: time.tv_usec.saturating_mul(1000),
        });
        let limit = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        syscall(SYS_pselect6, count, reads, writes, others, limit, 0usize)
    };
    fn pselect(
        count: c_int, reads: *mut fd_set, writes: *mut fd_set, others: *mut fd_set,
        timeout: *const timespec, mask: *const sigset_t
    ) -> c_int = {
        let mut time = timeout.as_ref().copied();
        let limit = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        let mask = [mask.addr(), 8];
        syscall(SYS_pselect6, count, reads, writes, others, limit, &raw const mask)
    };
    fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int = syscall(SYS_nanosleep, time, left);
    fn clock_nanosleep(clock: clockid_t, flags: c_int, time: *const timespec, left: *mut timespec) -> c_int =
        if syscall(SYS_clock_nanosleep, clock, flags, time, left) == 0 { 0 } else { errno() };
    fn usleep(time: useconds_t) -> c_int = {
        let time = timespec {
            tv_sec: (time / 1_000_000).into(),
            tv_nsec: (time % 1_000_000 * 1000).into(),
        };
        syscall(SYS_nanosleep, &raw const time, 0usize)
    };
    fn sleep(seconds: c_uint) -> c_uint = {
        let mut time = timespec { tv_sec: seconds.into(), tv_nsec: 0 };
        if syscall(SYS_nanosleep, &raw const time, &raw mut time) == 0 { 0 } else { time.tv_sec }
    };
    fn waitpid(child: pid_t, status: *mut c_int, options: c_int) -> pid_t =
        syscall(SYS_wait4, child, status, options, 0usize);
    fn close(fd: c_int) -> c_int = syscall(SYS_close, fd);
    fn dup2(from: c_int, to: c_int) -> c_int =
        if from != to {
            syscall(SYS_dup3, from, to, 0) as c_int
        } else if libc::fcntl(from, libc::F_GETFD) < 0 {
            -1
        } else {
            to
        };
    fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int = syscall(SYS_dup3, from, to, flags);
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int =
        syscall(SYS_close_range, first, last, flags);
    fn getaddrinfo(
        node: *const c_char, service: *const c_char, hints: *const addrinfo, found: *mut *mut addrinfo
    ) -> c_int = {
        let _ = (node, service, hints, found);
        set_errno(libc::ENOSYS);
        libc::EAI_SYSTEM
    };
    fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, size: size_t) -> ssize_t =
        read(fd, buf, len.min(size));
    fn __recv_chk(fd: c_int, buf: *mut c_void, len: size_t, size: size_t, flags: c_int) -> ssize_t =
        recv(fd, buf, len.min(size), flags);
    fn __recvfrom_chk(
        fd: c_int, buf: *mut c_void, len: size_t, size: size_t, flags: c_int, from: *mut sockaddr,
        from_size: *mut socklen_t
    ) -> ssize_t = recvfrom(fd, buf, len.min(size), flags, from, from_size);
    fn __poll_chk(entries: *mut pollfd, count: nfds_t, timeout: c_int, size: size_t) -> c_int = {
        let _ = size;
        poll(entries, count, timeout)
    };
    fn __ppoll_chk(
        entries: *mut pollfd, count: nfds_t, timeout: *const timespec, mask: *const sigset_t, size: size_t
    ) -> c_int = {
        let _ = size;
        ppoll(entries, count, timeout, mask)
    };
}

extern "C" fn look_up() {
    for (name, slot) in slots() {
        // SAFETY: the name ends with a zero. glibc allows the call from a constructor.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
        slot.store(found, Ordering::Relaxed);
    }
}

#[used]
// SAFETY: the section holds pointers to functions that the loader calls before `main`.
#[unsafe(link_section = ".init_array")]
static LOOK_UP: extern "C" fn() = look_up;
