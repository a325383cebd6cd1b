//! Waits for coroutines, futures, tokens and time, each ended in both ways.

use crate::common::{CountOnDrop, one_worker};
use crate::ended::{GUARD, LIMIT, ended, guarded, join, spawn_waiting};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use sward::channel;
use sward::sync::Mutex;
use sward::task::{self, CancelToken, JoinError, JoinSet, ScopeBuilder};
use sward::time::{Deadline, timeout};

#[test]
fn a_sleep() {
    guarded(|| ended(|| sward::sleep(GUARD), || sward::sleep(Duration::from_micros(1))));
}

#[test]
fn a_park() {
    guarded(|| {
        ended(task::park, || {
            let parks = spawn_waiting(task::park);
            parks.task().unpark();
            join(parks).unwrap();
        });
    });
}

#[test]
fn a_tick() {
    guarded(|| {
        let start = Instant::now() + 2 * GUARD;
        let ticks = Arc::new(Mutex::new(sward::time::interval_at(start, GUARD)));
        let theirs = ticks.clone();
        ended(move || theirs.lock().unwrap().tick(), || assert!(ticks.try_lock().is_ok()));
        let due = Instant::now();
        ticks.lock().unwrap().reset_at(due);
        assert_eq!(ticks.lock().unwrap().tick(), due);
    });
}

#[test]
fn a_join() {
    guarded(|| {
        let (go, gate) = channel::bounded(0);
        let ended_well = Arc::new(AtomicUsize::new(0));
        let (theirs, wait) = (ended_well.clone(), gate.clone());
        ended(
            move || {
                let (theirs, gate) = (theirs.clone(), wait.clone());
                let joined = sward::spawn(move || {
                    gate.recv().unwrap();
                    theirs.fetch_add(1, Ordering::SeqCst);
                });
                joined.join()
            },
            || go.send(()).expect("the joined one was not cancelled"),
        );
        while ended_well.load(Ordering::SeqCst) < 4 {
            sward::yield_now();
        }
    });
}

#[test]
fn a_scope() {
    guarded(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let children = |alive: &Arc<AtomicUsize>, limit: usize, count: usize| {
            ScopeBuilder::new().limit(limit).scope(|s| {
                for _ in 0..count {
                    s.spawn(|| {
                        alive.fetch_add(1, Ordering::SeqCst);
                        let _ends = CountOnDrop(Arc::default());
                        struct Leaves<'a>(&'a AtomicUsize);
                        impl Drop for Leaves<'_> {
                            fn drop(&mut self) {
                                self.0.fetch_sub(1, Ordering::SeqCst);
                            }
                        }
                        let _leaves = Leaves(alive);
                        task::park();
                    });
                }
            });
        };
        // The scope waits for room, and then at its end.
        for count in [3, 2] {
            let theirs = alive.clone();
            ended(
                move || children(&theirs, 2, count),
                || assert_eq!(alive.load(Ordering::SeqCst), 0, "a child has outlived its scope"),
            );
        }
    });
}

/// Only the child that waits for room in its scope is ended. The next one gets the room.
#[test]
fn a_spawn_for_which_there_is_no_room() {
    guarded(|| {
        let (go, gate) = channel::bounded::<()>(0);
        ScopeBuilder::new().limit(2).scope(|s| {
            let holds = s.spawn(|| gate.recv().unwrap());
            let (begins, begun) = channel::bounded(1);
            let waits = s.spawn(move || {
                begins.send(()).unwrap();
                s.spawn(|| unreachable!());
            });
            begun.recv().unwrap();
            sward::yield_now();
            waits.cancel();
            assert!(matches!(waits.join(), Err(JoinError::Cancelled)));
            let outcome = timeout(GUARD, || s.spawn(|| 1).join().unwrap());
            assert_eq!(outcome, Ok(1), "the room is lost");
            go.send(()).unwrap();
            holds.join().unwrap();
        });
    });
}

#[test]
fn a_join_set() {
    guarded(|| {
        let set = Arc::new(Mutex::new(JoinSet::new()));
        let (go, gate) = channel::bounded::<u32>(0);
        set.lock().unwrap().spawn(move || gate.recv().unwrap());
        let theirs = set.clone();
        ended(
            move || theirs.lock().unwrap().join_next().map(drop),
            || assert_eq!(set.try_lock().unwrap().len(), 1),
        );
        go.send(4).unwrap();
        let result = timeout(GUARD, || set.lock().unwrap().join_next());
        assert_eq!(result.unwrap().unwrap().unwrap(), 4);
    });
}

#[test]
fn a_future() {
    /// A future that is always pending and counts its drop.
    struct Pending(#[expect(dead_code, reason = "for its destructor")] CountOnDrop);

    impl Future for Pending {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    guarded(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let theirs = dropped.clone();
        let mut rounds = 0;
        ended(
            move || sward::block_on(Pending(CountOnDrop(theirs.clone()))),
            || {
                rounds += 1;
                assert_eq!(dropped.load(Ordering::SeqCst), rounds);
            },
        );
    });
}

#[test]
fn a_token() {
    guarded(|| {
        let token = CancelToken::new();
        let (theirs, runs) = (token.clone(), token.clone());
        ended(move || theirs.wait(), || assert!(!token.is_cancelled()));
        ended(move || runs.run(task::park), || assert!(!token.is_cancelled()));
        let theirs = token.clone();
        let waits = spawn_waiting(move || theirs.wait());
        token.cancel();
        join(waits).unwrap();
    });
}

/// The children of a scope, at any depth, are under the limit of the coroutine that opened it, and it ends
/// their waits. Detached coroutines are not under it.
#[test]
fn children_of_a_scope_inherit_the_limit() {
    one_worker().run(|| {
        let far = timeout(GUARD, || {
            let mine = Deadline::current();
            assert_ne!(mine, Deadline::never());
            let (child, grandchild) = sward::scope(|s| {
                let below = s.spawn(|| {
                    let grandchild = sward::scope(|s| s.spawn(Deadline::current).join().unwrap());
                    // An earlier limit of the child holds for its children.
                    let nearer = timeout(GUARD / 2, || {
                        sward::scope(|s| s.spawn(Deadline::current).join().unwrap()) < mine
                    });
                    assert_eq!(nearer, Ok(true));
                    (Deadline::current(), grandchild)
                });
                below.join().unwrap()
            });
            assert_eq!((child, grandchild), (mine, mine));
            let tried = sward::try_scope(|s| {
                s.spawn(move || if Deadline::current() == mine { Ok(()) } else { Err(()) });
                Ok(())
            });
            assert_eq!(tried, Ok(()));
            assert_eq!(sward::spawn(Deadline::current).join().unwrap(), Deadline::never());
        });
        assert_eq!(far, Ok(()));

        let unwound = Arc::new(AtomicUsize::new(0));
        let outcome = timeout(LIMIT, || {
            sward::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        let _unwound = CountOnDrop(unwound.clone());
                        // Its own later limit does not defer the end.
                        timeout(GUARD, task::park)
                    });
                }
            });
        });
        assert!(outcome.is_err());
        assert_eq!(unwound.load(Ordering::SeqCst), 3);
        assert_eq!(Deadline::current(), Deadline::never());
    });
}
