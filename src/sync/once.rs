//! One-time initialisation: one atomic word, and a list of waiters.
//!
//! ```text
//!  from                   to                   cause
//!  INCOMPLETE             RUNNING              `call`: this caller runs its closure
//!  POISONED               RUNNING              `call` with `force`
//!  RUNNING                COMPLETE, for good   the closure returns
//!  RUNNING                POISONED             the closure panics
//!  RUNNING                as it was before     the closure is cancelled
//! ```
//!
//! RUNNING ends under the list's lock, and all waiters are woken to read the word again. A waiter reads the
//! word and lists itself under the same lock. So it does not wait for a change that has happened already.

use super::holder::HolderWord;
use crate::base::list_lock::ListLock;
use crate::base::sync::{AtomicU32, Ordering, const_fn};
use crate::coroutine::{Batch, Facts, Subject, WaitList, WaitReason, Why};
use crate::sched::{self, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

const INCOMPLETE: u32 = 0;
const RUNNING: u32 = 1;
const POISONED: u32 = 2;
const COMPLETE: u32 = 3;

/// [`std::sync::Once`], whose closure may wait for anything: callers that come meanwhile park.
///
/// # Poisoning
///
/// As in std: a closure that panics poisons the `Once`. A closure that is cancelled, or whose time limit
/// expires, does not: the next caller's closure is called.
///
/// ```
/// static START: sward::sync::Once = sward::sync::Once::new();
///
/// START.call_once(|| println!("this is printed"));
/// START.call_once(|| println!("this is not"));
/// assert!(START.is_completed());
/// ```
#[doc(alias("sync.Once", "OnceCell"))]
pub struct Once {
    word: AtomicU32,
    waiting: ListLock<WaitList>,
    /// The caller whose closure runs.
    holder: HolderWord,
}

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

/// The argument of [`Once::call_once_force`]'s closure, as [`std::sync::OnceState`].
#[derive(Debug)]
pub struct OnceState {
    poisoned: bool,
}

impl OnceState {
    /// Whether an earlier closure has panicked.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

// SAFETY: atomics only.
unsafe impl Subject for Once {
    fn facts(&self) -> Facts {
        // Acquire: as `holder.rs` says.
        let running = self.word.load(Ordering::Acquire) == RUNNING;
        let holder = if running { self.holder.get() } else { None };
        Facts::Lock { at: std::ptr::from_ref(self).addr(), holder, readers: 0 }
    }
}

impl Once {
    const_fn! {
        /// A `Once` whose closure has not run.
        pub fn new() -> Once {
            Once {
                word: AtomicU32::new(INCOMPLETE),
                waiting: ListLock::new(WaitList::new()),
                holder: HolderWord::new(),
            }
        }
    }

    /// Calls `f`, unless a closure has completed. Parks the coroutine, or blocks the plain thread, while
    /// another caller's closure runs; a cancelled coroutine unwinds out of this wait. Everything that the
    /// closure did is visible when this returns.
    ///
    /// Deadlocks if `f` calls the same `Once`.
    ///
    /// # Panics
    ///
    /// If an earlier closure has panicked.
    #[track_caller]
    pub fn call_once<F: FnOnce()>(&self, f: F) {
        if !self.is_completed() {
            self.call(WaitReason::Once, false, |_| f());
        }
    }

    /// As [`call_once`](Self::call_once), but also calls `f` if an earlier closure has panicked.
    ///
    /// ```
    /// use std::panic::catch_unwind;
    ///
    /// let once = sward::sync::Once::new();
    /// assert!(catch_unwind(|| once.call_once(|| std::panic::resume_unwind(Box::new("no")))).is_err());
    /// assert!(catch_unwind(|| once.call_once(|| ())).is_err());
    /// once.call_once_force(|state| assert!(state.is_poisoned()));
    /// once.call_once(|| unreachable!());
    /// ```
    pub fn call_once_force<F: FnOnce(&OnceState)>(&self, f: F) {
        if !self.is_completed() {
            self.call(WaitReason::Once, true, f);
        }
    }

    /// Whether a closure has completed. Does not park.
    #[inline]
    pub fn is_completed(&self) -> bool {
        // Pairs with the release in `finish`.
        self.word.load(Ordering::Acquire) == COMPLETE
    }

    /// Parks the coroutine, or blocks the plain thread, until a closure has completed. A cancelled coroutine
    /// unwinds out of the wait.
    ///
    /// # Panics
    ///
    /// If a closure has panicked.
    pub fn wait(&self) {
        self.wait_completed(WaitReason::OnceWait, false);
    }

    /// As [`wait`](Self::wait), but if a closure has panicked, waits until another one has completed.
    pub fn wait_force(&self) {
        self.wait_completed(WaitReason::OnceWait, true);
    }

    pub(super) fn wait_completed(&self, reason: WaitReason, force: bool) {
        let undecided = |word| word != COMPLETE && (force || word != POISONED);
        let mut word = self.word.load(Ordering::Acquire);
        while undecided(word) {
            word = self.wait_while(reason, undecided);
        }
        if word == POISONED {
            poisoned();
        }
    }

    #[cold]
    #[track_caller]
    pub(super) fn call(&self, reason: WaitReason, force: bool, f: impl FnOnce(&OnceState)) {
        sched::consume_budget();
        let mut word = self.word.load(Ordering::Acquire);
        let before = loop {
            match word {
                COMPLETE => return,
                POISONED if !force => poisoned(),
                RUNNING => word = self.wait_while(reason, |word| word == RUNNING),
                before => {
                    // Acquires what an earlier closure did that did not complete.
                    match self.word.compare_exchange(before, RUNNING, Ordering::Acquire, Ordering::Acquire) {
                        Ok(_) => break before,
                        Err(now) => word = now,
                    }
                }
            }
        };
        self.holder.set();
        let mut running = Running { once: self, before, returned: false };
        f(&OnceState { poisoned: before == POISONED });
        running.returned = true;
    }

    /// Waits once if the word is `such`; returns the word as it is then.
    fn wait_while(&self, reason: WaitReason, such: impl Fn(u32) -> bool) -> u32 {
        let ended = sched::wait_in(
            &self.waiting,
            Wait::new(Why::new(reason, self)),
            |waiting, node| {
                let wanted = such(self.word.load(Ordering::Relaxed));
                if wanted {
                    // SAFETY: `wait_in` keeps the node until it was fired or taken off, below.
                    unsafe { waiting.push_back(node) };
                }
                wanted
            },
            |waiting, node, _| {
                waiting.remove(node);
            },
        );
        if ended.woken() != Woken::Event {
            sched::unwind_cancelled();
        }
        self.word.load(Ordering::Acquire)
    }

    /// Ends RUNNING.
    fn finish(&self, word: u32) {
        self.holder.clear();
        let mut batch = Batch::new();
        let mut waiting = self.waiting.lock();
        // Releases what the closure did to all readers of the word.
        self.word.store(word, Ordering::Release);
        waiting.wake_all(&mut batch);
        drop(waiting);
        batch.wake();
    }
}

/// Ends RUNNING when the closure returns or unwinds.
struct Running<'a> {
    once: &'a Once,
    before: u32,
    returned: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.once.finish(match self.returned {
            true => COMPLETE,
            false if sched::cancelling() => self.before,
            false => POISONED,
        });
    }
}

#[cold]
#[track_caller]
fn poisoned() -> ! {
    panic!("sward: a Once is poisoned: an earlier closure has panicked");
}

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}
