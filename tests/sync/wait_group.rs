//! `WaitGroup`.

use crate::common::{assert_cancelled, mixed, one_worker, waiting};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sward::sync::WaitGroup;

#[test]
fn a_wait_group_waits_for_all() {
    let group = Arc::new(WaitGroup::new());
    group.wait();
    let done = Arc::new(AtomicUsize::new(0));
    for round in 1..=20 {
        group.add(8);
        let (theirs, count) = (group.clone(), done.clone());
        mixed(4, move |who| {
            sward::yield_now();
            count.fetch_add(1, Ordering::SeqCst);
            theirs.done();
            if who % 2 == 0 {
                theirs.wait();
                assert_eq!(count.load(Ordering::SeqCst), 8 * round);
            }
        });
    }
    assert_eq!(format!("{group:?}"), "WaitGroup { count: 0, .. }");
}

#[test]
fn a_wait_group_below_zero_panics_and_stays_usable() {
    let group = WaitGroup::new();
    let panic = catch_unwind(|| group.done()).unwrap_err();
    assert!(panic.downcast_ref::<&str>().is_some_and(|message| message.contains("below zero")));
    group.add(usize::MAX);
    assert!(catch_unwind(|| group.add(1)).is_err());
    group.done();
}

#[test]
fn a_cancelled_waiter_leaves_the_wait_group() {
    let runtime = one_worker();
    let group = Arc::new(WaitGroup::new());
    group.add(1);
    let [cancelled, waits] = [(), ()].map(|()| {
        let group = group.clone();
        waiting(&runtime, move || group.wait())
    });
    assert_cancelled(cancelled);
    assert!(!waits.is_finished());
    group.done();
    waits.join().unwrap();
}
