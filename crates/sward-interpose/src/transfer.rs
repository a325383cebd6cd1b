//! Reading and writing: sockets, pipes, terminals, eventfds.
//!
//! A socket's call is made with `MSG_DONTWAIT`, another file's with `RWF_NOWAIT`. Where a file knows neither,
//! the call is made once `poll(2)` says that it would not block: another reader that is faster in between
//! makes it block. Files, directories and disks are left alone.
//!
//! A blocking call that writes returns once everything is written, so a part that was written is followed by
//! the rest. An error after a part is left to the next call, as the kernel does.

use crate::connections::on_pool;
use crate::errno::{errno, fail, set_errno};
use crate::real;
use crate::scope::Scope;
use crate::watch::{Blocking, is_nonblocking, is_ready, option};
use libc::{
    MSG_DONTWAIT, MSG_ERRQUEUE, MSG_FASTOPEN, MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_WAITALL, c_int, iovec,
    msghdr, ssize_t,
};
use std::ptr;

/// The size up to which a pipe takes a write as a whole; there is room for as much when it is writable.
const PIPE_BUF: usize = libc::PIPE_BUF;

/// Buffers of a caller: either one, or an array. They are read only after the kernel has accepted them.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    first: *const iovec,
    count: c_int,
    /// The one part, if this crate has made it. The caller's array may be anywhere.
    one: Option<iovec>,
}

impl Parts {
    pub(crate) fn new(first: *const iovec, count: c_int) -> Parts {
        Parts { first, count, one: None }
    }

    pub(crate) fn of(part: &iovec) -> Parts {
        Parts { first: part, count: 1, one: Some(*part) }
    }

    /// # Safety
    ///
    /// The kernel has accepted the array.
    unsafe fn as_slice<'a>(self) -> &'a [iovec] {
        match usize::try_from(self.count) {
            Ok(0) | Err(_) => &[],
            // SAFETY: passed on to the caller.
            Ok(count) => unsafe { std::slice::from_raw_parts(self.first, count) },
        }
    }

    /// # Safety
    ///
    /// As `as_slice`.
    unsafe fn len(self) -> usize {
        // SAFETY: passed on to the caller.
        unsafe { self.as_slice() }.iter().map(|part| part.iov_len).fold(0, usize::saturating_add)
    }

    /// What is left after so many bytes, and no more than that.
    ///
    /// # Safety
    ///
    /// As `as_slice`.
    unsafe fn rest(self, mut done: usize, mut most: usize) -> Vec<iovec> {
        let mut rest = Vec::new();
        // SAFETY: passed on to the caller.
        for part in unsafe { self.as_slice() } {
            let skipped = done.min(part.iov_len);
            done -= skipped;
            let len = (part.iov_len - skipped).min(most);
            most -= len;
            if len > 0 {
                rest.push(iovec { iov_base: part.iov_base.wrapping_byte_add(skipped), iov_len: len });
            }
        }
        rest
    }
}

/// The result of a transfer that an error has ended after so many bytes.
fn part_or(done: usize, error: c_int) -> ssize_t {
    if done > 0 { done as ssize_t } else { fail::<ssize_t>(error) }
}

/// Repeats a call of a socket that sends from an offset until all is sent.
fn send_all(
    scope: &Scope,
    fd: c_int,
    len: impl Fn() -> usize,
    mut call: impl FnMut(usize) -> ssize_t,
) -> ssize_t {
    let mut blocking = Blocking::to_write(scope, fd);
    let mut done = 0;
    loop {
        let sent = call(done);
        if sent >= 0 {
            done += sent as usize;
            // A send of nothing, and a part from a non-blocking socket, are the end.
            if sent == 0 || done >= len() || is_nonblocking(fd) {
                return done as ssize_t;
            }
            blocking.made_progress();
            continue;
        }
        let error = errno();
        if error != libc::EAGAIN {
            return part_or(done, error);
        }
        if let Err(error) = blocking.wait() {
            return part_or(done, error);
        }
    }
}

/// The flags of a call after the first one. A closed peer then ends the call without a signal.
fn later(flags: c_int, done: usize) -> c_int {
    if done == 0 { flags | MSG_DONTWAIT } else { (flags | MSG_DONTWAIT | MSG_NOSIGNAL) & !MSG_FASTOPEN }
}

/// # Safety
///
/// That of `sendto(2)`.
pub(crate) unsafe fn sendto(
    scope: &Scope,
    fd: c_int,
    part: iovec,
    flags: c_int,
    to: *const libc::sockaddr,
    size: libc::socklen_t,
) -> ssize_t {
    send_all(
        scope,
        fd,
        || part.iov_len,
        |done| {
            let (to, size) = if done == 0 { (to, size) } else { (ptr::null(), 0) };
            let rest = part.iov_base.wrapping_byte_add(done);
            // SAFETY: of the caller's buffer, what is left.
            unsafe { real::sendto(fd, rest, part.iov_len - done, later(flags, done), to, size) }
        },
    )
}

/// # Safety
///
/// That of `sendmsg(2)`.
pub(crate) unsafe fn sendmsg(scope: &Scope, fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: asked for only once the kernel has accepted the message.
    let parts = || unsafe { Parts::new((*message).msg_iov, (*message).msg_iovlen as c_int) };
    send_all(
        scope,
        fd,
        // SAFETY: as above.
        || unsafe { parts().len() },
        |done| {
            if done == 0 {
                // SAFETY: the caller's message.
                return unsafe { real::sendmsg(fd, message, later(flags, 0)) };
            }
            // SAFETY: as above. What is sent along, such as descriptors, has gone with the first part.
            let mut rest = unsafe { parts().rest(done, usize::MAX) };
            let message = message_of(&mut rest);
            // SAFETY: the message and its parts outlive the call.
            unsafe { real::sendmsg(fd, &raw const message, later(flags, done)) }
        },
    )
}

fn message_of(parts: &mut [iovec]) -> msghdr {
    // SAFETY: null pointers and zeros are a valid header.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    message
}

/// Whether a call with these flags may wait at all.
pub(crate) fn may_wait(flags: c_int) -> bool {
    flags & (MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB) == 0
}

/// Repeats a call of a socket that receives at an offset: until it receives anything, or all if
/// `MSG_WAITALL` says so and the socket is a stream.
fn receive(
    scope: &Scope,
    fd: c_int,
    flags: c_int,
    len: impl Fn() -> usize,
    mut call: impl FnMut(usize) -> ssize_t,
) -> ssize_t {
    let mut blocking = Blocking::to_read(scope, fd);
    if flags & MSG_WAITALL == 0 {
        return blocking.retry(|| call(0));
    }
    let mut done = 0;
    loop {
        let peeks = flags & MSG_PEEK != 0;
        let received = call(if peeks { 0 } else { done });
        if received < 0 {
            let error = errno();
            if error != libc::EAGAIN {
                return part_or(done, error);
            }
            if let Err(error) = blocking.wait() {
                return part_or(done, error);
            }
            continue;
        }
        done = if peeks { received as usize } else { done + received as usize };
        let stream = || option(fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM);
        if received == 0 || done >= len() || !stream() || is_nonblocking(fd) {
            return done as ssize_t;
        }
        if !peeks {
            blocking.made_progress();
        } else if is_ready(fd, libc::POLLRDHUP) || blocking.nap().is_err() {
            // The kernel reports what it has as ready, so only time can bring more.
            return done as ssize_t;
        }
    }
}

/// # Safety
///
/// That of `recvfrom(2)`.
pub(crate) unsafe fn recvfrom(
    scope: &Scope,
    fd: c_int,
    part: iovec,
    flags: c_int,
    from: *mut libc::sockaddr,
    size: *mut libc::socklen_t,
) -> ssize_t {
    receive(
        scope,
        fd,
        flags,
        || part.iov_len,
        |done| {
            let (from, size) = if done == 0 { (from, size) } else { (ptr::null_mut(), ptr::null_mut()) };
            let rest = part.iov_base.wrapping_byte_add(done);
            // SAFETY: of the caller's buffer, what is left.
            unsafe { real::recvfrom(fd, rest, part.iov_len - done, flags | MSG_DONTWAIT, from, size) }
        },
    )
}

/// # Safety
///
/// That of `recvmsg(2)`.
pub(crate) unsafe fn recvmsg(scope: &Scope, fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: asked for only once the kernel has accepted the message.
    let parts = || unsafe { Parts::new((*message).msg_iov, (*message).msg_iovlen as c_int) };
    // The kernel writes there what it has used.
    // SAFETY: the caller's message. With `MSG_WAITALL` it is read before the kernel has accepted it.
    let room = if flags & MSG_WAITALL == 0 { 0 } else { unsafe { (*message).msg_controllen } };
    receive(
        scope,
        fd,
        flags,
        || {
            // What came along, such as descriptors, belongs to this part of the stream.
            // SAFETY: as above.
            unsafe { if (*message).msg_controllen > 0 { 0 } else { parts().len() } }
        },
        |done| {
            if done == 0 {
                // SAFETY: the caller's message.
                return unsafe { real::recvmsg(fd, message, flags | MSG_DONTWAIT) };
            }
            // SAFETY: as above.
            let mut rest = unsafe { parts().rest(done, usize::MAX) };
            let mut later = message_of(&mut rest);
            // SAFETY: the caller's room for what comes along, of which nothing is used so far.
            later.msg_control = unsafe { (*message).msg_control };
            later.msg_controllen = room;
            // SAFETY: the message and its parts outlive the call.
            let received = unsafe { real::recvmsg(fd, &raw mut later, flags | MSG_DONTWAIT) };
            if received >= 0 {
                // SAFETY: the caller's message.
                unsafe {
                    (*message).msg_controllen = later.msg_controllen;
                    (*message).msg_flags |= later.msg_flags;
                }
            }
            received
        },
    )
}

/// What a descriptor that is no socket names.
enum Kind {
    /// A file, a directory, a disk, or nothing: the real call.
    Disk,
    /// A pipe, or something without a name: an eventfd, a timerfd, an inotify.
    Stream,
    /// A terminal or another device.
    Device,
}

fn kind(fd: c_int) -> Kind {
    // SAFETY: `stat` is plain data, and the buffer is one.
    let (outcome, stat) = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &raw mut stat), stat)
    };
    match stat.st_mode & libc::S_IFMT {
        _ if outcome != 0 => Kind::Disk,
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK | libc::S_IFLNK => Kind::Disk,
        libc::S_IFCHR => Kind::Device,
        _ => Kind::Stream,
    }
}

/// `preadv2` and `pwritev2` at the file's own position, which fail with `EAGAIN` instead of blocking.
///
/// # Safety
///
/// That of `readv(2)` and `writev(2)`.
unsafe fn without_wait(call: libc::c_long, fd: c_int, parts: Parts) -> ssize_t {
    // SAFETY: passed on to the caller. The position is both halves of -1.
    unsafe {
        libc::syscall(call, fd, parts.first, parts.count, -1isize, -1isize, libc::RWF_NOWAIT) as ssize_t
    }
}

fn not_supported(error: c_int) -> bool {
    matches!(error, libc::EOPNOTSUPP | libc::ENOSYS | libc::ESPIPE)
}

/// Whether a transfer of these parts transfers nothing, for which the real call does not wait. The array of a
/// caller is read by the kernel, since it may be anywhere.
fn is_empty(parts: Parts) -> bool {
    let mut copy = vec![iovec { iov_base: ptr::null_mut(), iov_len: 0 }; parts.count as usize];
    let size = copy.len() * size_of::<iovec>();
    let local = iovec { iov_base: copy.as_mut_ptr().cast(), iov_len: size };
    let remote = iovec { iov_base: parts.first.cast_mut().cast(), iov_len: size };
    // SAFETY: the copy is as large as said, and what cannot be read is an error.
    let read =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    read == size as ssize_t && copy.iter().all(|part| part.iov_len == 0)
}

/// Whether the real call is due. std holds locks while it uses its own streams, which siblings may want; and
/// a call without bytes does not wait.
fn is_excepted(fd: c_int, parts: Parts) -> bool {
    (0..=2).contains(&fd) || parts.one.is_none() && is_empty(parts)
}

/// `readv(2)` of any descriptor. `real` is the caller's own call.
///
/// # Safety
///
/// That of `readv(2)`.
pub(crate) unsafe fn read(scope: &Scope, fd: c_int, parts: Parts, real: impl Fn() -> ssize_t) -> ssize_t {
    if is_excepted(fd, parts) {
        return real();
    }
    let mut blocking = Blocking::to_read(scope, fd);
    // SAFETY: the caller's buffers, here and below.
    let received = blocking.retry(|| unsafe { receive_parts(fd, parts) });
    if received >= 0 || errno() != libc::ENOTSOCK {
        return received;
    }
    let kind = kind(fd);
    if let Kind::Disk = kind {
        return real();
    }
    let mut waits = matches!(kind, Kind::Device);
    blocking.retry(|| {
        if !waits {
            // SAFETY: as above.
            let read = unsafe { without_wait(libc::SYS_preadv2, fd, parts) };
            if read >= 0 || !not_supported(errno()) {
                return read;
            }
            waits = true;
        }
        if is_ready(fd, libc::POLLIN) { real() } else { fail::<ssize_t>(libc::EAGAIN) }
    })
}

/// # Safety
///
/// That of `readv(2)`.
unsafe fn receive_parts(fd: c_int, parts: Parts) -> ssize_t {
    if let Some(part) = parts.one {
        // SAFETY: passed on to the caller.
        return unsafe {
            real::recvfrom(fd, part.iov_base, part.iov_len, MSG_DONTWAIT, ptr::null_mut(), ptr::null_mut())
        };
    }
    let mut message = message_of(&mut []);
    message.msg_iov = parts.first.cast_mut();
    message.msg_iovlen = parts.count as _;
    // SAFETY: passed on to the caller.
    unsafe { real::recvmsg(fd, &raw mut message, MSG_DONTWAIT) }
}

/// `writev(2)` of any descriptor. `real` is the caller's own call.
///
/// # Safety
///
/// That of `writev(2)`.
pub(crate) unsafe fn write(scope: &Scope, fd: c_int, parts: Parts, real: impl Fn() -> ssize_t) -> ssize_t {
    if is_excepted(fd, parts) {
        return real();
    }
    let sent = match parts.one {
        // SAFETY: the caller's buffers, here and below.
        Some(part) => unsafe { sendto(scope, fd, part, 0, ptr::null(), 0) },
        None => {
            let mut message = message_of(&mut []);
            message.msg_iov = parts.first.cast_mut();
            message.msg_iovlen = parts.count as _;
            // SAFETY: as above.
            unsafe { sendmsg(scope, fd, &raw const message, 0) }
        }
    };
    if sent >= 0 || errno() != libc::ENOTSOCK {
        return sent;
    }
    match kind(fd) {
        Kind::Disk => real(),
        // A terminal makes its writer wait until all is written.
        // SAFETY: the call takes no pointers.
        Kind::Device if unsafe { libc::isatty(fd) } == 1 => on_pool(real).unwrap_or_else(fail::<ssize_t>),
        Kind::Device => Blocking::to_write(scope, fd)
            .retry(|| if is_ready(fd, libc::POLLOUT) { real() } else { fail::<ssize_t>(libc::EAGAIN) }),
        // SAFETY: as above.
        Kind::Stream => unsafe { write_stream(scope, fd, parts) },
    }
}

/// # Safety
///
/// That of `writev(2)`.
unsafe fn write_stream(scope: &Scope, fd: c_int, parts: Parts) -> ssize_t {
    let mut waits = false;
    send_all(
        scope,
        fd,
        // SAFETY: the caller's buffers, which the kernel has accepted, here and below.
        || unsafe { parts.len() },
        |done| {
            // SAFETY: as above.
            let mut rest = if done == 0 { Vec::new() } else { unsafe { parts.rest(done, usize::MAX) } };
            let all = if done == 0 { parts } else { Parts::new(rest.as_ptr(), rest.len() as c_int) };
            if !waits {
                // SAFETY: as above.
                let written = unsafe { without_wait(libc::SYS_pwritev2, fd, all) };
                if written >= 0 || !not_supported(errno()) {
                    return written;
                }
                waits = true;
            }
            if !is_ready(fd, libc::POLLOUT) {
                set_errno(libc::EAGAIN);
                return -1;
            }
            // SAFETY: as above. More than this might block half-way.
            rest = unsafe { parts.rest(done, PIPE_BUF) };
            // SAFETY: as above.
            unsafe { real::writev(fd, rest.as_ptr(), rest.len() as c_int) }
        },
    )
}
