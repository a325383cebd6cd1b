//! What a read of cached data has found.

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
