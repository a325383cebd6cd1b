//! No tool, or one that follows everything.

/// Enough for bursts of a thousand coroutines.
pub(crate) const KEPT_BLOCKS: u32 = 1024;

/// None.
pub(crate) const KEPT_ROUNDS: u32 = 0;
