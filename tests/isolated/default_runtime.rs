//! `sward::run`, and the default runtime.

use crate::common::{Counts, child, in_child, is_child, poll, text, this_test, until};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use sward::task::JoinError;

#[test]
fn the_default_runtime_is_that_of_run_or_starts_at_the_first_spawn() {
    in_child(|| {
        // Plain threads spawn in the runtime of `run` while it lasts, and their coroutines end with it.
        let left = sward::run(|| {
            let from_thread = std::thread::spawn(|| {
                let asks = sward::spawn(|| sward::runtime::metrics().map(|metrics| metrics.workers.len()));
                let sleeps = sward::spawn(|| sward::sleep(Duration::from_secs(3600)));
                (asks.join().expect("it runs"), sleeps)
            });
            while !from_thread.is_finished() {
                sward::sleep(Duration::from_millis(1));
            }
            let (workers, sleeps) = from_thread.join().expect("no panic");
            assert_eq!(workers, sward::runtime::metrics().map(|metrics| metrics.workers.len()));
            sleeps
        });
        assert!(matches!(left.join(), Err(JoinError::ShutDown)));

        // Without `run`, the default runtime starts at the first spawn, and stays.
        let handle = sward::spawn(|| sward::spawn(|| 20).join().expect("no panic") + 1);
        assert_eq!(handle.join().expect("no panic"), 21);
        let sleeps = sward::spawn(|| sward::sleep(Duration::from_millis(30)));
        assert_eq!(sward::run(|| 1), 1);
        sleeps.join().expect("the default is another runtime than that of the second run");
    });
}

#[test]
fn run_returns_what_its_closure_does() {
    in_child(|| {
        let borrowed = String::from("borrowed");
        assert_eq!(sward::run(|| borrowed.len()), 8);
    });
}

#[test]
fn run_passes_its_panic_on() {
    in_child(|| {
        let caught = std::panic::catch_unwind(|| sward::run(|| panic!("through run")));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"through run"));
    });
}

#[test]
fn run_inside_a_coroutine_is_refused() {
    in_child(|| {
        sward::run(|| {
            let inner = sward::spawn(|| sward::run(|| ()));
            let error = inner.join().unwrap_err();
            assert!(error.to_string().contains("inside a coroutine"), "{error}");
        });
    });
}

/// A poll panics, since the default runtime cannot start. The next one finds that it can.
#[test]
fn a_sleep_whose_poll_has_panicked_sets_its_timer_in_the_next() {
    if !is_child() {
        let output = child(this_test!(), &[("SWARD_WORKERS", "many")]);
        assert!(output.status.success(), "{}", text(&output));
        return;
    }
    let counts = Arc::<Counts>::default();
    let mut sleep = sward::time::sleep_async(Duration::from_secs(2));
    let polled = catch_unwind(AssertUnwindSafe(|| poll(Pin::new(&mut sleep), &counts)));
    assert!(polled.is_err() || sleep.deadline().is_some_and(|at| at <= std::time::Instant::now()));
    // SAFETY: this process has no other thread that uses its environment.
    unsafe { std::env::remove_var("SWARD_WORKERS") };
    while poll(Pin::new(&mut sleep), &counts).is_pending() {
        until(|| counts.get() > 0);
    }
}
