//! `Notify`.

use crate::common::{LONG, MOMENT, mixed, one_worker, settle, waiting};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sward::sync::Notify;

/// A waiter keeps its notification when a cancellation follows. A waiter that was cancelled first takes none.
#[test]
fn notifications_and_cancellations_lose_nothing() {
    let runtime = one_worker();
    let notify = Arc::new(Notify::new());
    let taken = Arc::new(AtomicUsize::new(0));
    let [first, second] = [(), ()].map(|()| {
        let (notify, taken) = (notify.clone(), taken.clone());
        waiting(&runtime, move || {
            notify.wait();
            taken.fetch_add(1, Ordering::SeqCst);
        })
    });
    first.cancel();
    notify.notify_one();
    assert!(first.join().is_err());
    second.join().unwrap();
    assert_eq!(taken.load(Ordering::SeqCst), 1);

    let theirs = notify.clone();
    let notified = waiting(&runtime, move || {
        let before = theirs.wait_timeout(LONG);
        (before.timed_out(), catch_unwind(|| sward::sleep(LONG)).is_err())
    });
    notify.notify_one();
    notified.cancel();
    // It was notified first, and cancelled at its next wait.
    assert!(matches!(notified.join(), Ok((false, true))));
    assert!(notify.wait_timeout(MOMENT).timed_out());
}

#[test]
fn every_notification_is_taken() {
    const EACH: usize = 1_000;
    let notify = Arc::new((Notify::new(), Notify::new()));
    mixed(1, move |who| {
        for _ in 0..EACH {
            if who == 0 {
                notify.0.notify_one();
                notify.1.wait();
            } else {
                notify.0.wait();
                notify.1.notify_one();
            }
        }
    });
}

#[test]
fn a_notification_is_kept_once() {
    let runtime = one_worker();
    let notify = Arc::new(Notify::new());
    notify.notify_one();
    notify.notify_one();
    notify.wait();
    assert!(notify.wait_timeout(MOMENT).timed_out());
    notify.notify_all();
    assert!(notify.wait_timeout(MOMENT).timed_out(), "nobody waited, and nothing is kept");

    let waits: Vec<_> = (0..3)
        .map(|_| {
            let notify = notify.clone();
            waiting(&runtime, move || notify.wait())
        })
        .collect();
    notify.notify_one();
    settle(&runtime);
    assert_eq!(waits.iter().map(|w| w.is_finished()).collect::<Vec<_>>(), [true, false, false]);
    notify.notify_all();
    for one in waits {
        one.join().unwrap();
    }
    assert!(notify.wait_timeout(MOMENT).timed_out());
}
