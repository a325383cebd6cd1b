//! `Mutex`.

use crate::common::{LONG, MOMENT, Random, assert_cancelled, fails, mixed, one_worker, two_workers, waiting};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use sward::sync::{Condvar, Mutex, TryLockError};
use sward::task::JoinError;

#[test]
fn a_mutex_has_the_methods_of_std() {
    static STATIC: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    STATIC.lock().unwrap().push(1);
    assert_eq!(*STATIC.lock().unwrap(), [1]);

    let mut mutex = Mutex::from(String::from("a"));
    mutex.get_mut().unwrap().push('b');
    assert_eq!(format!("{mutex:?}"), r#"Mutex { data: "ab", poisoned: false, .. }"#);
    let guard = mutex.lock().unwrap();
    assert_eq!(format!("{guard:?} {guard}"), r#""ab" ab"#);
    assert_eq!(format!("{mutex:?}"), r#"Mutex { data: <locked>, poisoned: false, .. }"#);
    assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
    drop(guard);
    assert_eq!(*mutex.try_lock().unwrap(), "ab");
    assert_eq!(mutex.into_inner().unwrap(), "ab");
    assert_eq!(*Mutex::<u8>::default().lock().unwrap(), 0);

    let unsized_: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    unsized_.lock().unwrap()[1] = 5;
    assert_eq!(unsized_.lock().unwrap()[..], [1, 5, 3]);
}

#[test]
fn a_mutex_excludes() {
    const EACH: usize = 2_000;
    let mutex = Arc::new(Mutex::new((0, 0)));
    let sum = mutex.clone();
    mixed(4, move |who| {
        for turn in 0..EACH {
            let mut guard = sum.lock().unwrap();
            let (a, b) = *guard;
            assert_eq!(a, b);
            guard.0 += 1;
            if turn % 64 == who {
                sward::yield_now();
            }
            guard.1 += 1;
        }
    });
    assert_eq!(*mutex.lock().unwrap(), (8 * EACH, 8 * EACH));
}

#[test]
fn a_mutex_is_held_over_waits() {
    let runtime = two_workers();
    runtime.run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let handles: Vec<_> = (0..50)
            .map(|_| {
                let mutex = mutex.clone();
                sward::spawn(move || {
                    let mut guard = mutex.lock().unwrap();
                    let before = *guard;
                    sward::sleep(Duration::from_micros(100));
                    *guard = before + 1;
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        assert_eq!(*mutex.lock().unwrap(), 50);
    });
}

/// The worst case for waiters is a holder that waits only while it holds the mutex: each woken waiter finds
/// the mutex held. All get it nevertheless, in the order of the queue, and the holder goes on until then.
#[test]
fn a_greedy_holder_hands_the_mutex_over() {
    let runtime = one_worker();
    let mutex = Arc::new(Mutex::new(Vec::new()));
    let theirs = mutex.clone();
    runtime.run(move || {
        let mut guard = theirs.lock().unwrap();
        let come = Arc::new(AtomicUsize::new(0));
        let others: Vec<_> = (0..3)
            .map(|who| {
                let (theirs, told) = (theirs.clone(), come.clone());
                let other = sward::spawn(move || {
                    told.fetch_add(1, Ordering::Relaxed);
                    theirs.lock().unwrap().push(who);
                });
                while come.load(Ordering::Relaxed) <= who {
                    sward::yield_now();
                }
                other
            })
            .collect();
        while guard.len() < 3 {
            drop(guard);
            guard = theirs.lock().unwrap();
            sward::yield_now();
        }
        assert_eq!(*guard, [0, 1, 2]);
        drop(guard);
        for other in others {
            other.join().unwrap();
        }
    });
}

/// All kinds of waits at one mutex: with a time limit, at a condition variable, and either in destructors
/// that unwind, or beside holders that wait, some of them for longer than the limits of the waiters.
fn all_kinds_of_locks(holders_wait: bool) {
    struct Adds(Arc<(Mutex<(usize, usize)>, Condvar)>);
    impl Drop for Adds {
        fn drop(&mut self) {
            let mut guard = self.0.0.lock().unwrap();
            guard.0 += 1;
            guard.1 += 1;
        }
    }
    let shared = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let theirs = shared.clone();
    mixed(6, move |who| {
        let mut random = Random(who as u64 + 1);
        for _ in 0..200 {
            let choice = random.below(60);
            if choice == 0 && !holders_wait {
                let adds = Adds(theirs.clone());
                let unwound = catch_unwind(AssertUnwindSafe(move || {
                    let _adds = adds;
                    fails();
                }));
                assert!(unwound.is_err());
                continue;
            }
            if choice < 5 {
                let limit = Duration::from_micros(300 * choice);
                let _ = sward::time::timeout(limit, || {
                    let guard = theirs.0.lock().unwrap();
                    assert_eq!(guard.0, guard.1);
                });
                continue;
            }
            let mut guard = theirs.0.lock().unwrap();
            guard.0 += 1;
            match choice {
                5..7 if holders_wait => sward::sleep(MOMENT),
                7..12 if holders_wait => sward::yield_now(),
                _ => {}
            }
            guard.1 += 1;
            match choice {
                12 => drop(theirs.1.wait_timeout(guard, Duration::from_micros(100)).unwrap()),
                13 => theirs.1.notify_all(),
                _ => {}
            }
        }
    });
    let guard = shared.0.try_lock().unwrap();
    assert_eq!(guard.0, guard.1);
}

#[test]
fn all_kinds_of_locks_and_holders_that_wait() {
    all_kinds_of_locks(true);
}

#[test]
fn all_kinds_of_locks_and_destructors() {
    all_kinds_of_locks(false);
}

/// Runs the test while `many` coroutines on two workers call `greedy` in a loop.
pub(crate) fn against(many: usize, greedy: impl Fn() + Clone + Send + 'static, test: impl FnOnce()) {
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = two_workers();
    let others: Vec<_> = (0..many)
        .map(|_| {
            let (stop, greedy) = (stop.clone(), greedy.clone());
            runtime.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    greedy();
                }
            })
        })
        .collect();
    test();
    stop.store(true, Ordering::Relaxed);
    for other in others {
        other.join().unwrap();
    }
}

/// Many coroutines lock without a pause. Each gets the mutex at last.
#[test]
fn nobody_starves_at_a_mutex() {
    let mutex = Arc::new(Mutex::new(()));
    let theirs = mutex.clone();
    against(
        2,
        move || drop(theirs.lock().unwrap()),
        || {
            mixed(2, move |_| (0..200).for_each(|_| drop(mutex.lock().unwrap())));
        },
    );
}

#[test]
fn panics_poison_and_cancellations_do_not() {
    let runtime = one_worker();
    let mutex = Arc::new(Mutex::new(1));
    let theirs = mutex.clone();
    let panics = runtime.spawn(move || {
        let _guard = theirs.lock().unwrap();
        fails();
    });
    assert!(matches!(panics.join(), Err(JoinError::Panicked(_))));
    assert!(mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap_err().into_inner(), 1);
    assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
    assert_eq!(format!("{mutex:?}"), "Mutex { data: 1, poisoned: true, .. }");
    mutex.clear_poison();

    let theirs = mutex.clone();
    assert_cancelled(waiting(&runtime, move || {
        let _guard = theirs.lock().unwrap();
        sward::sleep(LONG);
    }));
    assert!(!mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap(), 1);

    // The same on a plain thread.
    let theirs = mutex.clone();
    let panics = thread::spawn(move || {
        let _guard = theirs.lock().unwrap();
        fails();
    });
    assert!(panics.join().is_err());
    let mutex = Arc::into_inner(mutex).unwrap();
    assert_eq!(mutex.into_inner().unwrap_err().into_inner(), 1);
}

/// A panic does not poison a lock that a destructor takes and releases while it unwinds.
#[test]
fn a_lock_taken_while_unwinding_is_not_poisoned() {
    struct Locks(Arc<Mutex<u32>>);
    impl Drop for Locks {
        fn drop(&mut self) {
            assert!(thread::panicking());
            *self.0.lock().unwrap() += 1;
        }
    }
    let mutex = Arc::new(Mutex::new(0));
    let locks = Locks(mutex.clone());
    let runtime = two_workers();
    let handle = runtime.spawn(move || {
        let _locks = locks;
        fails();
    });
    assert!(handle.join().is_err());
    assert_eq!(*mutex.lock().unwrap(), 1);
}

#[test]
fn a_cancelled_waiter_leaves_the_mutex_usable() {
    let runtime = one_worker();
    let mutex = Arc::new(Mutex::new(0));
    let guard = mutex.lock().unwrap();
    let [first, second, third] = [1, 10, 100].map(|n| {
        let mutex = mutex.clone();
        waiting(&runtime, move || *mutex.lock().unwrap() += n)
    });
    assert_cancelled(first);
    assert_cancelled(third);
    drop(guard);
    second.join().unwrap();
    assert_eq!(*mutex.lock().unwrap(), 10);
    assert_eq!(*mutex.try_lock().unwrap(), 10);
}

/// A panic poisons also after a cancellation was swallowed. A cancellation that was caught and resumed does
/// not poison.
#[test]
fn a_swallowed_cancellation_keeps_no_panic_from_poisoning() {
    fn swallow() {
        let limited = sward::time::timeout(MOMENT, || {
            assert!(catch_unwind(|| sward::sleep(LONG)).is_err());
        });
        assert!(limited.is_ok());
    }
    fn poisons(swallow: impl FnOnce()) -> bool {
        let mutex = Mutex::new(());
        swallow();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let _guard = mutex.lock().unwrap();
            fails();
        }));
        assert!(ended.is_err());
        mutex.is_poisoned()
    }
    assert!(poisons(swallow));
    let runtime = one_worker();
    assert!(runtime.run(|| poisons(swallow)));
    let mutex = Arc::new(Mutex::new(()));
    let theirs = mutex.clone();
    let resumes = waiting(&runtime, move || {
        let _guard = theirs.lock().unwrap();
        let payload = catch_unwind(|| sward::sleep(LONG)).unwrap_err();
        sward::task::mask(|| sward::sleep(MOMENT));
        resume_unwind(payload);
    });
    assert_cancelled(resumes);
    assert!(!mutex.is_poisoned());
    let cancelled = waiting(&runtime, || {
        assert!(poisons(|| {
            let _ = catch_unwind(|| sward::sleep(LONG));
        }));
    });
    cancelled.cancel();
    cancelled.join().unwrap();
}
