//! Groups: coroutines that end before the code that opened the group goes on. All kinds of scopes are made of
//! them.
//!
//! # The problem
//!
//! A coroutine of a scope borrows from the stack frame of the code that opened the scope. That frame must not
//! end while the coroutine may still use it: not by a return, a panic, a cancellation, or the shutdown of the
//! runtime.
//!
//! # Terms
//!
//! The *parent* is the coroutine, or the plain thread, that calls [`Group::run`]; the group lives on its
//! stack. The *closure* is what `run` calls, in the parent. The *children* are the coroutines that the
//! closure, or a child, spawns in the group. A child has *ended* when its event `done` is set. To *settle* is
//! to wait until all children have ended.
//!
//! # States
//!
//! ```text
//!  OPEN       the closure runs; spawns list children
//!  SETTLING   the closure has ended; the parent waits for one child after the other, the oldest first;
//!             children may still spawn children
//!  CLOSED     no child is listed; `run` returns, or unwinds
//!
//!  OPEN -> SETTLING     the closure returns: the waits of `settle` obey a cancellation of the parent
//!                       the closure unwinds (a panic; the parent's cancellation or limit): the group is
//!                       cancelled, and the waits are masked
//!  SETTLING, obeying -> SETTLING, masked
//!                       the parent's cancellation or limit ends a wait: the group is cancelled
//!  SETTLING -> CLOSED   the list is empty
//! ```
//!
//! *Cancelled* is a flag beside these states, and is never cleared. [`Group::cancel`] sets it and cancels all
//! listed children, under the lock of the list. It is called by the user, by the first error of a
//! `try_scope`, and as above. With it set, a spawn cancels the new child.
//!
//! With a limit on the children that are alive, a spawn first takes a *permit*, or parks until one is handed
//! to it. The end of a child hands its permit to the first spawn that waits, or frees it.
//!
//! # Why a scope may lend
//!
//! 1. *Each child is listed from its spawn until its `done` was seen set.* Only the closure and children can
//!    spawn, and what ends before one of these does, such as a scope inside. Nobody else has the scope, since
//!    no caller of `scope` can name its lifetime. So a spawner is itself the closure or a listed child, and
//!    it runs while it lists the new one. Therefore an empty list, seen by the parent after its closure,
//!    means that no child is alive and none will be.
//! 2. *`done` comes last.* It is set after the closure of the child was dropped, and after the result was
//!    dropped if nobody was left to take it (`coroutine::header`). So no code of the user runs in that
//!    coroutine afterwards. `done` is set with release and seen by `settle` with acquire, so all that the
//!    child did happens before. This includes its accesses to the group, which are made inside of its
//!    closure. The event itself is in the coroutine's header, which the handle in the list keeps alive:
//!    setting it touches nothing of the parent's.
//! 3. *A result that was not taken yet* is in the coroutine's heap cell. Only a handle with the scope's
//!    lifetime may take it. At the end of the scope that handle was dropped or leaked, and a leaked handle
//!    never accesses the result again, not even to drop it.
//! 4. *`settle` does not end early.* Once a cancellation was met its waits are masked. Any other unwinding
//!    out of it would be a bug of the runtime, and aborts.
//! 5. *A child that is leaked* by a shutdown of its runtime has not ended, so by 1 and 4 its parent does not
//!    go on. If the parent is a coroutine of that runtime, it stays parked and is leaked as well, and a
//!    suspended stack is never freed. If the parent is a plain thread, it blocks for ever. A child that was
//!    not started ends with `JoinError::Cancelled`, and its closure is dropped before `done`.
//!
//! # Why no cancellation is lost
//!
//! A spawn starts the child, and then takes the lock of the list. If `cancel` has had the lock before, the
//! spawn sees the flag and cancels the child. Otherwise it lists the child, and `cancel` will find it. A
//! child may run before its spawner gets that far. It checks the flag before its first user code; if the flag
//! is set later, it is cancelled by one of the two ways above.
//!
//! A cancellation of the parent that arrives during `settle` is kept by the masked waits, and `run` starts
//! the unwinding of the parent after the last child has ended.
//!
//! # Deadlock
//!
//! In a destructor that unwinds, the waits of `settle` block the worker's thread. A child that only this
//! worker can run would never end: `settle` reports this and aborts, since it has neither an error to return
//! nor the right to return.
//!
//! # Rejected
//!
//! - *A counter of children and one event in the group*: the parent may see the counter at zero and be gone
//!   while the last child still sets the event in the parent's frame. std pays an allocation for this. Here
//!   each child's header has an event anyway, and cancelling needs the handles.
//! - *A guard that joins when it is dropped*: safe code can leak it, and the parent goes on while its
//!   children run.
//! - *Unwinding the parent at once when it is cancelled*: its frame would be freed under its children.

use super::Builder;
use crate::base::clock;
use crate::base::list_lock::ListLock;
use crate::base::lock::assert_none_held;
use crate::base::sys::report;
use crate::coroutine::{
    Batch, Cancellation, Facts, Handle, Header, Subject, WaitList, WaitReason, Why, contain_panic,
};
use crate::sched::{self, Cancel, Wait, Woken};
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// With fewer handles than this, those of ended children are not pruned.
const PRUNE_MIN: usize = 32;

/// Coroutines that end before the parent goes on.
pub(super) struct Group {
    children: ListLock<Children>,
    /// All children are cancelled, those to come included. Set under the lock of `children`.
    cancelled: AtomicBool,
    /// Whether the first cancellation came after `limit`. Written before `cancelled` is set.
    cancelled_late: AtomicBool,
    /// With a limit on how many children are alive.
    permits: Option<ListLock<Permits>>,
    /// The time limit that the parent was under when it opened the group. The children are under it from
    /// their start.
    limit: Option<Instant>,
    /// How many children panicked and were not joined. This and the next two are written before `done`.
    panicked: AtomicUsize,
    /// How many were dropped unrun, since there was no stack or the runtime had shut down, and were not
    /// joined.
    unstarted: AtomicUsize,
    /// Whether a cancellation or the time limit has ended a child.
    child_cancelled: AtomicBool,
}

/// The children that may be alive, oldest first.
struct Children {
    handles: VecDeque<Handle>,
    /// With this many handles, those of ended children are pruned.
    prune_at: usize,
}

/// How many more children may be alive. Zero while a spawn waits.
struct Permits {
    free: usize,
    waiting: WaitList,
}

/// How the children of a group ended, all in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupEnd {
    /// Each ran to its end, was cancelled together with the others, or was joined.
    Clean,
    /// One panicked.
    Panicked,
    /// One was not run: there was no stack, or its runtime had shut down.
    Unstarted,
    /// One was cancelled alone.
    Cancelled,
}

// SAFETY: what is under the lock.
unsafe impl Subject for Group {
    fn facts(&self) -> Facts {
        let children = self.children.lock();
        let alive = children.handles.iter().map(Handle::header).filter(|header| !header.done.is_set());
        Facts::coroutines(std::ptr::from_ref(self).addr(), true, alive.map(Header::id))
    }
}

/// What a spawn in a group at its limit waits for.
struct SpawnLimit<'a>(&'a Group);

// SAFETY: what is under the lock.
unsafe impl Subject for SpawnLimit<'_> {
    fn facts(&self) -> Facts {
        let full = self.0.permits.as_ref().is_some_and(|permits| permits.lock().free == 0);
        Facts::Count { at: std::ptr::from_ref(self.0).addr(), missing: usize::from(full) }
    }
}

impl Group {
    /// A group of which at most that many children are alive at a time.
    pub(super) fn new(max_alive: Option<usize>) -> Group {
        Group {
            children: ListLock::new(Children { handles: VecDeque::new(), prune_at: PRUNE_MIN }),
            cancelled: AtomicBool::new(false),
            cancelled_late: AtomicBool::new(false),
            permits: max_alive.map(|free| ListLock::new(Permits { free, waiting: WaitList::new() })),
            limit: sched::limit(),
            panicked: AtomicUsize::new(0),
            unstarted: AtomicUsize::new(0),
            child_cancelled: AtomicBool::new(false),
        }
    }

    /// Runs the closure, which spawns, and waits until all children have ended. If the closure panics or the
    /// parent is cancelled, the children are cancelled, and the unwinding goes on once they have ended.
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
                // Before the unwinding, during which a destructor that panics aborts the process.
                contain_panic(|| drop(value));
                sched::unwind_cancelled()
            }
            Ok(value) => value,
        }
    }

    /// Waits until all children have ended. If a cancellation of the parent, or its time limit, comes first,
    /// they are cancelled. Returns whether that was so.
    fn settle(&self, mut cancel: Cancel) -> bool {
        let abort_on_unwind = AbortOnUnwind;
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
            if sched::wait_for_event(done, Why::new(WaitReason::ScopeEnd, self), None, cancel)
                == Woken::Cancelled
            {
                interrupted = true;
                cancel = Cancel::Mask;
                self.cancel();
            }
        }
        std::mem::forget(abort_on_unwind);
        interrupted
    }

    /// The oldest child that has not ended.
    fn oldest(&self) -> Option<Handle> {
        let mut children = self.children.lock();
        while children.handles.front()?.header().done.is_set() {
            children.handles.pop_front();
        }
        children.handles.front().cloned()
    }

    /// How the children ended; for use after `run`.
    pub(super) fn end(&self) -> GroupEnd {
        if self.panicked.load(Ordering::Relaxed) > 0 {
            GroupEnd::Panicked
        } else if self.is_cancelled() {
            GroupEnd::Clean
        } else if self.unstarted.load(Ordering::Relaxed) > 0 {
            GroupEnd::Unstarted
        } else if self.child_cancelled.load(Ordering::Relaxed) {
            GroupEnd::Cancelled
        } else {
            GroupEnd::Clean
        }
    }

    /// Cancels all children that are alive, and all that are spawned afterwards. Returns false, and does
    /// nothing, where panics abort.
    pub(super) fn cancel(&self) -> bool {
        if cfg!(panic = "abort") {
            return false;
        }
        let mut batch = Batch::new();
        {
            let children = self.children.lock();
            if !self.cancelled.load(Ordering::Relaxed) {
                let late = self.limit.is_some_and(|at| at <= clock::now());
                self.cancelled_late.store(late, Ordering::Relaxed);
                self.cancelled.store(true, Ordering::Release);
            }
            for child in &children.handles {
                sched::cancel(child, &mut batch);
            }
        }
        batch.wake();
        true
    }

    /// Whether the group was cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        // Pairs with `cancel`: a caller that sees the flag also sees what led to it.
        self.cancelled.load(Ordering::Acquire)
    }

    /// Spawns a child. Parks while as many are alive as the group allows.
    ///
    /// # Safety
    ///
    /// The caller is the closure of [`run`](Self::run) or a child, and what `F` and `T` borrow outlives that
    /// `run`. The joining handle does not outlive it, unless it is leaked.
    #[track_caller]
    pub(super) unsafe fn spawn<T, F>(&self, builder: &Builder, f: F) -> io::Result<Handle>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let spawn = builder.prepare()?.limit(self.limit);
        self.acquire();
        let child = ChildClosure { f, guard: EndGuard { group: self, ran: false } };
        // SAFETY: what it borrows outlives `run`, which returns after `done` was set. By then the output was
        // dropped or taken, or its handle was leaked, so that nobody accesses it.
        let handle = unsafe { spawn.start(move || child.run()) };
        let mut batch = Batch::new();
        {
            let mut children = self.children.lock();
            if children.handles.len() >= children.prune_at {
                children.handles.retain(|handle| !handle.header().done.is_set());
                children.prune_at = PRUNE_MIN.max(2 * children.handles.len());
            }
            if self.is_cancelled() {
                sched::cancel(&handle, &mut batch);
            }
            children.handles.push_back(handle.clone());
        }
        batch.wake();
        Ok(handle)
    }

    /// A join has reported the panic of a child.
    pub(super) fn panic_was_joined(&self) {
        self.panicked.fetch_sub(1, Ordering::Relaxed);
    }

    /// A join has reported that a child could not start.
    pub(super) fn unstarted_was_joined(&self) {
        self.unstarted.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes a permit. Parks until there is one.
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
        let ended = sched::wait_in(
            lock,
            Wait::new(Why::new(WaitReason::ScopeSpawn, &SpawnLimit(self))),
            |permits, place| {
                let taken = take(permits);
                if !taken {
                    // SAFETY: `wait_in` takes the place off before it goes, unless it was chosen.
                    unsafe { permits.waiting.push_back(place) };
                }
                !taken
            },
            |permits, place, _| {
                permits.waiting.remove(place);
            },
        );
        match ended {
            sched::Ended::NotListed | sched::Ended::Handed => {}
            sched::Ended::Cancelled => sched::unwind_cancelled(),
            sched::Ended::Woken | sched::Ended::Timeout => unreachable!("nobody ends this wait so"),
        }
    }

    /// Hands a permit to the first spawn that waits, or frees it.
    fn release(&self) {
        let Some(lock) = &self.permits else { return };
        let mut batch = Batch::new();
        {
            let mut permits = lock.lock();
            if !permits.waiting.hand_turn_to_first(&mut batch) {
                permits.free += 1;
            }
        }
        batch.wake();
    }
}

/// A child's closure, and the guard that reports the end. The fields are dropped in this order: what the
/// closure has captured is gone when the group learns of the end.
struct ChildClosure<'a, F> {
    f: F,
    guard: EndGuard<'a>,
}

impl<T, F: FnOnce() -> T> ChildClosure<'_, F> {
    fn run(self) -> T {
        let ChildClosure { f, mut guard } = self;
        guard.ran = true;
        let run = || {
            // It may run before its spawner, which will cancel it, has seen the flag.
            if guard.group.is_cancelled() {
                drop(f);
                sched::unwind_with_group(guard.group.cancelled_late.load(Ordering::Relaxed));
            }
            f()
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(value) => value,
            Err(payload) => {
                guard.unwound(&*payload);
                drop(guard);
                resume_unwind(payload)
            }
        }
    }
}

/// What a child holds until its end.
struct EndGuard<'a> {
    group: &'a Group,
    ran: bool,
}

impl EndGuard<'_> {
    fn unwound(&self, payload: &(dyn Any + Send)) {
        if payload.is::<Cancellation>() {
            self.group.child_cancelled.store(true, Ordering::Relaxed);
        } else {
            self.group.panicked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        if !self.ran {
            // A child that was cancelled before its first instruction drops its closure itself. Otherwise a
            // worker drops it outside of any coroutine, or the code that shuts the runtime down does.
            if sched::cancelled() {
                self.group.child_cancelled.store(true, Ordering::Relaxed);
            } else {
                self.group.unstarted.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.group.release();
    }
}

/// An unwinding out of `settle` would free what children borrow.
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    fn everywhere(test: impl Fn() + Send + Sync) {
        let runtime = crate::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        runtime.run(&test);
        test();
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(5)
    }

    /// A scope waits for all of its coroutines, a set for any, and both name them.
    #[test]
    fn a_wait_for_several_coroutines_names_them() {
        use crate::coroutine::{Facts, Id, WaitReason};
        use crate::sched::testing::{Seen, on_one_worker, wait_of};

        fn coroutines(seen: Seen) -> (Vec<Id>, usize, bool) {
            match seen.facts {
                Some(Facts::Coroutines { at, mut left, count, all }) => {
                    assert_eq!(Some(at), seen.address);
                    left.sort();
                    (left, count, all)
                }
                other => panic!("coroutines, not {other:?}"),
            }
        }

        on_one_worker(|| {
            let (ids, known) = crate::channel::unbounded();
            let opens = crate::spawn({
                let ids = ids.clone();
                move || {
                    crate::scope(|s| {
                        for ends in [true, false, false] {
                            let ids = ids.clone();
                            s.spawn(move || {
                                if !ends {
                                    ids.send(crate::task::current()).expect("a receiver");
                                    crate::task::park();
                                }
                            });
                        }
                    });
                }
            });
            let tasks = [known.recv().expect("one"), known.recv().expect("two")];
            let mut expected = tasks.each_ref().map(|task| task.id().expect("a coroutine"));
            expected.sort();
            let seen = wait_of(&opens.task(), WaitReason::ScopeEnd);
            assert_eq!(coroutines(seen), (expected.to_vec(), 2, true));
            tasks.iter().for_each(crate::task::Task::unpark);
            opens.join().expect("no panic");

            let joins = crate::spawn(move || {
                let mut set = crate::task::JoinSet::new();
                for _ in 0..100 {
                    set.spawn(crate::task::park);
                }
                ids.send(crate::task::current()).expect("a receiver");
                set.join_next().is_some()
            });
            let seen = wait_of(&joins.task(), WaitReason::JoinSet);
            let (left, count, all) = coroutines(seen);
            assert_eq!((left.len(), count, all), (64, 100, false));
            joins.cancel();
            assert!(joins.join().is_err());
        });
    }

    /// The parent's time limit is its children's as well, whichever of them meets it first.
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
                    // The closure does not wait when the time is over, so the child meets the limit first.
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
                // Either the join has reported it, or the joiner's own limit came first.
                assert!(matches!(ended, Ok(Err(JoinError::Cancelled)) | Err(_)));
                assert_eq!(s.spawn(|| 1).join().unwrap(), 1);
            });
        });
    }

    /// Children that are spawned in a masked section are under no limit, as the section is.
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

    /// A cancellation that was delayed by the end of a scope is still one for destructors further out.
    #[test]
    fn a_cancellation_goes_through_a_scope_as_such() {
        struct CountsCancelling(Arc<AtomicUsize>);
        impl Drop for CountsCancelling {
            fn drop(&mut self) {
                self.0.fetch_add(usize::from(sched::cancelling()), Ordering::Relaxed);
            }
        }
        let runtime = crate::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        let seen = Arc::new(AtomicUsize::new(0));
        runtime.run(|| {
            for in_closure in [true, false] {
                let counts = CountsCancelling(Arc::clone(&seen));
                let masked = Arc::new(AtomicBool::new(false));
                let is_masked = Arc::clone(&masked);
                let parent = crate::spawn(move || {
                    let _counts = counts;
                    crate::scope(|s| {
                        let child = s.spawn(|| {
                            task::mask(|| {
                                masked.store(true, Ordering::Relaxed);
                                crate::sleep(Duration::from_millis(10));
                            });
                        });
                        if in_closure {
                            child.join().expect("not cancelled");
                        }
                    });
                    task::park();
                });
                // Not before it has started: then it would never run.
                while !is_masked.load(Ordering::Relaxed) {
                    crate::yield_now();
                }
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
