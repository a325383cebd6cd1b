//! Destructors that panic, of values that the crate owns: it still drops the values beside them, and nothing
//! aborts, also where several of them panic or where the thread unwinds already.

use crate::common::{both, in_runtime};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sward::channel::{Sender, bounded, broadcast, unbounded};
use sward::runtime::Builder;
use sward::task::{self, JoinError, JoinSet};

/// The number of live bombs.
#[derive(Clone, Debug, Default)]
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn bomb(&self) -> Bomb {
        self.0.fetch_add(1, Ordering::SeqCst);
        Bomb(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Panics when it is dropped.
#[derive(Debug)]
struct Bomb(Alive);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
        resume_unwind(Box::new("bomb"));
    }
}

impl Clone for Bomb {
    fn clone(&self) -> Bomb {
        self.0.bomb()
    }
}

fn explodes<T>(f: impl FnOnce() -> T) {
    let payload = catch_unwind(AssertUnwindSafe(f)).err().expect("a panic");
    assert_eq!(payload.downcast_ref(), Some(&"bomb"));
}

/// Drops the value while a panic unwinds, and checks that this panic comes out.
fn unwinds_over<T>(value: T) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _value = value;
        resume_unwind(Box::new("first"));
    }));
    assert_eq!(outcome.expect_err("a panic").downcast_ref(), Some(&"first"));
}

fn fill(sender: &Sender<Bomb>, count: usize) -> Alive {
    let alive = Alive::default();
    for _ in 0..count {
        assert!(sender.try_send(alive.bomb()).is_ok());
    }
    alive
}

#[test]
fn unreceived_messages_are_all_dropped() {
    both(|| {
        for (sender, receiver) in [bounded(10), unbounded()] {
            let alive = fill(&sender, 10);
            explodes(|| drop(receiver));
            assert_eq!(alive.count(), 0);
            assert!(sender.is_closed());
        }
        let (sender, receiver) = unbounded();
        let alive = fill(&sender, 2000);
        explodes(|| drop(receiver));
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn unreceived_messages_are_all_dropped_while_a_panic_unwinds() {
    both(|| {
        let (sender, receiver) = unbounded();
        let alive = fill(&sender, 2000);
        unwinds_over(receiver);
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn unreceived_messages_are_all_dropped_while_a_cancellation_unwinds() {
    in_runtime(|| {
        let (sender, receiver) = unbounded();
        let alive = fill(&sender, 10);
        let owner = sward::spawn(move || {
            let _receiver = receiver;
            task::park();
        });
        sward::yield_now();
        owner.cancel();
        assert!(matches!(owner.join(), Err(JoinError::Cancelled)));
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn messages_of_a_broadcast_are_all_dropped() {
    both(|| {
        for unwinding in [false, true] {
            let alive = Alive::default();
            let (sender, receiver) = broadcast::channel(10);
            for _ in 0..10 {
                sender.send(alive.bomb()).expect("a receiver");
            }
            if unwinding {
                unwinds_over(receiver);
            } else {
                explodes(|| drop(receiver));
            }
            assert_eq!(alive.count(), 0);
        }
    });
}

#[test]
fn results_in_a_join_set_are_all_dropped() {
    both(|| {
        let alive = Alive::default();
        for unwinding in [false, true] {
            let mut set = JoinSet::new();
            let (ended, end) = unbounded();
            for _ in 0..10 {
                let (alive, ended) = (alive.clone(), ended.clone());
                set.spawn(move || {
                    let bomb = alive.bomb();
                    ended.send(()).expect("somebody waits");
                    bomb
                });
            }
            (0..10).for_each(|_| end.recv().expect("they run"));
            if unwinding {
                unwinds_over(set);
            } else {
                drop(set);
            }
        }
        while alive.count() > 0 {
            sward::yield_now();
        }
    });
}

#[test]
fn a_join_set_that_shuts_down_keeps_the_results_after_one_that_panics() {
    both(|| {
        let alive = Alive::default();
        let mut set = JoinSet::new();
        for _ in 0..10 {
            let bomb = alive.bomb();
            // The destructor of the result. The closure has nothing left to drop.
            set.spawn(move || bomb);
        }
        // A coroutine that was cancelled before its start has no result.
        while !set.is_empty() {
            if catch_unwind(AssertUnwindSafe(|| set.shutdown())).is_err() {
                assert!(alive.count() < 10);
            }
        }
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn task_locals_are_all_destroyed() {
    sward::task_local! {
        static ONE: std::cell::RefCell<Option<Bomb>> = const { std::cell::RefCell::new(None) };
        static OTHER: std::cell::RefCell<Option<Bomb>> = const { std::cell::RefCell::new(None) };
    }
    in_runtime(|| {
        let alive = Alive::default();
        for cancelled in [false, true] {
            let theirs = alive.clone();
            let owner = sward::spawn(move || {
                ONE.with_borrow_mut(|one| *one = Some(theirs.bomb()));
                OTHER.with_borrow_mut(|other| *other = Some(theirs.bomb()));
                if cancelled {
                    task::park();
                }
                7
            });
            sward::yield_now();
            if cancelled {
                owner.cancel();
            }
            match owner.join() {
                Ok(value) => assert!(value == 7 && !cancelled),
                Err(error) => assert!(matches!(error, JoinError::Cancelled) && cancelled),
            }
            assert_eq!(alive.count(), 0);
        }
    });
}

#[test]
fn a_local_of_a_scope_may_panic_while_its_closure_unwinds() {
    sward::task_local!(static LOCAL: Option<Bomb> = None);
    both(|| {
        let alive = Alive::default();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            LOCAL.scope(Some(alive.bomb()), || -> () { resume_unwind(Box::new("first")) });
        }));
        assert_eq!(outcome.expect_err("a panic").downcast_ref(), Some(&"first"));
        assert_eq!(alive.count(), 0);
        explodes(|| LOCAL.scope(Some(alive.bomb()), || ()));
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn closures_that_a_shutdown_leaves_unrun_are_all_dropped() {
    let alive = Alive::default();
    let theirs = alive.clone();
    Builder::new().worker_threads(1).build().expect("a runtime").run(move || {
        for _ in 0..100 {
            let bomb = theirs.bomb();
            sward::spawn(move || drop(bomb));
        }
    });
    assert_eq!(alive.count(), 0);
    assert_eq!(in_runtime(|| 7), 7);
}

#[test]
fn closures_of_a_cancelled_scope_are_all_dropped() {
    both(|| {
        let alive = Alive::default();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            sward::scope(|s| {
                s.cancel();
                for _ in 0..10 {
                    let bomb = alive.bomb();
                    s.spawn(move || unreachable!("{bomb:?}"));
                }
            });
        }));
        // The bomb of a coroutine that had started is a panic of that coroutine.
        if let Err(payload) = outcome {
            assert_eq!(payload.downcast_ref(), Some(&"a scoped coroutine panicked"));
        }
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn errors_and_values_of_a_try_scope_are_dropped_before_its_panic_unwinds() {
    both(|| {
        let alive = Alive::default();
        let panics = || -> Result<(), Bomb> { resume_unwind(Box::new("first")) };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (runs, it_runs) = bounded(1);
            sward::try_scope(|s| {
                s.spawn(move || {
                    runs.send(()).expect("the other waits");
                    task::mask(|| {
                        while !s.is_cancelled() {
                            sward::yield_now();
                        }
                    });
                    panics()
                });
                let alive = &alive;
                s.spawn(move || {
                    it_runs.recv().expect("it runs");
                    Err(alive.bomb())
                });
                Ok(alive.bomb())
            })
            .map(std::mem::forget)
            .map_err(std::mem::forget)
        }));
        assert_eq!(outcome.expect_err("a panic").downcast_ref(), Some(&"first"));
        assert_eq!(alive.count(), 0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            sward::try_scope(|s| {
                s.spawn(|| Err(alive.bomb()));
                while !s.is_cancelled() {
                    sward::yield_now();
                }
                panics()
            })
            .map_err(std::mem::forget)
        }));
        assert_eq!(outcome.expect_err("a panic").downcast_ref(), Some(&"first"));
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn the_value_of_a_scope_is_dropped_before_its_panic_unwinds() {
    both(|| {
        let alive = Alive::default();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            sward::scope(|s| {
                s.spawn(|| -> () { resume_unwind(Box::new("first")) });
                alive.bomb()
            })
        }));
        let payload = outcome.map(std::mem::forget).expect_err("a panic");
        assert_eq!(payload.downcast_ref(), Some(&"a scoped coroutine panicked"));
        assert_eq!(alive.count(), 0);
    });
}

#[test]
fn the_value_of_a_scope_is_dropped_before_its_cancellation_unwinds() {
    in_runtime(|| {
        let alive = Alive::default();
        let theirs = alive.clone();
        let (ready, is_ready) = bounded(1);
        let owner = sward::spawn(move || {
            let bomb = sward::scope(|s| {
                s.spawn(task::park);
                ready.send(()).expect("somebody waits");
                theirs.bomb()
            });
            std::mem::forget(bomb);
        });
        is_ready.recv().expect("it runs");
        sward::yield_now();
        owner.cancel();
        assert!(matches!(owner.join(), Err(JoinError::Cancelled)));
        assert_eq!(alive.count(), 0);
    });
}
