//! `Condvar`.

use crate::common::{LONG, MOMENT, assert_cancelled, fails, mixed, one_worker, settle, two_workers, waiting};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use sward::sync::{Condvar, Mutex};

#[test]
fn a_condvar_wakes_one_or_all() {
    let pair = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let theirs = pair.clone();
    let runtime = two_workers();
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let pair = pair.clone();
            runtime.spawn(move || {
                let (mutex, changed) = &*pair;
                let mut guard = mutex.lock().unwrap();
                guard.0 += 1;
                while guard.1 == 0 {
                    guard = changed.wait(guard).unwrap();
                }
                guard.1 -= 1;
            })
        })
        .collect();
    mixed(1, move |who| {
        let (mutex, changed) = &*theirs;
        while mutex.lock().unwrap().0 < 20 {
            thread::yield_now();
        }
        mutex.lock().unwrap().1 += 10;
        if who == 0 {
            for _ in 0..10 {
                changed.notify_one();
            }
        } else {
            changed.notify_all();
        }
    });
    // A woken waiter may find that another one has taken the value, so the test notifies all in the end.
    while !waiters.iter().all(|waiter| waiter.is_finished()) {
        pair.1.notify_all();
        thread::yield_now();
    }
    assert_eq!(pair.0.lock().unwrap().1, 0);
}

#[test]
fn a_queue_of_mutex_and_condvar_loses_nothing() {
    const EACH: usize = 2_000;
    let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    let theirs = queue.clone();
    let sum = Arc::new(AtomicUsize::new(0));
    let total = sum.clone();
    mixed(4, move |who| {
        let (items, pushed) = &*theirs;
        for item in 0..EACH {
            if who % 2 == 0 {
                items.lock().unwrap().push(item);
                pushed.notify_one();
            } else {
                let mut items = pushed.wait_while(items.lock().unwrap(), |items| items.is_empty()).unwrap();
                total.fetch_add(items.pop().expect("not empty"), Ordering::Relaxed);
            }
        }
    });
    assert_eq!(sum.load(Ordering::Relaxed), 4 * EACH * (EACH - 1) / 2);
    assert!(queue.0.lock().unwrap().is_empty());
}

#[test]
fn condvar_waits_end_at_their_time() {
    fn waits() {
        let (mutex, changed) = (Mutex::new(1), Condvar::new());
        let (guard, result) = changed.wait_timeout(mutex.lock().unwrap(), MOMENT).unwrap();
        assert!(result.timed_out() && mutex.try_lock().is_err());
        drop(guard);
        let (guard, result) =
            changed.wait_timeout_while(mutex.lock().unwrap(), MOMENT, |value| *value == 1).unwrap();
        assert!(result.timed_out());
        drop(guard);
        let (_guard, result) =
            changed.wait_timeout_while(mutex.lock().unwrap(), LONG, |value| *value == 2).unwrap();
        assert!(!result.timed_out());
    }
    waits();
    two_workers().run(waits);
}

#[test]
fn a_notification_within_the_time_is_no_timeout() {
    let runtime = one_worker();
    let pair = Arc::new((Mutex::new(()), Condvar::new()));
    let theirs = pair.clone();
    let waiter = waiting(&runtime, move || {
        let (_guard, result) = theirs.1.wait_timeout(theirs.0.lock().unwrap(), LONG).unwrap();
        result.timed_out()
    });
    pair.1.notify_one();
    assert!(!waiter.join().unwrap());
}

#[test]
fn a_condvar_reports_poison() {
    let runtime = one_worker();
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let theirs = pair.clone();
    let waiter = waiting(&runtime, move || {
        let guard = theirs.0.lock().unwrap();
        *theirs.1.wait(guard).unwrap_err().into_inner()
    });
    let theirs = pair.clone();
    let panics = thread::spawn(move || {
        *theirs.0.lock().unwrap() = 3;
        let _guard = theirs.0.lock().unwrap();
        theirs.1.notify_all();
        fails();
    });
    assert!(panics.join().is_err());
    assert_eq!(waiter.join().unwrap(), 3);
}

/// A cancelled waiter unwinds without the mutex, which another coroutine may hold for ever. A waiter that was
/// notified first returns with the mutex, and is cancelled at its next wait.
#[test]
fn a_cancelled_condvar_waiter_leaves_and_a_notified_one_returns() {
    let runtime = one_worker();
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let [cancelled, notified, other] = [1, 10, 100].map(|n| {
        let pair = pair.clone();
        waiting(&runtime, move || {
            let mut guard = pair.1.wait(pair.0.lock().unwrap()).unwrap();
            *guard += n;
        })
    });
    let guard = pair.0.lock().unwrap();
    assert_cancelled(cancelled);
    pair.1.notify_one();
    notified.cancel();
    settle(&runtime);
    assert!(!notified.is_finished(), "it takes the mutex again, whatever comes");
    drop(guard);
    // It was cancelled, and has acted on its notification before.
    let _ = notified.join();
    assert_eq!(*pair.0.lock().unwrap(), 10);
    assert!(!pair.0.is_poisoned());
    pair.1.notify_one();
    other.join().unwrap();
    assert_eq!(*pair.0.lock().unwrap(), 110);
}
