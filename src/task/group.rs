//! Coroutines that end before their group does: what the kinds of scopes are made of.
//!
//! A [`Group`] is on the stack of the one who opened the scope, the *parent*, and so is what its
//! coroutines borrow. [`Group::run`] returns, or unwinds, after all of them have ended.
//!
//! # Why nothing is borrowed for too long
//!
//! 1. *Every coroutine of the group is in `children`* from its spawn until its `done` was seen set. Only
//!    the parent's closure and coroutines of the group can spawn, or what ends before one of these does,
//!    as a scope inside does: nobody else has the scope, whose lifetime is none that a caller of
//!    `scope` can name. So a spawner is running while it lists the new one, within the closure or within one
//!    that is listed. An empty list, seen by the parent after its closure, means that none is alive and none
//!    will be.
//! 2. *`done` is the last.* It is set after the closure was dropped, and after the result was dropped
//!    if nobody was to take it (`coroutine::header`): nothing that belongs to the user runs in that
//!    coroutine after it. What the coroutine did happens before: `done` is set with release, and
//!    `settle` sees it with acquire. That goes for the group's own fields as well, which are
//!    touched by code inside of the closure. The event itself is in the coroutine's header, which the
//!    handle in `children` keeps: setting it touches nothing of the parent's.
//! 3. *A result that somebody is still to take* is in the coroutine's heap cell. The right to it is a
//!    handle with the scope's lifetime: it has gone when the scope ends, or was leaked, and then nobody
//!    looks at the result again, not even to drop it.
//! 4. *`settle` does not end early.* Its waits are masked once a cancellation has been met, and whatever
//!    else might unwind out of it would be an error of the runtime, and aborts.
//! 5. *A coroutine that is leaked* when its runtime shuts down has not ended, so its parent does not go
//!    on: by 1 and 4 it waits for that one's `done`. If the parent is a coroutine of that runtime, it stays
//!    parked and is leaked as well, and a suspended stack is never freed. If it is a plain thread, it blocks
//!    for ever. A coroutine that was not started ends with `JoinError::Cancelled`, its closure dropped
//!    before `done`.

use super::Builder;
use crate::base::list_lock::ListLock;
use crate::base::lock::assert_none_held;
use crate::base::sys::report;
use crate::coroutine::{Batch, Cancellation, Handle, WaitList, WaitReason, contain_panic};
use crate::sched::{self, Cancel, Woken};
use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Fewer handles than this are not looked through for those of ended coroutines.
const FEW: usize = 32;

/// Coroutines that end before this does.
pub(super) struct Group {
    children: ListLock<Children>,
    /// All are to be cancelled, those included that are yet to be spawned. Set under the lock of `children`.
    cancelled: AtomicBool,
    /// With a limit on how many run at a time.
    permits: Option<ListLock<Permits>>,
    /// The time limit that the parent was under when it opened the scope: its coroutines are under it
    /// from their start.
    limit: Option<Instant>,
    /// How many panicked and were not joined. This and the next two are written before `done`.
    panicked: AtomicUsize,
    /// How many were dropped unrun, for want of a stack or of a runtime, and were not joined.
    unstarted: AtomicUsize,
    /// Whether a cancellation or the time limit has ended one.
    cut: AtomicBool,
}

/// The coroutines of a group that may be alive, oldest first.
struct Children {
    handles: VecDeque<Handle>,
    /// How many handles there may be before those of ended coroutines are thrown out.
    tidy_at: usize,
}

/// How many more coroutines may run; while some wait for that, none.
struct Permits {
    free: usize,
    waiting: WaitList,
}

/// How the coroutines of a group ended, all in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Each ran to its end, was cancelled together with the others, or was joined.
    Well,
    /// One panicked.
    Panicked,
    /// One was not run: there was no stack, or its runtime had shut down.
    Unstarted,
    /// One was cancelled alone.
    Cut,
}

impl Group {
    /// A group of which at most that many coroutines run at a time.
    pub(super) fn new(most: Option<usize>) -> Group {
        Group {
            children: ListLock::new(Children { handles: VecDeque::new(), tidy_at: FEW }),
            cancelled: AtomicBool::new(false),
            permits: most.map(|free| ListLock::new(Permits { free, waiting: WaitList::new() })),
            limit: sched::limit(),
            panicked: AtomicUsize::new(0),
            unstarted: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
        }
    }

    /// Runs the closure, which spawns, and waits until all have ended. If the closure panics or its
    /// coroutine is cancelled, the children are cancelled, and the unwinding goes on once they have ended.
    pub(super) fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        assert_none_held();
        let outcome = catch_unwind(AssertUnwindSafe(f));
        if outcome.is_err() {
            self.cancel();
        }
        let interrupted = self.settle(if outcome.is_err() { Cancel::Mask } else { Cancel::Obey });
        match outcome {
            Err(payload) => resume_unwind(payload),
            Ok(value) if interrupted => {
                // Before the unwinding: a destructor that panics then aborts the process.
                contain_panic(|| drop(value));
                sched::unwind_cancelled()
            }
            Ok(value) => value,
        }
    }

    /// Waits until all have ended. If a cancellation of the caller, or its time limit, comes first, they
    /// are cancelled; whether that was so.
    fn settle(&self, mut cancel: Cancel) -> bool {
        let bomb = AbortOnUnwind;
        let mut interrupted = false;
        while let Some(child) = self.oldest() {
            if sched::can_never_end(child.header()) {
                report(format_args!(
                    "sward: a scope in a destructor waits, while unwinding, for a coroutine of the worker that \
                     this wait blocks"
                ));
                std::process::abort();
            }
            let done = &child.header().done;
            if sched::wait_for_event(done, WaitReason::ScopeEnd, None, cancel) == Woken::Cancelled {
                interrupted = true;
                cancel = Cancel::Mask;
                self.cancel();
            }
        }
        std::mem::forget(bomb);
        interrupted
    }

    /// The oldest one that has not ended.
    fn oldest(&self) -> Option<Handle> {
        let mut children = self.children.lock();
        while children.handles.front()?.header().done.is_set() {
            children.handles.pop_front();
        }
        children.handles.front().cloned()
    }

    /// How they ended; to be asked after `run`.
    pub(super) fn ended(&self) -> Ended {
        if self.panicked.load(Ordering::Relaxed) > 0 {
            Ended::Panicked
        } else if self.is_cancelled() {
            Ended::Well
        } else if self.unstarted.load(Ordering::Relaxed) > 0 {
            Ended::Unstarted
        } else if self.cut.load(Ordering::Relaxed) {
            Ended::Cut
        } else {
            Ended::Well
        }
    }

    /// Cancels all that are alive, and those that are spawned afterwards. False, with nothing done,
    /// where panics abort.
    pub(super) fn cancel(&self) -> bool {
        if cfg!(panic = "abort") {
            return false;
        }
        let mut batch = Batch::new();
        {
            let children = self.children.lock();
            self.cancelled.store(true, Ordering::Release);
            for child in &children.handles {
                child.cancel(&mut batch);
            }
        }
        batch.wake();
        true
    }

    /// Whether all have been cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        // Pairs with `cancel`: what led to it is seen by whoever is told of it.
        self.cancelled.load(Ordering::Acquire)
    }

    /// Spawns a coroutine of the group. Parks while as many run as may.
    ///
    /// # Safety
    ///
    /// It is called by the closure of [`run`](Self::run) or by a coroutine of the group, and what `F` and
    /// `T` borrow outlives that `run`. The joining handle does not, unless it is leaked.
    #[track_caller]
    pub(super) unsafe fn spawn<T, F>(&self, builder: &Builder, f: F) -> io::Result<Handle>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let spawn = builder.prepare()?.limit(self.limit);
        self.acquire();
        let job = Job { f, child: Child { group: self, ran: false } };
        // SAFETY: what it borrows outlives `run`, and that returns after `done` was set; then the output
        // was dropped or taken, or its handle was leaked, so that nobody looks at it.
        let handle = unsafe { spawn.start(move || job.run()) };
        let mut batch = Batch::new();
        {
            let mut children = self.children.lock();
            if children.handles.len() >= children.tidy_at {
                children.handles.retain(|handle| !handle.header().done.is_set());
                children.tidy_at = FEW.max(2 * children.handles.len());
            }
            if self.is_cancelled() {
                handle.cancel(&mut batch);
            }
            children.handles.push_back(handle.clone());
        }
        batch.wake();
        Ok(handle)
    }

    /// Somebody was told that one has panicked.
    pub(super) fn panic_was_joined(&self) {
        self.panicked.fetch_sub(1, Ordering::Relaxed);
    }

    /// Somebody was told that there was no stack for one.
    pub(super) fn unstarted_was_joined(&self) {
        self.unstarted.fetch_sub(1, Ordering::Relaxed);
    }

    /// Parks until one more may run.
    fn acquire(&self) {
        let Some(lock) = &self.permits else { return };
        sched::consume_budget();
        let take = |permits: &mut Permits| {
            let free = permits.free > 0;
            permits.free -= usize::from(free);
            free
        };
        if take(&mut lock.lock()) {
            return;
        }
        let taken = Cell::new(false);
        let (woken, chosen) = sched::wait_in(
            lock,
            WaitReason::ScopeSpawn,
            None,
            Cancel::Obey,
            0,
            |permits, place| {
                taken.set(take(permits));
                if !taken.get() {
                    // SAFETY: `wait_in` takes the place off before it goes, unless it was chosen.
                    unsafe { permits.waiting.push_back(place) };
                }
                !taken.get()
            },
            |permits, place, _| {
                permits.waiting.remove(place);
            },
        );
        if woken == Woken::Cancelled {
            sched::unwind_cancelled();
        }
        debug_assert!(chosen || taken.get(), "nothing else ends this wait");
    }

    /// Lets one more run.
    fn release(&self) {
        let Some(lock) = &self.permits else { return };
        let mut batch = Batch::new();
        {
            let mut permits = lock.lock();
            if !permits.waiting.choose_first(&mut batch) {
                permits.free += 1;
            }
        }
        batch.wake();
    }
}

/// A coroutine's closure with what tells the group. The fields are dropped in this order: what the
/// closure has captured is gone when the group hears of the end.
struct Job<'a, F> {
    f: F,
    child: Child<'a>,
}

impl<T, F: FnOnce() -> T> Job<'_, F> {
    fn run(self) -> T {
        let Job { f, mut child } = self;
        child.ran = true;
        let run = || {
            // It may have been started before its spawner has come to cancel it.
            if child.group.is_cancelled() {
                drop(f);
                sched::unwind_cancelled();
            }
            f()
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(value) => value,
            Err(payload) => {
                child.unwound(&*payload);
                drop(child);
                resume_unwind(payload)
            }
        }
    }
}

/// What a coroutine of a group holds until its end.
struct Child<'a> {
    group: &'a Group,
    ran: bool,
}

impl Child<'_> {
    fn unwound(&self, payload: &(dyn Any + Send)) {
        if payload.is::<Cancellation>() {
            self.group.cut.store(true, Ordering::Relaxed);
        } else {
            self.group.panicked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        if !self.ran {
            // One that was cancelled before its first instruction drops its closure itself. Whoever else
            // drops it is a worker with no coroutine, or whatever has shut the runtime down.
            if sched::cancelled() {
                self.group.cut.store(true, Ordering::Relaxed);
            } else {
                self.group.unstarted.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.group.release();
    }
}

/// An unwinding out of `settle` would free what coroutines borrow.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        report(format_args!(
            "sward: a scope cannot wait for its coroutines: this is an error of the runtime"
        ));
        std::process::abort();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::sched;
    use crate::task::{self, JoinError};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    fn everywhere(test: impl Fn() + Send + Sync) {
        let runtime = crate::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        runtime.run(&test);
        test();
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(5)
    }

    /// The parent's time limit is its coroutines' as well, whichever of them meets it first.
    #[test]
    fn a_time_limit_goes_for_the_whole_scope() {
        everywhere(|| {
            let slept = sched::limited(soon(), || {
                crate::scope(|s| {
                    for _ in 0..10 {
                        s.spawn(task::park);
                    }
                });
                unreachable!("the scope unwinds");
            });
            assert!(slept.is_err());
            let tried: Result<Result<(), ()>, _> = sched::limited(soon(), || {
                crate::try_scope(|s| {
                    s.spawn(|| {
                        task::park();
                        Ok(())
                    });
                    // Not at a wait when the time is over: the coroutine meets it first.
                    while sched::limit().is_some_and(|limit| limit > Instant::now()) {
                        sched::yield_now();
                    }
                    Ok(())
                })
            });
            assert!(tried.is_err());
            let ran = sched::limited(soon(), || task::CancelToken::new().run(task::park));
            assert!(ran.is_err());
        });
    }

    #[test]
    fn a_coroutine_that_the_time_limit_has_ended_is_cancelled() {
        everywhere(|| {
            crate::scope(|s| {
                let ended = sched::limited(soon(), || {
                    crate::scope(|inner| {
                        let parks = inner.spawn(task::park);
                        sched::masked(|| parks.join())
                    })
                });
                // Either the joiner was told, or its own limit came in between.
                assert!(matches!(ended, Ok(Err(JoinError::Cancelled)) | Err(_)));
                assert_eq!(s.spawn(|| 1).join().unwrap(), 1);
            });
        });
    }

    /// What is spawned in a masked section is under no limit, as the section is.
    #[test]
    fn a_masked_scope_is_under_no_limit() {
        everywhere(|| {
            let done = sched::limited(soon(), || {
                sched::masked(|| {
                    crate::scope(|s| s.spawn(|| crate::sleep(Duration::from_millis(10))).join().is_ok())
                })
            });
            assert_eq!(done, Ok(true));
        });
    }

    /// A cancellation that was held up by the end of a scope is still one for destructors further out.
    #[test]
    fn a_cancellation_goes_through_a_scope_as_such() {
        struct Looks(Arc<AtomicUsize>);
        impl Drop for Looks {
            fn drop(&mut self) {
                self.0.fetch_add(usize::from(sched::cancelling()), Ordering::Relaxed);
            }
        }
        let runtime = crate::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        let seen = Arc::new(AtomicUsize::new(0));
        runtime.run(|| {
            for in_closure in [true, false] {
                let looks = Looks(Arc::clone(&seen));
                let parent = crate::spawn(move || {
                    let _looks = looks;
                    crate::scope(|s| {
                        let child = s.spawn(|| task::mask(|| crate::sleep(Duration::from_millis(10))));
                        if in_closure {
                            child.join().expect("not cancelled");
                        }
                    });
                    task::park();
                });
                crate::sleep(Duration::from_millis(2));
                parent.cancel();
                assert!(matches!(parent.join(), Err(JoinError::Cancelled)));
            }
        });
        assert_eq!(seen.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_checkpoint_meets_a_limit_that_has_passed() {
        everywhere(|| {
            assert!(sched::limited(Instant::now(), task::checkpoint).is_err());
            assert!(sched::limited(Instant::now(), || task::mask(task::checkpoint)).is_ok());
            assert!(sched::limited(Instant::now() + Duration::from_secs(3600), task::checkpoint).is_ok());
        });
    }
}
