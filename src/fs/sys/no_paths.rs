//! Other systems: no path is known to be in memory.

use crate::fs::cached::{Found, Handle};
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// As the contract in `mod.rs` says.
pub(crate) fn find_cached(_path: &Path, _follows_links: bool) -> Found {
    Found::No
}

/// As the contract in `mod.rs` says.
pub(crate) fn open_cached(_path: &Path, _flags: libc::c_int, _handle: &Handle) -> Option<File> {
    None
}

/// As the contract in `mod.rs` says.
pub(crate) fn is_local(_fd: BorrowedFd<'_>) -> bool {
    false
}
