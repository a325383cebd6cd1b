//! System calls as `io::Result`.
//!
//! Invariant: `errno` is read in the same function that made the call, before anything that could
//! switch stacks or threads (the location of `errno` is a thread-local).

use std::io;

/// A system call's return value, where -1 means "look at errno".
pub(crate) trait Return: Copy {
    /// Whether the value announces an error.
    fn failed(self) -> bool;
}

impl Return for libc::c_int {
    fn failed(self) -> bool {
        self == -1
    }
}

impl Return for libc::ssize_t {
    fn failed(self) -> bool {
        self == -1
    }
}

/// Turns a return value into a result, reading `errno` on failure.
#[inline]
pub(crate) fn check<R: Return>(ret: R) -> io::Result<R> {
    if ret.failed() { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Makes a call again for as long as a signal interrupts it.
#[inline]
pub(crate) fn retry<R: Return>(mut call: impl FnMut() -> R) -> io::Result<R> {
    loop {
        match check(call()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The result of a call on a non-blocking descriptor: `None` where it would block, and made again
/// for as long as a signal interrupts it.
#[inline]
pub(crate) fn nonblocking<R: Return>(call: impl FnMut() -> R) -> io::Result<Option<R>> {
    match retry(call) {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}
