//! Files that are opened and asked for their metadata in place: without parking, if the kernel has all that
//! this takes in memory.
//!
//! # How a call knows that it will not wait
//!
//! 1. The path is looked up with `RESOLVE_CACHED`, for a handle (`O_PATH`) that opens nothing. The kernel
//!    says so if it would have to read a directory, and no file system or driver is asked.
//! 2. The handle says on which device the file is, without asking the file system.
//! 3. What remains is to open the inode, or to copy its metadata. File systems on local disks do that in
//!    memory. One on the network, or one that another program serves, sends a message and waits: there the
//!    pool does it, as for a file system that is not known here. Each device is looked at once in a process.
//!
//! Only regular files are opened in place, and only to read them: opening a device has effects, opening a
//! FIFO waits, creating or truncating a file writes to the disk. The open file is the one of the handle, or
//! it is closed again.
//!
//! A device number that a local file system had may belong to another kind of file system later, after both
//! were mounted in turn. A call may then keep its worker for as long as that file system takes.

use super::cached::{Found, Handle};
use super::call::call;
use super::simulated;
use super::sys::{find_cached, handle_of, is_local, open_cached};
use crate::sched::{FileWay, consume_budget, count_file_call, may_switch};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The devices that were looked at. A word is zero, or the device's number with the bits below.
static DEVICES: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
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

/// The metadata of an open file. `None` if that takes a wait.
pub(super) fn metadata_of(file: &File) -> Option<Metadata> {
    if !may_switch() || simulated::is_in_simulation() {
        return None;
    }
    consume_budget();
    let metadata = on_local_disk(&handle_of(file.as_fd())?).then(|| file.metadata().ok()).flatten()?;
    count_file_call(FileWay::OnWorker);
    Some(metadata)
}

fn find(path: &Path, follows_links: bool) -> Option<io::Result<Handle<std::os::fd::OwnedFd>>> {
    if !may_switch() || simulated::is_in_simulation() {
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

/// Parks for the first file of a device.
fn on_local_disk<F: AsFd>(handle: &Handle<F>) -> bool {
    let known = |word: &AtomicU64| {
        let word = word.load(Ordering::Relaxed);
        (word & !LOCAL == handle.device | TAKEN).then_some(word & LOCAL != 0)
    };
    if let Some(local) = DEVICES.iter().find_map(known) {
        return local;
    }
    let fd = handle.fd.as_fd();
    let Ok(local) = call(|| Ok(is_local(fd))) else { return false };
    let word = handle.device | TAKEN | if local { LOCAL } else { 0 };
    // Two that come at once may both enter it. A device for which there is no room is looked at again.
    let _ = DEVICES
        .iter()
        .any(|free| free.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok());
    local
}
