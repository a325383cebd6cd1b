//! Who holds a lock, for reports: one word beside the lock's state.
//!
//! The holder stores itself after it has taken the lock, and clears the word before it releases the lock. So
//! a reader who finds the lock taken, and then reads the word, reads the holder of that moment or a later one,
//! or nothing: never an earlier holder. Both stores are relaxed, and cost no read-modify-write.
//!
//! A leaked guard names the coroutine that leaked it, even after that has ended: numbers are never reused.
//!
//! The word is no part of the locks' protocols. So it is an ordinary atomic in loom's models, too.

use crate::coroutine::Holder;
use crate::sched::this_holder;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who holds a lock.
#[derive(Debug)]
pub(super) struct HolderWord(AtomicU64);

impl HolderWord {
    /// Nobody.
    pub(super) const fn new() -> HolderWord {
        HolderWord(AtomicU64::new(0))
    }

    /// The caller has taken the lock.
    #[inline]
    pub(super) fn set(&self) {
        self.0.store(this_holder(), Ordering::Relaxed);
    }

    /// The caller is about to release the lock.
    #[inline]
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The holder, as far as it has stored itself. The caller has found the lock taken, with acquire.
    pub(super) fn get(&self) -> Option<Holder> {
        Holder::from_word(self.0.load(Ordering::Relaxed))
    }
}
