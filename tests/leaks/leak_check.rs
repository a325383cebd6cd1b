//! The check at the end of a test for coroutines that are left.

use crate::common::{SetOnDrop, eventually};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use sward::channel::{bounded, unbounded};
use sward::observe::{LeakCheck, assert_no_leaks};
use sward::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new().worker_threads(2).watch_deadlocks(false).build().expect("a runtime")
}

/// The message of the panic in which `f` ends.
fn message_of(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
    *payload.downcast::<String>().expect("text")
}

#[test]
fn nothing_is_left_in_a_runtime_without_coroutines() {
    let takes = || {
        let start = Instant::now();
        let runtime = runtime();
        runtime.assert_no_leaks();
        runtime.run(assert_no_leaks);
        runtime.assert_no_leaks();
        start.elapsed()
    };
    // On a busy machine it may take long once.
    assert!((0..10).any(|_| takes() < Duration::from_secs(2)), "it waits for nothing");
}

#[test]
fn coroutines_that_end_are_no_leaks() {
    runtime().run(|| {
        for _ in 0..100 {
            sward::spawn(|| sward::sleep(Duration::from_millis(50)));
            sward::spawn(|| ());
        }
        assert_no_leaks();
    });
}

/// A check that waits only for a moment.
fn check() -> LeakCheck {
    LeakCheck::new().within(Duration::from_millis(50))
}

#[test]
fn a_forgotten_receiver_is_a_leak_and_named() {
    let runtime = runtime();
    let (sender, receiver) = unbounded::<u32>();
    runtime.run(|| {
        let check = check();
        let forgotten = sward::task::Builder::new().name("forgotten");
        drop(forgotten.spawn(move || receiver.recv()).expect("spawned"));
        let text = message_of(|| check.assert());
        assert!(text.starts_with("sward: leak: 1 coroutine is still alive after 50ms\n"), "{text}");
        for part in ["\"forgotten\" (spawned at tests/leaks/leak_check.rs:", "parked in recv for"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("\"main\""), "{text}");
    });
    assert!(message_of(|| runtime.assert_no_leaks()).contains("\"forgotten\""));
    drop(sender);
    runtime.assert_no_leaks();
}

/// In its first turn a coroutine is in no list.
#[test]
fn what_computes_is_alive() {
    runtime().run(|| {
        let check = check();
        let [runs, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (its_runs, stops) = (Arc::clone(&runs), Arc::clone(&stop));
        let hog = SetOnDrop(stop);
        sward::spawn(move || {
            its_runs.store(true, Ordering::Relaxed);
            while !stops.load(Ordering::Relaxed) {}
        });
        // If this coroutine waited before, its own worker could run the hog, and would never come back.
        while !runs.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let text = message_of(|| check.assert());
        assert!(text.contains("1 coroutine ") && text.contains(": running"), "{text}");
        drop(hog);
        assert_no_leaks();
    });
}

#[test]
fn what_never_starts_is_alive() {
    let runtime = Builder::new().worker_threads(1).watch_deadlocks(false).build().expect("a runtime");
    let stop = Arc::new(AtomicBool::new(false));
    let check = LeakCheck::new().within(Duration::from_millis(50));
    let stops = Arc::clone(&stop);
    let hog = SetOnDrop(stop);
    runtime.spawn(move || while !stops.load(Ordering::Relaxed) {});
    runtime.spawn(|| ());
    // Of all runtimes: those of the other tests as well.
    assert!(message_of(|| check.assert()).contains("still alive"));
    drop(hog);
    runtime.assert_no_leaks();
}

#[test]
fn ancestors_do_not_count_and_siblings_do() {
    runtime().run(|| {
        let (sender, receiver) = bounded::<()>(0);
        let check = check();
        let sibling = sward::spawn(move || receiver.recv());
        let child = sward::spawn(move || {
            let grandchild = sward::spawn(move || message_of(|| check.assert()));
            grandchild.join().expect("no panic")
        });
        let text = child.join().expect("no panic");
        assert!(text.starts_with("sward: leak: 1 coroutine "), "{text}");
        drop(sender);
        assert!(sibling.join().expect("no panic").is_err());
        let child = sward::spawn(|| sward::spawn(assert_no_leaks).join());
        child.join().expect("no panic").expect("no leak");
    });
}

#[test]
fn an_ancestor_may_run_all_the_time() {
    runtime().run(|| {
        let child = sward::spawn(|| check().assert());
        while !child.is_finished() {
            sward::yield_now();
        }
        child.join().expect("no leak");
    });
}

#[test]
fn what_was_there_before_does_not_count() {
    runtime().run(|| {
        let (sender, receiver) = bounded::<()>(0);
        let started = Arc::new(AtomicBool::new(false));
        let starts = Arc::clone(&started);
        let before = sward::spawn(move || {
            starts.store(true, Ordering::Relaxed);
            receiver.recv()
        });
        eventually("it waits", || started.load(Ordering::Relaxed));
        sward::sleep(Duration::from_millis(20));
        let check = check();
        check.assert();
        let (later, receiver) = bounded::<()>(0);
        let after = sward::spawn(move || receiver.recv());
        assert!(message_of(|| check.assert()).contains("leak: 1 coroutine "));
        drop((sender, later));
        let _ = (before.join(), after.join());
        check.assert();
    });
}
