//! No samples.

use super::Sample;
use crate::base::sys::Probe;
use std::time::Duration;

/// None.
pub(crate) fn sample(_: Probe, _: Duration) -> Option<Sample> {
    None
}

/// Nothing to recover from.
pub(crate) fn recover(_: *mut libc::c_void) -> bool {
    false
}
