//! No instruction: nothing is asked for.

#[inline(always)]
pub(super) fn line(_: *const ()) {}
