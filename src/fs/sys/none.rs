//! Any other Unix: no read is known not to wait.

use crate::fs::cached::Cached;
use std::os::fd::BorrowedFd;

/// As the contract in `mod.rs` says.
///
/// # Safety
///
/// None is needed here.
pub(crate) unsafe fn read_cached(
    _fd: BorrowedFd<'_>,
    _bufs: *const libc::iovec,
    _count: usize,
    _offset: Option<u64>,
) -> Cached {
    Cached::Unsupported
}

/// As the contract in `mod.rs` says.
pub(crate) fn bypasses_cache(_fd: BorrowedFd<'_>) -> bool {
    true
}
