//! `Barrier`.

use crate::common::{assert_cancelled, mixed, one_worker, waiting};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sward::sync::Barrier;

#[test]
fn a_barrier_lets_groups_through() {
    let barrier = Arc::new(Barrier::new(8));
    let leaders = Arc::new(AtomicUsize::new(0));
    let inside = Arc::new(AtomicUsize::new(0));
    let count = leaders.clone();
    mixed(4, move |_| {
        for round in 1..=50 {
            inside.fetch_add(1, Ordering::SeqCst);
            if barrier.wait().is_leader() {
                count.fetch_add(1, Ordering::SeqCst);
            }
            assert!(inside.load(Ordering::SeqCst) >= 8 * round);
        }
    });
    assert_eq!(leaders.load(Ordering::SeqCst), 50);
    assert!(Barrier::new(0).wait().is_leader() && Barrier::new(1).wait().is_leader());
}

#[test]
fn a_cancelled_waiter_does_not_count_at_a_barrier() {
    let runtime = one_worker();
    let barrier = Arc::new(Barrier::new(3));
    let arrives = || {
        let barrier = barrier.clone();
        waiting(&runtime, move || barrier.wait().is_leader())
    };
    let (first, cancelled) = (arrives(), arrives());
    assert_cancelled(cancelled);
    let second = arrives();
    assert!(!first.is_finished() && !second.is_finished());
    assert!(barrier.wait().is_leader());
    assert!(!first.join().unwrap() && !second.join().unwrap());
}
