//! No tool, or one that follows everything.

/// None.
pub(crate) const KEPT_ROUNDS: u32 = 0;
