//! The wait group: a count of what is not done yet, and those who wait for it to be none.

use crate::base::list_lock::ListLock;
use crate::base::sync::const_fn;
use crate::coroutine::{Batch, WaitList, WaitReason};
use crate::sched::{self, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Waits for a number of things to be done: Go's `sync.WaitGroup`.
///
/// [`add`](Self::add) before whatever is to be waited for is started, not in it: else
/// [`wait`](Self::wait) may find the count at zero too early. Once the count is zero the group can be used
/// again. A coroutine that may panic or be cancelled calls [`done`](Self::done) in a destructor.
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
pub struct WaitGroup {
    state: ListLock<State>,
}

/// Invariant: at zero, nobody waits.
#[derive(Debug)]
struct State {
    count: usize,
    waiting: WaitList,
}

impl UnwindSafe for WaitGroup {}
impl RefUnwindSafe for WaitGroup {}

impl WaitGroup {
    const_fn! {
        /// A group with nothing to wait for.
        pub fn new() -> WaitGroup {
            WaitGroup { state: ListLock::new(State { count: 0, waiting: WaitList::new() }) }
        }
    }

    /// Counts that many more things as not done. Does not park.
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

    /// Counts one thing as done, and wakes those who wait if it was the last. Does not park.
    ///
    /// # Panics
    ///
    /// If the count is zero: `done` was called more often than was [added](Self::add).
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

    /// Waits until the count is zero, parking the coroutine or blocking the thread; returns at once if it
    /// is. A cancelled coroutine unwinds out of the wait.
    pub fn wait(&self) {
        sched::consume_budget();
        if self.state.lock().count == 0 {
            return;
        }
        let ended = sched::wait_in(
            &self.state,
            Wait::new(WaitReason::WaitGroup),
            |state, place| {
                let wanted = state.count > 0;
                if wanted {
                    // SAFETY: `wait_in` keeps the place until it was fired or taken off, below.
                    unsafe { state.waiting.push_back(place) };
                }
                wanted
            },
            |state, place, _| {
                state.waiting.remove(place);
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
