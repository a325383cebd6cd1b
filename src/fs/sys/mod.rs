//! What a system supplies for files beyond POSIX. A module supplies:
//!
//! `unsafe fn read_cached(fd, bufs, count, offset) -> Cached`: reads what needs no wait for a disk, into
//! `count` buffers, at the offset, or at the file's position, which moves. It does not park.
//!
//! `fn find_cached(path, follows_links) -> Found`: a handle of what has that path, if the path is in memory.
//!
//! `fn open_cached(path, flags, handle) -> Option<File>`: opens the regular file of that handle to read it,
//! with these flags, if the path is in memory and still its own.
//!
//! `fn is_local(fd) -> bool`: whether the file system keeps the metadata of files that are in use in memory.
//! It may wait.
//!
//! `fn bypasses_cache(fd) -> bool`: whether reads of the file always wait for the disk, and so does
//! `read_cached`.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(target_os = "linux"))]
mod no_paths;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod none;
#[cfg(target_os = "linux")]
mod paths;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{bypasses_cache, read_cached};
#[cfg(not(target_os = "linux"))]
pub(crate) use no_paths::{find_cached, is_local, open_cached};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use none::{bypasses_cache, read_cached};
#[cfg(target_os = "linux")]
pub(crate) use paths::{find_cached, is_local, open_cached};
