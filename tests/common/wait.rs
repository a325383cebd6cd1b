//! Times, and loops that wait for something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use sward::runtime::Runtime;
use sward::task::JoinHandle;

/// Long enough for a coroutine to park. No test depends on it.
pub const MOMENT: Duration = Duration::from_millis(20);

/// A limit that ends a wait. No test depends on how late that is.
pub const SHORT: Duration = Duration::from_millis(5);

/// A time that no test waits for unless it hangs.
pub const LONG: Duration = Duration::from_secs(600);

/// Waits until the condition holds.
pub fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        sward::sleep(Duration::from_micros(200));
    }
}

/// Waits until the condition holds, and panics rather than hang.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "never: {what}");
        sward::sleep(Duration::from_millis(2));
    }
}

/// Runs the closure on a thread of its own, and panics rather than hang.
pub fn soon<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(f()));
    ended.recv_timeout(Duration::from_secs(120)).expect("it hangs, or has panicked")
}

/// Lets each coroutine of a runtime with one worker run until it waits or ends.
pub fn settle(runtime: &Runtime) {
    for _ in 0..4 {
        runtime.spawn(sward::yield_now).join().expect("no panic");
    }
}

/// Spawns a coroutine in a runtime with one worker, and returns once it waits in the closure.
pub fn waiting<T: Send + 'static>(
    runtime: &Runtime,
    f: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let started = Arc::new(AtomicBool::new(false));
    let starts = started.clone();
    let handle = runtime.spawn(move || {
        starts.store(true, Ordering::Release);
        f()
    });
    while !started.load(Ordering::Acquire) {
        settle(runtime);
    }
    settle(runtime);
    handle
}
