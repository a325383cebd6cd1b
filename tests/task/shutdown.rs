//! What the end of a runtime does with its coroutines.

use crate::common::{LONG, SleepOnDrop, in_runtime, one_worker, two_workers, waiting};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sward::task::{self, JoinError};

#[test]
fn shutdown_unwinds_the_coroutines_that_are_left() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let theirs = dropped.clone();
    let handle = in_runtime(move || {
        let started = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let (theirs, starts) = (theirs.clone(), started.clone());
            sward::spawn(move || {
                let _sleeps = SleepOnDrop(theirs);
                starts.fetch_add(1, Ordering::SeqCst);
                task::park();
            });
        }
        let last = sward::spawn(|| sward::sleep(Duration::from_secs(3600)));
        // A shutdown drops an unstarted coroutine without running it.
        while started.load(Ordering::SeqCst) < 100 {
            sward::sleep(Duration::from_millis(1));
        }
        last
    });
    assert!(matches!(handle.join(), Err(JoinError::ShutDown)));
    assert_eq!(dropped.load(Ordering::SeqCst), 100);
}

#[test]
fn a_coroutine_that_cannot_be_unwound_is_leaked_in_time() {
    let mut fastest = Duration::MAX;
    for _ in 0..50 {
        let runtime = one_worker();
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
        fastest = fastest.min(start.elapsed());
        assert!(!stubborn.is_finished());
        stop.store(true, Ordering::Relaxed);
        // The shutdown does not wait any longer, since the coroutine visibly does not leave.
        if fastest < Duration::from_millis(150) {
            return;
        }
    }
    panic!("{fastest:?}");
}

/// Placement hands unstarted coroutines from worker to worker while the runtime ends. All handles learn of
/// the end.
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
                        // After the end of the test there is no receiver.
                        let _ = sender.send(sward::spawn(|| sward::sleep(Duration::from_secs(100))));
                    }
                });
            }
            for _ in 0..(round % 7) {
                sward::yield_now();
            }
        });
        drop(sender);
        runtime.shutdown_timeout(LONG);
        assert!(receiver.try_iter().all(|handle| handle.is_finished()), "round {round}");
    }
}

/// A worker that cancels its parked coroutines runs them at once.
#[test]
fn a_shutdown_runs_what_it_cancels_at_once() {
    // While the system does not run the worker's thread, the shutdown waits. So one of many tries counts.
    let mut fastest = Duration::MAX;
    for _ in 0..200 {
        let runtime = one_worker();
        let _sleeper = runtime.spawn(|| sward::sleep(Duration::from_secs(100)));
        while runtime.metrics().workers[0].live == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(2));
        let start = Instant::now();
        drop(runtime);
        fastest = fastest.min(start.elapsed());
        if fastest < Duration::from_millis(4) {
            return;
        }
    }
    panic!("{fastest:?}");
}

static BORROWED_DROPPED: AtomicBool = AtomicBool::new(false);

struct SetsFlagInDrop;

impl Drop for SetsFlagInDrop {
    fn drop(&mut self) {
        BORROWED_DROPPED.store(true, Ordering::SeqCst);
    }
}

thread_local! {
    static BORROWED: SetsFlagInDrop = const { SetsFlagInDrop };
}

/// A coroutine that is unstarted when a shutdown begins never runs, also if its worker reaches it later.
#[test]
fn unstarted_coroutines_behind_a_slow_one_never_start_after_a_shutdown() {
    for timeout in [Duration::ZERO, Duration::from_secs(5)] {
        let runtime = one_worker();
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
            assert!(matches!(handle.join(), Err(JoinError::ShutDown)));
        }
        slow.join().expect("it has ended by itself");
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }
}

/// Coroutines that are parked on a worker that was too slow for the shutdown unwind once it reaches them.
/// They take nothing that others wait for.
#[test]
fn parked_coroutines_behind_a_slow_one_unwind_after_the_shutdown() {
    let runtime = one_worker();
    let (sender, receiver) = sward::channel::unbounded();
    let none = Arc::new(sward::sync::Semaphore::new(0));
    let (theirs, permits) = (receiver.clone(), none.clone());
    let receives = waiting(&runtime, move || theirs.recv());
    let acquires = waiting(&runtime, move || drop(permits.acquire()));
    let stop = Arc::new(AtomicBool::new(false));
    let (stops, (begun, begins)) = (stop.clone(), std::sync::mpsc::channel());
    runtime.spawn(move || {
        begun.send(()).expect("the test listens");
        while !stops.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    begins.recv().expect("it runs");
    runtime.shutdown_timeout(Duration::ZERO);
    assert!(!receives.is_finished() && !acquires.is_finished());
    stop.store(true, Ordering::SeqCst);
    assert!(matches!(receives.join(), Err(JoinError::ShutDown)));
    assert!(matches!(acquires.join(), Err(JoinError::ShutDown)));
    sender.send(1).expect("a receiver is left");
    assert_eq!(receiver.try_recv(), Ok(1));
    none.add_permits(1);
    assert!(none.try_acquire().is_ok());
}

/// A leaked coroutine may have lent a thread-local to another thread, so the thread of its worker does not
/// end.
#[test]
fn a_thread_local_that_a_leaked_coroutine_borrows_stays() {
    let runtime = one_worker();
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
