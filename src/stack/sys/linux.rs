//! What of the memory calls and signals differs between systems; this is Linux.

use crate::base::sys::{check, page_size};
use std::ptr;

/// Advice that what a range holds is of no use.
pub(in crate::stack) const DISCARD: libc::c_int = libc::MADV_DONTNEED;
/// Advice that makes a range a guard, where the C library does not name it yet (`MADV_GUARD_INSTALL`).
pub(in crate::stack) const GUARD: Option<libc::c_int> = Some(102);
/// The flag of a mapping that is not to be counted before it is used.
pub(in crate::stack) const RESERVE: libc::c_int = libc::MAP_NORESERVE;

/// The calling process, where the C library does not name it yet.
const PIDFD_SELF: libc::c_long = -10_000;
/// What Linux has by default, should it not tell.
const DEFAULT_MAP_COUNT: usize = 65_530;

/// How many mappings a process may have, if that is bounded.
pub(in crate::stack) fn max_mappings() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    Some(text.trim().parse().unwrap_or(DEFAULT_MAP_COUNT))
}

/// Has no huge pages in the mapping.
///
/// # Safety
///
/// It is the caller's.
pub(in crate::stack) unsafe fn decline_huge_pages(start: *mut libc::c_void, bytes: usize) {
    // SAFETY: as the caller says. A kernel without huge pages says no, which is as good.
    let _ = check(unsafe { libc::madvise(start, bytes, libc::MADV_NOHUGEPAGE) });
}

/// Whether the kernel populates new mappings, since the program has locked its memory, that to come included
/// (`mlockall(MCL_FUTURE)`). Tried on a page.
pub(in crate::stack) fn populates() -> bool {
    let size = page_size();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let mut present = 0_u8;
    // SAFETY: a fresh mapping of a page, which nobody else knows, and which is given back; the place for what
    // is told about that page is ours.
    unsafe {
        let page = libc::mmap(ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return false;
        }
        let told = libc::mincore(page, size, &raw mut present) == 0;
        libc::munmap(page, size);
        told && present & 1 != 0
    }
}

/// Gives advice in one call; for how many of the ranges, from the first on, it was taken.
///
/// `process_madvise` gives any advice to the calling process since Linux 6.13, and knows that process
/// without a descriptor (`PIDFD_SELF`) since 6.15. A descriptor would do before that, but a forked child
/// would have its parent's.
///
/// # Safety
///
/// As for `advise::advise`.
pub(in crate::stack) unsafe fn together(ranges: &[libc::iovec], advice: libc::c_int) -> usize {
    let flags: libc::c_long = 0;
    // SAFETY: as the caller says; the ranges live until the call ends.
    let bytes = unsafe {
        libc::syscall(libc::SYS_process_madvise, PIDFD_SELF, ranges.as_ptr(), ranges.len(), advice, flags)
    };
    usize::try_from(bytes).map_or(0, |bytes| bytes / ranges[0].iov_len)
}

/// Whether a signal of that code was sent by a process, and is no fault.
pub(in crate::stack) fn was_sent(code: libc::c_int) -> bool {
    code <= 0
}
