//! Cancellation of a coroutine by its handle.

use crate::common::{SleepOnDrop, in_runtime, two_workers};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use sward::task::{self, JoinError};

#[test]
fn cancel_unwinds_a_parked_coroutine() {
    in_runtime(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let theirs = dropped.clone();
        let (starts, started) = sward::channel::bounded(1);
        let handle = sward::spawn(move || {
            let _sleeps = SleepOnDrop(theirs);
            starts.send(()).unwrap();
            task::park();
            unreachable!("the wait unwinds");
        });
        // A coroutine that is cancelled before its start does not run.
        started.recv().unwrap();
        sward::sleep(Duration::from_millis(2));
        handle.cancel();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_swallowed_cancellation_comes_again() {
    in_runtime(|| {
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
    in_runtime(|| {
        let done = Arc::new(AtomicBool::new(false));
        let theirs = done.clone();
        let (spawned, has_spawned) = sward::channel::bounded(1);
        let (release, released) = sward::channel::bounded(1);
        let joiner = sward::spawn(move || {
            let inner = sward::spawn(move || {
                released.recv().unwrap();
                theirs.store(true, Ordering::Release);
            });
            spawned.send(()).unwrap();
            inner.join().unwrap();
        });
        // A coroutine that is cancelled before its start does not run.
        has_spawned.recv().unwrap();
        joiner.cancel();
        assert!(matches!(joiner.join(), Err(JoinError::Cancelled)));
        release.send(()).unwrap();
        while !done.load(Ordering::Acquire) {
            sward::sleep(Duration::from_millis(1));
        }
    });
}

/// Cancellations race with the event, the deadline and the end of the coroutine.
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
