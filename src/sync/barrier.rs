//! The barrier: the number of arrived callers, and their wait list.

use crate::base::list_lock::ListLock;
use crate::base::sync::const_fn;
use crate::coroutine::{Batch, Facts, Subject, WaitList, WaitNode, WaitReason, Why};
use crate::sched::{self, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// [`std::sync::Barrier`], whose [`wait`](Self::wait) parks the coroutine. Coroutines and plain threads may
/// form one group.
///
/// It can be used again at once: the next callers to arrive form the next group.
///
/// # Cancellation
///
/// A coroutine that is cancelled before its group is complete unwinds out of the wait and no longer counts as
/// arrived: the group waits for another caller instead.
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

// SAFETY: what is under the lock, and a size that never changes.
unsafe impl Subject for Barrier {
    fn facts(&self) -> Facts {
        let arrived = self.group.lock().arrived;
        Facts::Count { at: std::ptr::from_ref(self).addr(), missing: self.size - arrived }
    }
}

impl Barrier {
    const_fn! {
        /// A barrier for groups of `size` callers; zero counts as one.
        pub fn new(size: usize) -> Barrier {
            Barrier { size, group: ListLock::new(Group { arrived: 0, waiting: WaitList::new() }) }
        }
    }

    /// Parks the coroutine, or blocks the plain thread, until the group is complete. The last caller to
    /// arrive is the leader, and does not wait.
    pub fn wait(&self) -> BarrierWaitResult {
        sched::consume_budget();
        let mut leads = false;
        let mut batch = Batch::new();
        let ended = sched::wait_in(
            &self.group,
            Wait::new(Why::new(WaitReason::Barrier, self)),
            |group, node| {
                leads = self.completes(group, &mut batch);
                if !leads {
                    group.arrived += 1;
                    // SAFETY: `wait_in` keeps the node until it was fired or `leave` has run.
                    unsafe { group.waiting.push_back(node) };
                }
                !leads
            },
            leave,
        );
        batch.wake();
        if ended.woken() == Woken::Event { BarrierWaitResult(leads) } else { sched::unwind_cancelled() }
    }

    /// Whether one more caller completes the group; if so, its waiters are in the batch.
    fn completes(&self, group: &mut Group, batch: &mut Batch) -> bool {
        if group.arrived + 1 < self.size {
            return false;
        }
        group.arrived = 0;
        group.waiting.wake_all(batch);
        true
    }
}

/// Takes off the node of a cancelled wait. If it is no longer listed, its group is complete, and it counts.
fn leave(group: &mut Group, node: &WaitNode, _: &mut Batch) {
    if group.waiting.remove(node) {
        group.arrived -= 1;
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

/// Whether the caller is the leader of its group, as [`std::sync::BarrierWaitResult`].
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the caller was the last of its group to arrive. Exactly one caller is.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult").field("is_leader", &self.is_leader()).finish()
    }
}
