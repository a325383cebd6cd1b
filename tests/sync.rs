//! Locks, permits and meeting points: in coroutines, on plain threads, and between the two.

mod checked;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use sward::runtime::Runtime;
use sward::sync::{
    AcquireTimeoutError, Barrier, Condvar, LazyLock, Mutex, Notify, Once, OnceLock, RwLock, RwLockWriteGuard,
    Semaphore, TryAcquireError, TryLockError, WaitGroup,
};
use sward::task::{JoinError, JoinHandle};

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(2);

fn two_workers() -> Runtime {
    sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime")
}

/// With one worker and no waits in between, what a coroutine does before another's turn is certain.
fn one_worker() -> Runtime {
    sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime")
}

fn fails() -> ! {
    resume_unwind(Box::new("on purpose"))
}

/// Runs `f` on that many plain threads and as many coroutines at once.
fn mixed(count: usize, f: impl Fn(usize) + Send + Sync + 'static) {
    let runtime = two_workers();
    let f = Arc::new(f);
    let coroutines: Vec<_> = (0..count)
        .map(|i| {
            let f = f.clone();
            runtime.spawn(move || f(i))
        })
        .collect();
    let threads: Vec<_> = (0..count)
        .map(|i| {
            let f = f.clone();
            thread::spawn(move || f(count + i))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    for coroutine in coroutines {
        coroutine.join().expect("no panic");
    }
}

/// A coroutine that waits in `f`, once it does: on one worker, it has gone as far as it can.
fn waiting<T: Send + 'static>(runtime: &Runtime, f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let started = Arc::new(AtomicBool::new(false));
    let told = started.clone();
    let handle = runtime.spawn(move || {
        told.store(true, Ordering::Release);
        f()
    });
    while !started.load(Ordering::Acquire) {
        settle(runtime);
    }
    settle(runtime);
    handle
}

/// Lets everybody on a runtime of one worker go as far as they can.
fn settle(runtime: &Runtime) {
    for _ in 0..4 {
        runtime.spawn(sward::yield_now).join().unwrap();
    }
}

fn assert_cancelled<T>(handle: JoinHandle<T>) {
    handle.cancel();
    assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

// ---- The mutex.

#[test]
fn a_mutex_has_stds_surface() {
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

/// A holder that waits only while it holds the mutex is the hardest to get in against: each time another is
/// woken it finds the mutex held. All get in nevertheless, in the order in which they came, and the holder
/// goes on until they have.
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

/// Waits of all kinds at one mutex: ended by a time limit, at a condition variable, and either in
/// destructors of what unwinds, or beside holders that wait, some for longer than the others have patience.
fn locks_of_all_kinds(holders_wait: bool) {
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
fn locks_of_all_kinds_and_holders_that_wait() {
    locks_of_all_kinds(true);
}

#[test]
fn locks_of_all_kinds_and_destructors() {
    locks_of_all_kinds(false);
}

/// Runs the test while so many coroutines on two workers do the same thing again and again.
fn against(many: usize, greedy: impl Fn() + Clone + Send + 'static, test: impl FnOnce()) {
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

/// Many who lock without a pause, and each gets in at last.
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
        sward::sleep(HOUR);
    }));
    assert!(!mutex.is_poisoned());
    assert_eq!(*mutex.lock().unwrap(), 1);

    // On a plain thread as well.
    let theirs = mutex.clone();
    let panics = thread::spawn(move || {
        let _guard = theirs.lock().unwrap();
        fails();
    });
    assert!(panics.join().is_err());
    let mutex = Arc::into_inner(mutex).unwrap();
    assert_eq!(mutex.into_inner().unwrap_err().into_inner(), 1);
}

/// A lock that a destructor takes and releases during a panic is not poisoned by it.
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

/// Waits while the thread unwinds block the thread; what is waited for comes from elsewhere.
#[test]
fn every_wait_works_while_unwinding() {
    struct Waits(Option<Box<dyn FnOnce() + Send>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            (self.0.take().expect("once"))();
        }
    }
    let runtime = two_workers();
    let mutex = Arc::new(Mutex::new(()));
    let semaphore = Arc::new(Semaphore::new(0));
    let notify = Arc::new(Notify::new());
    let guard = mutex.lock().unwrap();
    let passed = Arc::new(AtomicUsize::new(0));
    let waits = {
        let (mutex, semaphore, notify) = (mutex.clone(), semaphore.clone(), notify.clone());
        let passed = passed.clone();
        Waits(Some(Box::new(move || {
            drop(mutex.lock().unwrap());
            passed.fetch_add(1, Ordering::SeqCst);
            semaphore.acquire().unwrap().forget();
            passed.fetch_add(1, Ordering::SeqCst);
            notify.wait();
            assert!(notify.wait_timeout(MOMENT).timed_out());
            passed.fetch_add(1, Ordering::SeqCst);
        })))
    };
    let handle = runtime.spawn(move || {
        let _waits = waits;
        fails();
    });
    thread::sleep(MOMENT);
    drop(guard);
    while passed.load(Ordering::SeqCst) < 1 {
        thread::yield_now();
    }
    semaphore.add_permits(1);
    while passed.load(Ordering::SeqCst) < 2 {
        thread::yield_now();
    }
    notify.notify_one();
    assert!(matches!(handle.join(), Err(JoinError::Panicked(_))));
    assert_eq!(passed.load(Ordering::SeqCst), 3);
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

// ---- The readers-writer lock.

#[test]
fn an_rwlock_has_stds_surface() {
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

/// A writer that waits only while it holds the lock is the hardest to get in against: whoever is woken finds
/// it held. Readers and another writer get in nevertheless, and the greedy one goes on until they have.
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

/// Waits of all kinds at one lock: ended by a time limit, with downgrades, and either in destructors of what
/// unwinds, or beside holders that wait, some for longer than the others have patience.
fn reads_and_writes_of_all_kinds(holders_wait: bool) {
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
fn reads_and_writes_of_all_kinds_and_holders_that_wait() {
    reads_and_writes_of_all_kinds(true);
}

#[test]
fn reads_and_writes_of_all_kinds_and_destructors() {
    reads_and_writes_of_all_kinds(false);
}

#[test]
fn a_downgrade_lets_waiting_readers_in() {
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
        sward::sleep(HOUR);
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
fn a_cancelled_writer_lets_the_readers_behind_it_in() {
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

// ---- The condition variable.

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
    // Each notification meant for one may have met one that found nothing left.
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
            changed.wait_timeout_while(mutex.lock().unwrap(), HOUR, |value| *value == 2).unwrap();
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
        let (_guard, result) = theirs.1.wait_timeout(theirs.0.lock().unwrap(), HOUR).unwrap();
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

/// One that is cancelled unwinds without the mutex, which another may hold for ever; one that was notified
/// first comes back with it, and is cancelled at its next wait.
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
    // It was cancelled, but has done what it was notified for.
    let _ = notified.join();
    assert_eq!(*pair.0.lock().unwrap(), 10);
    assert!(!pair.0.is_poisoned());
    pair.1.notify_one();
    other.join().unwrap();
    assert_eq!(*pair.0.lock().unwrap(), 110);
}

// ---- The semaphore.

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
fn a_large_request_is_not_starved_and_blocks_nobody_when_it_leaves() {
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
fn closing_refuses_those_who_wait_and_who_come() {
    let runtime = one_worker();
    let semaphore = Arc::new(Semaphore::new(1));
    let permit = semaphore.acquire_owned().unwrap();
    let [a, b] = [1, 2].map(|n| {
        let semaphore = semaphore.clone();
        waiting(&runtime, move || semaphore.acquire_many_owned(n).map(drop))
    });
    let theirs = semaphore.clone();
    let timed = waiting(&runtime, move || theirs.acquire_timeout(HOUR).map(drop));
    semaphore.close();
    assert!(a.join().unwrap().is_err() && b.join().unwrap().is_err());
    assert_eq!(timed.join().unwrap(), Err(AcquireTimeoutError::Closed));
    drop(permit);
    assert_eq!(semaphore.available_permits(), 1);
    assert!(semaphore.is_closed() && semaphore.acquire().is_err());
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
    assert_eq!(semaphore.acquire().unwrap_err().to_string(), "the semaphore is closed");
}

// ---- The barrier.

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
fn a_cancelled_one_does_not_count_at_a_barrier() {
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

// ---- Once, OnceLock, LazyLock.

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
    let caller = waiting(&runtime, move || theirs.call_once(|| sward::sleep(HOUR)));
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
fn one_initialiser_runs_and_others_wait_for_it() {
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
            sward::sleep(HOUR);
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
        sward::sleep(HOUR);
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

// ---- Wait groups and notifications.

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

/// A notification that has chosen a waiter is its, although a cancellation comes right after; one that was
/// cancelled first takes none.
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
        let before = theirs.wait_timeout(HOUR);
        (before.timed_out(), catch_unwind(|| sward::sleep(HOUR)).is_err())
    });
    notify.notify_one();
    notified.cancel();
    // It had its notification; the cancellation met it at its next wait.
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

// ---- All of them.

/// Coroutines and threads contend for everything while coroutines are cancelled at random. In the end all
/// locks are free, not poisoned, and their data whole; all permits are back.
#[test]
fn random_cancellations_leave_everything_whole() {
    struct World {
        mutex: Mutex<(u64, u64)>,
        lock: RwLock<(u64, u64)>,
        changed: Condvar,
        semaphore: Semaphore,
        inside: AtomicUsize,
        notify: Notify,
        group: WaitGroup,
    }

    /// Counts itself out however it ends.
    struct Inside<'a>(&'a AtomicUsize, usize);
    impl Drop for Inside<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(self.1, Ordering::SeqCst);
        }
    }

    fn act(world: &World, random: &mut Random) {
        match random.below(7) {
            0 => {
                let mut guard = world.mutex.lock().unwrap();
                assert_eq!(guard.0, guard.1);
                let next = guard.0 + 1;
                sward::yield_now();
                *guard = (next, next);
                world.changed.notify_one();
            }
            1 => {
                let guard = world.mutex.lock().unwrap();
                let timeout = Duration::from_micros(random.below(200));
                let (guard, _) = world.changed.wait_timeout(guard, timeout).unwrap();
                assert_eq!(guard.0, guard.1);
            }
            2 => {
                let mut guard = world.lock.write().unwrap();
                assert_eq!(guard.0, guard.1);
                let next = guard.0 + 1;
                sward::yield_now();
                *guard = (next, next);
            }
            3 => {
                let guard = world.lock.read().unwrap();
                assert_eq!(guard.0, guard.1);
                sward::sleep(Duration::from_micros(random.below(50)));
                assert_eq!(guard.0, guard.1);
            }
            4 => {
                let n = 1 + random.below(4) as usize;
                let _permit = world.semaphore.acquire_many(n).unwrap();
                assert!(world.inside.fetch_add(n, Ordering::SeqCst) + n <= 4);
                let _inside = Inside(&world.inside, n);
                sward::sleep(Duration::from_micros(random.below(50)));
            }
            5 => {
                let n = 1 + random.below(4) as usize;
                let timeout = Duration::from_micros(random.below(100));
                if let Ok(_permit) = world.semaphore.acquire_many_timeout(n, timeout) {
                    assert!(world.inside.fetch_add(n, Ordering::SeqCst) + n <= 4);
                    let _inside = Inside(&world.inside, n);
                    sward::yield_now();
                }
            }
            _ => {
                world.notify.notify_one();
                world.notify.wait_timeout(Duration::from_micros(random.below(100)));
            }
        }
    }

    struct Done(Arc<World>);
    impl Drop for Done {
        fn drop(&mut self) {
            self.0.group.done();
        }
    }

    let runtime = two_workers();
    let world = Arc::new(World {
        mutex: Mutex::new((0, 0)),
        lock: RwLock::new((0, 0)),
        changed: Condvar::new(),
        semaphore: Semaphore::new(4),
        inside: AtomicUsize::new(0),
        notify: Notify::new(),
        group: WaitGroup::new(),
    });
    let threads: Vec<_> = (0..2)
        .map(|i| {
            let world = world.clone();
            thread::spawn(move || {
                let mut random = Random(0x9e37_79b9 + i);
                for _ in 0..500 {
                    act(&world, &mut random);
                }
            })
        })
        .collect();
    let mut random = Random(0x5dee_ce66_d1a4_b087);
    let mut cancelled = 0;
    for round in 0..100 {
        let handles: Vec<_> = (0..20)
            .map(|i| {
                world.group.add(1);
                let done = Done(world.clone());
                runtime.spawn(move || {
                    let mut random = Random(1 + round * 1_000 + i);
                    for _ in 0..10 {
                        act(&done.0, &mut random);
                    }
                })
            })
            .collect();
        while random.below(40) != 0 && !handles.iter().all(|handle| handle.is_finished()) {
            handles[random.below(20) as usize].cancel();
            thread::sleep(Duration::from_micros(random.below(100)));
        }
        for handle in handles {
            match handle.join() {
                Ok(()) => {}
                Err(JoinError::Cancelled) => cancelled += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    for thread in threads {
        thread.join().expect("no panic");
    }
    world.group.wait();
    assert!(cancelled > 0);
    let (a, b) = *world.mutex.try_lock().unwrap();
    assert_eq!(a, b);
    let (a, b) = *world.lock.try_write().unwrap();
    assert_eq!(a, b);
    assert_eq!(world.semaphore.available_permits(), 4);
    assert_eq!(world.inside.load(Ordering::SeqCst), 0);
}

/// A coroutine whose locks are always free lets others go first in time.
#[test]
fn free_locks_do_not_hog_a_worker() {
    let runtime = one_worker();
    runtime.run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<Box<dyn Fn() + Send>> = vec![
            {
                let mutex = Mutex::new(());
                Box::new(move || drop(mutex.lock().unwrap()))
            },
            {
                let lock = RwLock::new(());
                Box::new(move || drop((lock.read().unwrap(), lock.try_read().unwrap())))
            },
            {
                let lock = RwLock::new(());
                Box::new(move || drop(lock.write().unwrap()))
            },
            {
                let semaphore = Semaphore::new(1);
                Box::new(move || drop(semaphore.acquire().unwrap()))
            },
            {
                let notify = Notify::new();
                Box::new(move || {
                    notify.notify_one();
                    notify.wait();
                })
            },
            {
                let group = WaitGroup::new();
                Box::new(move || group.wait())
            },
            {
                let barrier = Barrier::new(1);
                Box::new(move || assert!(barrier.wait().is_leader()))
            },
        ];
        let hogs: Vec<_> = hogs
            .into_iter()
            .map(|hog| {
                let stop = stop.clone();
                sward::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        hog();
                    }
                })
            })
            .collect();
        for _ in 0..10 {
            sward::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        for hog in hogs {
            hog.join().unwrap();
        }
    });
}

/// Which types may cross threads, and panics, is part of the interface.
#[test]
fn auto_traits_are_as_promised() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    send::<Mutex<Cell<u8>>>();
    sync::<Mutex<Cell<u8>>>();
    sync::<sward::sync::MutexGuard<'_, u8>>();
    send::<RwLock<u8>>();
    sync::<RwLock<u8>>();
    sync::<sward::sync::RwLockReadGuard<'_, u8>>();
    sync::<RwLockWriteGuard<'_, u8>>();
    send::<Condvar>();
    sync::<Condvar>();
    send::<Semaphore>();
    sync::<Semaphore>();
    send::<sward::sync::SemaphorePermit<'_>>();
    sync::<sward::sync::SemaphorePermit<'_>>();
    send::<sward::sync::OwnedSemaphorePermit>();
    sync::<sward::sync::OwnedSemaphorePermit>();
    send::<Barrier>();
    sync::<Barrier>();
    send::<Once>();
    sync::<Once>();
    send::<OnceLock<Cell<u8>>>();
    sync::<OnceLock<u8>>();
    send::<LazyLock<u8>>();
    sync::<LazyLock<u8, Box<dyn FnOnce() -> u8 + Send>>>();
    send::<WaitGroup>();
    sync::<WaitGroup>();
    send::<Notify>();
    sync::<Notify>();
    unwind_safe::<Mutex<Cell<u8>>>();
    unwind_safe::<RwLock<Cell<u8>>>();
    unwind_safe::<Condvar>();
    unwind_safe::<Semaphore>();
    unwind_safe::<Barrier>();
    unwind_safe::<Once>();
    unwind_safe::<OnceLock<u8>>();
    unwind_safe::<LazyLock<u8>>();
    unwind_safe::<WaitGroup>();
    unwind_safe::<Notify>();
}

/// A panic poisons also after a cancellation that was swallowed, and a cancellation that was caught and
/// resumed does not.
#[test]
fn a_swallowed_cancellation_keeps_no_panic_from_poisoning() {
    fn swallow() {
        let limited = sward::time::timeout(MOMENT, || {
            assert!(catch_unwind(|| sward::sleep(HOUR)).is_err());
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
        let payload = catch_unwind(|| sward::sleep(HOUR)).unwrap_err();
        sward::task::mask(|| sward::sleep(MOMENT));
        resume_unwind(payload);
    });
    assert_cancelled(resumes);
    assert!(!mutex.is_poisoned());
    let cancelled = waiting(&runtime, || {
        assert!(poisons(|| {
            let _ = catch_unwind(|| sward::sleep(HOUR));
        }));
    });
    cancelled.cancel();
    cancelled.join().unwrap();
}

/// Two coroutines of one worker want what a plain thread has: one that waits, and then one that unwinds,
/// whose destructor blocks the worker. What becomes free goes to the latter, as the former cannot run.
fn one_who_unwinds_goes_first<T: Send + Sync + 'static>(
    shared: T,
    wait: fn(&T),
    in_destructor: fn(&T),
    release: impl FnOnce(&T),
) -> (Runtime, JoinHandle<()>) {
    struct Takes<T>(Arc<T>, fn(&T), Arc<AtomicBool>);
    impl<T> Drop for Takes<T> {
        fn drop(&mut self) {
            (self.1)(&self.0);
            self.2.store(true, Ordering::SeqCst);
        }
    }
    let (runtime, shared) = (one_worker(), Arc::new(shared));
    let theirs = shared.clone();
    let waits = waiting(&runtime, move || wait(&theirs));
    let taken = Arc::new(AtomicBool::new(false));
    let takes = Takes(shared.clone(), in_destructor, taken.clone());
    let unwinds = waiting(&runtime, move || {
        let _takes = takes;
        sward::task::park();
    });
    unwinds.cancel();
    thread::sleep(10 * MOMENT);
    release(&shared);
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !taken.load(Ordering::SeqCst) {
        if std::time::Instant::now() > end {
            std::mem::forget(runtime); // its end would wait for what hangs
            panic!("it hangs");
        }
        thread::sleep(MOMENT);
    }
    assert!(matches!(unwinds.join(), Err(JoinError::Cancelled)));
    (runtime, waits)
}

#[test]
fn a_mutex_goes_to_one_who_unwinds() {
    let mutex: &'static Mutex<u32> = Box::leak(Box::new(Mutex::new(0)));
    let guard = mutex.lock().unwrap();
    let lock = |mutex: &&Mutex<u32>| *mutex.lock().unwrap() += 1;
    let (_runtime, waits) = one_who_unwinds_goes_first(mutex, lock, lock, |_| drop(guard));
    waits.join().unwrap();
    assert_eq!(*mutex.lock().unwrap(), 2);
}

/// It is free, and a coroutine that cannot run has been woken for it.
#[test]
fn a_mutex_with_one_on_its_way_goes_to_one_who_unwinds() {
    let mutex: &'static Mutex<u32> = Box::leak(Box::new(Mutex::new(0)));
    let runtime = one_worker();
    let guard = mutex.lock().unwrap();
    let waits = waiting(&runtime, || *mutex.lock().unwrap() += 1);
    struct Locks(&'static Mutex<u32>);
    impl Drop for Locks {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let unwinds = runtime.spawn(move || {
        let _locks = Locks(mutex);
        // Keeps the worker, while the other coroutine is chosen and overtaken.
        receive.recv().unwrap();
        fails();
    });
    thread::sleep(10 * MOMENT);
    drop(guard);
    for _ in 0..100 {
        drop(mutex.try_lock());
    }
    send.send(()).unwrap();
    assert!(unwinds.join().is_err());
    waits.join().unwrap();
    assert_eq!(*mutex.lock().unwrap(), 2);
}

#[test]
fn a_readers_writer_lock_goes_to_one_who_unwinds() {
    fn read(lock: &&'static RwLock<u32>) {
        assert!(*lock.read().unwrap() < 3);
    }
    fn write(lock: &&'static RwLock<u32>) {
        *lock.write().unwrap() += 1;
    }
    for (wait, in_destructor) in [(write as fn(&_), read as fn(&_)), (read, write), (write, write)] {
        let lock: &'static RwLock<u32> = Box::leak(Box::new(RwLock::new(0)));
        let guard = lock.write().unwrap();
        let (_runtime, waits) = one_who_unwinds_goes_first(lock, wait, in_destructor, |_| drop(guard));
        waits.join().unwrap();
    }
    // Readers go together, also past a writer that waits.
    let lock: &'static RwLock<u32> = Box::leak(Box::new(RwLock::new(0)));
    let guard = lock.read().unwrap();
    let (_runtime, waits) = one_who_unwinds_goes_first(lock, write, read, |_| {});
    drop(guard);
    waits.join().unwrap();
}

#[test]
fn permits_go_to_one_who_unwinds() {
    fn acquire(semaphore: &Semaphore) {
        drop(semaphore.acquire_many(2).unwrap());
    }
    let release = |semaphore: &Semaphore| semaphore.add_permits(2);
    let (_runtime, waits) = one_who_unwinds_goes_first(Semaphore::new(0), acquire, acquire, release);
    waits.join().unwrap();
}

/// Whether a type implements a trait, asked at compile time: an inherent constant goes before a trait's.
macro_rules! implements {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code)]
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        trait Otherwise {
            const YES: bool = false;
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code)]
        impl<T: ?Sized + $($bound)+> Probe<T> {
            const YES: bool = true;
        }
        <Probe<$type>>::YES
    }};
}

/// The auto traits of a type, in a fixed order.
macro_rules! auto_traits {
    ($type:ty) => {
        [
            ("Send", implements!($type: Send)),
            ("Sync", implements!($type: Sync)),
            ("Unpin", implements!($type: Unpin)),
            ("UnwindSafe", implements!($type: UnwindSafe)),
            ("RefUnwindSafe", implements!($type: RefUnwindSafe)),
        ]
    };
}

/// What may be done with a lock, a guard or a handle is what may be done with std's, for payloads of each
/// kind.
#[test]
fn auto_traits_are_those_of_std() {
    use std::sync as std_sync;
    use sward::sync;
    type NotUnpin = std::marker::PhantomPinned;
    macro_rules! same {
        ($($payload:ty),*) => {$({
            type P = $payload;
            same!(@ Mutex<P>, RwLock<P>, OnceLock<P>, LazyLock<P>, LazyLock<u8, P>, MutexGuard<'static, P>,
                RwLockReadGuard<'static, P>, RwLockWriteGuard<'static, P>, PoisonError<P>, TryLockError<P>);
            assert_eq!(
                auto_traits!(JoinHandle<P>)[..3],
                auto_traits!(std::thread::JoinHandle<P>)[..3],
                "JoinHandle<{}>", stringify!($payload)
            );
            // Ours has them for any payload, as JoinHandle: what goes through it was `Send` where it was
            // spawned.
            assert!(
                implements!(sward::task::ScopedJoinHandle<'static, P>: Send + Sync + Unpin),
                "ScopedJoinHandle<{}>", std::any::type_name::<P>()
            );
        })*};
        (@ $($name:ident<$($arg:tt),*>),*) => {$(
            assert_eq!(
                auto_traits!(sync::$name<$($arg),*>),
                auto_traits!(std_sync::$name<$($arg),*>),
                "{} of {}", stringify!($name<$($arg),*>), std::any::type_name::<P>()
            );
        )*};
    }
    same!(
        u8,
        Cell<u8>,
        std::rc::Rc<u8>,
        &'static mut u8,
        &'static Cell<u8>,
        std_sync::MutexGuard<'static, u8>,
        *const u8,
        NotUnpin,
        Box<dyn Fn()>
    );
    macro_rules! plain {
        ($($name:ident),*) => {$(
            assert_eq!(auto_traits!(sync::$name), auto_traits!(std_sync::$name), stringify!($name));
        )*};
    }
    plain!(Barrier, BarrierWaitResult, Condvar, Once, WaitTimeoutResult);
}

/// A guard that only reads may stand where one of a shorter-lived type is wanted, as std's.
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
    // Of a type without a size, and by way of a downgrade.
    let sized = RwLock::new([1, 2]);
    let lock: &RwLock<[i32]> = &sized;
    let guard = RwLockWriteGuard::downgrade(lock.write().unwrap());
    assert_eq!((&*guard, lock.read().unwrap().len()), (&[1, 2][..], 2));
}

#[test]
fn a_lazy_value_is_made_and_changed_by_who_owns_it() {
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
