//! The wait group: the number of things that are not done, and a list of waiters for zero.

use crate::base::list_lock::ListLock;
use crate::base::sync::const_fn;
use crate::coroutine::{Batch, Facts, Subject, WaitList, WaitReason, Why};
use crate::sched::{self, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Waits for a number of things to be done: Go's `sync.WaitGroup`.
///
/// Call [`add`](Self::add) before you start what the group waits for, not inside it: otherwise
/// [`wait`](Self::wait) may find the count at zero too early. Once the count is zero the group can be used
/// again. In a coroutine that may panic or be cancelled, call [`done`](Self::done) in a destructor.
///
/// ```
/// use std::sync::Arc;
/// use sward::sync::WaitGroup;
///
/// sward::run(|| {
///     let group = Arc::new(WaitGroup::new());
///     for _ in 0..10 {
///         group.add(1);
///         let group = group.clone();
///         sward::spawn(move || group.done());
///     }
///     group.wait();
/// });
/// ```
#[doc(alias = "sync.WaitGroup")]
pub struct WaitGroup {
    state: ListLock<State>,
}

/// Invariant: while the count is zero, nobody waits.
#[derive(Debug)]
struct State {
    count: usize,
    waiting: WaitList,
}

impl UnwindSafe for WaitGroup {}
impl RefUnwindSafe for WaitGroup {}

// SAFETY: what is under the lock.
unsafe impl Subject for WaitGroup {
    fn facts(&self) -> Facts {
        Facts::Count { at: std::ptr::from_ref(self).addr(), missing: self.state.lock().count }
    }
}

impl WaitGroup {
    const_fn! {
        /// A group whose count is zero.
        pub fn new() -> WaitGroup {
            WaitGroup { state: ListLock::new(State { count: 0, waiting: WaitList::new() }) }
        }
    }

    /// Adds `n` to the count of things that are not done. Does not park.
    ///
    /// # Panics
    ///
    /// If the count overflows.
    pub fn add(&self, n: usize) {
        let mut state = self.state.lock();
        let Some(count) = state.count.checked_add(n) else {
            drop(state);
            panic!("sward: a WaitGroup's count overflows");
        };
        state.count = count;
    }

    /// Subtracts one from the count, and wakes all waiters if it is zero now. Does not park.
    ///
    /// # Panics
    ///
    /// If the count is zero already: `done` was called more often than was [added](Self::add).
    ///
    /// ```should_panic
    /// sward::sync::WaitGroup::new().done();
    /// ```
    pub fn done(&self) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        let Some(count) = state.count.checked_sub(1) else {
            drop(state);
            panic!("sward: a WaitGroup's count is below zero: more calls of done than were added");
        };
        state.count = count;
        if count == 0 {
            state.waiting.wake_all(&mut batch);
        }
        drop(state);
        batch.wake();
    }

    /// Parks the coroutine, or blocks the plain thread, until the count is zero. A cancelled coroutine
    /// unwinds out of the wait.
    pub fn wait(&self) {
        sched::consume_budget();
        if self.state.lock().count == 0 {
            return;
        }
        let ended = sched::wait_in(
            &self.state,
            Wait::new(Why::new(WaitReason::WaitGroup, self)),
            |state, node| {
                let wanted = state.count > 0;
                if wanted {
                    // SAFETY: `wait_in` keeps the node until it was fired or taken off, below.
                    unsafe { state.waiting.push_back(node) };
                }
                wanted
            },
            |state, node, _| {
                state.waiting.remove(node);
            },
        );
        if ended.woken() != Woken::Event {
            sched::unwind_cancelled();
        }
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.state.lock().count;
        f.debug_struct("WaitGroup").field("count", &count).finish_non_exhaustive()
    }
}
