//! `scope` and `ScopeBuilder`.

use crate::common::{CountOnDrop, MOMENT, everywhere, in_child, in_runtime, message_of, until};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use sward::task::{self, JoinError, JoinSet, Scope, ScopeBuilder, ScopedJoinHandle, TryScope};

/// Sleeps, and then sets the flag, when it is dropped.
pub(crate) struct SetsLateInDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetsLateInDrop<'_> {
    fn drop(&mut self) {
        sward::sleep(Duration::from_millis(3));
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn locals_are_lent() {
    everywhere(|| {
        let mut numbers = vec![1, 2, 3];
        let (mut sum, text) = (0, String::from("text"));
        let longer = sward::scope(|s| {
            s.spawn(|| sum = numbers.iter().sum());
            let longer = s.spawn(|| format!("{text} {}", numbers.len()));
            longer.join().unwrap()
        });
        numbers.push(4);
        assert_eq!((sum, longer.as_str()), (6, "text 3"));
    });
}

#[test]
fn many_are_waited_for() {
    everywhere(|| {
        let count = AtomicUsize::new(0);
        sward::scope(|s| {
            for i in 0..10_000 {
                let count = &count;
                s.spawn(move || {
                    if i % 3 == 0 {
                        sward::yield_now();
                    }
                    count.fetch_add(1, Ordering::Relaxed)
                });
            }
        });
        assert_eq!(count.into_inner(), 10_000);
    });
}

#[test]
fn scopes_nest_and_children_spawn_in_theirs() {
    fn tree<'scope>(s: &'scope Scope<'scope, '_>, count: &'scope AtomicUsize, depth: u32) {
        count.fetch_add(1, Ordering::Relaxed);
        for _ in 0..if depth > 0 { 3 } else { 0 } {
            s.spawn(move || tree(s, count, depth - 1));
        }
    }
    everywhere(|| {
        let count = AtomicUsize::new(0);
        sward::scope(|s| {
            tree(s, &count, 5);
            s.spawn(|| {
                let own = AtomicUsize::new(0);
                sward::scope(|s| tree(s, &own, 2));
                assert_eq!(own.into_inner(), 1 + 3 + 9);
            });
        });
        assert_eq!(count.into_inner(), 1 + 3 + 9 + 27 + 81 + 243);
    });
}

#[test]
fn a_scope_may_be_empty_and_returns_what_its_closure_returns() {
    everywhere(|| {
        let text = String::from("lent");
        assert_eq!(sward::scope(|_| text.as_str()), "lent");
    });
}

#[test]
fn handles_report_on_their_coroutine() {
    everywhere(|| {
        let name = sward::scope(|s| {
            let wait = Arc::new(AtomicBool::new(false));
            let theirs = wait.clone();
            let named = task::Builder::new()
                .name("named")
                .stack_size(128 << 10)
                .spawn_scoped(s, move || {
                    while !theirs.load(Ordering::Acquire) {
                        task::park();
                    }
                    task::current().name().map(str::to_owned)
                })
                .expect("spawned");
            assert!(!named.is_finished());
            assert_eq!(named.task().name(), Some("named"));
            wait.store(true, Ordering::Release);
            named.task().unpark();
            named.join().unwrap()
        });
        assert_eq!(name.as_deref(), Some("named"));
        let absurd = sward::scope(|s| task::Builder::new().stack_size(0).spawn_scoped(s, || ()).err());
        assert_eq!(absurd.map(|e| e.kind()), Some(std::io::ErrorKind::InvalidInput));
    });
}

#[test]
fn results_that_are_not_taken_are_dropped_before_the_end() {
    everywhere(|| {
        let dropped = AtomicBool::new(false);
        sward::scope(|s| {
            s.spawn(|| SetsLateInDrop(&dropped));
        });
        assert!(dropped.into_inner());
        let dropped = AtomicBool::new(false);
        sward::scope(|s| {
            let kept = s.spawn(|| SetsLateInDrop(&dropped));
            while !kept.is_finished() {
                sward::yield_now();
            }
        });
        assert!(dropped.into_inner());
    });
}

#[test]
fn captures_of_closures_are_dropped_before_the_end() {
    everywhere(|| {
        let drops = AtomicUsize::new(0);
        sward::scope(|s| {
            for i in 0..300 {
                let counts = CountOnDrop(&drops);
                let handle = s.spawn(move || {
                    let _counts = counts;
                    if i % 2 == 0 {
                        task::park_timeout(Duration::from_millis(1));
                    }
                });
                if i % 3 == 0 {
                    handle.cancel();
                }
            }
        });
        assert_eq!(drops.into_inner(), 300);
    });
}

/// The destructor of a result runs after the closure, and still in the scope.
#[test]
fn a_destructor_of_a_result_may_spawn_in_the_scope() {
    struct Spawns<'scope, 'env>(&'scope Scope<'scope, 'env>, &'scope AtomicUsize, u32);
    impl Drop for Spawns<'_, '_> {
        fn drop(&mut self) {
            let (scope, count, left) = (self.0, self.1, self.2);
            count.fetch_add(1, Ordering::Relaxed);
            if left > 0 {
                scope.spawn(move || Spawns(scope, count, left - 1));
            }
        }
    }
    everywhere(|| {
        let count = AtomicUsize::new(0);
        sward::scope(|s| {
            let count = &count;
            s.spawn(move || Spawns(s, count, 9));
        });
        assert_eq!(count.into_inner(), 10);
    });
}

#[test]
fn a_leaked_handle_delays_nothing() {
    everywhere(|| {
        let count = AtomicUsize::new(0);
        let mut task = None;
        sward::scope(|s| {
            std::mem::forget(s.spawn(|| count.fetch_add(1, Ordering::Relaxed)));
            let other = s.spawn(|| count.fetch_add(1, Ordering::Relaxed));
            task = Some(other.task());
        });
        assert_eq!(count.into_inner(), 2);
        task.expect("set").unpark(); // of a coroutine that has ended: nothing happens
    });
}

#[test]
fn a_panic_without_a_joiner_is_a_panic_of_the_scope() {
    everywhere(|| {
        let ended = AtomicUsize::new(0);
        let message = message_of(|| {
            sward::scope(|s| {
                s.spawn(|| panic!("of the child"));
                s.spawn(|| {
                    sward::sleep(MOMENT);
                    ended.fetch_add(1, Ordering::Relaxed); // the others go on
                });
            });
        });
        assert_eq!(message, "a scoped coroutine panicked");
        assert_eq!(ended.into_inner(), 1);
    });
}

#[test]
fn a_panic_that_is_joined_is_the_joiners() {
    everywhere(|| {
        sward::scope(|s| {
            let fails = s.spawn(|| panic!("of the child"));
            match fails.join() {
                Err(JoinError::Panicked(panic)) => assert_eq!(panic.message(), Some("of the child")),
                other => panic!("{other:?}"),
            }
        });
        let message = message_of(|| {
            sward::scope(|s| {
                let joined = s.spawn(|| panic!("of the child"));
                s.spawn(|| panic!("of the other"));
                assert!(joined.join().is_err());
            });
        });
        assert_eq!(message, "a scoped coroutine panicked");
    });
}

/// If a coroutine gets no stack, its joiner or its scope learns of it. The others run.
#[test]
fn a_coroutine_without_a_stack_is_reported() {
    // In a process of its own, since the limit holds for a whole process.
    in_child(|| {
        let huge = || task::Builder::new().stack_size(1 << 30);
        in_runtime(|| {
            sward::spawn(|| ()).join().expect("a stack");
            let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
            let Some(pages) = status.split(' ').next().and_then(|n| n.parse::<u64>().ok()) else {
                println!("skipped: this system does not say how much memory is mapped");
                return;
            };
            // Leaves less room than one such stack needs.
            let most = pages * 4096 + (512 << 20);
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: the pointer is to a local.
            assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) }, 0);
            limit.rlim_cur = most;
            // SAFETY: as above.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);

            let ran = AtomicBool::new(false);
            let message = message_of(|| {
                sward::scope(|s| {
                    huge().spawn_scoped(s, || ()).map(drop).expect("spawned");
                    s.spawn(|| ran.store(true, Ordering::Relaxed));
                });
            });
            assert!(message.contains("no stack"), "{message}");
            assert!(ran.into_inner());

            let joined = sward::scope(|s| huge().spawn_scoped(s, || ()).expect("spawned").join());
            assert!(matches!(joined, Err(JoinError::NoStack(_))), "{joined:?}");

            let message = message_of(|| sward::try_scope(|s| s.spawn_with(huge(), || Ok(()))));
            assert!(message.contains("no stack"), "{message}");

            ScopeBuilder::new().limit(1).scope(|s| {
                let first = huge().spawn_scoped(s, || ()).expect("spawned");
                assert_eq!(s.spawn(|| 1).join().unwrap(), 1);
                assert!(first.join().is_err());
            });

            let mut set = JoinSet::new();
            set.spawn_with(huge(), || ()).expect("spawned");
            assert!(matches!(set.join_next(), Some(Err(JoinError::NoStack(_)))));
        });
    });
}

#[test]
fn a_panic_of_the_closure_ends_the_others_first() {
    everywhere(|| {
        let (started, dropped) = (AtomicBool::new(false), AtomicBool::new(false));
        let message = message_of(|| {
            sward::scope(|s| {
                s.spawn(|| {
                    let _slow = SetsLateInDrop(&dropped);
                    started.store(true, Ordering::Relaxed);
                    task::park();
                    unreachable!("cancelled");
                });
                s.spawn(|| panic!("of the child"));
                while !started.load(Ordering::Relaxed) {
                    sward::sleep(MOMENT);
                }
                panic!("of the closure");
            });
        });
        assert_eq!(message, "of the closure");
        assert!(dropped.into_inner());
    });
}

#[test]
fn a_cancelled_parent_ends_its_children_first() {
    struct Leaves<'a>(&'a AtomicUsize, &'a AtomicUsize);
    impl Drop for Leaves<'_> {
        fn drop(&mut self) {
            self.1.store(self.0.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }
    struct Alive<'a>(&'a AtomicUsize);
    impl Drop for Alive<'_> {
        fn drop(&mut self) {
            sward::sleep(Duration::from_micros(50));
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    in_runtime(|| {
        for at_the_end in [false, true] {
            let (left, begun) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicUsize::new(0)));
            let (leaves, begins) = (left.clone(), begun.clone());
            let parent = sward::spawn(move || {
                let alive = AtomicUsize::new(0);
                let _leaves = Leaves(&alive, &leaves);
                sward::scope(|s| {
                    for _ in 0..100 {
                        s.spawn(|| {
                            alive.fetch_add(1, Ordering::SeqCst);
                            let _alive = Alive(&alive);
                            begins.fetch_add(1, Ordering::SeqCst);
                            sward::sleep(Duration::from_secs(3600));
                        });
                    }
                    if !at_the_end {
                        s.spawn(task::park).join().unwrap();
                    }
                });
                unreachable!("cancelled");
            });
            while begun.load(Ordering::SeqCst) < 100 {
                sward::yield_now();
            }
            parent.cancel();
            assert!(matches!(parent.join(), Err(JoinError::Cancelled)));
            assert_eq!(left.load(Ordering::SeqCst), 0, "a child has outlived its parent");
        }
    });
}

#[test]
fn a_masked_child_delays_the_end_of_its_parent() {
    in_runtime(|| {
        let masked = Arc::new(AtomicBool::new(false));
        let is_masked = masked.clone();
        let parent = sward::spawn(move || {
            let written = AtomicBool::new(false);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                sward::scope(|s| {
                    s.spawn(|| {
                        task::mask(|| {
                            masked.store(true, Ordering::Release);
                            sward::sleep(4 * MOMENT);
                            written.store(true, Ordering::Relaxed);
                        });
                        task::park();
                        unreachable!("cancelled");
                    });
                });
            }));
            assert!(outcome.is_err());
            assert!(written.into_inner());
            task::park();
        });
        until(|| is_masked.load(Ordering::Acquire));
        parent.cancel();
        let result = parent.join();
        assert!(matches!(result, Err(JoinError::Cancelled)), "{result:?}");
    });
}

#[test]
fn a_masked_parent_keeps_its_children() {
    in_runtime(|| {
        let (started, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (ours, gone) = (started.clone(), go.clone());
        let parent = sward::spawn(move || {
            let sum = AtomicUsize::new(0);
            task::mask(|| {
                sward::scope(|s| {
                    for i in 0..10 {
                        let (sum, ours, gone) = (&sum, &ours, &gone);
                        s.spawn(move || {
                            ours.store(true, Ordering::Release);
                            while !gone.load(Ordering::Acquire) {
                                sward::sleep(Duration::from_millis(1));
                            }
                            sum.fetch_add(i, Ordering::Relaxed);
                        });
                    }
                });
            });
            assert!(task::is_cancelled());
            sum.into_inner()
        });
        while !started.load(Ordering::Acquire) {
            sward::yield_now();
        }
        parent.cancel();
        go.store(true, Ordering::Release);
        assert_eq!(parent.join().unwrap(), 45);
    });
}

#[test]
fn a_scope_is_cancelled_by_its_closure() {
    everywhere(|| {
        let ran = AtomicUsize::new(0);
        sward::scope(|s| {
            let first = s.spawn(task::park);
            s.cancel();
            assert!(matches!(first.join(), Err(JoinError::Cancelled)));
            let late = s.spawn(|| ran.fetch_add(1, Ordering::Relaxed));
            assert!(matches!(late.join(), Err(JoinError::Cancelled)));
            s.spawn(task::park);
        });
        assert_eq!(ran.into_inner(), 0);
    });
}

#[test]
fn one_coroutine_is_cancelled_alone() {
    everywhere(|| {
        let other = sward::scope(|s| {
            let one = s.spawn(task::park);
            let other = s.spawn(|| {
                sward::sleep(MOMENT);
                7
            });
            one.cancel();
            assert!(matches!(one.join(), Err(JoinError::Cancelled)));
            other.join().unwrap()
        });
        assert_eq!(other, 7);
        sward::scope(|s| assert!(s.spawn(task::park).cancel()));
    });
}

/// A destructor that opens a scope while its coroutine unwinds blocks its worker. Another worker runs the
/// coroutines of the scope.
#[test]
fn a_scope_in_a_destructor_that_unwinds_blocks_until_its_end() {
    struct Sums<'a>(&'a AtomicUsize);
    impl Drop for Sums<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            sward::scope(|s| {
                s.spawn(|| {
                    assert!(!std::thread::panicking());
                    sward::sleep(Duration::from_millis(1));
                    self.0.fetch_add(1, Ordering::Relaxed);
                });
            });
        }
    }
    let test = || {
        let sum = AtomicUsize::new(0);
        let message = message_of(|| {
            let _sums = Sums(&sum);
            panic!("unwinds over a scope");
        });
        assert_eq!((message.as_str(), sum.into_inner()), ("unwinds over a scope", 1));
    };
    in_runtime(test);
    test();
}

/// A shutdown unwinds scopes from the inside out: each parent after its children.
#[test]
fn shutdown_unwinds_scopes() {
    let (inner, outer) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let early = Arc::new(AtomicBool::new(false));
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    let parents: Vec<_> = (0..20)
        .map(|_| {
            let (inner, outer, early) = (inner.clone(), outer.clone(), early.clone());
            runtime.spawn(move || {
                let alive = AtomicUsize::new(0);
                struct Leaves<'a>(&'a AtomicUsize, &'a AtomicUsize, &'a AtomicBool);
                impl Drop for Leaves<'_> {
                    fn drop(&mut self) {
                        self.1.fetch_add(1, Ordering::SeqCst);
                        if self.0.load(Ordering::SeqCst) != 0 {
                            self.2.store(true, Ordering::SeqCst);
                        }
                    }
                }
                let _leaves = Leaves(&alive, &outer, &early);
                sward::scope(|s| {
                    for _ in 0..10 {
                        s.spawn(|| {
                            alive.fetch_add(1, Ordering::SeqCst);
                            let _slow = Slow(&alive, &inner);
                            task::park();
                        });
                    }
                });
                // The shutdown may have cancelled all children before it cancels this coroutine.
                task::park();
                unreachable!("the shutdown ends it");
            })
        })
        .collect();
    struct Slow<'a>(&'a AtomicUsize, &'a AtomicUsize);
    impl Drop for Slow<'_> {
        fn drop(&mut self) {
            sward::sleep(Duration::from_millis(1));
            self.0.fetch_sub(1, Ordering::SeqCst);
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    while runtime.metrics().workers.iter().map(|worker| worker.live).sum::<usize>() < 20 * 11 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(runtime);
    assert_eq!((inner.load(Ordering::SeqCst), outer.load(Ordering::SeqCst)), (200, 20));
    assert!(!early.load(Ordering::SeqCst), "a parent has left before its children");
    for parent in parents {
        assert!(matches!(parent.join(), Err(JoinError::ShutDown)));
    }
}

/// A shutdown leaks a child that cannot be unwound, and also the parent whose frame it uses.
#[test]
fn a_parent_of_a_leaked_child_never_goes_on() {
    let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
    let (stop, started, left) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (theirs, begins, leaves) = (stop.clone(), started.clone(), left.clone());
    let used = Arc::new(AtomicUsize::new(0));
    let uses = used.clone();
    let parent = runtime.spawn(move || {
        struct Leaves(Arc<AtomicBool>);
        impl Drop for Leaves {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _leaves = Leaves(leaves);
        let local = AtomicUsize::new(0);
        sward::scope(|s| {
            s.spawn(|| {
                begins.store(true, Ordering::SeqCst);
                while !theirs.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                    uses.store(local.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                }
            });
        });
    });
    while !started.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    runtime.shutdown_timeout(Duration::from_millis(20));
    let before = used.load(Ordering::SeqCst);
    while used.load(Ordering::SeqCst) < before + 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!parent.is_finished() && !left.load(Ordering::SeqCst));
    stop.store(true, Ordering::SeqCst);
}

#[test]
fn a_limit_holds() {
    everywhere(|| {
        let (running, most, ran) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        ScopeBuilder::new().limit(4).scope(|s| {
            for i in 0..200 {
                let (running, most, ran) = (&running, &most, &ran);
                let handle = s.spawn(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    match i % 3 {
                        0 => sward::yield_now(),
                        1 => sward::sleep(Duration::from_micros(100)),
                        _ => {}
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                    ran.fetch_add(1, Ordering::SeqCst);
                });
                if i % 10 == 0 {
                    assert!(handle.join().is_ok());
                }
            }
        });
        assert!(most.into_inner() <= 4);
        assert_eq!(ran.into_inner(), 200);
    });
}

/// Every end of a coroutine makes room: by a panic, by a cancellation, without a start.
#[test]
fn every_end_makes_room_below_a_limit() {
    everywhere(|| {
        ScopeBuilder::new().limit(1).scope(|s| {
            let fails = s.spawn(|| panic!("of the child"));
            let parks = s.spawn(task::park);
            parks.cancel();
            let unrun = s.spawn(task::park);
            unrun.cancel();
            assert_eq!(s.spawn(|| 1).join().unwrap(), 1);
            assert!(matches!(fails.join(), Err(JoinError::Panicked(_))));
            assert!(matches!(parks.join(), Err(JoinError::Cancelled)));
            assert!(matches!(unrun.join(), Err(JoinError::Cancelled)));
        });
    });
}

#[test]
fn a_spawn_that_waits_for_room_can_be_cancelled() {
    in_runtime(|| {
        let parent = sward::spawn(|| {
            ScopeBuilder::new().limit(1).scope(|s| {
                s.spawn(task::park);
                s.spawn(|| ());
                unreachable!("cancelled");
            });
        });
        sward::sleep(MOMENT);
        parent.cancel();
        assert!(matches!(parent.join(), Err(JoinError::Cancelled)));

        // A waiter within the scope, while the scope goes on.
        ScopeBuilder::new().limit(2).scope(|s| {
            let go = Arc::new(AtomicBool::new(false));
            let gone = go.clone();
            s.spawn(move || {
                while !gone.load(Ordering::Acquire) {
                    sward::sleep(Duration::from_millis(1));
                }
            });
            let waits = s.spawn(|| drop(s.spawn(|| ())));
            sward::sleep(MOMENT);
            waits.cancel();
            assert!(matches!(waits.join(), Err(JoinError::Cancelled)));
            assert_eq!(s.spawn(|| 1).join().unwrap(), 1);
            go.store(true, Ordering::Release);
        });
    });
}

#[test]
#[should_panic = "no coroutine may be alive"]
fn a_limit_of_none_is_refused() {
    let _ = ScopeBuilder::new().limit(0);
}

#[test]
fn scopes_race_with_cancellation() {
    in_runtime(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        for round in 0..1_000 {
            let alive = alive.clone();
            let theirs = alive.clone();
            let parent = sward::spawn(move || {
                let local = Cell::new([round; 64]); // on the stack that the children use
                let seen = AtomicUsize::new(0);
                let lent = local.get();
                sward::scope(|s| {
                    for i in 0..4 {
                        let (lent, seen, alive) = (&lent, &seen, &theirs);
                        s.spawn(move || {
                            alive.fetch_add(1, Ordering::SeqCst);
                            struct Ends<'a>(&'a AtomicUsize, &'a [usize; 64]);
                            impl Drop for Ends<'_> {
                                fn drop(&mut self) {
                                    assert!(self.1.iter().all(|n| *n == self.1[0]));
                                    self.0.fetch_sub(1, Ordering::SeqCst);
                                }
                            }
                            let _ends = Ends(alive, lent);
                            match i {
                                0 => sward::yield_now(),
                                1 => sward::sleep(Duration::from_micros(20)),
                                2 => task::park_timeout(Duration::from_micros(40)),
                                _ => {}
                            }
                            seen.fetch_add(lent[0], Ordering::Relaxed);
                        });
                    }
                });
                assert_eq!(seen.into_inner(), 4 * round);
            });
            match round % 3 {
                0 => {}
                1 => sward::yield_now(),
                _ => sward::sleep(Duration::from_micros(10)),
            }
            parent.cancel();
            match parent.join() {
                Ok(()) | Err(JoinError::Cancelled) => {}
                Err(error) => panic!("{error}"),
            }
            assert_eq!(alive.load(Ordering::SeqCst), 0, "a child has outlived its parent");
        }
    });
}

/// Which types may cross threads is a part of the interface.
#[test]
fn auto_traits_are_as_promised() {
    fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Scope<'static, 'static>>();
    send_and_sync::<TryScope<'static, 'static, Cell<u8>>>();
    send_and_sync::<ScopedJoinHandle<'static, Cell<u8>>>();
    send_and_sync::<JoinSet<Cell<u8>>>();
    send_and_sync::<JoinError>();
    let error: Box<dyn std::error::Error + Send + Sync> = JoinError::Cancelled.into();
    assert_eq!(error.to_string(), "the coroutine was cancelled");
}

/// A destructor that panics outside of the closure of a coroutine is a panic of the scope, so it is not lost.
#[test]
fn a_panic_of_a_destructor_is_one_of_the_scope() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 {
                std::panic::resume_unwind(Box::new("a bomb"));
            }
        }
    }
    let unrun = || {
        let _: Result<(), ()> = sward::try_scope(|s| {
            s.cancel();
            for _ in 0..50 {
                let bomb = Bomb(true);
                s.spawn(move || {
                    let _bomb = bomb;
                    Ok(())
                });
            }
            Ok(())
        });
    };
    // Timing decides whether the scope drops a closure, or the cancelled coroutine that has it. Only the
    // scope reports the panic.
    for _ in 0..50 {
        let outcome = catch_unwind(|| in_runtime(unrun));
        if let Err(payload) = outcome {
            assert_eq!(payload.downcast_ref(), Some(&"a scoped coroutine panicked"));
        }
    }
    everywhere(|| {
        let outcome = catch_unwind(|| {
            let _: Result<(), Bomb> = sward::try_scope(|s| {
                s.spawn(|| Err(Bomb(false)));
                while !s.is_cancelled() {
                    sward::yield_now();
                }
                Err(Bomb(true))
            });
        });
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"a bomb"));
        let outcome = catch_unwind(|| {
            let runs = AtomicBool::new(false);
            let _: Result<(), Bomb> = sward::try_scope(|s| {
                s.spawn(|| {
                    runs.store(true, Ordering::SeqCst);
                    sward::task::mask(|| {
                        while !s.is_cancelled() {
                            sward::yield_now();
                        }
                    });
                    Err(Bomb(true))
                });
                while !runs.load(Ordering::SeqCst) {
                    sward::yield_now();
                }
                Err(Bomb(false))
            });
        });
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"a bomb"));
    });
}
