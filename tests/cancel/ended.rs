//! What the tests of each kind of wait use: a wait is ended by a cancellation and by a time limit. The
//! coroutine unwinds, and what it waited for is as usable as before for others, with nothing lost.
//!
//! Each test has one worker. When the test's own coroutine runs again after the other one has said that it is
//! about to wait, the other one waits.

use crate::common::{CountOnDrop, one_worker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use sward::task::{JoinError, JoinHandle};
use sward::time::{Deadline, timeout};

/// A limit that no test reaches unless it hangs.
pub(crate) const GUARD: Duration = Duration::from_secs(120);

/// A time limit that ends the wait, and not the calls before it, also where waits are checked.
pub(crate) const LIMIT: Duration = Duration::from_millis(100);

pub(crate) fn guarded(test: impl FnOnce() + Send) {
    one_worker().run(|| timeout(2 * GUARD, test).expect("the test itself waits for what is lost"));
}

/// Joins, and panics if that takes longer than the guard.
pub(crate) fn join<T>(handle: JoinHandle<T>) -> Result<T, JoinError> {
    timeout(GUARD, || handle.join()).expect("it still waits")
}

/// Spawns a coroutine, and returns once it waits. Nothing may end the wait yet, and no time limit.
pub(crate) fn spawn_waiting<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let handle = spawn_begun(wait);
    assert!(!handle.is_finished(), "there was nothing to wait for");
    handle
}

/// Spawns a coroutine, and returns once it has begun.
fn spawn_begun<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let begun = Arc::new(AtomicBool::new(false));
    let begins = begun.clone();
    let handle = sward::spawn(move || {
        begins.store(true, Ordering::SeqCst);
        wait()
    });
    while !begun.load(Ordering::SeqCst) {
        sward::yield_now();
    }
    handle
}

/// Ends the wait in both ways, and calls `usable` after each end.
pub(crate) fn ended<T: Send + 'static>(
    wait: impl Fn() -> T + Send + Sync + 'static,
    mut usable: impl FnMut(),
) {
    let wait = Arc::new(wait);
    for round in 0..4 {
        let unwound = Arc::new(AtomicUsize::new(0));
        let (theirs, wait) = (CountOnDrop(unwound.clone()), wait.clone());
        if round % 2 == 0 {
            let waits = spawn_waiting(move || {
                let _unwound = theirs;
                wait();
                unreachable!("cancelled");
            });
            assert!(waits.cancel());
            let outcome: Result<(), _> = join(waits);
            assert!(matches!(outcome, Err(JoinError::Cancelled)), "{outcome:?}");
        } else {
            let waits = spawn_begun(move || {
                let _unwound = theirs;
                let outcome = timeout(LIMIT, || wait());
                assert!(outcome.is_err(), "it has not waited");
                assert_eq!(Deadline::current(), Deadline::never());
            });
            join(waits).expect("the time limit ends the wait alone");
        }
        assert_eq!(unwound.load(Ordering::SeqCst), 1);
        usable();
    }
}

/// Supplies what a coroutine waits for, and cancels the coroutine before it runs: either it has received the
/// thing, or the thing is left for others. Both orders are tried.
pub(crate) fn given_and_cancelled<T: Send + 'static>(
    wait: impl Fn() -> T + Send + Sync + 'static,
    give: impl Fn(),
    left: impl Fn() -> usize,
) {
    let wait = Arc::new(wait);
    for round in 0..4 {
        let theirs = wait.clone();
        let waits = spawn_waiting(move || drop(theirs()));
        if round % 2 == 0 {
            give();
            waits.cancel();
        } else {
            waits.cancel();
            give();
        }
        let got = match join(waits) {
            Ok(()) => 1,
            Err(JoinError::Cancelled) => 0,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got + left(), 1, "round {round}");
    }
}
