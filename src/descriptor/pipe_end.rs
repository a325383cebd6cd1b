//! An open file that is read or written with `read(2)` and `write(2)`: an end of a pipe, a FIFO, a terminal.
//!
//! The pipe types of `io` and `process` are built on it, and files of `fs` that are FIFOs or devices. The
//! macros implement the traits of std's types for them.
//!
//! Invariant: the open file becomes non-blocking at the first call, and not before. An end that is made for a
//! child stays blocking, as the child expects.

use super::open_file::OpenFile;
use super::readiness::Attempt;
use crate::base::sys::{calls, nonblocking, set_nonblocking};
use crate::coroutine::WaitReason;
use crate::netpoll::{Direction, Source, is_hung_up};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The most bytes that one call transfers. The kernel's own limit is a little higher.
const MAX_LEN: usize = 1 << 30;

/// The most buffers that one call takes: the kernel's limit.
const MAX_BUFFERS: usize = 1024;

/// One end of a pipe. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct PipeEnd {
    file: Arc<OpenFile>,
    /// It may have been opened before it had a writer.
    fifo: bool,
}

impl PipeEnd {
    /// The end with that descriptor, in any mode.
    pub(crate) fn new(fd: OwnedFd) -> PipeEnd {
        PipeEnd { file: Arc::new(OpenFile::new(Source::new(fd))), fifo: false }
    }

    /// A FIFO, which may have been opened before it had a writer. A read without a writer waits for the first
    /// one. A read returns the end of the stream only after a writer has come and gone.
    pub(crate) fn new_fifo(fd: OwnedFd) -> PipeEnd {
        PipeEnd { fifo: true, ..PipeEnd::new(fd) }
    }

    /// Sets whether calls that would block fail instead. The descriptor's mode stays as it is.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.file.set_nonblocking(nonblocking);
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.fd()
    }

    /// The descriptor for use elsewhere: blocking, unless `set_nonblocking` was set. If clones share the end,
    /// this returns a duplicate and leaves the mode as it is, since the duplicate and the clones share the
    /// mode.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        match Arc::try_unwrap(self.file) {
            Ok(file) => {
                let nonblocking = file.is_nonblocking();
                let fd = file.into_fd();
                set_nonblocking(fd.as_fd(), nonblocking)?;
                Ok(fd)
            }
            Err(shared) => shared.fd().try_clone_to_owned(),
        }
    }

    /// Reads what is available.
    pub(crate) fn read(&self, reason: WaitReason, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.transfer(Direction::Read, reason, |fd| {
            let len = buf.len().min(MAX_LEN);
            // SAFETY: the buffer has room for `len` bytes.
            unsafe { calls::read(fd, buf.as_mut_ptr().cast(), len) }
        })
    }

    /// Reads what is available into one buffer after another.
    pub(crate) fn read_vectored(&self, reason: WaitReason, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        let count = bufs.len().min(MAX_BUFFERS) as libc::c_int;
        self.transfer(Direction::Read, reason, |fd| {
            // SAFETY: `IoSliceMut` has the layout of `iovec`; there are `count` of them at least, each of a
            // buffer that is borrowed mutably.
            unsafe { calls::readv(fd, bufs.as_mut_ptr().cast(), count) }
        })
    }

    /// Writes what there is room for.
    pub(crate) fn write(&self, reason: WaitReason, buf: &[u8]) -> io::Result<usize> {
        self.transfer(Direction::Write, reason, |fd| {
            let len = buf.len().min(MAX_LEN);
            // SAFETY: the buffer has `len` bytes.
            unsafe { calls::write(fd, buf.as_ptr().cast(), len) }
        })
    }

    /// Writes what there is room for, from one buffer after another.
    pub(crate) fn write_vectored(&self, reason: WaitReason, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFFERS) as libc::c_int;
        self.transfer(Direction::Write, reason, |fd| {
            // SAFETY: `IoSlice` has the layout of `iovec`; there are `count` of them at least.
            unsafe { calls::writev(fd, bufs.as_ptr().cast(), count) }
        })
    }

    /// A short transfer does not mean that the pipe is empty or full: an adopted descriptor may be a pipe of
    /// packets, or no pipe.
    fn transfer(
        &self,
        direction: Direction,
        reason: WaitReason,
        mut call: impl FnMut(libc::c_int) -> libc::ssize_t,
    ) -> io::Result<usize> {
        self.file.perform(direction, reason, |fd| {
            Ok(match nonblocking(|| call(fd))? {
                None => Attempt::WouldBlock,
                Some(0) if self.fifo && direction == Direction::Read => {
                    if !is_hung_up(self.fd())? {
                        return Ok(Attempt::WouldBlock);
                    }
                    // A writer may have come and gone since the call. Return what it has written before the
                    // end of the stream.
                    nonblocking(|| call(fd))?.map_or(Attempt::WouldBlock, |n| Attempt::Done(n as usize))
                }
                Some(n) => Attempt::Done(n as usize),
            })
        })
    }
}

/// Conversions between a type with an `end: PipeEnd`, its descriptor, and std's type. The type has
/// `into_std`.
macro_rules! pipe_conversions {
    ($ours:ident, $std:ty) => {
        impl std::os::fd::AsFd for $ours {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.end.fd()
            }
        }

        impl std::os::fd::AsRawFd for $ours {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.end.fd().as_raw_fd()
            }
        }

        /// The open file becomes non-blocking at the first call, for all duplicates of the descriptor.
        impl From<std::os::fd::OwnedFd> for $ours {
            fn from(fd: std::os::fd::OwnedFd) -> $ours {
                $ours { end: crate::descriptor::PipeEnd::new(fd) }
            }
        }

        impl std::os::fd::FromRawFd for $ours {
            unsafe fn from_raw_fd(fd: std::os::fd::RawFd) -> $ours {
                // SAFETY: passed on to the caller.
                $ours::from(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
            }
        }

        /// The open file becomes non-blocking at the first call, for all duplicates of the descriptor.
        impl From<$std> for $ours {
            fn from(theirs: $std) -> $ours {
                $ours::from(std::os::fd::OwnedFd::from(theirs))
            }
        }

        /// As `into_std`.
        ///
        /// # Panics
        ///
        /// If `into_std` fails.
        impl From<$ours> for std::os::fd::OwnedFd {
            fn from(ours: $ours) -> std::os::fd::OwnedFd {
                ours.into_std().expect("a descriptor for the duplicate").into()
            }
        }

        /// As the conversion to `OwnedFd`.
        impl std::os::fd::IntoRawFd for $ours {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                std::os::fd::OwnedFd::from(self).into_raw_fd()
            }
        }

        /// As the conversion to `OwnedFd`. For a standard stream of a child.
        impl From<$ours> for std::process::Stdio {
            fn from(ours: $ours) -> std::process::Stdio {
                std::os::fd::OwnedFd::from(ours).into()
            }
        }

        /// As `into_std`.
        impl TryFrom<$ours> for $std {
            type Error = std::io::Error;

            fn try_from(ours: $ours) -> std::io::Result<$std> {
                ours.into_std()
            }
        }

        impl std::fmt::Debug for $ours {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let fd = std::os::fd::AsRawFd::as_raw_fd(self);
                f.debug_struct(stringify!($ours)).field("fd", &fd).finish()
            }
        }
    };
}

/// `Read`, for types with an `end: PipeEnd`.
macro_rules! pipe_reads {
    ($reason:ident, $($ours:ty),*) => {$(
        impl std::io::Read for $ours {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.end.read(crate::coroutine::WaitReason::$reason, buf)
            }

            fn read_vectored(&mut self, bufs: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                self.end.read_vectored(crate::coroutine::WaitReason::$reason, bufs)
            }
        }
    )*};
}

/// `Write`, for types with an `end: PipeEnd`.
macro_rules! pipe_writes {
    ($reason:ident, $($ours:ty),*) => {$(
        impl std::io::Write for $ours {
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.end.write(crate::coroutine::WaitReason::$reason, buf)
            }

            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.end.write_vectored(crate::coroutine::WaitReason::$reason, bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    )*};
}

pub(crate) use {pipe_conversions, pipe_reads, pipe_writes};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::OpenOptionsExt;

    /// The FIFO's first writer opens, writes and closes between a read that found no writer and the check
    /// whether one was there.
    #[test]
    fn what_a_short_lived_writer_wrote_comes_before_the_end() {
        let path = std::env::temp_dir().join(format!("sward-fifo-{}", std::process::id()));
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no zero byte");
        // SAFETY: the name lives until the call ends.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let reader =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("opened");
        let end = PipeEnd::new_fifo(reader.into());
        let (mut calls, mut buf) = (0, [0_u8; 8]);
        let count = end.transfer(Direction::Read, WaitReason::FileRead, |fd| {
            // SAFETY: the buffer has room for that many bytes.
            let count = unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) };
            calls += 1;
            if calls == 1 {
                let mut writer = File::options().write(true).open(&path).expect("it has a reader");
                io::Write::write_all(&mut writer, b"abc").expect("written");
            }
            count
        });
        std::fs::remove_file(&path).expect("removed");
        assert_eq!((count.expect("no error"), &buf[..3]), (3, &b"abc"[..]));
        assert_eq!(end.read(WaitReason::FileRead, &mut buf).expect("no error"), 0);
    }
}
