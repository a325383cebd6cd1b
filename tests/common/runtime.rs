//! Runtimes, and the places in which a test runs.
//!
//! No helper here uses `sward::run`. Its runtime would become the default one of the process, and other tests
//! spawn in that from plain threads.

use super::wait::LONG;
use std::sync::{Arc, OnceLock};
use std::thread;
use sward::runtime::{Builder, Homes, Runtime};

pub fn with_workers(count: usize) -> Runtime {
    Builder::new().worker_threads(count).build().expect("a runtime")
}

/// Whether runtimes have mobile homes unless a test says otherwise.
pub fn homes_by_default() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| with_workers(1).metrics().homes.is_some())
}

/// With mobile homes the monitor adds spare workers where turns are long. Not to this runtime.
pub fn without_spare_workers(count: usize) -> Runtime {
    let builder = Builder::new().worker_threads(count);
    let builder = if homes_by_default() { builder.stall_threshold(LONG) } else { builder };
    builder.build().expect("a runtime")
}

/// With one worker and no waits in between, what a coroutine does before another's turn is certain.
pub fn one_worker() -> Runtime {
    without_spare_workers(1)
}

/// One worker, where a deadlock of that worker is an error. With mobile homes a spare worker prevents some of
/// them. There is one home, so that coroutines are siblings unless the spare worker starts one elsewhere.
pub fn one_worker_and_home() -> Runtime {
    let builder = Builder::new().worker_threads(1);
    let builder = if homes_by_default() { builder.homes(Homes::Count(1)) } else { builder };
    builder.build().expect("a runtime")
}

pub fn two_workers() -> Runtime {
    with_workers(2)
}

/// Runs the closure in a coroutine of a runtime of its own, with two workers.
pub fn in_runtime<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    two_workers().run(f)
}

/// The same, with one worker.
pub fn on_one_worker<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    one_worker().run(f)
}

/// Runs the test in a coroutine and on a plain thread.
pub fn both(test: impl Fn() + Send + Sync) {
    in_runtime(&test);
    test();
}

/// Runs the test in a coroutine of a runtime with two workers, in one of a runtime with one, and on a plain
/// thread.
pub fn everywhere(test: impl Fn() + Send + Sync) {
    one_worker().run(&test);
    both(test);
}

/// Runs the closure on `count` plain threads and in as many coroutines at once. Each run gets its number.
pub fn mixed(count: usize, f: impl Fn(usize) + Send + Sync + 'static) {
    let runtime = two_workers();
    let f = Arc::new(f);
    let coroutines: Vec<_> = (0..count)
        .map(|i| {
            let f = f.clone();
            runtime.spawn(move || f(i))
        })
        .collect();
    let threads: Vec<_> = (0..count)
        .map(|i| {
            let f = f.clone();
            thread::spawn(move || f(count + i))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    for coroutine in coroutines {
        coroutine.join().expect("no panic");
    }
}

/// How often the workers of the caller's runtime have run a coroutine.
pub fn turns() -> u64 {
    let metrics = sward::runtime::metrics().expect("inside a runtime");
    metrics.workers.iter().map(|worker| worker.turns).sum()
}
