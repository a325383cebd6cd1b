//! The barrier: a count of those who have arrived, and their queue.

use crate::base::list_lock::ListLock;
use crate::base::sync::const_fn;
use crate::coroutine::{Batch, WaitList, WaitNode, WaitReason};
use crate::sched::{self, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Makes a number of coroutines or threads wait until all of them have arrived, as [`std::sync::Barrier`].
///
/// It can be used again at once: the next ones to arrive form the next group.
///
/// # Cancellation
///
/// A coroutine that is cancelled before its group is complete unwinds out of the wait and no longer
/// counts as arrived: the group waits for another in its place.
///
/// ```
/// use std::sync::Arc;
/// use sward::sync::Barrier;
///
/// sward::run(|| {
///     let barrier = Arc::new(Barrier::new(3));
///     let group: Vec<_> = (0..3)
///         .map(|_| {
///             let barrier = barrier.clone();
///             sward::spawn(move || barrier.wait().is_leader())
///         })
///         .collect();
///     let leaders = group.into_iter().map(|one| one.join().unwrap()).filter(|&leads| leads).count();
///     assert_eq!(leaders, 1);
/// });
/// ```
pub struct Barrier {
    size: usize,
    group: ListLock<Group>,
}

#[derive(Debug)]
struct Group {
    arrived: usize,
    waiting: WaitList,
}

impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}

impl Barrier {
    const_fn! {
        /// A barrier for groups of that size; zero counts as one.
        pub fn new(size: usize) -> Barrier {
            Barrier { size, group: ListLock::new(Group { arrived: 0, waiting: WaitList::new() }) }
        }
    }

    /// Waits until the group is complete, parking the coroutine or blocking the thread. The last one to
    /// arrive is the leader, and does not wait.
    pub fn wait(&self) -> BarrierWaitResult {
        sched::consume_budget();
        let mut leads = false;
        let mut batch = Batch::new();
        let ended = sched::wait_in(
            &self.group,
            Wait::new(WaitReason::Barrier),
            |group, place| {
                leads = self.completes(group, &mut batch);
                if !leads {
                    group.arrived += 1;
                    // SAFETY: `wait_in` keeps the place until it was fired or `leave` has run.
                    unsafe { group.waiting.push_back(place) };
                }
                !leads
            },
            leave,
        );
        batch.wake();
        if ended.woken() == Woken::Event { BarrierWaitResult(leads) } else { sched::unwind_cancelled() }
    }

    /// Whether one more completes the group; then those who wait are in the batch.
    fn completes(&self, group: &mut Group, batch: &mut Batch) -> bool {
        if group.arrived + 1 < self.size {
            return false;
        }
        group.arrived = 0;
        group.waiting.wake_all(batch);
        true
    }
}

/// Gives up a place. One that is no longer listed has been counted in a group that is complete.
fn leave(group: &mut Group, place: &WaitNode, _: &mut Batch) {
    if group.waiting.remove(place) {
        group.arrived -= 1;
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

/// Who led the group, as [`std::sync::BarrierWaitResult`].
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the caller was the last of its group to arrive: exactly one is.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult").field("is_leader", &self.is_leader()).finish()
    }
}
