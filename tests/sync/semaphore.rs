//! `Semaphore`.

use crate::common::{LONG, MOMENT, assert_cancelled, mixed, one_worker, settle, waiting};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sward::sync::{AcquireTimeoutError, Semaphore, TryAcquireError};

#[test]
fn a_semaphore_counts() {
    static STATIC: Semaphore = Semaphore::new(2);
    assert_eq!(STATIC.available_permits(), 2);
    let semaphore = Arc::new(Semaphore::new(3));
    let one = semaphore.try_acquire().unwrap();
    let two = semaphore.try_acquire_many_owned(2).unwrap();
    assert_eq!((one.num_permits(), two.num_permits(), semaphore.available_permits()), (1, 2, 0));
    assert!(Arc::ptr_eq(two.semaphore(), &semaphore));
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    assert_eq!(semaphore.acquire_timeout(MOMENT).unwrap_err(), AcquireTimeoutError::Timeout);
    assert_eq!(semaphore.try_acquire_owned().unwrap_err(), TryAcquireError::NoPermits);
    drop(semaphore.try_acquire_many(0).unwrap());
    one.forget();
    drop(two);
    assert_eq!(semaphore.available_permits(), 2);
    semaphore.try_acquire_owned().unwrap().forget();
    semaphore.add_permits(5);
    assert_eq!(semaphore.acquire_many(6).unwrap().num_permits(), 6);
    assert_eq!(format!("{semaphore:?}"), "Semaphore { available_permits: 6, closed: false, .. }");
    assert_eq!(Arc::strong_count(&semaphore), 1);
    let absurd = AssertUnwindSafe(|| semaphore.add_permits(Semaphore::MAX_PERMITS));
    assert!(catch_unwind(absurd).is_err());
    assert_eq!(semaphore.available_permits(), 6);
}

#[test]
fn no_more_are_inside_than_there_are_permits() {
    let semaphore = Arc::new(Semaphore::new(3));
    let inside = Arc::new(AtomicUsize::new(0));
    let theirs = semaphore.clone();
    mixed(6, move |who| {
        for turn in 0..300 {
            let n = 1 + (who + turn) % 3;
            let _permit = theirs.acquire_many(n).unwrap();
            assert!(inside.fetch_add(n, Ordering::SeqCst) + n <= 3);
            if turn % 8 == 0 {
                sward::yield_now();
            }
            inside.fetch_sub(n, Ordering::SeqCst);
        }
    });
    assert_eq!(semaphore.available_permits(), 3);
}

#[test]
fn a_large_request_does_not_starve_and_blocks_nobody_once_it_is_cancelled() {
    let runtime = one_worker();
    let semaphore = Arc::new(Semaphore::new(1));
    let acquires = |n| {
        let semaphore = semaphore.clone();
        waiting(&runtime, move || semaphore.acquire_many(n).unwrap().forget())
    };
    let large = acquires(3);
    let small = acquires(1);
    assert!(!small.is_finished(), "it came later");
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::NoPermits);
    semaphore.add_permits(1);
    settle(&runtime);
    assert!(!small.is_finished() && !large.is_finished());
    semaphore.add_permits(1);
    large.join().unwrap();
    semaphore.add_permits(1);
    small.join().unwrap();
    assert_eq!(semaphore.available_permits(), 0);

    let (large, small) = (acquires(3), acquires(1));
    semaphore.add_permits(2);
    settle(&runtime);
    assert!(!small.is_finished());
    assert_cancelled(large);
    small.join().unwrap();
    assert_eq!(semaphore.available_permits(), 1);

    let theirs = semaphore.clone();
    let late = waiting(&runtime, move || theirs.acquire_many_timeout(3, 10 * MOMENT).map(drop));
    let small = acquires(1);
    assert_eq!(late.join().unwrap(), Err(AcquireTimeoutError::Timeout));
    small.join().unwrap();
    assert_eq!(semaphore.available_permits(), 0);
}

#[test]
fn closing_refuses_present_and_later_waiters() {
    let runtime = one_worker();
    let semaphore = Arc::new(Semaphore::new(1));
    let permit = semaphore.acquire_owned().unwrap();
    let [a, b] = [1, 2].map(|n| {
        let semaphore = semaphore.clone();
        waiting(&runtime, move || semaphore.acquire_many_owned(n).map(drop))
    });
    let theirs = semaphore.clone();
    let timed = waiting(&runtime, move || theirs.acquire_timeout(LONG).map(drop));
    semaphore.close();
    assert!(a.join().unwrap().is_err() && b.join().unwrap().is_err());
    assert_eq!(timed.join().unwrap(), Err(AcquireTimeoutError::Closed));
    drop(permit);
    assert_eq!(semaphore.available_permits(), 1);
    assert!(semaphore.is_closed() && semaphore.acquire().is_err());
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
    assert_eq!(semaphore.acquire().unwrap_err().to_string(), "the semaphore is closed");
}
