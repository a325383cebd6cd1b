//! Files are the system's.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Whether the caller's files are simulated.
#[inline(always)]
pub(in crate::fs) fn is_on() -> bool {
    false
}

/// Whether the caller is part of a simulation.
#[inline(always)]
pub(in crate::fs) fn is_in_simulation() -> bool {
    false
}

/// Where that path is in the system.
#[inline(always)]
pub(in crate::fs) fn real(path: &Path) -> io::Result<Cow<'_, Path>> {
    Ok(Cow::Borrowed(path))
}

/// What the caller calls that path of the system.
#[inline(always)]
pub(in crate::fs) fn shown(path: PathBuf) -> PathBuf {
    path
}

/// Waits for as long as the disk takes.
#[inline(always)]
pub(in crate::fs) fn delay() {}

/// How many bytes a write of that length may take.
#[inline(always)]
pub(in crate::fs) fn writable(_: &File, _: Option<u64>, len: usize) -> io::Result<usize> {
    Ok(len)
}

/// Bytes were written, up to that offset, or up to the file's position.
#[inline(always)]
pub(in crate::fs) fn wrote(_: &File, _: Option<u64>, _: &[u8]) -> io::Result<()> {
    Ok(())
}

/// The length was set.
#[inline(always)]
pub(in crate::fs) fn set_len(_: &File, _: u64) {}

/// How many changes a sync concerns that begins now.
#[inline(always)]
pub(in crate::fs) fn sync_begins(_: &File) -> u64 {
    0
}

/// Syncs the changes of a simulated file up to that number.
#[inline(always)]
pub(in crate::fs) fn sync(_: &File, _changes: u64) -> io::Result<()> {
    Ok(())
}

/// A file was opened.
#[inline(always)]
pub(in crate::fs) fn opened(_: &File) {}

/// The path without symbolic links before its last part, for [`done`].
#[inline(always)]
pub(in crate::fs) fn resolved(path: &Path) -> Cow<'_, Path> {
    Cow::Borrowed(path)
}

/// The function of that name, with those paths, has succeeded.
#[inline(always)]
pub(in crate::fs) fn done(_: &str, _: &[&Path]) {}
