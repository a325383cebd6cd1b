//! One worker, and siblings on it that must go on while a call waits.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::observe::CoroutineState;
use sward::runtime::Builder;

/// Runs the closure in a coroutine of a runtime with that many workers.
pub(crate) fn on_workers<T: Send + 'static>(workers: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
    Builder::new().worker_threads(workers).build().unwrap().run(f)
}

/// As [`on_workers`], with one.
pub(crate) fn on_one_worker<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    on_workers(1, f)
}

/// Returns once the coroutine, which has started, is parked or has ended; or after ten seconds.
pub(crate) fn until_parked(task: &sward::task::Task) {
    let begun = Instant::now();
    let goes_on = || {
        let dump = sward::observe::dump();
        let mut all = dump.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
        all.find(|one| Some(one.id) == task.id()).is_some_and(|one| one.state != CoroutineState::Parked)
    };
    while goes_on() && begun.elapsed() < Duration::from_secs(10) {
        sward::yield_now();
    }
}

/// Calls the first closure in `park_blocking`, and then, on the same worker, the second, which ends its wait.
/// If the call blocked its worker, the second would never run.
pub(crate) fn waits_for<T, U>(
    call: impl FnOnce() -> T + Send + 'static,
    release: impl FnOnce() -> U + Send + 'static,
) -> T
where
    T: Send + 'static,
    U: Send + 'static,
{
    on_one_worker(move || {
        let entered = Arc::new(AtomicBool::new(false));
        let enters = entered.clone();
        // SAFETY: the calls of these tests use nothing of the thread.
        let waits = sward::spawn(move || unsafe {
            sward_interpose::park_blocking(|| {
                enters.store(true, Ordering::Relaxed);
                call()
            })
        });
        while !entered.load(Ordering::Relaxed) {
            sward::yield_now();
        }
        until_parked(&waits.task());
        let released = release();
        let got = waits.join().unwrap();
        drop(released);
        got
    })
}

/// Calls the closure in `park_blocking`. Meanwhile a sibling on the same worker has turns. On a busy machine
/// it may have none in one call, so the call is repeated.
pub(crate) fn beats_during<T: Send + 'static>(f: impl Fn() -> T + Send + 'static) -> T {
    on_one_worker(move || {
        let (stop, beats) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let ticker = {
            let (stop, beats) = (stop.clone(), beats.clone());
            sward::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    beats.fetch_add(1, Ordering::Relaxed);
                    sward::sleep(Duration::from_millis(1));
                }
            })
        };
        while beats.load(Ordering::Relaxed) == 0 {
            sward::yield_now();
        }
        let call = || {
            let before = beats.load(Ordering::Relaxed);
            // SAFETY: as above.
            let got = unsafe { sward_interpose::park_blocking(&f) };
            (beats.load(Ordering::Relaxed) > before).then_some(got)
        };
        let got = (0..20).find_map(|_| call());
        stop.store(true, Ordering::Relaxed);
        ticker.join().unwrap();
        got.expect("the worker was blocked")
    })
}
