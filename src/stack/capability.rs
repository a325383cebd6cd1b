//! A capability: a system call that the system may refuse now and grant later, or the other way round.
//!
//! A program can lock its memory or enter a sandbox, and the first can be undone. So nothing is decided once.
//! The caller tries the call; after a refusal it takes a fallback, a number of times; then it tries the call
//! again.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many fallbacks are taken between two attempts.
const PAUSE: u32 = 256;

/// Whether a call is worth a try.
#[derive(Debug)]
pub(super) struct Capability {
    /// How many fallbacks are left until the next attempt.
    pause: AtomicU32,
}

impl Capability {
    /// A capability that was not refused so far.
    pub(super) const fn new() -> Capability {
        Capability { pause: AtomicU32::new(0) }
    }

    /// Whether to try the call now. If not, the caller takes the fallback.
    pub(super) fn worth_a_try(&self) -> bool {
        // Two threads that count at once may lose a count, which does no harm.
        match self.pause.load(Ordering::Relaxed) {
            0 => true,
            pause => {
                self.pause.store(pause - 1, Ordering::Relaxed);
                false
            }
        }
    }

    /// The call was refused.
    pub(super) fn refused(&self) {
        self.pause.store(PAUSE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_call_is_tried_again_after_some_fallbacks() {
        let capability = Capability::new();
        assert!(capability.worth_a_try() && capability.worth_a_try());
        capability.refused();
        assert!((0..PAUSE).all(|_| !capability.worth_a_try()));
        assert!(capability.worth_a_try());
    }
}
