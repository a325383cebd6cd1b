//! System calls as `io::Result`.
//!
//! Invariant: `errno` is read in the function that made the call, before anything that could switch stacks:
//! `errno` is a thread-local.

use once_cell::sync::OnceCell;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// The return value of a system call: -1 means that `errno` has the error.
pub(crate) trait ReturnValue: Copy {
    /// Whether the value stands for an error.
    fn failed(self) -> bool;
}

impl ReturnValue for libc::c_int {
    fn failed(self) -> bool {
        self == -1
    }
}

impl ReturnValue for libc::ssize_t {
    fn failed(self) -> bool {
        self == -1
    }
}

/// Turns a return value into a result, reading `errno` on failure.
#[inline]
pub(crate) fn check<R: ReturnValue>(ret: R) -> io::Result<R> {
    if ret.failed() { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Makes a call, and again for as long as a signal interrupts it.
#[inline]
pub(crate) fn retry<R: ReturnValue>(mut call: impl FnMut() -> R) -> io::Result<R> {
    loop {
        match check(call()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Makes a call on a non-blocking descriptor, and again for as long as a signal interrupts it. Returns `None`
/// if it would block.
#[inline]
pub(crate) fn nonblocking<R: ReturnValue>(call: impl FnMut() -> R) -> io::Result<Option<R>> {
    match retry(call) {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sets or clears the mode in which calls fail instead of blocking, and returns what it was. The mode belongs
/// to the open file: all duplicates of the descriptor share it.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<bool> {
    // SAFETY: the call takes no pointers.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let was = flags & libc::O_NONBLOCK != 0;
    if was != nonblocking {
        // SAFETY: as above.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags ^ libc::O_NONBLOCK) })?;
    }
    Ok(was)
}

/// The size of the system's pages, a power of two.
pub(crate) fn page_size() -> usize {
    static SIZE: OnceCell<usize> = OnceCell::new();
    *SIZE.get_or_init(|| {
        // SAFETY: the call takes no pointers.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).expect("every system has pages")
    })
}

/// Writes a line to stderr, with one call. Unlike `eprintln!` it does not panic if the write fails.
pub(crate) fn report(line: fmt::Arguments<'_>) {
    let text = format!("{line}\n");
    // SAFETY: the buffer is as long as its length says. An error has nowhere to be reported.
    let _ = retry(|| unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) });
}

/// A duration as system calls take it. A longer one than all systems take becomes the longest that they take.
#[cfg_attr(not(any(sward_ppoll, sward_backend = "kqueue")), allow(dead_code))]
pub(crate) fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i32::try_from(time.as_secs()).unwrap_or(i32::MAX).into(),
        tv_nsec: time.subsec_nanos() as libc::c_long,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_set_and_the_old_one_returned() {
        use std::os::fd::AsFd;
        let (socket, _) = std::os::unix::net::UnixStream::pair().expect("a pair");
        for (set, was) in [(true, false), (true, true), (false, true), (false, false)] {
            assert_eq!(set_nonblocking(socket.as_fd(), set).expect("set"), was);
        }
    }
}
