//! Crates that keep state for each thread, in coroutines that take their home for their thread:
//! `sward-homes-checks [--count N] [NAME...]` runs the checks whose names begin so, or else all. It prints
//! PASS or FAIL for each, and its exit code is 1 if one has failed.
//!
//! The checks of the first kind hold what such a crate gives them over waits, until a coroutine has moved to
//! another worker. Those of the second kind use the crate in 100,000 coroutines that live at the same time.
//! A guard that must be dropped in order (tokio's `EnterGuard`, an entered span) is held over waits by
//! isolated coroutines only, as siblings interleave.

#[path = "../../../tests/homes/coroutines.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod coroutines;
mod crates;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use sward::sync::Barrier;

/// No check takes that long unless it hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// How many coroutines live at the same time.
static COUNT: AtomicUsize = AtomicUsize::new(100_000);

fn main() {
    let mut names: Vec<String> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--count" {
            let count = arguments.next().and_then(|count| count.parse().ok()).expect("--count N");
            COUNT.store(count, Ordering::Relaxed);
        } else {
            names.push(argument);
        }
    }
    let runtime = coroutines::builder().build().expect("a runtime");
    match coroutines::homes_move(&runtime) {
        Ok(()) => println!("homes move"),
        Err(reason) => println!("homes do not move: {reason}"),
    }
    drop(runtime);

    let mut failed = 0;
    for (name, check) in crates::checks() {
        if !names.is_empty() && !names.iter().any(|wanted| name.starts_with(wanted.as_str())) {
            continue;
        }
        let start = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| ends_in_time(name, check))).is_ok();
        println!("{} {name} ({} ms)", if passed { "PASS" } else { "FAIL" }, start.elapsed().as_millis());
        failed += usize::from(!passed);
    }
    println!("failed: {failed}");
    exit(i32::from(failed > 0));
}

/// Ends the process if the check hangs.
fn ends_in_time(name: &'static str, check: fn()) {
    let (done, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LIMIT) {
            println!("FAIL {name}: it hangs");
            exit(1);
        }
    });
    check();
    drop(done);
}

/// Calls the closure in many coroutines. Each keeps what it returns until all of them have something, and
/// then calls it once more.
fn at_once<T>(f: impl Fn(usize) -> T + Send + Sync + 'static) {
    let count = COUNT.load(Ordering::Relaxed);
    let (f, all) = (Arc::new(f), Arc::new(Barrier::new(count)));
    coroutines::builder().build().expect("a runtime").run(|| {
        let spawn = |number| {
            let (f, all) = (f.clone(), all.clone());
            sward::spawn(move || {
                // A check that fails must not let the others wait for ever.
                let kept = catch_unwind(AssertUnwindSafe(|| f(number)));
                all.wait();
                let again = kept.is_ok() && catch_unwind(AssertUnwindSafe(|| f(number))).is_ok();
                drop(kept);
                again
            })
        };
        let handles: Vec<_> = (0..count).map(spawn).collect();
        let passed = handles.into_iter().map(|handle| handle.join());
        let failed = passed.filter(|passed| !matches!(passed, Ok(true))).count();
        assert_eq!(failed, 0, "of {count}");
    });
}
