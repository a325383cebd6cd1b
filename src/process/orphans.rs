//! Children that have not ended, and whose handle is gone. Somebody has to reap them.
//!
//! Invariant: whoever is on the list has not been reaped, so its number is its own.

use super::exit::block_until_ended;
use crate::blocking;
use parking_lot::Mutex;
use std::process::Child;

static ORPHANS: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Takes a child that nobody will wait for. If it has been killed, a thread waits for its end, which is near;
/// otherwise `reap` will find it.
pub(super) fn adopt(child: Child, killed: bool) {
    let pid = child.id();
    ORPHANS.lock().push(child);
    if killed {
        // Without a thread, the next `reap` does it.
        let _ = blocking::detach(move || {
            block_until_ended(pid);
            reap();
        });
    }
    reap();
}

/// Reaps those that have ended. Does not block.
pub(super) fn reap() {
    // What cannot be asked for any more was reaped by somebody else.
    ORPHANS.lock().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}
