//! The default runtime: one test, since all of it is about what a process has once.

mod checked;

use std::time::Duration;
use sward::task::JoinError;

#[test]
fn the_default_runtime_is_runs_or_starts_by_itself() {
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
    assert!(matches!(left.join(), Err(JoinError::Cancelled)));

    // Without one, a runtime starts by itself and stays.
    let handle = sward::spawn(|| sward::spawn(|| 20).join().expect("no panic") + 1);
    assert_eq!(handle.join().expect("no panic"), 21);
    let sleeps = sward::spawn(|| sward::sleep(Duration::from_millis(30)));
    assert_eq!(sward::run(|| 1), 1);
    sleeps.join().expect("the default is another runtime than that of the second run");
}
