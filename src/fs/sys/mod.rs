//! What a system supplies for files beyond POSIX. A module supplies:
//!
//! `unsafe fn read_cached(fd, bufs, count, offset) -> Cached`: reads what needs no wait for a disk, into
//! `count` buffers, at the offset, or at the file's position, which moves. It does not park.
//!
//! `fn bypasses_cache(fd) -> bool`: whether reads of the file always wait for the disk, and so does
//! `read_cached`.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod none;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux::{bypasses_cache, read_cached};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use none::{bypasses_cache, read_cached};
