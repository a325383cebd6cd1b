//! Spawning and joining: where coroutines run, and what comes of their results and panics.

use crate::common::{LONG, SleepOnDrop, eventually, in_runtime, one_worker, two_workers};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sward::task::{self, JoinError};

const MIGRATING: bool = cfg!(sward_migrate);

#[test]
fn a_million_short_coroutines() {
    let runtime = two_workers();
    let sum = runtime.run(|| {
        let sum = Arc::new(AtomicUsize::new(0));
        for _ in 0..1_000 {
            let batch: Vec<_> = (0..1_000)
                .map(|i| {
                    let sum = sum.clone();
                    sward::spawn(move || sum.fetch_add(i, Ordering::Relaxed))
                })
                .collect();
            for handle in batch {
                handle.join().unwrap();
            }
        }
        sum.load(Ordering::Relaxed)
    });
    assert_eq!(sum, 1_000 * (999 * 1_000 / 2));
}

#[test]
fn a_hundred_thousand_parked_at_once() {
    const COUNT: usize = 100_000;
    let runtime = two_workers();
    runtime.run(|| {
        let parked = Arc::new(AtomicUsize::new(0));
        let go = Arc::new(AtomicBool::new(false));
        let handles: Vec<_> = (0..COUNT)
            .map(|i| {
                let (parked, go) = (parked.clone(), go.clone());
                let wait = move || {
                    parked.fetch_add(1, Ordering::Relaxed);
                    while !go.load(Ordering::Acquire) {
                        task::park();
                    }
                    i
                };
                task::Builder::new().stack_size(64 << 10).spawn(wait).expect("spawned")
            })
            .collect();
        while parked.load(Ordering::Relaxed) < COUNT {
            sward::sleep(Duration::from_millis(1));
        }
        go.store(true, Ordering::Release);
        for handle in &handles {
            handle.task().unpark();
        }
        let sum: usize = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
        assert_eq!(sum, COUNT * (COUNT - 1) / 2);
    });
}

#[test]
fn unstarted_coroutines_are_stolen() {
    let runtime = two_workers();
    let threads = runtime.run(|| {
        let handles: Vec<_> = (0..200)
            .map(|_| {
                sward::spawn(|| {
                    let end = Instant::now() + Duration::from_millis(1);
                    while Instant::now() < end {
                        std::hint::spin_loop();
                    }
                    std::thread::current().id()
                })
            })
            .collect();
        let ids: std::collections::HashSet<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
        ids.len()
    });
    // With mobile homes there are more.
    assert!(threads >= 2, "{threads} threads");
    assert!(runtime.metrics().workers.iter().any(|worker| worker.steals > 0));
}

thread_local! {
    static VISITS: Cell<usize> = const { Cell::new(0) };
}

/// In default mode a started coroutine never changes its thread. The test checks that after each wake, with
/// an `Rc`, a thread-local and a held guard of std's mutex, while wakes come from all sides.
#[test]
fn a_started_coroutine_stays_on_its_thread() {
    if MIGRATING {
        println!("skipped: coroutines migrate in this run");
        return;
    }
    let runtime = sward::runtime::Builder::new().worker_threads(4).build().expect("a runtime");
    runtime.run(|| {
        let handles: Vec<_> = (0..400)
            .map(|_| {
                sward::spawn(|| {
                    let home = std::thread::current().id();
                    let shared = Rc::new(RefCell::new(0));
                    let own = Mutex::new(0);
                    let mut guard = own.lock().expect("fresh");
                    let here = VISITS.with(|v| std::ptr::from_ref(v).addr());
                    for turn in 0..50 {
                        match turn % 3 {
                            0 => sward::yield_now(),
                            1 => task::park_timeout(Duration::from_micros(50)),
                            _ => {
                                let me = task::current();
                                let waker = sward::spawn(move || me.unpark());
                                task::park();
                                waker.join().unwrap();
                            }
                        }
                        assert_eq!(std::thread::current().id(), home);
                        assert_eq!(VISITS.with(|v| std::ptr::from_ref(v).addr()), here);
                        *shared.borrow_mut() += 1;
                        *guard += 1;
                    }
                    assert_eq!((*shared.borrow(), *guard), (50, 50));
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
    });
}

/// With `migrate_started` a coroutine changes its thread, but not a pinned one.
#[test]
fn a_migrating_coroutine_changes_threads() {
    // SAFETY: nothing in this test keeps state of its thread over a wait.
    let builder = unsafe { sward::runtime::Builder::new().worker_threads(2).migrate_started() };
    let runtime = builder.build().expect("a runtime");
    runtime.run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let moved = Arc::new(AtomicBool::new(false));
        let wander = |turns: Arc<AtomicUsize>| {
            let (stop, moved) = (stop.clone(), moved.clone());
            move || {
                let mut seen = std::collections::HashSet::new();
                while !stop.load(Ordering::Relaxed) {
                    turns.fetch_add(1, Ordering::Relaxed);
                    seen.insert(format!("{:?}", std::thread::current().id()));
                    moved.fetch_or(seen.len() > 1, Ordering::Relaxed);
                    let end = Instant::now() + Duration::from_micros(40);
                    while Instant::now() < end {
                        std::hint::spin_loop();
                    }
                    // Lets a worker run dry, so that it steals from the other.
                    sward::sleep(Duration::from_micros(300));
                }
                seen.len()
            }
        };
        let free: Vec<_> = (0..8).map(|_| sward::spawn(wander(Arc::default()))).collect();
        let turns = Arc::new(AtomicUsize::new(0));
        let pinned = task::Builder::new().pinned(true).spawn(wander(turns.clone())).expect("spawned");
        eventually("one moves", || {
            assert!(!pinned.is_finished());
            moved.load(Ordering::Relaxed) && turns.load(Ordering::Relaxed) >= 500
        });
        stop.store(true, Ordering::Relaxed);
        free.into_iter().for_each(|handle| _ = handle.join().unwrap());
        assert_eq!(pinned.join().unwrap(), 1);
    });
}

#[test]
fn a_panic_reaches_only_the_joiner() {
    in_runtime(|| {
        let fails = task::Builder::new().name("failing").spawn(|| panic!("for the test")).unwrap();
        let goes_on = sward::spawn(|| 1);
        match fails.join() {
            Err(JoinError::Panicked(panic)) => {
                assert_eq!(panic.message(), Some("for the test"));
                assert_eq!(panic.into_payload().downcast_ref::<&str>(), Some(&"for the test"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(goes_on.join().unwrap(), 1);
    });
}

/// A wait in a destructor blocks the thread while a panic unwinds, so no other coroutine sees itself
/// panicking.
#[test]
fn a_wait_during_unwinding_does_not_switch() {
    let runtime = one_worker();
    runtime.run(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let watching = stop.clone();
        let watcher = sward::spawn(move || {
            let mut panicking = false;
            while !watching.load(Ordering::Relaxed) {
                panicking |= std::thread::panicking();
                sward::yield_now();
            }
            panicking
        });
        let handles: Vec<_> = (0..4)
            .map(|_| {
                let dropped = dropped.clone();
                sward::spawn(move || {
                    let _sleeps = SleepOnDrop(dropped);
                    panic!("unwinds over a wait");
                })
            })
            .collect();
        for handle in handles {
            assert!(matches!(handle.join(), Err(JoinError::Panicked(_))));
        }
        stop.store(true, Ordering::Relaxed);
        assert!(!watcher.join().unwrap());
        assert_eq!(dropped.load(Ordering::SeqCst), 4);
    });
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn a_panic_in_the_destructor_of_a_detached_result_ends_there() {
    in_runtime(|| {
        drop(sward::spawn(|| PanicsInDrop));
        let in_closure = PanicsInDrop;
        let handle = sward::spawn(move || drop(in_closure));
        assert!(matches!(handle.join(), Err(JoinError::Panicked(_))));
        assert_eq!(sward::spawn(|| 5).join().unwrap(), 5);
    });
}

#[test]
fn a_dropped_handle_detaches() {
    in_runtime(|| {
        let done = Arc::new(AtomicBool::new(false));
        let theirs = done.clone();
        drop(sward::spawn(move || {
            sward::yield_now();
            theirs.store(true, Ordering::Release);
        }));
        while !done.load(Ordering::Acquire) {
            sward::yield_now();
        }
    });
}

#[test]
fn results_are_dropped_exactly_once() {
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let runtime = two_workers();
    let (tasks, to_drop) = std::sync::mpsc::channel::<task::Task>();
    let elsewhere = std::thread::spawn(move || to_drop.into_iter().for_each(drop));
    runtime.run(|| {
        for i in 0..3_000 {
            let counts = Counts(drops.clone());
            let handle = sward::spawn(move || {
                if i % 5 == 0 {
                    sward::yield_now();
                }
                counts
            });
            if i % 2 == 0 {
                tasks.send(handle.task()).expect("the thread takes them all");
            }
            match i % 3 {
                0 => drop(handle.join().unwrap()),
                1 => drop(handle),
                _ => {
                    sward::yield_now();
                    drop(handle);
                }
            }
        }
    });
    drop((runtime, tasks));
    elsewhere.join().expect("no panic");
    assert_eq!(drops.load(Ordering::SeqCst), 3_000);
}

#[test]
fn ids_are_unique_in_the_process() {
    let mut all = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let runtime = two_workers();
        let mut ids = vec![runtime.spawn(|| ()).task().id().expect("a coroutine")];
        ids.extend(runtime.run(|| {
            let spawned =
                (0..200).map(|_| sward::spawn(|| task::current().id().expect("a coroutine")).join());
            let mut ids: Vec<_> = spawned.map(|id| id.expect("no panic")).collect();
            ids.push(task::current().id().expect("a coroutine"));
            ids
        }));
        for id in ids {
            assert!(all.insert(id), "{id} twice");
        }
    }
}

/// Placement assigns no coroutines to a worker that is blocked in the kernel. After the stall threshold,
/// others run what was assigned to it before.
#[test]
fn a_blocked_worker_keeps_no_new_coroutine_waiting() {
    let stall = Duration::from_millis(50);
    let runtime = sward::runtime::Builder::new().worker_threads(2).stall_threshold(stall);
    let runtime = runtime.build().expect("a runtime");
    runtime.run(|| {
        let blocked = Arc::new(AtomicBool::new(false));
        let theirs = blocked.clone();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let blocker = sward::spawn(move || {
            theirs.store(true, Ordering::SeqCst);
            may_go_on.recv_timeout(LONG)
        });
        // Without a wait here, so the other worker runs the blocker.
        while !blocked.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // They live at the same time, so that some of them are assigned to the worker that is blocked.
        let started = Arc::new(AtomicUsize::new(0));
        for _ in 0..200 {
            let started = started.clone();
            sward::spawn(move || {
                started.fetch_add(1, Ordering::SeqCst);
                sward::sleep(LONG);
            });
        }
        eventually("all have started", || started.load(Ordering::SeqCst) == 200);
        drop(go_on);
        let outcome = blocker.join().expect("no panic");
        assert_eq!(outcome, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    });
}

#[test]
fn invalid_settings_are_errors() {
    let zero = sward::runtime::Builder::new().worker_threads(0).build();
    assert_eq!(zero.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    for bytes in [0, usize::MAX] {
        let absurd = sward::runtime::Builder::new().stack_size(bytes).build();
        assert_eq!(absurd.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        let absurd = task::Builder::new().stack_size(bytes).spawn(|| ());
        assert_eq!(absurd.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
    let named = sward::runtime::Builder::new().thread_name("a\0b").build();
    assert_eq!(named.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

/// Which types may cross threads is a part of the interface.
#[test]
fn auto_traits_are_as_promised() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<task::JoinHandle<Vec<u8>>>();
    sync::<task::JoinHandle<Vec<u8>>>();
    send::<task::Task>();
    sync::<task::Task>();
    send::<JoinError>();
    sync::<JoinError>();
    send::<sward::runtime::Runtime>();
    sync::<sward::runtime::Runtime>();
    send::<sward::net::TcpStream>();
    sync::<sward::net::TcpStream>();
    send::<sward::net::TcpListener>();
    sync::<sward::net::TcpListener>();
}

/// Coroutines that are always runnable do not keep new ones from starting: while a hundred yield in turn, a
/// thousand new ones start within some thousands of turns, not within tens of thousands.
#[test]
fn runnable_coroutines_do_not_keep_new_ones_waiting() {
    let runtime = one_worker();
    runtime.run(|| {
        let turns = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let yielding: Vec<_> = (0..100)
            .map(|_| {
                let (turns, stop) = (turns.clone(), stop.clone());
                sward::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        turns.fetch_add(1, Ordering::Relaxed);
                        sward::yield_now();
                    }
                })
            })
            .collect();
        while turns.load(Ordering::Relaxed) < 1_000 {
            sward::yield_now();
        }
        let before = turns.load(Ordering::Relaxed);
        let fresh: Vec<_> = (0..1_000).map(|_| sward::spawn(|| ())).collect();
        while !fresh.iter().all(|handle| handle.is_finished()) {
            sward::yield_now();
        }
        let took = turns.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        for handle in yielding {
            handle.join().unwrap();
        }
        assert!(took < 20_000, "{took} turns of others");
    });
}
