//! Stealing: taking runnable coroutines out of other workers' deques.

use super::deques::Deques;
use super::recorder;
use super::runnable::Runnable;
use super::shared::{Remote, Shared};
use super::test_seam;
use crate::coroutine::Header;
use crossbeam_deque::Steal;
use std::ptr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A deque with at most this many coroutines is left to its worker for [`STEAL_DELAY`].
pub(super) const FEW: usize = 2;
/// How long a thief leaves the few last coroutines of a victim alone. The victim is likely to run them
/// itself in a moment, and two coroutines that go on to wait for each other then stay together. Go's
/// thieves wait for 3 µs.
pub(super) const STEAL_DELAY: Duration = Duration::from_micros(5);

/// Steals for the worker `own` from a deque that holds more than `spared` coroutines. The first victim is a
/// random one.
pub(super) fn steal(
    shared: &Shared,
    own: &Remote,
    deques: &Deques,
    random: u32,
    spared: usize,
) -> Option<Runnable> {
    test_seam::note_scan();
    let remotes = shared.active_remotes();
    let start = random as usize % remotes.len();
    let others = remotes[start..].iter().chain(&remotes[..start]);
    for victim in others.filter(|victim| !ptr::eq(*victim, own)) {
        let pairs =
            [(&victim.oldest_first, &deques.oldest_first), (&victim.newest_first, &deques.newest_first)];
        for (from, to) in pairs {
            while from.len() > spared {
                if let Steal::Success(item) = from.steal_batch_and_pop(to) {
                    own.steals.fetch_add(1, Ordering::Relaxed);
                    if recorder::is_on() {
                        note_steal(shared, own, victim, &item);
                    }
                    return Some(item);
                }
            }
        }
    }
    None
}

#[cold]
fn note_steal(shared: &Shared, own: &Remote, victim: &Remote, item: &Runnable) {
    let from = shared.remotes.iter().position(|remote| ptr::eq(remote, victim)).unwrap_or(0);
    // SAFETY: the thread that takes a coroutine from a queue owns it, and it is alive.
    let coroutine = item.home::<Shared>().is_none().then(|| unsafe { item.0.cast::<Header>().as_ref() }.id());
    // SAFETY: the thief is the worker of this thread.
    unsafe { own.track.writer() }.steal(coroutine, from);
}
