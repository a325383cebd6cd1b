//! Advice to the kernel about many ranges of memory: in one system call if the kernel has it, otherwise in
//! one `madvise` for each range.

use super::capability::Capability;
use super::sys::advise_together;
use crate::base::sys::{calls, check};
use std::io;

/// Whether to try one call for several ranges.
static TOGETHER: Capability = Capability::new();

/// A range of memory.
pub(super) fn range(start: usize, bytes: usize) -> libc::iovec {
    libc::iovec { iov_base: start as *mut libc::c_void, iov_len: bytes }
}

/// Gives advice about the ranges, from the first one on. Returns for how many of them the kernel has taken
/// it, at least one.
///
/// # Errors
///
/// The system's error for the first range.
///
/// # Safety
///
/// As for `madvise` about each of the ranges, any number of times. They have the same length, and there is at
/// least one.
pub(super) unsafe fn advise(ranges: &[libc::iovec], advice: libc::c_int) -> io::Result<usize> {
    // SAFETY: as the caller says.
    unsafe { advise_if(&TOGETHER, ranges, advice) }
}

/// As `advise`, with that capability for several ranges.
///
/// # Safety
///
/// As for `advise`.
unsafe fn advise_if(
    together_works: &Capability,
    ranges: &[libc::iovec],
    advice: libc::c_int,
) -> io::Result<usize> {
    let try_together = together_works.worth_a_try();
    // SAFETY: as the caller says.
    let mut done = if try_together { unsafe { advise_together(ranges, advice) } } else { 0 };
    let refused = try_together && done == 0;
    for range in &ranges[done..] {
        // SAFETY: as the caller says.
        match check(unsafe { calls::madvise(range.iov_base, range.iov_len, advice) }) {
            Ok(_) => done += 1,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    if refused {
        // The same advice was taken range by range, so the kernel has no such call, or a sandbox forbids it.
        together_works.refused();
    }
    Ok(done)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::base::sys::page_size;

    /// Pages that are filled with ones, and never unmapped.
    fn ones(pages: usize) -> &'static [u8] {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let (bytes, access) = (pages * page_size(), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a fresh mapping of that many bytes, which stays.
        unsafe {
            let start = libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            start.cast::<u8>().write_bytes(1, bytes);
            std::slice::from_raw_parts(start.cast(), bytes)
        }
    }

    fn every_other_page(memory: &[u8]) -> Vec<libc::iovec> {
        let page = page_size();
        memory.chunks(2 * page).map(|pair| range(pair.as_ptr() as usize, page)).collect()
    }

    /// All ranges in one call, if the kernel has it, and one by one.
    fn ways() -> [Capability; 2] {
        let one_by_one = Capability::new();
        one_by_one.refused();
        [Capability::new(), one_by_one]
    }

    #[test]
    fn advice_is_taken_for_all_ranges() {
        for together in ways() {
            let memory = ones(128);
            // SAFETY: the content of the pages is not used.
            let done = unsafe { advise_if(&together, &every_other_page(memory), libc::MADV_DONTNEED) };
            assert_eq!(done.expect("taken"), 64);
            for (n, page) in memory.chunks(page_size()).enumerate() {
                // SAFETY: the address is in a page that is mapped.
                assert_eq!(usize::from(unsafe { page.as_ptr().read_volatile() }), n % 2);
            }
        }
    }

    #[test]
    fn advice_ends_at_the_first_range_that_is_refused() {
        for together in ways() {
            let mut ranges = every_other_page(ones(8));
            ranges[2].iov_base = std::ptr::without_provenance_mut(page_size() + 1);
            // SAFETY: the content of the pages is not used, and the kernel refuses the invalid address.
            unsafe {
                assert_eq!(advise_if(&together, &ranges, libc::MADV_DONTNEED).expect("taken for two"), 2);
                let error = advise_if(&together, &ranges[2..], libc::MADV_DONTNEED).expect_err("not aligned");
                assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            }
        }
    }
}
