//! Which worker runs a mobile home, and whether one has to. Pure.
//!
//! The problem: any thread may wake a coroutine of a home while no worker runs the home. Then exactly one of
//! them must queue the home: if none does, the coroutine waits for ever; if two do, two workers run the home
//! at once.
//!
//! | state | meaning | who may touch the home's own run queues |
//! |---|---|---|
//! | IDLE | nothing is runnable there, and the home is in no queue | nobody |
//! | QUEUED | it is in one queue, or about to be | the thread that queues it; then the worker that takes it |
//! | RUNNING | a worker runs it, or it is vacant (`mobile.rs`) | that worker |
//!
//! | from, to | by | cause |
//! |---|---|---|
//! | IDLE → QUEUED | `try_queue`, by compare-and-swap | a coroutine was woken; the caller queues it there |
//! | IDLE → QUEUED | `notify`, by compare-and-swap | a coroutine was pushed to the inbox; the caller queues the home |
//! | IDLE → RUNNING | `try_take`, by compare-and-swap | a worker wants to start a coroutine there, or to cancel all |
//! | QUEUED → RUNNING | `begin` | a worker has taken the home from a queue |
//! | RUNNING → QUEUED | `requeue` | the slice is over, and something is left; the caller queues the home |
//! | RUNNING → IDLE | `release` | the slice is over, and nothing is left |
//!
//! In QUEUED a thread touches the run queues before it has queued the home, a worker after `begin`.
//!
//! *A waker of an idle home needs no inbox.* If `try_queue` succeeds, no other thread may touch the run
//! queues until the waker has queued the home. Otherwise a worker or another waker has the home, and the
//! waker pushes to the inbox.
//!
//! *No coroutine waits in the inbox of a home that is IDLE.* A waker pushes to the inbox (P1), then reads the
//! state in `notify` (P2). A worker writes IDLE (W1), then checks the inbox (W2). All four are sequentially
//! consistent. If P2 comes before W1, so does P1, and W2 sees it: the worker itself moves the state on to
//! QUEUED, unless another waker has. If P2 comes after W1, it finds IDLE or a later state: the waker moves
//! the state on, or another party has, after W1. Then a worker will `begin` the home, and take the inbox.
//! (`total_order` is for loom, which knows no total order of such accesses.)
//!
//! *No two workers run a home.* Each transition to QUEUED pushes the home to one queue, once, and no
//! transition leaves QUEUED but that of the worker that takes it from there. IDLE → RUNNING and IDLE → QUEUED
//! exclude each other by compare-and-swap.
//!
//! *What one worker has written the next one sees.* `release` and `requeue` release, `begin` (after the
//! queue), `try_take`, `try_queue` and `notify` acquire. The compare-and-swap of a waker that queues the home
//! reads IDLE from `release`, and its push to the queue releases all that it has seen and done.
//!
//! *A late waker disturbs no home.* The coroutine may run and end between the waker's push and its `notify`.
//! If its home is vacant by then, `notify` finds RUNNING. If other coroutines live there and the home is
//! idle, a worker finds nothing to run.
//!
//! The models below check each of these.
//!
//! Rejected: to queue the home for each wake. A home would be in many queues, and each worker that takes it
//! would have to exclude the others with a lock.

use crate::base::sync::{AtomicU8, Ordering, total_order};

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;

/// The state of one home.
#[derive(Debug)]
pub(crate) struct Handover {
    state: AtomicU8,
}

impl Handover {
    /// The creator has it, as if it ran the home.
    pub(crate) fn new() -> Handover {
        Handover { state: AtomicU8::new(RUNNING) }
    }

    /// Called before a push to the inbox. True if the home was idle. Then the caller puts the coroutine into
    /// the home's run queue instead, and must queue the home.
    #[inline]
    #[must_use]
    pub(crate) fn try_queue(&self) -> bool {
        self.state.load(Ordering::Relaxed) == IDLE && self.leave_idle(QUEUED)
    }

    /// Called after a push to the inbox. True if the caller must queue the home.
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        total_order();
        self.state.load(Ordering::SeqCst) == IDLE && self.leave_idle(QUEUED)
    }

    /// Takes the home to run it, if it is idle.
    #[must_use]
    pub(crate) fn try_take(&self) -> bool {
        self.state.load(Ordering::Relaxed) == IDLE && self.leave_idle(RUNNING)
    }

    fn leave_idle(&self, to: u8) -> bool {
        self.state.compare_exchange(IDLE, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// The caller has taken the home from a queue, and runs it.
    pub(crate) fn begin(&self) {
        debug_assert_eq!(self.state.load(Ordering::Relaxed), QUEUED);
        self.state.store(RUNNING, Ordering::Relaxed);
    }

    /// The caller does not run the home any more, and must queue it.
    pub(crate) fn requeue(&self) {
        debug_assert_eq!(self.state.load(Ordering::Relaxed), RUNNING);
        self.state.store(QUEUED, Ordering::Release);
    }

    /// The caller does not run the home any more, and has left nothing runnable in its run queues. True if
    /// the caller must queue it, as its inbox was filled meanwhile.
    #[must_use]
    pub(crate) fn release(&self, inbox_is_empty: impl FnOnce() -> bool) -> bool {
        debug_assert_eq!(self.state.load(Ordering::Relaxed), RUNNING);
        self.state.store(IDLE, Ordering::SeqCst);
        total_order();
        !inbox_is_empty() && self.leave_idle(QUEUED)
    }
}

/// A home of the tests: an inbox, and what only the worker that runs the home may touch.
#[cfg(test)]
mod testing {
    use super::*;
    use crate::base::sync::AtomicUsize;
    use crate::sched::inbox::Inbox;
    use crate::sched::inbox::testing::{Node, push, values};
    use std::ops::Range;

    /// What only the worker that runs the home may touch, with the home's run queue.
    pub(super) trait Private {
        fn push(&self, coroutine: u32);
        fn take(&self) -> Vec<u32>;
    }

    pub(super) struct TestHome<P> {
        pub(super) handover: Handover,
        pub(super) inbox: Inbox<Node>,
        /// How many queues hold it.
        queued: AtomicUsize,
        /// What only the worker that runs the home may touch.
        pub(super) private: P,
    }

    // SAFETY: nodes pass from thread to thread through the inbox alone; the tests access `private` as the
    // protocol under test allows.
    unsafe impl<P> Sync for TestHome<P> {}
    // SAFETY: as above.
    unsafe impl<P> Send for TestHome<P> {}

    impl<P: Private> TestHome<P> {
        /// The caller runs it.
        pub(super) fn new(private: P) -> TestHome<P> {
            let (handover, inbox) = (Handover::new(), Inbox::new());
            TestHome { handover, inbox, queued: AtomicUsize::new(0), private }
        }

        /// As a thread that has woken these coroutines.
        pub(super) fn wake(&self, coroutines: Range<u32>) {
            for coroutine in coroutines {
                if self.handover.try_queue() {
                    self.private.push(coroutine);
                    self.queue();
                    continue;
                }
                push(&self.inbox, coroutine..coroutine + 1);
                if self.handover.notify() {
                    self.queue();
                }
            }
        }

        /// Puts it into the queue.
        pub(super) fn queue(&self) {
            assert_eq!(self.queued.fetch_add(1, Ordering::Release), 0, "it is in two queues");
        }

        /// Takes it from the queue, to run it.
        pub(super) fn take_from_queue(&self) -> bool {
            let taken = self.queued.compare_exchange(1, 0, Ordering::Acquire, Ordering::Relaxed).is_ok();
            if taken {
                self.handover.begin();
            }
            taken
        }

        /// The woken coroutines. The caller runs the home.
        pub(super) fn woken(&self) -> Vec<u32> {
            let mut woken = self.private.take();
            woken.extend(values(&self.inbox));
            woken
        }

        /// Ends a slice that has left nothing runnable.
        pub(super) fn release(&self) {
            if self.handover.release(|| self.inbox.is_empty()) {
                self.queue();
            }
        }

        /// Ends a slice that has left something.
        pub(super) fn requeue(&self) {
            self.handover.requeue();
            self.queue();
        }

        /// Whether it is idle.
        pub(super) fn is_idle(&self) -> bool {
            self.handover.state.load(Ordering::SeqCst) == IDLE
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::testing::{Private, TestHome};
    use super::*;
    use crate::sched::inbox::testing::{push, values};
    use std::cell::{RefCell, UnsafeCell};
    use std::sync::atomic::AtomicBool;

    impl Private for RefCell<Vec<u32>> {
        fn push(&self, coroutine: u32) {
            self.borrow_mut().push(coroutine);
        }

        fn take(&self) -> Vec<u32> {
            RefCell::take(self)
        }
    }

    #[test]
    fn each_transition_starts_from_its_own_state() {
        let handover = Handover::new();
        let leaves_idle = || handover.notify() || handover.try_queue() || handover.try_take();
        assert!(!leaves_idle(), "its creator runs it");
        assert!(!handover.release(|| true));
        assert!(handover.notify());
        assert!(!leaves_idle(), "it is queued");
        handover.begin();
        assert!(!leaves_idle(), "a worker runs it");
        handover.requeue();
        assert!(!leaves_idle(), "it is queued");
        handover.begin();
        assert!(!handover.release(|| true));
        assert!(handover.try_take());
        assert!(!leaves_idle(), "a worker runs it");
        assert!(!handover.release(|| true));
        assert!(handover.try_queue());
        assert!(!leaves_idle(), "it is queued");
        handover.begin();
        assert!(handover.release(|| false), "a coroutine was woken before the release");
        handover.begin();
    }

    /// The waker finds the home idle while the worker checks the inbox after `release`.
    #[test]
    fn either_the_waker_or_the_worker_queues_a_released_home() {
        let handover = Handover::new();
        let queued_by_worker = handover.release(|| {
            assert!(handover.notify(), "the waker comes first");
            false
        });
        assert!(!queued_by_worker);
    }

    /// A waker that is late calls `notify` after its coroutine has ended, and its home is vacant or runs
    /// again.
    #[test]
    fn a_late_notify_queues_no_vacant_home() {
        let home = TestHome::new(RefCell::new(Vec::new()));
        push(&home.inbox, 0..1);
        assert_eq!(values(&home.inbox), [0]);
        // The coroutine has ended, and the home is vacant: its state stays RUNNING.
        assert!(!home.handover.notify());
        // Another worker starts a coroutine there, which parks.
        home.release();
        assert!(home.is_idle());
        // Needless, and harmless: a worker finds nothing to run.
        assert!(home.handover.notify());
        home.queue();
        assert!(home.take_from_queue() && home.woken().is_empty());
    }

    /// Threads wake coroutines, while others run the home, take it when it is idle, and put it back in both
    /// ways. Each coroutine is run once, and no two threads are in the home at once.
    #[test]
    fn stress() {
        const EACH: u32 = if cfg!(miri) { 100 } else { 100_000 };
        struct Inside {
            inside: AtomicBool,
            ready: UnsafeCell<Vec<u32>>,
            seen: UnsafeCell<Vec<u32>>,
        }
        impl Private for Inside {
            fn push(&self, coroutine: u32) {
                assert!(!self.inside.load(Ordering::Relaxed), "a worker runs the home");
                // SAFETY: this thread queues the home.
                unsafe { &mut *self.ready.get() }.push(coroutine);
            }

            fn take(&self) -> Vec<u32> {
                // SAFETY: this thread runs the home.
                std::mem::take(unsafe { &mut *self.ready.get() })
            }
        }
        let home = TestHome::new(Inside {
            inside: AtomicBool::new(false),
            ready: UnsafeCell::new(Vec::new()),
            seen: UnsafeCell::new(Vec::new()),
        });
        let run = |turn: u32| {
            let private = &home.private;
            assert!(!private.inside.swap(true, Ordering::Relaxed), "two workers run the home");
            // SAFETY: this thread runs the home.
            let seen = unsafe { &mut *private.seen.get() };
            seen.extend(home.woken());
            let complete = seen.len() == 2 * EACH as usize;
            private.inside.store(false, Ordering::Relaxed);
            if turn.is_multiple_of(3) {
                home.requeue()
            } else {
                home.release()
            }
            complete
        };
        let stop = AtomicBool::new(false);
        home.release();
        std::thread::scope(|s| {
            s.spawn(|| home.wake(0..EACH));
            s.spawn(|| home.wake(EACH..2 * EACH));
            for worker in 0..3_u32 {
                let (run, stop, home) = (&run, &stop, &home);
                s.spawn(move || {
                    let mut turn = worker;
                    while !stop.load(Ordering::Relaxed) {
                        turn += 1;
                        let taken = home.take_from_queue()
                            || worker == 0 && turn.is_multiple_of(5) && home.handover.try_take();
                        if taken && run(turn) {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let mut seen = home.private.seen.into_inner();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..2 * EACH));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::testing::{Private, TestHome};
    use super::*;
    use crate::base::sync::AtomicUsize;
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    /// Loom fails a model that accesses a cell on two threads without an order between them.
    struct Cells {
        /// The run queue.
        ready: UnsafeCell<Vec<u32>>,
        /// How many coroutines have run.
        ran: UnsafeCell<usize>,
    }

    impl Private for Cells {
        fn push(&self, coroutine: u32) {
            // SAFETY: under test.
            self.ready.with_mut(|ready| unsafe { &mut *ready }.push(coroutine));
        }

        fn take(&self) -> Vec<u32> {
            // SAFETY: under test.
            self.ready.with_mut(|ready| std::mem::take(unsafe { &mut *ready }))
        }
    }

    type World = TestHome<Cells>;

    fn world() -> Arc<World> {
        Arc::new(TestHome::new(Cells { ready: UnsafeCell::new(Vec::new()), ran: UnsafeCell::new(0) }))
    }

    impl World {
        /// Runs what was woken; how many that were. The caller runs the home.
        fn run_woken(&self) -> usize {
            let woken = self.woken().len();
            // SAFETY: under test.
            self.private.ran.with_mut(|ran| unsafe { *ran += woken });
            woken
        }

        /// As a worker: one slice, if the home is in the queue.
        fn slice(&self) {
            if self.take_from_queue() {
                self.run_woken();
                self.release();
            }
        }

        /// As the last worker, after all others have joined: how many coroutines have run in the end.
        fn finish(&self) -> usize {
            self.slice();
            assert!(self.is_idle() && self.inbox.is_empty(), "a coroutine waits in a home that is idle");
            // SAFETY: under test.
            self.private.ran.with(|ran| unsafe { *ran })
        }
    }

    fn on_thread(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || f(&world))
    }

    /// Two threads wake coroutines while a worker releases the home: it is queued, once.
    #[test]
    fn no_coroutine_waits_in_an_idle_home() {
        loom::model(|| {
            let world = world();
            let wakers = [0, 1].map(|n| on_thread(&world, move |world| world.wake(n..n + 1)));
            world.run_woken();
            world.release();
            for waker in wakers {
                waker.join().unwrap();
            }
            assert_eq!(world.finish(), 2);
        });
    }

    /// A worker takes the home when it is idle, another one takes it from the queue, a thread wakes a
    /// coroutine meanwhile: one after the other, the workers run the home.
    #[test]
    fn no_two_workers_run_a_home() {
        loom::model(|| {
            let world = world();
            world.release();
            let waker = on_thread(&world, |world| world.wake(0..1));
            let starter = on_thread(&world, |world| {
                if world.handover.try_take() {
                    world.run_woken();
                    world.requeue();
                }
            });
            world.slice();
            waker.join().unwrap();
            starter.join().unwrap();
            assert_eq!(world.finish(), 1);
        });
    }

    /// The next worker sees what the last one has written, after `release`, `try_queue` or `notify`, and the
    /// queue.
    #[test]
    fn a_worker_sees_the_last_slice_through_a_waker() {
        loom::model(|| {
            let world = world();
            let waker = on_thread(&world, |world| world.wake(0..1));
            let other = on_thread(&world, World::slice);
            world.run_woken();
            world.release();
            waker.join().unwrap();
            other.join().unwrap();
            assert_eq!(world.finish(), 1);
        });
    }

    /// The same, after `requeue` and the queue, while a thread wakes a coroutine: a thief takes the home.
    #[test]
    fn a_thief_sees_the_last_slice_and_what_was_woken() {
        loom::model(|| {
            let world = world();
            let waker = on_thread(&world, |world| world.wake(0..1));
            let thief = on_thread(&world, World::slice);
            world.run_woken();
            world.requeue();
            world.slice();
            waker.join().unwrap();
            thief.join().unwrap();
            assert_eq!(world.finish(), 1);
        });
    }

    /// The same, after `release` and `try_take`.
    #[test]
    fn a_worker_sees_the_last_slice_of_an_idle_home() {
        loom::model(|| {
            let world = world();
            let other = on_thread(&world, |world| {
                if world.handover.try_take() {
                    world.run_woken();
                    world.release();
                }
            });
            world.run_woken();
            world.release();
            other.join().unwrap();
            assert_eq!(world.finish(), 0);
        });
    }

    /// A waker pushes a coroutine, and is late with its `notify`. The coroutine ends meanwhile, and its home
    /// is vacant. Another worker takes the home, and starts a coroutine that parks.
    #[test]
    fn a_late_waker_disturbs_no_vacant_home() {
        loom::model(|| {
            let world = world();
            let vacant = Arc::new(Mutex::new(false));
            let parked = Arc::new(AtomicUsize::new(0));
            let waker = on_thread(&world, |world| world.wake(0..1));
            let starter = {
                let (vacant, parked) = (vacant.clone(), parked.clone());
                on_thread(&world, move |world| {
                    let taken = std::mem::take(&mut *vacant.lock().unwrap());
                    if taken {
                        assert_eq!(world.run_woken(), 0, "no coroutine lives in a vacant home");
                        parked.fetch_add(1, Ordering::Relaxed);
                        world.release();
                    }
                })
            };
            // The coroutine that is woken is the only one that lives here.
            let ended = world.run_woken() == 1;
            if ended {
                *vacant.lock().unwrap() = true;
            } else {
                world.release();
            }
            waker.join().unwrap();
            starter.join().unwrap();
            let still_vacant = *vacant.lock().unwrap();
            if still_vacant {
                assert!(!world.take_from_queue(), "a vacant home is in a queue");
                world.release();
            }
            assert_eq!(world.finish(), 1);
        });
    }
}
