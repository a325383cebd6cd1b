//! Locks taken by futures, on executors of this crate and of others.

use crate::common::{both, complete, on_one_worker, one_worker, poll, poll_with, until, waker_that};
use crate::leaked_lock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use sward::block_on;
use sward::sync::{Condvar, Mutex, RwLock};

/// The future may be sent, and so may a future that drops the guard before its next wait.
#[test]
fn they_may_be_sent() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let (mutex, lock) = (Mutex::new(1), RwLock::new(2));
    drop(sent(mutex.lock_async()));
    drop(sent(lock.read_async()));
    drop(sent(lock.write_async()));
    let adds = sent(async {
        let seen = *lock.read_async().await.unwrap();
        *mutex.lock_async().await.unwrap() += seen;
        {
            let mut guard = lock.write_async().await.unwrap();
            *guard += 1;
        }
        std::future::ready(()).await;
        *mutex.lock_async().await.unwrap()
    });
    assert_eq!(block_on(adds), 3);
}

/// Futures, coroutines and threads wait in one queue. Its first waiter is woken, and no other one.
#[test]
fn a_future_waits_in_the_queue_of_the_mutex() {
    on_one_worker(|| {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let (first, second) = (Arc::default(), Arc::default());
        let guard = mutex.lock().unwrap();
        let (mut one, mut other) = (Box::pin(mutex.lock_async()), Box::pin(mutex.lock_async()));
        assert!(poll(one.as_mut(), &first).is_pending());
        let theirs = mutex.clone();
        let parks = sward::spawn(move || theirs.lock().unwrap().push("coroutine"));
        sward::yield_now();
        assert!(poll(other.as_mut(), &second).is_pending());
        drop(guard);
        assert_eq!((first.get(), second.get()), (1, 0));
        block_on(one).unwrap().push("future");
        until(|| second.get() == 1);
        drop(block_on(other));
        parks.join().unwrap();
        let mut all = mutex.lock().unwrap();
        all.sort_unstable();
        assert_eq!(*all, ["coroutine", "future"]);
    });
}

/// Dropped while it waits, and once it has been woken.
#[test]
fn a_dropped_future_passes_the_mutex_on() {
    let mutex = Mutex::new(0);
    let (first, second, third) = (Arc::default(), Arc::default(), Arc::default());
    let guard = mutex.lock().unwrap();
    let mut waits = Box::pin(mutex.lock_async());
    let (mut woken, mut next) = (Box::pin(mutex.lock_async()), Box::pin(mutex.lock_async()));
    assert!(poll(waits.as_mut(), &first).is_pending());
    assert!(poll(woken.as_mut(), &second).is_pending() && poll(next.as_mut(), &third).is_pending());
    drop(waits);
    drop(guard);
    assert_eq!((first.get(), second.get(), third.get()), (0, 1, 0));
    drop(woken);
    assert_eq!(third.get(), 1);
    assert!(matches!(poll(next.as_mut(), &third), Poll::Ready(Ok(_))));
    drop(next);
    assert!(mutex.try_lock().is_ok());
}

/// A new locker barges. The woken future queues again, in front, or is dropped; the next one is woken by the
/// unlock either way.
#[test]
fn a_future_that_loses_keeps_its_place() {
    for dropped in [false, true] {
        let mutex = Mutex::new(0);
        let (first, second) = (Arc::default(), Arc::default());
        let guard = mutex.lock().unwrap();
        let (mut one, mut other) = (Box::pin(mutex.lock_async()), Box::pin(mutex.lock_async()));
        assert!(poll(one.as_mut(), &first).is_pending() && poll(other.as_mut(), &second).is_pending());
        drop(guard);
        assert_eq!((first.get(), second.get()), (1, 0));
        let barges = mutex.try_lock().unwrap();
        if dropped {
            drop(one);
            drop(barges);
            assert_eq!(second.get(), 1);
        } else {
            assert!(poll(one.as_mut(), &first).is_pending());
            drop(barges);
            assert_eq!((first.get(), second.get()), (2, 0));
            assert!(poll(one.as_mut(), &first).is_ready());
        }
        drop(poll(other.as_mut(), &second));
        drop(other);
        assert!(mutex.try_lock().is_ok());
    }
}

/// A future has lost the lock, and clones its new waker to wait again. The clone panics. The drop of the
/// future passes its turn on all the same.
#[test]
fn a_panic_in_a_poll_does_not_lose_the_turn() {
    use std::task::{RawWaker, RawWakerVTable};
    static VTABLE: RawWakerVTable = RawWakerVTable::new(
        |_| std::panic::resume_unwind(Box::new("cannot be cloned")),
        |_| (),
        |_| (),
        |_| (),
    );
    // SAFETY: the functions use no data.
    let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &VTABLE)) };
    let mutex = Mutex::new(0);
    let (first, second) = (Arc::default(), Arc::default());
    let guard = mutex.lock().unwrap();
    let (mut one, mut other) = (Box::pin(mutex.lock_async()), Box::pin(mutex.lock_async()));
    assert!(poll(one.as_mut(), &first).is_pending() && poll(other.as_mut(), &second).is_pending());
    drop(guard);
    let barges = mutex.try_lock().unwrap();
    let polled =
        catch_unwind(AssertUnwindSafe(|| one.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()));
    assert!(polled.is_err());
    drop(one);
    drop(barges);
    assert_eq!(second.get(), 1);
    assert!(poll(other.as_mut(), &second).is_ready());
}

#[test]
fn dropped_futures_of_a_readers_writer_lock_pass_it_on() {
    let lock = RwLock::new(0);
    let (first, second, third) = (Arc::default(), Arc::default(), Arc::default());
    // A queued writer keeps the reader behind it out. Without the writer the reader joins.
    let reading = lock.read().unwrap();
    let (mut writes, mut reads) = (Box::pin(lock.write_async()), Box::pin(lock.read_async()));
    assert!(poll(writes.as_mut(), &first).is_pending() && poll(reads.as_mut(), &second).is_pending());
    drop(writes);
    assert_eq!(second.get(), 1);
    assert!(poll(reads.as_mut(), &second).is_ready());
    drop((reads, reading));
    // A woken writer is dropped: the next one is woken.
    let writing = lock.write().unwrap();
    let (mut writes, mut next) = (Box::pin(lock.write_async()), Box::pin(lock.write_async()));
    assert!(poll(writes.as_mut(), &first).is_pending() && poll(next.as_mut(), &third).is_pending());
    drop(writing);
    assert_eq!((first.get(), third.get()), (1, 0));
    drop(writes);
    assert_eq!(third.get(), 1);
    assert!(matches!(poll(next.as_mut(), &third), Poll::Ready(Ok(_))));
    drop(next);
    assert!(lock.try_write().is_ok());
}

#[test]
fn a_future_meets_poison() {
    both(|| {
        let (mutex, lock) = (Arc::new(Mutex::new(1)), Arc::new(RwLock::new(2)));
        let (theirs, too) = (mutex.clone(), lock.clone());
        let fails = sward::spawn(move || {
            block_on(async {
                let _guards = (theirs.lock_async().await.unwrap(), too.write_async().await.unwrap());
                std::panic::resume_unwind(Box::new("in the middle"));
            })
        });
        assert!(fails.join().is_err());
        assert_eq!(*complete(mutex.lock_async()).unwrap_err().into_inner(), 1);
        assert_eq!(*complete(lock.read_async()).unwrap_err().into_inner(), 2);
        assert_eq!(*complete(lock.write_async()).unwrap_err().into_inner(), 2);
    });
}

/// The guard is held over a wait, in coroutines whose cancellation drops futures at any point.
#[test]
fn coroutines_threads_and_dropped_futures_exclude_one_another() {
    const ROUNDS: usize = 200;
    for runtime in [one_worker(), crate::common::two_workers()] {
        let (mutex, lock) = (Arc::new(Mutex::new(0_usize)), Arc::new(RwLock::new((0_usize, 0_usize))));
        let sections = Arc::new(AtomicUsize::new(0));
        let mut all = Vec::new();
        for id in 0..6 {
            let (mutex, lock, sections) = (mutex.clone(), lock.clone(), sections.clone());
            all.push(runtime.spawn(move || {
                let counts = Arc::default();
                for round in 0..ROUNDS {
                    match (round + id) % 4 {
                        0 => *mutex.lock().unwrap() += 1,
                        1 => {
                            let mut dropped = Box::pin(mutex.lock_async());
                            let polled = poll(dropped.as_mut(), &counts).map(drop);
                            sward::yield_now();
                            drop(dropped);
                            if polled.is_ready() {
                                continue;
                            }
                            *block_on(mutex.lock_async()).unwrap() += 1;
                        }
                        2 => {
                            let mut dropped = Box::pin(lock.write_async());
                            drop(poll(dropped.as_mut(), &counts));
                            sward::yield_now();
                            drop(dropped);
                            block_on(async {
                                let mut both = lock.write_async().await.unwrap();
                                both.0 += 1;
                                sward::yield_now();
                                both.1 += 1;
                            });
                            *block_on(mutex.lock_async()).unwrap() += 1;
                        }
                        _ => {
                            let mut dropped = Box::pin(lock.read_async());
                            drop(poll(dropped.as_mut(), &counts));
                            sward::yield_now();
                            // While it is woken and not polled, nobody else is woken. So not after the wait.
                            drop(dropped);
                            block_on(async {
                                let both = lock.read_async().await.unwrap();
                                sward::yield_now();
                                assert_eq!(both.0, both.1);
                            });
                            *mutex.lock().unwrap() += 1;
                        }
                    }
                    sections.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        let thread = {
            let (mutex, sections) = (mutex.clone(), sections.clone());
            std::thread::spawn(move || {
                for _ in 0..ROUNDS {
                    *complete(mutex.lock_async()).unwrap() += 1;
                    sections.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        for one in all {
            one.join().unwrap();
        }
        thread.join().unwrap();
        assert_eq!(*mutex.lock().unwrap(), sections.load(Ordering::Relaxed));
        assert!(lock.try_write().is_ok());
    }
}

/// A wait for a condition unlocks the mutex once it is listed, and so wakes a future. What the waker waits
/// for does not end the wait for the condition.
#[test]
fn a_waker_that_waits_does_not_end_the_wait_that_wakes_it() {
    let shared = Arc::new((Mutex::new(false), Condvar::new(), AtomicUsize::new(0)));
    let guard = shared.0.lock().unwrap();
    let theirs = shared.clone();
    let waits = std::thread::spawn(move || {
        let (mutex, condvar, steps) = &*theirs;
        let mut guard = mutex.lock().unwrap();
        steps.store(1, Ordering::SeqCst);
        until(|| steps.load(Ordering::SeqCst) == 2);
        while !*guard {
            guard = condvar.wait(guard).unwrap();
        }
    });
    drop(guard);
    let (mutex, condvar, steps) = &*shared;
    until(|| steps.load(Ordering::SeqCst) == 1);
    let theirs = shared.clone();
    let waker = waker_that(move || {
        sward::spawn(sward::yield_now).join().unwrap();
        theirs.2.store(3, Ordering::SeqCst);
    });
    let mut future = Box::pin(mutex.lock_async());
    assert!(poll_with(future.as_mut(), &waker).is_pending());
    steps.store(2, Ordering::SeqCst);
    until(|| steps.load(Ordering::SeqCst) == 3);
    *block_on(future).unwrap() = true;
    condvar.notify_one();
    waits.join().unwrap();
}

/// The drop of a waker panics in the middle of a poll that has got the lock. Two futures are handed it at
/// once, and the first waker polls the second future, whose waker was not woken yet.
#[test]
fn a_waker_whose_drop_panics_leaks_no_lock() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            unreachable!("it is polled before")
        }
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("the drop of a waker"));
        }
    }
    let lock: &'static RwLock<u32> = leaked_lock(RwLock::new(0));
    let guard = lock.write().unwrap();
    let mut second = Box::pin(async { lock.read_async().await.is_ok() });
    let slot = Arc::new(std::sync::Mutex::new(None));
    let theirs = slot.clone();
    let polled = Arc::new(AtomicUsize::new(0));
    let polls = polled.clone();
    let first_waker = waker_that(move || {
        let Some(mut second) = theirs.lock().unwrap().take() else { return };
        let outcome: Poll<bool> = poll(std::pin::Pin::as_mut(&mut second), &Arc::default());
        assert_eq!(outcome, Poll::Ready(true));
        polls.fetch_add(1, Ordering::SeqCst);
    });
    let mut first = Box::pin(lock.read_async());
    assert!(poll_with(first.as_mut(), &first_waker).is_pending());
    // The future has the only reference to its waker.
    let second_waker = Waker::from(Arc::new(Panics));
    assert!(poll_with(second.as_mut(), &second_waker).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(second_waker))).is_ok());
    *slot.lock().unwrap() = Some(second);
    drop(guard);
    assert_eq!(polled.load(Ordering::SeqCst), 1);
    drop(first);
    assert!(lock.try_write().is_ok(), "nobody holds it");
}
