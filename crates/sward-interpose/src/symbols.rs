//! The symbols that take the place of the C library's.
//!
//! Outside of a scope each is the real call. glibc's names for programs that are built with
//! `_FORTIFY_SOURCE` are among them. Not among them: `pread` and `pwrite`, which work on files alone;
//! `recvmmsg` and `sendmmsg`, `splice` and `sendfile`, and `epoll_wait`, which event loops use.
//!
//! # Safety
//!
//! Each function has the contract of the function that it replaces, and passes it on to whatever it calls.
#![allow(clippy::missing_safety_doc, clippy::undocumented_unsafe_blocks)]

use crate::connections;
use crate::polling;
use crate::real;
use crate::scope::{Scope, scope};
use crate::transfer::{self, Parts};
use crate::watch::{self, end_waits, end_waits_of};
use libc::{
    addrinfo, c_char, c_int, c_uint, c_void, clockid_t, fd_set, iovec, msghdr, nfds_t, pid_t, pollfd,
    sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec, timeval, useconds_t,
};
use std::ptr;
use std::time::Duration;

/// How many parts a transfer may have. With others the real call fails.
const PARTS: std::ops::RangeInclusive<c_int> = 1..=libc::UIO_MAXIOV;

/// How many bytes the kernel transfers in one call at most.
const MOST_BYTES: size_t = 0x7fff_f000;

fn part(buf: *const c_void, len: size_t) -> iovec {
    iovec { iov_base: buf.cast_mut(), iov_len: len.min(MOST_BYTES) }
}

/// The scope, if a call of a socket with these flags may wait.
#[inline]
fn scope_for(flags: c_int) -> Option<Scope> {
    if transfer::may_wait(flags) { scope() } else { None }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    let Some(scope) = scope_for(flags) else { return unsafe { real::recv(fd, buf, len, flags) } };
    scope.call_on(Some(fd), |scope| unsafe {
        transfer::recvfrom(scope, fd, part(buf, len), flags, ptr::null_mut(), ptr::null_mut())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    size: *mut socklen_t,
) -> ssize_t {
    let Some(scope) = scope_for(flags) else {
        return unsafe { real::recvfrom(fd, buf, len, flags, from, size) };
    };
    scope.call_on(Some(fd), |scope| unsafe {
        transfer::recvfrom(scope, fd, part(buf, len), flags, from, size)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    let Some(scope) = scope_for(flags) else { return unsafe { real::recvmsg(fd, message, flags) } };
    scope.call_on(Some(fd), |scope| unsafe { transfer::recvmsg(scope, fd, message, flags) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    let Some(scope) = scope_for(flags) else { return unsafe { real::send(fd, buf, len, flags) } };
    scope.call_on(Some(fd), |scope| unsafe {
        transfer::sendto(scope, fd, part(buf, len), flags, ptr::null(), 0)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendto(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    to: *const sockaddr,
    size: socklen_t,
) -> ssize_t {
    let Some(scope) = scope_for(flags) else {
        return unsafe { real::sendto(fd, buf, len, flags, to, size) };
    };
    scope.call_on(Some(fd), |scope| unsafe { transfer::sendto(scope, fd, part(buf, len), flags, to, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let Some(scope) = scope_for(flags) else { return unsafe { real::sendmsg(fd, message, flags) } };
    scope.call_on(Some(fd), |scope| unsafe { transfer::sendmsg(scope, fd, message, flags) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    let real = || unsafe { real::read(fd, buf, len) };
    // A read of nothing does not block, but a receive of nothing may.
    let Some(scope) = scope().filter(|_| len > 0) else { return real() };
    scope.call_on(Some(fd), |scope| unsafe { transfer::read(scope, fd, Parts::of(&part(buf, len)), real) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let real = || unsafe { real::readv(fd, parts, count) };
    let Some(scope) = scope().filter(|_| PARTS.contains(&count)) else { return real() };
    scope.call_on(Some(fd), |scope| unsafe { transfer::read(scope, fd, Parts::new(parts, count), real) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    let real = || unsafe { real::write(fd, buf, len) };
    let Some(scope) = scope() else { return real() };
    scope.call_on(Some(fd), |scope| unsafe { transfer::write(scope, fd, Parts::of(&part(buf, len)), real) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let real = || unsafe { real::writev(fd, parts, count) };
    let Some(scope) = scope().filter(|_| PARTS.contains(&count)) else { return real() };
    scope.call_on(Some(fd), |scope| unsafe { transfer::write(scope, fd, Parts::new(parts, count), real) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept(fd: c_int, from: *mut sockaddr, size: *mut socklen_t) -> c_int {
    let real = || unsafe { real::accept(fd, from, size) };
    scope().map_or_else(real, |scope| scope.call_on(Some(fd), |scope| connections::accept(scope, fd, real)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(fd: c_int, from: *mut sockaddr, size: *mut socklen_t, flags: c_int) -> c_int {
    let real = || unsafe { real::accept4(fd, from, size, flags) };
    scope().map_or_else(real, |scope| scope.call_on(Some(fd), |scope| connections::accept(scope, fd, real)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, to: *const sockaddr, size: socklen_t) -> c_int {
    let real = || unsafe { real::connect(fd, to, size) };
    scope().map_or_else(real, |scope| scope.call_on(Some(fd), |scope| connections::connect(scope, fd, real)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn poll(entries: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    let scope = if timeout == 0 { None } else { scope() };
    let Some(scope) = scope else { return unsafe { real::poll(entries, count, timeout) } };
    let limit = u64::try_from(timeout).ok().map(Duration::from_millis);
    scope.call_on(None, |scope| unsafe { polling::poll(scope, entries, count, limit) })
}

/// The time; `None` if the kernel would refuse it.
fn time(time: &timespec) -> Option<Duration> {
    let nanos = u32::try_from(time.tv_nsec).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanos))
}

/// The limit: `Some(None)` for a null pointer, `None` if the kernel would refuse it.
unsafe fn limit(at: *const timespec) -> Option<Option<Duration>> {
    match unsafe { at.as_ref() } {
        None => Some(None),
        Some(limit) => time(limit).map(Some),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ppoll(
    entries: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let limit = unsafe { limit(timeout) };
    // The mask is the thread's, so it cannot stay over a wait of a coroutine.
    let waits = mask.is_null() && limit != Some(Some(Duration::ZERO));
    match (if waits { scope() } else { None }, limit) {
        (Some(scope), Some(limit)) => {
            scope.call_on(None, |scope| unsafe { polling::poll(scope, entries, count, limit) })
        }
        _ => unsafe { real::ppoll(entries, count, timeout, mask) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn select(
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    others: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    let real = || unsafe { real::select(count, reads, writes, others, timeout) };
    let Some((scope, count)) = scope().zip(polling::selected(count)) else { return real() };
    let Some(given) = (unsafe { timeout.as_mut() }) else {
        return scope
            .call_on(None, |scope| unsafe { polling::select(scope, count, reads, writes, others, None) });
    };
    let (Ok(seconds), Ok(micros)) = (u64::try_from(given.tv_sec), u64::try_from(given.tv_usec)) else {
        return real();
    };
    let limit = Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros));
    let begun = std::time::Instant::now();
    let answer = scope
        .call_on(None, |scope| unsafe { polling::select(scope, count, reads, writes, others, Some(limit)) });
    // As Linux does.
    let left = if answer == 0 { Duration::ZERO } else { limit.saturating_sub(begun.elapsed()) };
    given.tv_sec = left.as_secs() as _;
    given.tv_usec = left.subsec_micros().into();
    answer
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pselect(
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    others: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let scope = if mask.is_null() { scope() } else { None };
    match (scope.zip(polling::selected(count)), unsafe { limit(timeout) }) {
        (Some((scope, count)), Some(limit)) => scope
            .call_on(None, |scope| unsafe { polling::select(scope, count, reads, writes, others, limit) }),
        _ => unsafe { real::pselect(count, reads, writes, others, timeout, mask) },
    }
}

/// Parks for that time. A cancellation or a time limit ends it early, and the call returns 0 all the same:
/// its callers know no error but `EINTR`, and sleep on after that.
fn doze(scope: Scope, time: Duration) {
    scope.call_on(None, |_| {
        watch::sleep(time);
        0
    });
}

/// As `doze`, until that clock shows that time.
fn doze_until(scope: Scope, clock: clockid_t, until: Duration) {
    scope.call_on(None, |_| {
        loop {
            let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
            unsafe { libc::clock_gettime(clock, &raw mut now) };
            let left = until.saturating_sub(time(&now).unwrap_or(until));
            // In steps, as the clock may be set meanwhile.
            if left.is_zero() || !watch::sleep(left.min(Duration::from_secs(1))) {
                return 0;
            }
        }
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(asked: *const timespec, left: *mut timespec) -> c_int {
    match scope().zip(unsafe { asked.as_ref() }.and_then(time)) {
        Some((scope, time)) => doze(scope, time),
        None => return unsafe { real::nanosleep(asked, left) },
    }
    0
}

/// A clock that goes on while the thread waits.
fn is_of_the_world(clock: clockid_t) -> bool {
    matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME | libc::CLOCK_TAI)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    asked: *const timespec,
    left: *mut timespec,
) -> c_int {
    let scope = if is_of_the_world(clock) { scope() } else { None };
    match scope.zip(unsafe { asked.as_ref() }.and_then(time)) {
        Some((scope, until)) if flags & libc::TIMER_ABSTIME != 0 => doze_until(scope, clock, until),
        Some((scope, time)) => doze(scope, time),
        None => return unsafe { real::clock_nanosleep(clock, flags, asked, left) },
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn usleep(micros: useconds_t) -> c_int {
    let Some(scope) = scope() else { return unsafe { real::usleep(micros) } };
    doze(scope, Duration::from_micros(micros.into()));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sleep(seconds: c_uint) -> c_uint {
    let Some(scope) = scope() else { return unsafe { real::sleep(seconds) } };
    doze(scope, Duration::from_secs(seconds.into()));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn waitpid(child: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    // A pidfd does not report that a child was stopped.
    let simple = child > 0 && options & (libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED) == 0;
    let scope = if simple { scope() } else { None };
    match scope {
        Some(scope) => scope.call(|scope| {
            connections::wait_for_child(scope, child, |more| unsafe {
                real::waitpid(child, status, options | more)
            })
        }),
        None => unsafe { real::waitpid(child, status, options) },
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    end_waits(fd);
    unsafe { real::close(fd) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    if from != to {
        end_waits(to);
    }
    unsafe { real::dup2(from, to) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    if from != to {
        end_waits(to);
    }
    unsafe { real::dup3(from, to, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    if flags == 0 {
        end_waits_of(first, last);
    }
    unsafe { real::close_range(first, last, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    found: *mut *mut addrinfo,
) -> c_int {
    let real = || unsafe { real::getaddrinfo(node, service, hints, found) };
    scope().map_or_else(real, |scope| connections::resolve(&scope, real))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, size: size_t) -> ssize_t {
    if len > size {
        // Ends the process.
        return unsafe { real::__read_chk(fd, buf, len, size) };
    }
    unsafe { read(fd, buf, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    size: size_t,
    flags: c_int,
) -> ssize_t {
    if len > size {
        return unsafe { real::__recv_chk(fd, buf, len, size, flags) };
    }
    unsafe { recv(fd, buf, len, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    size: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_size: *mut socklen_t,
) -> ssize_t {
    if len > size {
        return unsafe { real::__recvfrom_chk(fd, buf, len, size, flags, from, from_size) };
    }
    unsafe { recvfrom(fd, buf, len, flags, from, from_size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __poll_chk(entries: *mut pollfd, count: nfds_t, timeout: c_int, size: size_t) -> c_int {
    if size / size_of::<pollfd>() < count as usize {
        return unsafe { real::__poll_chk(entries, count, timeout, size) };
    }
    unsafe { poll(entries, count, timeout) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __ppoll_chk(
    entries: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    size: size_t,
) -> c_int {
    if size / size_of::<pollfd>() < count as usize {
        return unsafe { real::__ppoll_chk(entries, count, timeout, mask, size) };
    }
    unsafe { ppoll(entries, count, timeout, mask) }
}
