//! What the kernel is asked to do, and what it answers.

use std::ffi::c_char;
use std::os::fd::RawFd;

/// What the kernel is asked to do. Paths are texts that end with a zero, as the system calls take them.
#[cfg_attr(any(not(target_os = "linux"), loom, miri), allow(dead_code))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// Reads into a buffer, at an offset of the file.
    Read { fd: RawFd, buf: *mut u8, len: usize, offset: u64 },
    /// Writes from a buffer, at an offset of the file.
    Write { fd: RawFd, buf: *const u8, len: usize, offset: u64 },
    /// Writes to the disk what the file holds; with `data_only` not all of its metadata.
    Sync { fd: RawFd, data_only: bool },
    /// Sets the length of the file.
    SetLen { fd: RawFd, len: u64 },
    /// Gives what has the one path the other one.
    Rename { from: *const c_char, to: *const c_char },
    /// Removes a name: that of an empty directory, or another one.
    Remove { path: *const c_char, directory: bool },
    /// Creates a directory.
    CreateDir { path: *const c_char, mode: u32 },
    /// Creates a hard link.
    HardLink { original: *const c_char, link: *const c_char },
    /// Creates a symbolic link.
    Symlink { original: *const c_char, link: *const c_char },
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The result of the system call, or an errno, negated.
    Done(i32),
    /// The kernel has not taken it. Nothing was done.
    NotTaken,
}

/// Which of the pushed entries the kernel has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(any(not(target_os = "linux"), loom, miri), allow(dead_code))]
pub(crate) enum Taken {
    /// It has taken all of them.
    All,
    /// It has taken some of them, and may take more.
    Some,
    /// It has not taken the others. `for_good`: nor will it take any later on.
    Refused { for_good: bool },
}
