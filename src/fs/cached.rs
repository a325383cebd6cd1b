//! What a read of cached data has found.

use std::io;

/// What a read of cached data has found.
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(dead_code))]
#[derive(Debug)]
pub(crate) enum Cached {
    /// So many bytes, perhaps fewer than there is room for. Zero at the end of the file.
    Read(usize),
    /// The data, or the end of the file, is not in memory. Nothing was read.
    No,
    /// The system or the file system does not know such reads. Nothing was read.
    Unsupported,
    /// The read has failed, as any other would.
    Failed(io::Error),
}
