//! What happens once: one word, and those who wait for it.
//!
//! ```text
//!  word         moves
//!  INCOMPLETE   call -> RUNNING
//!  RUNNING      the closure returns -> COMPLETE, panics -> POISONED, is cancelled -> as it was before
//!  POISONED     call_force -> RUNNING
//!  COMPLETE     for good
//! ```
//!
//! A word that leaves RUNNING does so under the list's lock, and all who wait are woken to look again. They
//! list themselves under that lock after looking at the word, so nobody waits for a change that has been.

use crate::base::list_lock::ListLock;
use crate::base::sync::{AtomicU32, Ordering, const_fn};
use crate::coroutine::{Batch, WaitList, WaitReason};
use crate::sched::{self, Wait, Woken};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

const INCOMPLETE: u32 = 0;
const RUNNING: u32 = 1;
const POISONED: u32 = 2;
const COMPLETE: u32 = 3;

/// A closure that is called once, as [`std::sync::Once`]. It may wait for anything: others that come
/// meanwhile park.
///
/// # Poisoning
///
/// As in std: a closure that panics poisons it. One that is cancelled, or whose time limit passes, does
/// not: the next caller's closure is called.
///
/// ```
/// static START: sward::sync::Once = sward::sync::Once::new();
///
/// START.call_once(|| println!("this is printed"));
/// START.call_once(|| println!("this is not"));
/// assert!(START.is_completed());
/// ```
pub struct Once {
    word: AtomicU32,
    waiting: ListLock<WaitList>,
}

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

/// What [`Once::call_once_force`] tells its closure.
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

impl Once {
    const_fn! {
        /// Nothing was called yet.
        pub fn new() -> Once {
            Once { word: AtomicU32::new(INCOMPLETE), waiting: ListLock::new(WaitList::new()) }
        }
    }

    /// Calls the closure, unless this or another call has completed. If another one's closure is running,
    /// waits for it, parking the coroutine or blocking the thread; a cancelled coroutine unwinds out of
    /// that wait. What the closure did is visible once this returns.
    ///
    /// A closure that calls `call_once` of the same `Once` waits for itself, for ever.
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

    /// As [`call_once`](Self::call_once), but calls the closure also if an earlier one has panicked.
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

    /// Whether a closure has returned. Does not park.
    #[inline]
    pub fn is_completed(&self) -> bool {
        // Pairs with the release in `conclude`.
        self.word.load(Ordering::Acquire) == COMPLETE
    }

    /// Waits until a closure has returned, parking the coroutine or blocking the thread. A cancelled
    /// coroutine unwinds out of the wait.
    ///
    /// # Panics
    ///
    /// If a closure has panicked.
    pub fn wait(&self) {
        self.wait_completed(WaitReason::OnceWait, false);
    }

    /// As [`wait`](Self::wait), but waits on for another closure if one has panicked.
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
                    // Acquires what a closure did that did not return.
                    match self.word.compare_exchange(before, RUNNING, Ordering::Acquire, Ordering::Acquire) {
                        Ok(_) => break before,
                        Err(now) => word = now,
                    }
                }
            }
        };
        let mut running = Running { once: self, before, returned: false };
        f(&OnceState { poisoned: before == POISONED });
        running.returned = true;
    }

    /// Waits once if the word is such; gives the word as it is then.
    fn wait_while(&self, reason: WaitReason, such: impl Fn(u32) -> bool) -> u32 {
        let ended = sched::wait_in(
            &self.waiting,
            Wait::new(reason),
            |waiting, place| {
                let wanted = such(self.word.load(Ordering::Relaxed));
                if wanted {
                    // SAFETY: `wait_in` keeps the place until it was fired or taken off, below.
                    unsafe { waiting.push_back(place) };
                }
                wanted
            },
            |waiting, place, _| {
                waiting.remove(place);
            },
        );
        if ended.woken() != Woken::Event {
            sched::unwind_cancelled();
        }
        self.word.load(Ordering::Acquire)
    }

    /// Ends RUNNING.
    fn conclude(&self, word: u32) {
        let mut batch = Batch::new();
        let mut waiting = self.waiting.lock();
        // Releases what the closure did to all who look at the word.
        self.word.store(word, Ordering::Release);
        waiting.wake_all(&mut batch);
        drop(waiting);
        batch.wake();
    }
}

/// A closure that is running.
struct Running<'a> {
    once: &'a Once,
    before: u32,
    returned: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.once.conclude(match self.returned {
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
