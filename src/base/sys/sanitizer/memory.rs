//! AddressSanitizer and LeakSanitizer.

pub(crate) use super::none::KEPT_ROUNDS;

/// None. A use of a block after its end is found only if the allocator has the block. And a leaked block is
/// reported with the stack that took it from the allocator, which may be that of an earlier use.
pub(crate) const KEPT_BLOCKS: u32 = 0;
