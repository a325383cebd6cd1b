//! Files of simulated hosts, through the thread's world.

use crate::base::clock;
use crate::base::sys::calls::{FileCall, FileChange, world};
use crate::coroutine::WaitReason;
use crate::sched::{may_switch, sleep_until};
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Whether the caller's files are simulated.
pub(in crate::fs) fn is_on() -> bool {
    world().is_some_and(|world| world.map_path(Path::new("/")).is_some())
}

/// Whether the caller is part of a simulation, on a host or not. Then it makes each call on the pool: what
/// the kernel has in memory differs between two runs.
pub(in crate::fs) fn is_in_simulation() -> bool {
    world().is_some()
}

/// Where that path is in the system.
pub(in crate::fs) fn real(path: &Path) -> io::Result<Cow<'_, Path>> {
    match world().and_then(|world| world.map_path(path)) {
        Some(mapped) => mapped.map(Cow::Owned),
        None => Ok(Cow::Borrowed(path)),
    }
}

/// What the caller calls that path of the system.
pub(in crate::fs) fn shown(path: PathBuf) -> PathBuf {
    match world() {
        Some(world) => world.unmap_path(path),
        None => path,
    }
}

/// Waits for as long as the disk takes.
pub(in crate::fs) fn delay() {
    let delay = world().map(|world| world.file_delay()).filter(|delay| !delay.is_zero());
    if let Some(delay) = delay
        && may_switch()
    {
        sleep_until(clock::now() + delay, WaitReason::File);
    }
}

/// How many bytes a write of that length may take.
pub(in crate::fs) fn writable(file: &File, offset: Option<u64>, len: usize) -> io::Result<usize> {
    let call = FileCall::Write { fd: file.as_fd(), offset, len };
    match world() {
        Some(world) => world.before_file(call).map(|limit| len.min(limit)),
        None => Ok(len),
    }
}

fn changed(change: FileChange<'_>) -> io::Result<()> {
    world().map_or(Ok(()), |world| world.file_changed(change))
}

/// Bytes were written, up to that offset, or up to the file's position. Called in the same job as the write,
/// so no other call comes in between.
pub(in crate::fs) fn wrote(file: &File, end: Option<u64>, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    changed(FileChange::Wrote { fd: file.as_fd(), end, bytes })
}

/// The length was set.
pub(in crate::fs) fn set_len(file: &File, len: u64) {
    let _ = changed(FileChange::Length { fd: file.as_fd(), len });
}

/// How many changes a sync concerns that begins now.
pub(in crate::fs) fn sync_begins(file: &File) -> u64 {
    world().map_or(0, |world| world.sync_begins(file.as_fd()))
}

/// Syncs the changes of a simulated file up to that number.
pub(in crate::fs) fn sync(file: &File, changes: u64) -> io::Result<()> {
    changed(FileChange::Synced { fd: file.as_fd(), changes })
}

/// A file was opened.
pub(in crate::fs) fn opened(file: &File) {
    let _ = changed(FileChange::Opened(file.as_fd()));
}

/// The path of the system without symbolic links before its last part. For [`done`], before a call that may
/// change where they lead.
pub(in crate::fs) fn resolved(path: &Path) -> Cow<'_, Path> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if is_on() => {
            folder.canonicalize().map_or(Cow::Borrowed(path), |folder| folder.join(name).into())
        }
        _ => Cow::Borrowed(path),
    }
}

/// The function of that name, with those paths, has succeeded.
pub(in crate::fs) fn done(function: &str, paths: &[&Path]) {
    let change = match (function, paths) {
        ("create_dir" | "create_dir_all", [path]) => FileChange::Folder(path),
        ("remove_file" | "remove_dir" | "remove_dir_all", [path]) => FileChange::Removed(path),
        ("rename", [from, to]) => FileChange::Renamed { from, to },
        ("hard_link", [original, link]) => FileChange::Linked { original, link },
        ("symlink", [target, link]) => FileChange::Symlink { target, link },
        _ => return,
    };
    let _ = changed(change);
}
