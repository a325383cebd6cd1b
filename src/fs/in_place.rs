//! Files that are opened and asked for their metadata in place: without parking, if the kernel has all that
//! this takes in memory.
//!
//! # How a call knows that it will not wait
//!
//! 1. The path is looked up with `RESOLVE_CACHED`, for a handle (`O_PATH`) that opens nothing. The kernel
//!    says so if it would have to read a directory, and no file system or driver is asked.
//! 2. The handle says on which mount the file is.
//! 3. What remains is to open the inode, or to copy its metadata. File systems on local disks do that in
//!    memory. One on the network, or one that another program serves, sends a message and waits: there the
//!    pool does it, as for a file system that is not known here. Each mount is looked at once.
//!
//! Only regular files are opened in place, and only to read them: opening a device has effects, opening a
//! FIFO waits, creating or truncating a file writes to the disk. The open file is the one of the handle, or
//! it is closed again.
//!
//! A mount has a number that no other one ever gets (Linux 6.8). Before, the number of the device has to do,
//! and calls on file systems without a device of their own, such as tmpfs and btrfs, are the pool's.
//!
//! # Where that is not so
//!
//! - A program that decides about each access to files (fanotify, as virus scanners do) is asked by the open
//!   itself, and the worker waits for its answer.
//! - A few file systems of clusters (9p, GFS2, OCFS2) are asked for metadata by the look at the handle.

use super::cached::{Found, Handle};
use super::call::{call, needs_no_pool};
use super::sys::{find_cached, is_local, open_cached};
use crate::sched::{FileWay, consume_budget, count_file_call};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The mounts that were looked at last. A word is zero, or the mount's number with the bits below.
static MOUNTS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
/// Which of them is replaced next.
static NEXT: AtomicUsize = AtomicUsize::new(0);
const TAKEN: u64 = 1 << 63;
const LOCAL: u64 = 1 << 62;

/// The metadata of what has that path, or its error. `None` if that takes a wait.
pub(super) fn metadata(path: &Path, follows_links: bool) -> Option<io::Result<Metadata>> {
    let handle = match find(path, follows_links)? {
        Ok(handle) => handle,
        Err(error) => return Some(Err(error)),
    };
    let metadata = File::from(handle.fd).metadata().ok()?;
    count_file_call(FileWay::OnWorker);
    Some(Ok(metadata))
}

/// A regular file, opened to be read, with such of these flags as change nothing about the wait. `None` if
/// that takes a wait, or should not be done here.
pub(super) fn open(path: &Path, flags: libc::c_int) -> Option<io::Result<File>> {
    if flags & !(libc::O_CLOEXEC | libc::O_NOFOLLOW) != 0 {
        return None;
    }
    let handle = match find(path, flags & libc::O_NOFOLLOW == 0)? {
        Ok(handle) => handle,
        Err(error) => return Some(Err(error)),
    };
    if !handle.is_file {
        return None;
    }
    let file = open_cached(path, flags, &handle)?;
    count_file_call(FileWay::OnWorker);
    Some(Ok(file))
}

fn find(path: &Path, follows_links: bool) -> Option<io::Result<Handle>> {
    if !needs_no_pool() {
        return None;
    }
    consume_budget();
    match find_cached(path, follows_links) {
        Found::Here(handle) => on_local_disk(&handle).then_some(Ok(handle)),
        Found::Missing(error) => {
            count_file_call(FileWay::OnWorker);
            Some(Err(error))
        }
        Found::No => None,
    }
}

/// Parks for the first file of a mount.
fn on_local_disk(handle: &Handle) -> bool {
    let Some(mount) = handle.mount else { return false };
    let known = |word: &AtomicU64| {
        let word = word.load(Ordering::Relaxed);
        (word & !LOCAL == mount | TAKEN).then_some(word & LOCAL != 0)
    };
    if let Some(local) = MOUNTS.iter().find_map(known) {
        return local;
    }
    let fd = handle.fd.as_fd();
    let Ok(local) = call(|| Ok(is_local(fd))) else { return false };
    let word = mount | TAKEN | if local { LOCAL } else { 0 };
    // Two that come at once may both enter it.
    MOUNTS[NEXT.fetch_add(1, Ordering::Relaxed) % MOUNTS.len()].store(word, Ordering::Relaxed);
    local
}
