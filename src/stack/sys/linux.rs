//! Linux and Android.

use crate::base::sys::{calls, check, page_size};
use std::fs::File;
use std::io::Read;
use std::ptr;

/// Advice that the content of a range is not needed.
pub(in crate::stack) const DISCARD: libc::c_int = libc::MADV_DONTNEED;
/// Advice that makes a range a guard: `MADV_GUARD_INSTALL`, which the C library does not name yet.
pub(in crate::stack) const GUARD: Option<libc::c_int> = Some(102);
/// The flag of a mapping that counts as memory only once it is used.
pub(in crate::stack) const RESERVE: libc::c_int = libc::MAP_NORESERVE;

/// The calling process in the place of a descriptor: `PIDFD_SELF`, which the C library does not name yet.
const PIDFD_SELF: libc::c_long = -10_000;
/// The default of Linux, if the actual number cannot be read.
const DEFAULT_MAP_COUNT: usize = 65_530;

/// How many mappings a process may have, if there is a limit.
pub(in crate::stack) fn max_mappings() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    Some(text.trim().parse().unwrap_or(DEFAULT_MAP_COUNT))
}

/// How much of an address space with that limit is free; `None` if the system does not say.
///
/// The kernel is asked. A trial would hold for a moment what the allocator may need in another thread.
pub(in crate::stack) fn free_of(limit: usize) -> Option<usize> {
    let mut text = [0; 64];
    let len = File::open("/proc/self/statm").and_then(|mut file| file.read(&mut text)).ok()?;
    let pages = str::from_utf8(&text[..len]).ok()?.split(' ').next()?.parse::<usize>().ok()?;
    Some(limit.saturating_sub(pages * page_size()))
}

/// Keeps huge pages out of the mapping.
///
/// # Safety
///
/// The mapping is the caller's.
pub(in crate::stack) unsafe fn decline_huge_pages(start: *mut libc::c_void, bytes: usize) {
    // SAFETY: as the caller says. A kernel without huge pages refuses, which has the same effect.
    let _ = check(unsafe { calls::madvise(start, bytes, libc::MADV_NOHUGEPAGE) });
}

/// Whether the kernel populates new mappings, because the program has locked its future memory
/// (`mlockall(MCL_FUTURE)`). This tries it on a page.
pub(in crate::stack) fn populates() -> bool {
    let size = page_size();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let mut present = 0_u8;
    // SAFETY: a fresh mapping of a page, which no other code knows, and which is unmapped again. `present`
    // has room for the answer about one page.
    unsafe {
        let page = calls::mmap(ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return false;
        }
        let answered = libc::mincore(page, size, &raw mut present) == 0;
        libc::munmap(page, size);
        answered && present & 1 != 0
    }
}

/// Whether the kernel finds that the word at that address must not be read. The word is zero if it can be
/// read.
///
/// The kernel is asked by a wait for a futex, which reads the word. An emulator of system calls passes the
/// address on to its kernel, so it gets the same answer.
pub(in crate::stack) fn faults(at: *const libc::c_void) -> bool {
    let (not_zero, forever): (libc::c_int, _) = (1, ptr::null::<libc::timespec>());
    let how = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the kernel checks the address itself. It would wait for a word of that value only, and the
    // caller's is zero, or cannot be read.
    let waited = check(unsafe { libc::syscall(libc::SYS_futex, at, how, not_zero, forever) } as libc::c_int);
    waited.is_err_and(|error| error.raw_os_error() == Some(libc::EFAULT))
}

/// Writes for each page from `start` on whether it is present. False if the kernel does not say.
///
/// # Safety
///
/// The pages are mapped.
pub(in crate::stack) unsafe fn resident(start: *mut libc::c_void, pages: &mut [u8]) -> bool {
    // SAFETY: as the caller says, and there is room for the answer about each page.
    unsafe { libc::mincore(start, pages.len() * page_size(), pages.as_mut_ptr()) == 0 }
}

/// Gives advice in one call. Returns for how many of the ranges, from the first one on, the kernel has taken
/// it.
///
/// `process_madvise` takes any advice for the calling process since Linux 6.13, and names that process
/// without a descriptor (`PIDFD_SELF`) since 6.15. Before 6.15 a descriptor would work, but a forked child
/// would have its parent's.
///
/// # Safety
///
/// As for `advise::advise`.
pub(in crate::stack) unsafe fn advise_together(ranges: &[libc::iovec], advice: libc::c_int) -> usize {
    let flags: libc::c_long = 0;
    // SAFETY: as the caller says; the ranges live until the call ends.
    let bytes = calls::newer(|| unsafe {
        libc::syscall(libc::SYS_process_madvise, PIDFD_SELF, ranges.as_ptr(), ranges.len(), advice, flags)
            as libc::ssize_t
    });
    usize::try_from(bytes).map_or(0, |bytes| bytes / ranges[0].iov_len)
}

/// Whether a signal of that code was sent by a process, and is no fault.
pub(in crate::stack) fn was_sent(code: libc::c_int) -> bool {
    code <= 0
}
