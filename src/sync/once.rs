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
//!
//! *Orderings.* Each closure's end releases, whatever the end. The beginning of the next closure acquires,
//! and so does each reader that finds COMPLETE. RUNNING is written by a compare-and-swap, which continues the
//! release sequence of the end before (`holder.rs`).

use super::holder::HolderWord;
use crate::base::list_lock::ListLock;
use crate::base::sync::{AtomicU32, Ordering, const_fn};
use crate::coroutine::{Batch, Facts, Subject, WaitList, WaitNode, WaitReason, Why};
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
                before => match self.begin(before) {
                    Ok(()) => break before,
                    Err(now) => word = now,
                },
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
            // SAFETY: `wait_in` keeps the node until it was fired or taken off, below.
            |waiting, node| unsafe { self.enlist(waiting, node, &such) },
            |waiting, node, _| {
                waiting.remove(node);
            },
        );
        if ended.woken() != Woken::Event {
            sched::unwind_cancelled();
        }
        self.word.load(Ordering::Acquire)
    }

    /// Begins RUNNING if the word is `before` still. The error is the word as it is now.
    fn begin(&self, before: u32) -> Result<(), u32> {
        // Acquires what an earlier closure did that did not complete.
        self.word.compare_exchange(before, RUNNING, Ordering::Acquire, Ordering::Acquire).map(drop)
    }

    /// Lists the node if the word is `such`; otherwise false. Under the list's lock.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`].
    unsafe fn enlist(&self, waiting: &mut WaitList, node: &WaitNode, such: impl Fn(u32) -> bool) -> bool {
        let wanted = such(self.word.load(Ordering::Relaxed));
        if wanted {
            // SAFETY: as the caller says.
            unsafe { waiting.push_back(node) };
        }
        wanted
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

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::coroutine::{Cause, Sleeper};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        once: Once,
        value: UnsafeCell<u32>,
        sleepers: [Sleeper; 2],
    }

    // SAFETY: the model checks that the accesses to `value` are ordered; each sleeper is one thread's.
    unsafe impl Sync for World {}
    // SAFETY: as above.
    unsafe impl Send for World {}

    impl World {
        fn new() -> Arc<World> {
            let (once, value) = (Once::new(), UnsafeCell::new(0));
            Arc::new(World { once, value, sleepers: [Sleeper::new(), Sleeper::new()] })
        }

        /// As `call` with `force`, with a closure that counts its calls. Its end makes the word that one.
        fn call(&self, caller: usize, end: u32) {
            let mut word = self.once.word.load(Ordering::Acquire);
            loop {
                match word {
                    COMPLETE => return,
                    RUNNING => word = self.wait(caller),
                    before => match self.once.begin(before) {
                        Ok(()) => break,
                        Err(now) => word = now,
                    },
                }
            }
            // SAFETY: one closure runs at a time, which is what the model checks.
            self.value.with_mut(|value| unsafe { *value += 1 });
            self.once.finish(end);
        }

        /// As `wait_while`.
        fn wait(&self, caller: usize) -> u32 {
            let ticket = self.sleepers[caller].ticket();
            let node = WaitNode::new(ticket, ());
            let runs = |word| word == RUNNING;
            // SAFETY: the node stays until its ticket was fired from the list.
            if unsafe { self.once.enlist(&mut self.once.waiting.lock(), &node, runs) } {
                assert_eq!(self.sleepers[caller].sleep(ticket), Cause::Event);
            }
            self.once.word.load(Ordering::Acquire)
        }

        fn calls(&self) -> u32 {
            // SAFETY: a closure has completed, so none runs; the model checks it.
            self.value.with(|value| unsafe { *value })
        }
    }

    /// Two callers, and one call: both see what the closure did, also the one that waits.
    #[test]
    fn one_closure_runs_and_each_caller_sees_what_it_did() {
        loom::model(|| {
            let world = World::new();
            let theirs = world.clone();
            let other = thread::spawn(move || {
                theirs.call(1, COMPLETE);
                theirs.calls()
            });
            world.call(0, COMPLETE);
            assert_eq!(world.calls(), 1);
            assert_eq!(other.join().unwrap(), 1);
        });
    }

    /// Closures panic, one after the other, before another one completes, which sees what they did. Between
    /// the look of its caller at the word and its beginning the word may have become the same again.
    #[test]
    fn a_closure_sees_what_one_did_that_did_not_complete() {
        loom::model(|| {
            let world = World::new();
            let theirs = world.clone();
            let other = thread::spawn(move || [(); 2].map(|()| theirs.call(1, POISONED)));
            world.call(0, COMPLETE);
            other.join().unwrap();
            assert!((1..=3).contains(&world.calls()));
        });
    }
}
