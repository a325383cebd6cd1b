//! What of the memory calls and signals differs between systems; this is any but Linux.

/// Advice that what a range holds is of no use.
pub(in crate::stack) const DISCARD: libc::c_int = libc::MADV_FREE;
/// There is no advice that makes a range a guard.
pub(in crate::stack) const GUARD: Option<libc::c_int> = None;
/// Mappings are counted when they are used.
pub(in crate::stack) const RESERVE: libc::c_int = 0;

/// Codes from `SI_USER` on, where these are not negative: the BSDs and macOS.
const SENT: std::ops::RangeInclusive<libc::c_int> = 0x1_0001..=0x1_0005;

/// How many mappings a process may have: as memory allows.
pub(in crate::stack) fn max_mappings() -> Option<usize> {
    None
}

/// Nothing to be done: pages become huge only where they are used throughout.
///
/// # Safety
///
/// None.
pub(in crate::stack) unsafe fn decline_huge_pages(_start: *mut libc::c_void, _bytes: usize) {}

/// Whether new mappings are populated: not known of these systems.
pub(in crate::stack) fn populates() -> bool {
    false
}

/// There is no advice about several ranges: it was taken for none.
///
/// # Safety
///
/// None.
pub(in crate::stack) unsafe fn together(_ranges: &[libc::iovec], _advice: libc::c_int) -> usize {
    0
}

/// Whether a signal of that code was sent by a process, and is no fault.
pub(in crate::stack) fn was_sent(code: libc::c_int) -> bool {
    code <= 0 || SENT.contains(&code)
}
