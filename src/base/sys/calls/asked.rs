//! The calls, with the signatures of libc: each asks the thread's world first, or else the process's faults.
//! The contract of each is libc's.

use super::faults::{self, Refusable};
use super::kernel;
use super::world::{Answer, Call, OutValue, world};
use libc::{c_int, c_uint, c_void, iovec, msghdr, off_t, sockaddr, socklen_t, ssize_t};
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::ptr;
use std::slice;

/// The number is about to be closed.
pub(crate) fn closing(fd: RawFd) {
    match world() {
        Some(world) => world.closing(fd),
        None => faults::closing(fd),
    }
}

/// The addresses of the host with that name; `None` if the system has to be asked.
pub(crate) fn addresses_of(name: &str) -> Option<io::Result<Vec<IpAddr>>> {
    world().map(|world| world.addresses_of(name))
}

fn ask(call: &mut Call<'_>) -> Answer {
    match world() {
        Some(world) => world.call(call),
        None => faults::call(call),
    }
}

/// A type that a call returns.
pub(crate) trait Returned {
    fn from_isize(value: isize) -> Self;
}

impl Returned for c_int {
    fn from_isize(value: isize) -> c_int {
        value as c_int
    }
}

impl Returned for ssize_t {
    fn from_isize(value: isize) -> ssize_t {
        value
    }
}

fn answered<R: Returned>(call: &mut Call<'_>, by_kernel: impl FnOnce(Option<usize>) -> R) -> R {
    match ask(call) {
        Answer::Kernel => by_kernel(None),
        Answer::Short(limit) => by_kernel(Some(limit)),
        Answer::Is(value) => R::from_isize(value),
        Answer::Fails(errno) => {
            set_errno(errno);
            R::from_isize(-1)
        }
    }
}

fn set_errno(errno: c_int) {
    // SAFETY: the thread's own variable.
    unsafe { *libc::__errno_location() = errno };
}

/// The process's faults are asked for calls of that kind. A simulated thread has none.
fn refused(call: Refusable) -> Option<c_int> {
    if world().is_some() { None } else { faults::refused(call) }
}

fn unless_refused<R: Returned>(call: Refusable, by_kernel: impl FnOnce() -> R) -> R {
    match refused(call) {
        None => by_kernel(),
        Some(errno) => {
            set_errno(errno);
            R::from_isize(-1)
        }
    }
}

/// Makes a call that older kernels do not have.
pub(crate) fn newer<R: Returned>(by_kernel: impl FnOnce() -> R) -> R {
    unless_refused(Refusable::Newer, by_kernel)
}

/// The crate is about to start a thread.
pub(crate) fn before_thread() -> io::Result<()> {
    refused(Refusable::Thread).map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
}

pub(crate) unsafe fn mmap(
    at: *mut c_void,
    len: usize,
    access: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    match refused(Refusable::Memory) {
        // SAFETY: as the caller says.
        None => unsafe { kernel::mmap(at, len, access, flags, fd, offset) },
        Some(errno) => {
            set_errno(errno);
            libc::MAP_FAILED
        }
    }
}

pub(crate) unsafe fn mprotect(at: *mut c_void, len: usize, access: c_int) -> c_int {
    // SAFETY: as the caller says.
    unless_refused(Refusable::Memory, || unsafe { kernel::mprotect(at, len, access) })
}

pub(crate) unsafe fn madvise(at: *mut c_void, len: usize, advice: c_int) -> c_int {
    // SAFETY: as the caller says.
    unless_refused(Refusable::Advice, || unsafe { kernel::madvise(at, len, advice) })
}

pub(crate) unsafe fn epoll_create1(flags: c_int) -> c_int {
    // SAFETY: the call takes no pointers.
    unless_refused(Refusable::Poller, || unsafe { kernel::epoll_create1(flags) })
}

pub(crate) unsafe fn eventfd(count: c_uint, flags: c_int) -> c_int {
    // SAFETY: the call takes no pointers.
    unless_refused(Refusable::Poller, || unsafe { kernel::eventfd(count, flags) })
}

/// The first buffers, which together have that many bytes at most. A first buffer that is longer is cut into
/// `cut`.
fn first_of<'a>(buffers: &'a [iovec], limit: Option<usize>, cut: &'a mut [iovec; 1]) -> &'a [iovec] {
    let Some(limit) = limit else { return buffers };
    let mut sum = 0usize;
    let whole = buffers.iter().take_while(|buffer| {
        sum = sum.saturating_add(buffer.iov_len);
        sum <= limit
    });
    match whole.count() {
        0 if !buffers.is_empty() => {
            cut[0] = iovec { iov_base: buffers[0].iov_base, iov_len: limit };
            cut
        }
        count => &buffers[..count],
    }
}

const NOTHING: [iovec; 1] = [iovec { iov_base: ptr::null_mut(), iov_len: 0 }];

/// Buffers of a call.
///
/// # Safety
///
/// There are `count` of them, and they live for as long as the result is used.
unsafe fn buffers<'a>(at: *const iovec, count: usize) -> &'a [iovec] {
    match count {
        0 => &[],
        // SAFETY: as the caller says.
        count => unsafe { slice::from_raw_parts(at, count) },
    }
}

/// Bytes of a call.
///
/// # Safety
///
/// There are `len` of them, and they live for as long as the result is used.
unsafe fn bytes<'a>(at: *const c_void, len: socklen_t) -> &'a [u8] {
    // SAFETY: as the caller says.
    unsafe { slice::from_raw_parts(at.cast(), len as usize) }
}

fn out_value(at: *mut c_void, len: *mut socklen_t) -> Option<OutValue> {
    (!at.is_null()).then_some(OutValue { at: at.cast(), len })
}

pub(crate) unsafe fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: the call takes no pointers.
    answered(&mut Call::Socket { family, kind }, |_| unsafe { kernel::socket(family, kind, protocol) })
}

pub(crate) unsafe fn socketpair(family: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int {
    // SAFETY: libc's contract: there is room for two.
    let mut call = Call::SocketPair { family, kind, fds: unsafe { &mut *fds.cast() } };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::socketpair(family, kind, protocol, fds) })
}

pub(crate) unsafe fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: libc's contract.
    let mut call = Call::Bind { fd, address: unsafe { bytes(address.cast(), len) } };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::bind(fd, address, len) })
}

pub(crate) unsafe fn listen(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: the call takes no pointers.
    answered(&mut Call::Listen { fd, backlog }, |_| unsafe { kernel::listen(fd, backlog) })
}

pub(crate) unsafe fn accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int {
    let mut call = Call::Accept { fd, address: out_value(address.cast(), len), flags };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::accept4(fd, address, len, flags) })
}

pub(crate) unsafe fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: libc's contract.
    let mut call = Call::Connect { fd, address: unsafe { bytes(address.cast(), len) } };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::connect(fd, address, len) })
}

pub(crate) unsafe fn recv(fd: RawFd, buf: *mut c_void, len: usize, flags: c_int) -> ssize_t {
    let buffers = [iovec { iov_base: buf, iov_len: len }];
    let mut call = Call::Receive { fd, buffers: &buffers, flags, sender: None };
    // SAFETY: as the caller says; a smaller count needs less room.
    answered(&mut call, |limit| unsafe { kernel::recv(fd, buf, len.min(limit.unwrap_or(len)), flags) })
}

pub(crate) unsafe fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    address: *mut sockaddr,
    address_len: *mut socklen_t,
) -> ssize_t {
    let buffers = [iovec { iov_base: buf, iov_len: len }];
    let sender = out_value(address.cast(), address_len);
    let mut call = Call::Receive { fd, buffers: &buffers, flags, sender };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::recvfrom(fd, buf, len, flags, address, address_len) })
}

pub(crate) unsafe fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: libc's contract.
    let mut asked = unsafe { *message };
    // SAFETY: likewise.
    let all = unsafe { buffers(asked.msg_iov, asked.msg_iovlen) };
    let mut call = Call::Receive { fd, buffers: all, flags, sender: None };
    answered(&mut call, |limit| {
        let mut cut = NOTHING;
        let first = first_of(all, limit, &mut cut);
        (asked.msg_iov, asked.msg_iovlen) = (first.as_ptr().cast_mut(), first.len());
        // SAFETY: as the caller says; these are the first of its buffers.
        let received = unsafe { kernel::recvmsg(fd, &raw mut asked, flags) };
        // SAFETY: likewise. The buffers of the caller's message stay what they were.
        unsafe {
            (*message).msg_namelen = asked.msg_namelen;
            (*message).msg_controllen = asked.msg_controllen;
            (*message).msg_flags = asked.msg_flags;
        }
        received
    })
}

pub(crate) unsafe fn send(fd: RawFd, buf: *const c_void, len: usize, flags: c_int) -> ssize_t {
    let buffers = [iovec { iov_base: buf.cast_mut(), iov_len: len }];
    let mut call = Call::Send { fd, buffers: &buffers, flags, to: None };
    // SAFETY: as the caller says; a smaller count needs fewer bytes.
    answered(&mut call, |limit| unsafe { kernel::send(fd, buf, len.min(limit.unwrap_or(len)), flags) })
}

pub(crate) unsafe fn sendto(
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
    address: *const sockaddr,
    address_len: socklen_t,
) -> ssize_t {
    let buffers = [iovec { iov_base: buf.cast_mut(), iov_len: len }];
    // SAFETY: libc's contract.
    let to = (!address.is_null()).then(|| unsafe { bytes(address.cast(), address_len) });
    let mut call = Call::Send { fd, buffers: &buffers, flags, to };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::sendto(fd, buf, len, flags, address, address_len) })
}

pub(crate) unsafe fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: libc's contract.
    let mut asked = unsafe { *message };
    // SAFETY: likewise.
    let all = unsafe { buffers(asked.msg_iov, asked.msg_iovlen) };
    let mut call = Call::Send { fd, buffers: all, flags, to: None };
    answered(&mut call, |limit| {
        let mut cut = NOTHING;
        let first = first_of(all, limit, &mut cut);
        (asked.msg_iov, asked.msg_iovlen) = (first.as_ptr().cast_mut(), first.len());
        // SAFETY: as the caller says; these are the first of its buffers.
        unsafe { kernel::sendmsg(fd, &raw const asked, flags) }
    })
}

pub(crate) unsafe fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let mut call = Call::Option { fd, level, name, value: OutValue { at: value.cast(), len } };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::getsockopt(fd, level, name, value, len) })
}

pub(crate) unsafe fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: libc's contract.
    let mut call = Call::SetOption { fd, level, name, value: unsafe { bytes(value, len) } };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::setsockopt(fd, level, name, value, len) })
}

/// Also passed on as a function pointer, in the place of libc's.
pub(crate) unsafe extern "C" fn getsockname(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    let mut call = Call::Name { fd, address: OutValue { at: address.cast(), len } };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::getsockname(fd, address, len) })
}

/// Also passed on as a function pointer, in the place of libc's.
pub(crate) unsafe extern "C" fn getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    let mut call = Call::PeerName { fd, address: OutValue { at: address.cast(), len } };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::getpeername(fd, address, len) })
}

pub(crate) unsafe fn shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: the call takes no pointers.
    answered(&mut Call::Shutdown { fd, how }, |_| unsafe { kernel::shutdown(fd, how) })
}

pub(crate) unsafe fn read(fd: c_int, buf: *mut c_void, len: usize) -> ssize_t {
    let buffers = [iovec { iov_base: buf, iov_len: len }];
    let mut call = Call::Read { fd, buffers: &buffers };
    // SAFETY: as the caller says; a smaller count needs less room.
    answered(&mut call, |limit| unsafe { kernel::read(fd, buf, len.min(limit.unwrap_or(len))) })
}

pub(crate) unsafe fn write(fd: c_int, buf: *const c_void, len: usize) -> ssize_t {
    let buffers = [iovec { iov_base: buf.cast_mut(), iov_len: len }];
    let mut call = Call::Write { fd, buffers: &buffers };
    // SAFETY: as the caller says; a smaller count needs fewer bytes.
    answered(&mut call, |limit| unsafe { kernel::write(fd, buf, len.min(limit.unwrap_or(len))) })
}

pub(crate) unsafe fn readv(fd: c_int, at: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: libc's contract.
    let all = unsafe { buffers(at, count as usize) };
    answered(&mut Call::Read { fd, buffers: all }, |limit| {
        let mut cut = NOTHING;
        let first = first_of(all, limit, &mut cut);
        // SAFETY: as the caller says; these are the first of its buffers.
        unsafe { kernel::readv(fd, first.as_ptr(), first.len() as c_int) }
    })
}

pub(crate) unsafe fn writev(fd: c_int, at: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: libc's contract.
    let all = unsafe { buffers(at, count as usize) };
    answered(&mut Call::Write { fd, buffers: all }, |limit| {
        let mut cut = NOTHING;
        let first = first_of(all, limit, &mut cut);
        // SAFETY: as the caller says; these are the first of its buffers.
        unsafe { kernel::writev(fd, first.as_ptr(), first.len() as c_int) }
    })
}

pub(crate) unsafe fn ppoll(
    entries: *mut libc::pollfd,
    count: libc::nfds_t,
    limit: *const libc::timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    let all: &mut [libc::pollfd] = match count {
        0 => &mut [],
        // SAFETY: libc's contract.
        count => unsafe { slice::from_raw_parts_mut(entries, count as usize) },
    };
    // SAFETY: libc's contract: it is null or valid.
    let nanos = unsafe { limit.as_ref() }.map(|limit| {
        let seconds = u64::try_from(limit.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(limit.tv_nsec as u64)
    });
    let mut call = Call::Poll { entries: all, limit_nanos: nanos };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::ppoll(entries, count, limit, mask) })
}

pub(crate) unsafe fn epoll_ctl(
    epoll: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut libc::epoll_event,
) -> c_int {
    // SAFETY: libc's contract.
    let mut call = Call::Watch { epoll, operation, fd, event: unsafe { *event } };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::epoll_ctl(epoll, operation, fd, event) })
}

pub(crate) unsafe fn epoll_wait(
    epoll: c_int,
    events: *mut libc::epoll_event,
    capacity: c_int,
    limit: c_int,
) -> c_int {
    // SAFETY: libc's contract.
    let mut call = unsafe { wait(epoll, events, capacity, false) };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::epoll_wait(epoll, events, capacity, limit) })
}

pub(crate) unsafe fn epoll_pwait2(
    epoll: c_int,
    events: *mut libc::epoll_event,
    capacity: c_int,
    limit: *const libc::timespec,
) -> c_int {
    // SAFETY: libc's contract.
    let mut call = unsafe { wait(epoll, events, capacity, true) };
    // SAFETY: as the caller says.
    answered(&mut call, |_| unsafe { kernel::epoll_pwait2(epoll, events, capacity, limit) })
}

/// # Safety
///
/// There is room for `capacity` events, which are initialized.
unsafe fn wait<'a>(epoll: c_int, events: *mut libc::epoll_event, capacity: c_int, precise: bool) -> Call<'a> {
    // SAFETY: as the caller says.
    Call::Wait { epoll, events: unsafe { slice::from_raw_parts_mut(events, capacity as usize) }, precise }
}
