//! Waits of `sward::sync`, each ended in both ways.

use crate::ended::{GUARD, ended, given_and_cancelled, guarded, join, spawn_waiting};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use sward::channel;
use sward::sync::{Barrier, Condvar, Mutex, Notify, Once, OnceLock, RwLock, Semaphore, WaitGroup};
use sward::task::{self, JoinError};

#[test]
fn a_lock() {
    guarded(|| {
        let mutex = Arc::new(Mutex::new(0));
        let (theirs, guard) = (mutex.clone(), Cell::new(Some(mutex.lock().unwrap())));
        ended(
            move || drop(theirs.lock()),
            || {
                drop(guard.take());
                *mutex.lock().unwrap() += 1;
                guard.set(Some(mutex.lock().unwrap()));
            },
        );
        drop(guard);
        assert_eq!(*mutex.lock().unwrap(), 4);
        let theirs = mutex.clone();
        let guard = Cell::new(None);
        // The cancelled waiter either has the lock or not.
        for _ in 0..4 {
            guard.set(Some(mutex.lock().unwrap()));
            let (first, second) = (theirs.clone(), theirs.clone());
            let first = spawn_waiting(move || drop(first.lock().unwrap()));
            let second = spawn_waiting(move || drop(second.lock().unwrap()));
            drop(guard.take());
            first.cancel();
            let _ = join(first);
            join(second).expect("the wake is passed on");
        }
    });
}

#[test]
fn a_read_lock_and_a_write_lock() {
    guarded(|| {
        let lock = Arc::new(RwLock::new(0));
        let theirs = lock.clone();
        let written = Cell::new(Some(lock.write().unwrap()));
        ended(
            move || drop(theirs.read()),
            || {
                drop(written.take());
                *lock.write().unwrap() += 1;
                written.set(Some(lock.write().unwrap()));
            },
        );
        drop(written);
        let theirs = lock.clone();
        let read = Cell::new(Some(lock.read().unwrap()));
        ended(
            move || drop(theirs.write()),
            || {
                // Readers get the lock again beside the present reader.
                drop(lock.read().unwrap());
                drop(read.take());
                *lock.write().unwrap() += 1;
                read.set(Some(lock.read().unwrap()));
            },
        );
        drop(read);
        assert_eq!(*lock.write().unwrap(), 8);
        // A writer that is cancelled admits the readers behind it, whether it was woken or not.
        for release_first in [false, true] {
            let read = lock.read().unwrap();
            let (writes, reads) = (lock.clone(), lock.clone());
            let writer = spawn_waiting(move || drop(writes.write()));
            let reader = spawn_waiting(move || drop(reads.read()));
            if release_first {
                drop(read);
                writer.cancel();
                let _ = join(writer);
                join(reader).unwrap();
            } else {
                writer.cancel();
                assert!(matches!(join(writer), Err(JoinError::Cancelled)));
                join(reader).unwrap();
                drop(read);
            }
        }
    });
}

#[test]
fn a_condvar() {
    guarded(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = shared.clone();
        ended(
            move || {
                let guard = theirs.0.lock().unwrap();
                drop(theirs.1.wait(guard));
            },
            || *shared.0.try_lock().expect("the mutex is free") += 1,
        );
        assert_eq!(*shared.0.lock().unwrap(), 4);
        // Two wait, and one of them is notified and cancelled. It has used the notification, or the other one
        // gets it.
        for _ in 0..4 {
            let both: Vec<_> = (0..2)
                .map(|_| {
                    let theirs = shared.clone();
                    spawn_waiting(move || drop(theirs.1.wait(theirs.0.lock().unwrap())))
                })
                .collect();
            let [first, second] = both.try_into().unwrap();
            shared.1.notify_one();
            first.cancel();
            if join(first).is_ok() {
                assert!(!second.is_finished());
                shared.1.notify_one();
            }
            join(second).expect("the notification is passed on");
        }
    });
}

#[test]
fn a_semaphore() {
    guarded(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let theirs = semaphore.clone();
        ended(
            move || theirs.acquire_many(3).map(drop),
            || {
                assert_eq!(semaphore.available_permits(), 2);
                drop(semaphore.acquire_many(2).unwrap());
            },
        );
        let none = Arc::new(Semaphore::new(0));
        let theirs = none.clone();
        given_and_cancelled(
            move || theirs.acquire().unwrap().forget(),
            || none.add_permits(1),
            || {
                let left = none.available_permits();
                (0..left).for_each(|_| none.try_acquire().unwrap().forget());
                left
            },
        );
        // When a large request is cancelled, the small one behind it proceeds.
        let (large, small) = (semaphore.clone(), semaphore.clone());
        let held = semaphore.acquire().unwrap();
        let large = spawn_waiting(move || large.acquire_many(2).map(drop));
        let small = spawn_waiting(move || small.acquire().map(drop));
        large.cancel();
        assert!(join(large).is_err());
        join(small).unwrap().unwrap();
        drop(held);
        assert_eq!(semaphore.available_permits(), 2);
    });
}

#[test]
fn a_barrier() {
    guarded(|| {
        let barrier = Arc::new(Barrier::new(2));
        let theirs = barrier.clone();
        ended(
            move || theirs.wait(),
            || {
                // Waiters that have left do not count.
                let other = barrier.clone();
                let other = spawn_waiting(move || other.wait().is_leader());
                assert!(barrier.wait().is_leader());
                assert!(!join(other).unwrap());
            },
        );
    });
}

#[test]
fn a_once() {
    guarded(|| {
        for _ in 0..2 {
            let (once, cell) = (Arc::new(Once::new()), Arc::new(OnceLock::new()));
            let (go, gate) = channel::bounded::<()>(0);
            let (runs, fills) = (once.clone(), cell.clone());
            let inits = spawn_waiting(move || {
                runs.call_once(|| {
                    fills.get_or_init(|| gate.recv().map(|()| 7));
                });
            });
            let (theirs, other) = (once.clone(), once.clone());
            ended(move || theirs.call_once(|| unreachable!()), || assert!(!once.is_completed()));
            ended(move || other.wait(), || assert!(!once.is_completed()));
            let theirs = cell.clone();
            ended(move || theirs.get_or_init(|| unreachable!()).is_ok(), || assert!(cell.get().is_none()));
            go.send(()).unwrap();
            join(inits).unwrap();
            assert!(once.is_completed());
            assert_eq!(cell.get(), Some(&Ok(7)));
        }
    });
}

/// The initialising coroutine is ended, and another one initialises.
#[test]
fn an_initialiser() {
    guarded(|| {
        let (once, cell) = (Arc::new(Once::new()), Arc::new(OnceLock::<u32>::new()));
        let (theirs, fills) = (once.clone(), cell.clone());
        ended(move || theirs.call_once(task::park), || assert!(!once.is_completed()));
        once.call_once(|| ());
        ended(
            move || {
                fills.get_or_init(|| {
                    task::park();
                    1
                });
            },
            || assert!(cell.get().is_none()),
        );
        assert_eq!(cell.get_or_init(|| 2), &2);
    });
}

#[test]
fn a_wait_group() {
    guarded(|| {
        let group = Arc::new(WaitGroup::new());
        let theirs = group.clone();
        group.add(1);
        ended(move || theirs.wait(), || ());
        let theirs = group.clone();
        let waits = spawn_waiting(move || theirs.wait());
        group.done();
        join(waits).unwrap();
    });
}

#[test]
fn a_notification() {
    guarded(|| {
        let notify = Arc::new(Notify::new());
        let theirs = notify.clone();
        ended(
            move || theirs.wait(),
            || {
                // No cancelled waiter is left on the list that could take the notification.
                notify.notify_one();
                assert!(!notify.wait_timeout(GUARD).timed_out());
            },
        );
        let theirs = notify.clone();
        given_and_cancelled(
            move || theirs.wait(),
            || notify.notify_one(),
            || usize::from(!notify.wait_timeout(Duration::from_millis(1)).timed_out()),
        );
    });
}
