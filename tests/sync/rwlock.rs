//! `RwLock`.

use crate::common::{LONG, MOMENT, Random, assert_cancelled, fails, mixed, one_worker, waiting};
use crate::mutex::against;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use sward::sync::{Barrier, RwLock, RwLockWriteGuard, TryLockError};

#[test]
fn an_rwlock_has_the_methods_of_std() {
    static STATIC: RwLock<u8> = RwLock::new(1);
    *STATIC.write().unwrap() += 1;
    assert_eq!(*STATIC.read().unwrap(), 2);

    let mut lock = RwLock::from(String::from("a"));
    lock.get_mut().unwrap().push('b');
    {
        let (one, other) = (lock.read().unwrap(), lock.try_read().unwrap());
        assert_eq!(format!("{one:?} {other}"), r#""ab" ab"#);
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        assert_eq!(format!("{lock:?}"), r#"RwLock { data: "ab", poisoned: false, .. }"#);
    }
    {
        let guard = lock.try_write().unwrap();
        assert_eq!(format!("{guard:?} {guard}"), r#""ab" ab"#);
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        assert_eq!(format!("{lock:?}"), r#"RwLock { data: <locked>, poisoned: false, .. }"#);
        let reading = RwLockWriteGuard::downgrade(guard);
        assert_eq!(*lock.try_read().unwrap(), *reading);
    }
    assert_eq!(lock.into_inner().unwrap(), "ab");
    assert_eq!(*RwLock::<u8>::default().read().unwrap(), 0);
    let unsized_: &RwLock<[u8]> = &RwLock::new([1, 2, 3]);
    unsized_.write().unwrap()[1] = 5;
    assert_eq!(unsized_.read().unwrap()[..], [1, 5, 3]);
}

#[test]
fn writers_exclude_all_and_readers_only_writers() {
    let lock = Arc::new(RwLock::new((0, 0)));
    let theirs = lock.clone();
    mixed(4, move |who| {
        for turn in 0..1_000 {
            if (turn + who) % 5 == 0 {
                let mut guard = theirs.write().unwrap();
                guard.0 += 1;
                if turn % 50 == 0 {
                    sward::yield_now();
                }
                guard.1 += 1;
            } else {
                let guard = theirs.read().unwrap();
                assert_eq!(guard.0, guard.1);
                if turn % 50 == 1 {
                    sward::yield_now();
                }
                assert_eq!(guard.0, guard.1);
            }
        }
    });
    assert_eq!(*lock.write().unwrap(), (8 * 200, 8 * 200));
    assert!(lock.try_write().is_ok());
}

#[test]
fn a_waiting_writer_keeps_readers_out_and_then_they_go_together() {
    let runtime = one_worker();
    let lock = Arc::new(RwLock::new(0));
    let reading = lock.read().unwrap();
    let writer = {
        let lock = lock.clone();
        waiting(&runtime, move || *lock.write().unwrap() += 1)
    };
    let inside = Arc::new(Barrier::new(3));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (lock, inside) = (lock.clone(), inside.clone());
            waiting(&runtime, move || {
                let guard = lock.read().unwrap();
                inside.wait(); // only passes if all three are in
                *guard
            })
        })
        .collect();
    let second = {
        let lock = lock.clone();
        waiting(&runtime, move || *lock.write().unwrap() += 1)
    };
    assert!(lock.try_read().is_err());
    drop(reading);
    writer.join().unwrap();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 1);
    }
    second.join().unwrap();
    assert_eq!(*lock.read().unwrap(), 2);
}

#[test]
fn writers_do_not_starve_behind_readers() {
    let lock = Arc::new(RwLock::new(()));
    let theirs = lock.clone();
    let read = move || {
        let _guard = theirs.read().unwrap();
        sward::yield_now();
    };
    against(8, read, || mixed(1, move |_| (0..100).for_each(|_| drop(lock.write().unwrap()))));
}

/// The worst case for waiters is a writer that waits only while it holds the lock: each woken waiter finds
/// the lock held. Readers and another writer get it nevertheless, and the greedy writer goes on until then.
#[test]
fn a_greedy_writer_hands_the_lock_over() {
    let runtime = one_worker();
    let lock = Arc::new(RwLock::new(0));
    let theirs = lock.clone();
    runtime.run(move || {
        let mut guard = theirs.write().unwrap();
        let read = Arc::new(AtomicUsize::new(0));
        let others: Vec<_> = (0..4)
            .map(|who| {
                let (theirs, read) = (theirs.clone(), read.clone());
                sward::spawn(move || {
                    if who == 2 {
                        *theirs.write().unwrap() += 1;
                    } else {
                        let _guard = theirs.read().unwrap();
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        while *guard < 1 || read.load(Ordering::Relaxed) < 3 {
            drop(guard);
            guard = theirs.write().unwrap();
            sward::yield_now();
        }
        drop(guard);
        for other in others {
            other.join().unwrap();
        }
    });
}

/// All kinds of waits at one lock: with a time limit, with downgrades, and either in destructors that unwind,
/// or beside holders that wait, some of them for longer than the limits of the waiters.
fn all_kinds_of_reads_and_writes(holders_wait: bool) {
    struct Adds(Arc<RwLock<(usize, usize)>>, bool);
    impl Drop for Adds {
        fn drop(&mut self) {
            if self.1 {
                let mut guard = self.0.write().unwrap();
                guard.0 += 1;
                guard.1 += 1;
            } else {
                let guard = self.0.read().unwrap();
                assert_eq!(guard.0, guard.1);
            }
        }
    }
    let lock = Arc::new(RwLock::new((0, 0)));
    let theirs = lock.clone();
    mixed(6, move |who| {
        let wait = |choice| match choice {
            0 if holders_wait => sward::sleep(MOMENT),
            1..6 if holders_wait => sward::yield_now(),
            _ => {}
        };
        let mut random = Random(who as u64 + 1);
        for _ in 0..300 {
            let choice = random.below(80);
            match random.below(8) {
                0 if choice < 20 && !holders_wait => {
                    let adds = Adds(theirs.clone(), choice < 10);
                    let unwound = catch_unwind(AssertUnwindSafe(move || {
                        let _adds = adds;
                        fails();
                    }));
                    assert!(unwound.is_err());
                }
                1 if choice < 40 => {
                    let limit = Duration::from_micros(50 * choice);
                    let _ = sward::time::timeout(limit, || {
                        if choice.is_multiple_of(2) {
                            let guard = theirs.write().unwrap();
                            assert_eq!(guard.0, guard.1);
                        } else {
                            let guard = theirs.read().unwrap();
                            assert_eq!(guard.0, guard.1);
                        }
                    });
                }
                0..3 => {
                    let mut guard = theirs.write().unwrap();
                    guard.0 += 1;
                    wait(choice);
                    guard.1 += 1;
                    if choice > 60 {
                        let guard = RwLockWriteGuard::downgrade(guard);
                        wait(choice);
                        assert_eq!(guard.0, guard.1);
                    }
                }
                _ => {
                    let guard = theirs.read().unwrap();
                    wait(choice);
                    assert_eq!(guard.0, guard.1);
                }
            }
        }
    });
    let guard = lock.try_write().unwrap();
    assert_eq!(guard.0, guard.1);
}

#[test]
fn all_kinds_of_reads_and_writes_and_holders_that_wait() {
    all_kinds_of_reads_and_writes(true);
}

#[test]
fn all_kinds_of_reads_and_writes_and_destructors() {
    all_kinds_of_reads_and_writes(false);
}

#[test]
fn a_downgrade_admits_waiting_readers() {
    let runtime = one_worker();
    let lock = Arc::new(RwLock::new(0));
    let mut writing = lock.write().unwrap();
    let [reader, writer] = [false, true].map(|writes| {
        let lock = lock.clone();
        waiting(&runtime, move || if writes { *lock.write().unwrap() } else { *lock.read().unwrap() })
    });
    *writing = 7;
    let reading = RwLockWriteGuard::downgrade(writing);
    assert_eq!(reader.join().unwrap(), 7);
    assert!(!writer.is_finished());
    drop(reading);
    assert_eq!(writer.join().unwrap(), 7);
}

#[test]
fn only_a_writers_panic_poisons() {
    let runtime = one_worker();
    let lock = Arc::new(RwLock::new(1));
    let theirs = lock.clone();
    let panics = runtime.spawn(move || {
        let _guard = theirs.read().unwrap();
        fails();
    });
    assert!(panics.join().is_err());
    assert!(!lock.is_poisoned());
    let theirs = lock.clone();
    assert_cancelled(waiting(&runtime, move || {
        let _guard = theirs.write().unwrap();
        sward::sleep(LONG);
    }));
    assert!(!lock.is_poisoned());
    let theirs = lock.clone();
    let panics = runtime.spawn(move || {
        let _guard = theirs.write().unwrap();
        fails();
    });
    assert!(panics.join().is_err());
    assert!(lock.is_poisoned() && lock.read().is_err() && lock.write().is_err());
    assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
    assert!(matches!(lock.try_write(), Err(TryLockError::Poisoned(_))));
    lock.clear_poison();
    assert_eq!(*lock.read().unwrap(), 1);
}

#[test]
fn a_cancelled_writer_admits_the_readers_behind_it() {
    let runtime = one_worker();
    let lock = Arc::new(RwLock::new(0));
    let reading = lock.read().unwrap();
    let writer = {
        let lock = lock.clone();
        waiting(&runtime, move || *lock.write().unwrap() += 1)
    };
    let [reader, cancelled] = [(), ()].map(|()| {
        let lock = lock.clone();
        waiting(&runtime, move || *lock.read().unwrap())
    });
    assert_cancelled(cancelled);
    assert!(!reader.is_finished());
    assert_cancelled(writer);
    assert_eq!(reader.join().unwrap(), 0);
    drop(reading);
    assert!(lock.try_write().is_ok());
}

/// A read guard can be used as the guard of a type with a shorter lifetime, as std's.
#[test]
fn a_read_guard_is_covariant() {
    use sward::sync::RwLockReadGuard;
    fn shorter<'a, 'short>(guard: RwLockReadGuard<'a, &'static str>) -> RwLockReadGuard<'a, &'short str> {
        guard
    }
    let lock = RwLock::new("static");
    let local = String::from("local");
    let guard = shorter(lock.read().unwrap());
    let longer = |a: &RwLockReadGuard<'_, &str>, b: &str| a.len().max(b.len());
    assert_eq!(longer(&guard, &local), 6);
    drop(guard);
    assert!(lock.try_write().is_ok());
    // The same for an unsized type, and for a downgraded guard.
    let sized = RwLock::new([1, 2]);
    let lock: &RwLock<[i32]> = &sized;
    let guard = RwLockWriteGuard::downgrade(lock.write().unwrap());
    assert_eq!((&*guard, lock.read().unwrap().len()), (&[1, 2][..], 2));
}
