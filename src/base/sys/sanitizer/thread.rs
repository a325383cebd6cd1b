//! ThreadSanitizer.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The destructor of its own key ends the thread for ThreadSanitizer in the last round. What is instrumented
/// must not run after that.
pub(crate) const KEPT_ROUNDS: u32 = 1;

/// Acquires what the calling thread's last operation on that word has read. ThreadSanitizer does not know
/// fences, so this reads once more, as std's `Arc` does.
pub(crate) fn acquire(word: &AtomicUsize) {
    word.load(Ordering::Acquire);
}
