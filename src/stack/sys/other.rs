//! All systems but Linux and Android.

/// Advice that the content of a range is not needed.
pub(in crate::stack) const DISCARD: libc::c_int = libc::MADV_FREE;
/// No advice makes a range a guard.
pub(in crate::stack) const GUARD: Option<libc::c_int> = None;
/// No flag: mappings count as memory once they are used.
pub(in crate::stack) const RESERVE: libc::c_int = 0;

/// Codes from `SI_USER` on, where these are not negative: the BSDs and macOS.
const SENT: std::ops::RangeInclusive<libc::c_int> = 0x1_0001..=0x1_0005;

/// How many mappings a process may have: there is no limit.
pub(in crate::stack) fn max_mappings() -> Option<usize> {
    None
}

/// How much of an address space with that limit is free: these systems do not say.
pub(in crate::stack) fn free_of(_limit: usize) -> Option<usize> {
    None
}

/// Does nothing: pages become huge only in ranges that are used throughout.
///
/// # Safety
///
/// None.
pub(in crate::stack) unsafe fn decline_huge_pages(_start: *mut libc::c_void, _bytes: usize) {}

/// Whether new mappings are populated: these systems do not report it.
pub(in crate::stack) fn populates() -> bool {
    false
}

/// Whether the word at that address must not be read: these systems have no advice about which this is asked.
pub(in crate::stack) fn faults(_at: *const libc::c_void) -> bool {
    false
}

/// Whether pages are present: the advice to discard them does not say when they go, so this is not known.
///
/// # Safety
///
/// None.
pub(in crate::stack) unsafe fn resident(_start: *mut libc::c_void, _pages: &mut [u8]) -> bool {
    false
}

/// These systems have no advice for several ranges: it is taken for none.
///
/// # Safety
///
/// None.
pub(in crate::stack) unsafe fn advise_together(_ranges: &[libc::iovec], _advice: libc::c_int) -> usize {
    0
}

/// Whether a signal of that code was sent by a process, and is no fault.
pub(in crate::stack) fn was_sent(code: libc::c_int) -> bool {
    code <= 0 || SENT.contains(&code)
}
