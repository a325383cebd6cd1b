//! ThreadSanitizer.

/// As without it.
pub(crate) const KEPT_BLOCKS: u32 = 1024;

/// The destructor of its own key ends the thread for ThreadSanitizer in the last round. What is instrumented
/// must not run after that.
pub(crate) const KEPT_ROUNDS: u32 = 1;
