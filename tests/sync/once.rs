//! `Once`, `OnceLock` and `LazyLock`.

use crate::common::{LONG, MOMENT, assert_cancelled, fails, mixed, one_worker, waiting};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sward::sync::{LazyLock, Once, OnceLock};
use sward::task::JoinError;

#[test]
fn once_is_once() {
    static ONCE: Once = Once::new();
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    mixed(8, |_| {
        ONCE.call_once(|| {
            sward::sleep(MOMENT);
            COUNT.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(COUNT.load(Ordering::SeqCst), 1);
        assert!(ONCE.is_completed());
        ONCE.wait();
    });
}

#[test]
fn a_panic_poisons_a_once_and_a_cancellation_does_not() {
    let runtime = one_worker();
    let once = Arc::new(Once::new());
    let theirs = once.clone();
    let caller = waiting(&runtime, move || theirs.call_once(|| sward::sleep(LONG)));
    let theirs = once.clone();
    let next = waiting(&runtime, move || theirs.call_once(|| fails()));
    let theirs = once.clone();
    let waits = waiting(&runtime, move || theirs.wait());
    let theirs = once.clone();
    let forced = waiting(&runtime, move || theirs.wait_force());
    assert_cancelled(caller);
    assert!(matches!(next.join(), Err(JoinError::Panicked(_))), "its own closure was called");
    assert!(matches!(waits.join(), Err(JoinError::Panicked(_))));
    assert!(catch_unwind(|| once.call_once(|| unreachable!())).is_err());
    assert!(!once.is_completed() && !forced.is_finished());
    once.call_once_force(|state| assert!(state.is_poisoned()));
    forced.join().unwrap();
    once.call_once_force(|_| unreachable!());
}

#[test]
fn a_once_cell_is_set_once() {
    let cell = OnceLock::new();
    assert_eq!(format!("{:?} {:?}", cell, OnceLock::from(2)), "OnceLock(<uninit>) OnceLock(2)");
    assert_eq!(cell.get(), None);
    assert_eq!(cell.set(1), Ok(()));
    assert_eq!(cell.set(2), Err(2));
    assert_eq!((cell.get(), *cell.get_or_init(|| 3), *cell.wait()), (Some(&1), 1, 1));
    let mut other = cell.clone();
    assert_eq!(other, cell);
    *other.get_mut().unwrap() = 5;
    assert_ne!(other, cell);
    assert_eq!((other.take(), other.take(), other.get()), (Some(5), None, None));
    assert_eq!(other.set(6), Ok(()));
    assert_eq!(other.into_inner(), Some(6));
    assert_eq!(OnceLock::<u8>::default().into_inner(), None);
}

#[test]
fn a_once_cell_drops_its_value_once() {
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let cell = OnceLock::new();
    assert!(cell.set(Counts(drops.clone())).is_ok());
    drop(cell.set(Counts(drops.clone())));
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    drop(cell);
    assert_eq!(drops.load(Ordering::SeqCst), 2);
    drop(OnceLock::<Counts>::new());
}

#[test]
fn one_initialiser_runs_and_the_others_wait_for_it() {
    static CELL: OnceLock<usize> = OnceLock::new();
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    mixed(8, |who| {
        if who % 8 == 7 {
            assert_eq!(*CELL.wait(), 7);
        }
        let value = CELL.get_or_init(|| {
            CALLS.fetch_add(1, Ordering::SeqCst);
            sward::sleep(MOMENT);
            7
        });
        assert_eq!(*value, 7);
        assert_eq!(CELL.set(8), Err(8));
    });
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
}

#[test]
fn an_initialiser_that_fails_or_is_cancelled_leaves_the_cell_empty() {
    let runtime = one_worker();
    let cell = Arc::new(OnceLock::new());
    let theirs = cell.clone();
    let cancelled = waiting(&runtime, move || {
        theirs.get_or_init(|| {
            sward::sleep(LONG);
            1
        });
    });
    let theirs = cell.clone();
    let fails = waiting(&runtime, move || {
        theirs.get_or_init(|| fails());
    });
    let theirs = cell.clone();
    let waits = waiting(&runtime, move || *theirs.wait());
    let theirs = cell.clone();
    let given_up = waiting(&runtime, move || *theirs.wait());
    assert_cancelled(given_up);
    assert_cancelled(cancelled);
    assert!(matches!(fails.join(), Err(JoinError::Panicked(_))));
    assert_eq!(cell.get(), None);
    assert_eq!(*cell.get_or_init(|| 2), 2);
    assert_eq!(waits.join().unwrap(), 2);
}

#[test]
fn a_lazy_value_is_made_once() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static LAZY: LazyLock<usize> = LazyLock::new(|| {
        sward::sleep(MOMENT);
        CALLS.fetch_add(1, Ordering::SeqCst)
    });
    assert_eq!(format!("{LAZY:?}"), "LazyLock(<uninit>)");
    mixed(8, |_| assert_eq!(*LAZY, 0));
    assert_eq!(format!("{LAZY:?}"), "LazyLock(0)");
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    assert_eq!(*LazyLock::<u8>::default(), 0);
    let captured = String::from("captured");
    assert_eq!(LazyLock::force(&LazyLock::new(|| captured.len())), &8);
}

#[test]
fn a_panic_poisons_a_lazy_value_and_a_cancellation_does_not() {
    let lazy: LazyLock<u8> = LazyLock::new(|| fails());
    for _ in 0..2 {
        assert!(catch_unwind(|| *lazy).is_err());
    }

    let runtime = one_worker();
    let lazy = Arc::new(LazyLock::new(|| {
        sward::sleep(10 * MOMENT);
        7
    }));
    let theirs = lazy.clone();
    let maker = waiting(&runtime, move || {
        let value = **theirs;
        sward::sleep(LONG);
        value
    });
    let theirs = lazy.clone();
    let waits = waiting(&runtime, move || **theirs);
    maker.cancel();
    waits.cancel();
    assert!(matches!(maker.join(), Err(JoinError::Cancelled)));
    let _ = waits.join();
    assert_eq!(**lazy, 7);
}

#[test]
fn the_owner_of_a_lazy_value_makes_and_changes_it() {
    let mut lazy = LazyLock::new(|| vec![1]);
    assert_eq!(LazyLock::get(&lazy), None);
    assert_eq!(LazyLock::get_mut(&mut lazy), None);
    LazyLock::force_mut(&mut lazy).push(2);
    lazy.push(3);
    assert_eq!(LazyLock::get(&lazy), Some(&vec![1, 2, 3]));
    LazyLock::get_mut(&mut lazy).expect("made").clear();
    assert!(lazy.is_empty());
    let mut poisoned: LazyLock<u8> = LazyLock::new(|| fails());
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| _ = LazyLock::force_mut(&mut poisoned))).is_err());
        assert_eq!(LazyLock::get(&poisoned), None);
    }
}
