//! Coroutines: spawning, joining, parking, panics, cancellation.

mod checked;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sward::task::{self, JoinError};

const MIGRATING: bool = cfg!(sward_migrate);

fn two_workers() -> sward::runtime::Runtime {
    sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime")
}

#[test]
fn run_returns_what_its_closure_does() {
    let borrowed = String::from("borrowed");
    assert_eq!(sward::run(|| borrowed.len()), 8);
}

#[test]
fn a_million_short_ones() {
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
    assert_eq!(threads, 2);
    assert!(runtime.metrics().workers.iter().any(|worker| worker.steals > 0));
}

thread_local! {
    static VISITS: Cell<usize> = const { Cell::new(0) };
}

/// In default mode a started coroutine never changes its thread: checked at every wake, with an `Rc`,
/// a thread-local and a held guard of std's mutex, under wakes from all sides.
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

/// With `migrate_started` it does change its thread, and a pinned one still does not.
#[test]
fn a_migrating_coroutine_changes_threads() {
    // SAFETY: nothing in this test holds anything of a thread's over a wait.
    let builder = unsafe { sward::runtime::Builder::new().worker_threads(2).migrate_started() };
    let runtime = builder.build().expect("a runtime");
    runtime.run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let wander = |stop: Arc<AtomicBool>| {
            move || {
                let mut seen = std::collections::HashSet::new();
                while !stop.load(Ordering::Relaxed) {
                    seen.insert(format!("{:?}", std::thread::current().id()));
                    let end = Instant::now() + Duration::from_micros(40);
                    while Instant::now() < end {
                        std::hint::spin_loop();
                    }
                    // Leaves room for a worker to run dry and look for what waits at the other.
                    sward::sleep(Duration::from_micros(300));
                }
                seen.len()
            }
        };
        let free: Vec<_> = (0..8).map(|_| sward::spawn(wander(stop.clone()))).collect();
        let pinned = task::Builder::new().pinned(true).spawn(wander(stop.clone())).expect("spawned");
        sward::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        let most = free.into_iter().map(|handle| handle.join().unwrap()).max();
        assert!(most > Some(1), "none has moved");
        assert_eq!(pinned.join().unwrap(), 1);
    });
}

#[test]
fn no_unpark_is_lost() {
    let runtime = two_workers();
    runtime.run(|| {
        let pairs: Vec<_> = (0..16)
            .map(|_| {
                let turn = Arc::new(AtomicUsize::new(0));
                let (tx, rx) = std::sync::mpsc::channel();
                let theirs = turn.clone();
                let other = sward::spawn(move || {
                    let peer: task::Task = loop {
                        match rx.try_recv() {
                            Ok(peer) => break peer,
                            Err(_) => sward::yield_now(),
                        }
                    };
                    for round in 0..2_000 {
                        while theirs.load(Ordering::Acquire) != 2 * round + 1 {
                            task::park();
                        }
                        theirs.store(2 * round + 2, Ordering::Release);
                        peer.unpark();
                    }
                });
                let peer = other.task();
                let mine = sward::spawn(move || {
                    tx.send(task::current()).expect("the peer listens");
                    for round in 0..2_000 {
                        turn.store(2 * round + 1, Ordering::Release);
                        peer.unpark();
                        while turn.load(Ordering::Acquire) != 2 * round + 2 {
                            task::park();
                        }
                    }
                });
                (mine, other)
            })
            .collect();
        for (mine, other) in pairs {
            mine.join().unwrap();
            other.join().unwrap();
        }
    });
}

#[test]
fn threads_and_coroutines_unpark_each_other() {
    sward::run(|| {
        let me = task::current();
        let ready = Arc::new(AtomicBool::new(false));
        let (theirs, thread_task) = (ready.clone(), std::sync::mpsc::channel());
        let tx = thread_task.0;
        let thread = std::thread::spawn(move || {
            tx.send(task::current()).expect("somebody listens");
            while !theirs.load(Ordering::Acquire) {
                task::park();
            }
            me.unpark();
        });
        let thread_task = thread_task.1.recv().expect("the thread sends");
        ready.store(true, Ordering::Release);
        thread_task.unpark();
        task::park();
        thread.join().unwrap();
    });
}

#[test]
fn a_panic_reaches_the_joiner_and_nobody_else() {
    sward::run(|| {
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

#[test]
fn run_passes_its_panic_on() {
    let caught = std::panic::catch_unwind(|| sward::run(|| panic!("through run")));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"through run"));
}

#[test]
fn run_inside_a_coroutine_is_refused() {
    sward::run(|| {
        let inner = sward::spawn(|| sward::run(|| ()));
        let error = inner.join().unwrap_err();
        assert!(error.to_string().contains("inside a coroutine"), "{error}");
    });
}

struct SleepsInDrop(Arc<AtomicUsize>);

impl Drop for SleepsInDrop {
    fn drop(&mut self) {
        sward::sleep(Duration::from_millis(5));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A wait in a destructor, while a panic unwinds: it blocks the thread, and no other coroutine finds
/// itself panicking.
#[test]
fn a_wait_during_unwinding_does_not_switch() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
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
                    let _sleeps = SleepsInDrop(dropped);
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
    sward::run(|| {
        drop(sward::spawn(|| PanicsInDrop));
        let in_closure = PanicsInDrop;
        let handle = sward::spawn(move || drop(in_closure));
        assert!(matches!(handle.join(), Err(JoinError::Panicked(_))));
        assert_eq!(sward::spawn(|| 5).join().unwrap(), 5);
    });
}

#[test]
fn a_dropped_handle_detaches() {
    sward::run(|| {
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
    runtime.run(|| {
        for i in 0..3_000 {
            let counts = Counts(drops.clone());
            let handle = sward::spawn(move || {
                if i % 5 == 0 {
                    sward::yield_now();
                }
                counts
            });
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
    drop(runtime);
    assert_eq!(drops.load(Ordering::SeqCst), 3_000);
}

#[test]
fn cancel_unwinds_a_parked_coroutine() {
    sward::run(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let theirs = dropped.clone();
        let handle = sward::spawn(move || {
            let _sleeps = SleepsInDrop(theirs);
            task::park();
            unreachable!("the wait unwinds");
        });
        sward::sleep(Duration::from_millis(2));
        handle.cancel();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_swallowed_cancellation_comes_again() {
    sward::run(|| {
        let handle = sward::spawn(|| {
            let first = std::panic::catch_unwind(|| sward::sleep(Duration::from_secs(3600)));
            assert!(first.is_err());
            sward::sleep(Duration::from_secs(3600));
        });
        sward::yield_now();
        handle.cancel();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
    });
}

#[test]
fn a_cancelled_joiner_leaves_the_joined_one_alone() {
    sward::run(|| {
        let done = Arc::new(AtomicBool::new(false));
        let theirs = done.clone();
        let (spawned, has_spawned) = sward::channel::bounded(1);
        let joiner = sward::spawn(move || {
            let inner = sward::spawn(move || {
                sward::sleep(Duration::from_millis(20));
                theirs.store(true, Ordering::Release);
            });
            spawned.send(()).unwrap();
            inner.join().unwrap();
        });
        // One that has not started is not run when it is cancelled.
        has_spawned.recv().unwrap();
        joiner.cancel();
        assert!(matches!(joiner.join(), Err(JoinError::Cancelled)));
        while !done.load(Ordering::Acquire) {
            sward::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn shutdown_unwinds_what_is_left() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let theirs = dropped.clone();
    let handle = sward::run(move || {
        let started = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let (theirs, starts) = (theirs.clone(), started.clone());
            sward::spawn(move || {
                let _sleeps = SleepsInDrop(theirs);
                starts.fetch_add(1, Ordering::SeqCst);
                task::park();
            });
        }
        let last = sward::spawn(|| sward::sleep(Duration::from_secs(3600)));
        // One that has not been started is dropped without being run.
        while started.load(Ordering::SeqCst) < 100 {
            sward::sleep(Duration::from_millis(1));
        }
        last
    });
    assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
    assert_eq!(dropped.load(Ordering::SeqCst), 100);
}

#[test]
fn what_cannot_be_unwound_is_leaked_in_time() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = stop.clone();
    let stubborn = runtime.spawn(move || {
        while !theirs.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    while runtime.metrics().workers[0].live == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let start = Instant::now();
    runtime.shutdown_timeout(Duration::from_millis(50));
    // It is not waited for any longer, since it can be seen not to leave.
    assert!(start.elapsed() < Duration::from_millis(150), "{:?}", start.elapsed());
    assert!(!stubborn.is_finished());
    stop.store(true, Ordering::Relaxed);
}

/// Placement hands unstarted coroutines from worker to worker while the runtime ends: all handles are told.
#[test]
fn a_shutdown_amid_placement_ends_every_handle() {
    for round in 0..300 {
        let runtime = two_workers();
        let (sender, receiver) = std::sync::mpsc::channel();
        runtime.run(|| {
            for _ in 0..400 {
                let sender = sender.clone();
                sward::spawn(move || {
                    for _ in 0..3 {
                        // Past the end of the test nobody listens.
                        let _ = sender.send(sward::spawn(|| sward::sleep(Duration::from_secs(100))));
                    }
                });
            }
            for _ in 0..(round % 7) {
                sward::yield_now();
            }
        });
        drop(sender);
        let start = Instant::now();
        drop(runtime);
        assert!(start.elapsed() < Duration::from_secs(4), "round {round}: {:?}", start.elapsed());
        assert!(receiver.try_iter().all(|handle| handle.is_finished()), "round {round}");
    }
}

/// A worker that cancels what is parked on it runs that at once.
#[test]
fn a_shutdown_does_not_nap_over_what_it_cancels() {
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
        let _sleeper = runtime.spawn(|| sward::sleep(Duration::from_secs(100)));
        while runtime.metrics().workers[0].live == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(2));
        let start = Instant::now();
        drop(runtime);
        fastest = fastest.min(start.elapsed());
    }
    assert!(fastest < Duration::from_millis(4), "{fastest:?}");
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

/// A worker that is blocked in the kernel is not given coroutines to start, and what it was given before
/// that is run by others after the stall threshold.
#[test]
fn a_blocked_worker_keeps_no_new_coroutine_waiting() {
    let stall = Duration::from_millis(50);
    let runtime = sward::runtime::Builder::new().worker_threads(2).stall_threshold(stall);
    let runtime = runtime.build().expect("a runtime");
    let latest = runtime.run(|| {
        let blocked = Arc::new(AtomicBool::new(false));
        let theirs = blocked.clone();
        let blocker = sward::spawn(move || {
            theirs.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1_500));
        });
        // Without a wait, so that it is the other worker that runs it.
        while !blocked.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let start = Instant::now();
        let delay = move || (start.elapsed(), sward::sleep(Duration::from_millis(400))).0;
        let handles: Vec<_> = (0..200).map(|_| sward::spawn(delay)).collect();
        let latest = handles.into_iter().map(|handle| handle.join().expect("no panic")).max();
        blocker.join().expect("no panic");
        latest.expect("there are some")
    });
    assert!(latest < 6 * stall, "one has started after {latest:?}");
}

static BORROWED_DROPPED: AtomicBool = AtomicBool::new(false);

struct TellsItsEnd;

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        BORROWED_DROPPED.store(true, Ordering::SeqCst);
    }
}

thread_local! {
    static BORROWED: TellsItsEnd = const { TellsItsEnd };
}

/// What was not started when a shutdown begins is not run by a worker that comes to it later.
#[test]
fn what_waits_behind_a_slow_one_is_not_started_after_a_shutdown() {
    for timeout in [Duration::ZERO, Duration::from_secs(5)] {
        let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
        let (stop, ran) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (sender, receiver) = std::sync::mpsc::channel();
        let (theirs, runs) = (stop.clone(), ran.clone());
        let slow = runtime.spawn(move || {
            let handles: Vec<_> = (0..5)
                .map(|_| {
                    let runs = runs.clone();
                    sward::spawn(move || runs.fetch_add(1, Ordering::SeqCst))
                })
                .collect();
            sender.send(handles).expect("the test listens");
            while !theirs.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let handles = receiver.recv().expect("it runs");
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            stop.store(true, Ordering::SeqCst);
        });
        runtime.shutdown_timeout(timeout);
        stopper.join().expect("no panic");
        for handle in handles {
            assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        }
        slow.join().expect("it has ended by itself");
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }
}

/// Coroutines that are parked on a worker that was too slow for the shutdown unwind when it comes to them,
/// and take nothing that others wait for.
#[test]
fn those_behind_a_slow_one_unwind_after_the_shutdown() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    let (sender, receiver) = sward::channel::unbounded();
    let none = Arc::new(sward::sync::Semaphore::new(0));
    let (theirs, permits) = (receiver.clone(), none.clone());
    let receives = runtime.spawn(move || theirs.recv());
    let acquires = runtime.spawn(move || drop(permits.acquire()));
    let stop = Arc::new(AtomicBool::new(false));
    let (stops, (begun, begins)) = (stop.clone(), std::sync::mpsc::channel());
    runtime.spawn(move || {
        sward::sleep(Duration::from_millis(5)); // the others are parked by then
        begun.send(()).expect("the test listens");
        while !stops.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    begins.recv().expect("it runs");
    runtime.shutdown_timeout(Duration::ZERO);
    assert!(!receives.is_finished() && !acquires.is_finished());
    stop.store(true, Ordering::SeqCst);
    assert!(matches!(receives.join(), Err(JoinError::Cancelled)));
    assert!(matches!(acquires.join(), Err(JoinError::Cancelled)));
    sender.send(1).expect("a receiver is left");
    assert_eq!(receiver.try_recv(), Ok(1));
    none.add_permits(1);
    assert!(none.try_acquire().is_ok());
}

/// A leaked coroutine may have lent a thread-local to another thread: its worker's thread does not end.
#[test]
fn what_a_leaked_coroutine_borrows_from_its_thread_stays() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    let (sender, receiver) = std::sync::mpsc::channel();
    runtime.spawn(move || {
        BORROWED.with(|_| {
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    sender.send(()).expect("the test listens");
                    let end = Instant::now() + Duration::from_secs(1);
                    while Instant::now() < end {
                        assert!(!BORROWED_DROPPED.load(Ordering::SeqCst));
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    sender.send(()).expect("the test listens");
                });
                sward::sleep(Duration::from_secs(3600));
            })
        })
    });
    receiver.recv().expect("it runs");
    std::thread::sleep(Duration::from_millis(50));
    runtime.shutdown_timeout(Duration::ZERO);
    receiver.recv().expect("the thread-local is destroyed while it is borrowed");
}

#[test]
fn spawning_after_the_end_is_cancelled() {
    let runtime = two_workers();
    let keeper = Arc::new(Mutex::new(None));
    let task = runtime.run(|| {
        let keeper = keeper.clone();
        sward::spawn(move || *keeper.lock().unwrap() = Some(task::current())).join().unwrap();
        task::current()
    });
    drop(runtime);
    task.unpark(); // of an ended coroutine: nothing happens
    keeper.lock().unwrap().take().unwrap().unpark();
}

#[test]
fn a_sleep_lasts_and_ends() {
    sward::run(|| {
        let start = Instant::now();
        let handles: Vec<_> = (0..1_000u64)
            .map(|i| {
                sward::spawn(move || {
                    let (start, time) = (Instant::now(), Duration::from_micros(i * 20));
                    sward::sleep(time);
                    assert!(start.elapsed() >= time);
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        assert!(start.elapsed() >= Duration::from_micros(999 * 20));
        sward::sleep(Duration::ZERO);
    });
}

#[test]
fn a_ping_pong_pair_does_not_starve_others() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let peers: Arc<Mutex<Vec<task::Task>>> = Arc::default();
        let pair: Vec<_> = (0..2)
            .map(|i| {
                let (stop, peers) = (stop.clone(), peers.clone());
                sward::spawn(move || {
                    peers.lock().unwrap().push(task::current());
                    while peers.lock().unwrap().len() < 2 {
                        sward::yield_now();
                    }
                    let me = task::current().id();
                    let peer = peers.lock().unwrap().iter().find(|t| t.id() != me).cloned().unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        peer.unpark();
                        task::park();
                    }
                    peer.unpark();
                    i
                })
            })
            .collect();
        sward::sleep(Duration::from_millis(5)); // the timer and this coroutine get their turn
        let third = sward::spawn(|| 3);
        assert_eq!(third.join().unwrap(), 3);
        stop.store(true, Ordering::Relaxed);
        for handle in pair {
            handle.join().unwrap();
        }
    });
}

#[test]
fn nonsense_settings_are_errors() {
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

/// Which types may cross threads is part of the interface.
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

/// One wait with a deadline, set and cleared many times, does not pile up: the sleeper of an hour is
/// woken each time and its timer leaves at once.
#[test]
fn deadlines_come_and_go() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        for _ in 0..100_000 {
            task::current().unpark();
            task::park_timeout(Duration::from_secs(3600));
        }
        let me = task::current();
        let waker = sward::spawn(move || {
            for _ in 0..1_000 {
                me.unpark();
                sward::yield_now();
            }
        });
        while !waker.is_finished() {
            task::park_timeout(Duration::from_millis(1));
        }
    });
}

/// Cancellations race with the event, the deadline and the end of what they cancel.
#[test]
fn cancellation_races_lose_nothing() {
    let runtime = two_workers();
    runtime.run(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        struct Ends(Arc<AtomicUsize>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        const COUNT: usize = 5_000;
        for i in 0..COUNT {
            let ends = Ends(ended.clone());
            let handle = sward::spawn(move || {
                let _ends = ends;
                match i % 3 {
                    0 => task::park(),
                    1 => sward::sleep(Duration::from_micros(30)),
                    _ => sward::yield_now(),
                }
            });
            let other = handle.task();
            let unparker = sward::spawn(move || other.unpark());
            if i % 2 == 0 {
                sward::yield_now();
            }
            handle.cancel();
            match handle.join() {
                Ok(()) | Err(JoinError::Cancelled) => {}
                Err(e) => panic!("{e}"),
            }
            unparker.join().unwrap();
        }
        assert_eq!(ended.load(Ordering::SeqCst), COUNT);
    });
}

/// Coroutines that are always runnable do not keep new ones from starting: with a hundred that yield in
/// turn, a thousand are started within some thousands of turns, not within tens of thousands.
#[test]
fn runnable_coroutines_do_not_keep_new_ones_waiting() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
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
