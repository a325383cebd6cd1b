//! What a call has found that does not wait.

use std::io;
use std::os::fd::OwnedFd;

/// What a read of cached data has found.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
#[derive(Debug)]
pub(crate) enum Cached {
    /// So many bytes, perhaps fewer than there is room for. Zero at the end of the file.
    Read(usize),
    /// The data, or the end of the file, is not in memory; or the read has failed. Nothing was read.
    No,
    /// The system or the file system does not know such reads. Nothing was read.
    Unsupported,
}

/// What has a path.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
#[derive(Debug)]
pub(crate) enum Found {
    Here(Handle),
    /// Nothing has it. The error is that of any call.
    Missing(io::Error),
    /// Finding that out takes a wait, or the system cannot say.
    No,
}

/// A descriptor that opens nothing, and what is known of its file.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) fd: OwnedFd,
    /// A number of the mount that it is on, in 62 bits, which no other mount has later on. `None` if there is
    /// no such number.
    pub(crate) mount: Option<u64>,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(crate) device: u64,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(crate) inode: u64,
    pub(crate) is_file: bool,
}
