//! Waiters that unwind block their worker, so locks serve them first.

use crate::common::{MOMENT, fails, one_worker, poll, two_workers, waiting};
use crate::leaked_lock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use sward::block_on;
use sward::runtime::Runtime;
use sward::sync::{Mutex, Notify, RwLock, Semaphore};
use sward::task::{JoinError, JoinHandle};

/// A wait while the thread unwinds blocks the thread. Another thread supplies what it waits for.
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

/// A plain thread holds what two coroutines of one worker want. The first waits. The second unwinds, and its
/// destructor blocks the worker. The second gets what becomes free, as the first cannot run.
fn an_unwinding_waiter_goes_first<T: Send + Sync + 'static>(
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
    let end = std::time::Instant::now() + Duration::from_secs(120);
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
fn a_mutex_goes_to_an_unwinding_waiter() {
    let mutex: &'static Mutex<u32> = leaked_lock(Mutex::new(0));
    let guard = mutex.lock().unwrap();
    let lock = |mutex: &&Mutex<u32>| *mutex.lock().unwrap() += 1;
    let (_runtime, waits) = an_unwinding_waiter_goes_first(mutex, lock, lock, |_| drop(guard));
    waits.join().unwrap();
    assert_eq!(*mutex.lock().unwrap(), 2);
}

/// The future of a `block_on` in a destructor is served as a call is that blocks.
#[test]
fn a_future_that_blocks_an_unwinding_worker_goes_first() {
    fn lock(mutex: &&'static Mutex<u32>) {
        *block_on(mutex.lock_async()).unwrap() += 1;
    }
    let mutex: &'static Mutex<u32> = leaked_lock(Mutex::new(0));
    let guard = mutex.lock().unwrap();
    let (_runtime, waits) = an_unwinding_waiter_goes_first(mutex, lock, lock, |_| drop(guard));
    waits.join().unwrap();
    assert_eq!(*mutex.lock().unwrap(), 2);

    fn read(lock: &&'static RwLock<u32>) {
        assert!(*block_on(lock.read_async()).unwrap() < 3);
    }
    fn write(lock: &&'static RwLock<u32>) {
        *block_on(lock.write_async()).unwrap() += 1;
    }
    for (wait, in_destructor) in [(write as fn(&_), read as fn(&_)), (read, write), (write, write)] {
        let lock: &'static RwLock<u32> = leaked_lock(RwLock::new(0));
        let guard = lock.write().unwrap();
        let (_runtime, waits) = an_unwinding_waiter_goes_first(lock, wait, in_destructor, |_| drop(guard));
        waits.join().unwrap();
    }

    fn acquire(semaphore: &Semaphore) {
        drop(block_on(semaphore.acquire_many_async(2)).unwrap());
    }
    let release = |semaphore: &Semaphore| semaphore.add_permits(2);
    let (_runtime, waits) = an_unwinding_waiter_goes_first(Semaphore::new(0), acquire, acquire, release);
    waits.join().unwrap();
}

/// A future that owns the mutex since it blocked its worker, and is dropped, releases it.
#[test]
fn a_future_that_was_handed_the_mutex_releases_it_as_it_is_dropped() {
    struct Polls(&'static Mutex<u32>, std::sync::mpsc::Sender<LockFuture>);
    type LockFuture = std::pin::Pin<Box<dyn Future<Output = bool> + Send>>;
    impl Drop for Polls {
        fn drop(&mut self) {
            let mutex = self.0;
            let mut future: LockFuture = Box::pin(async { mutex.lock_async().await.is_ok() });
            assert!(poll(future.as_mut(), &Arc::default()).is_pending());
            self.1.send(future).unwrap();
        }
    }
    let mutex: &'static Mutex<u32> = leaked_lock(Mutex::new(0));
    let runtime = one_worker();
    for dropped in [true, false] {
        let guard = mutex.lock().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        let unwinds = runtime.spawn(move || {
            let _polls = Polls(mutex, send);
            fails();
        });
        let future = receive.recv().unwrap();
        assert!(unwinds.join().is_err());
        drop(guard);
        assert!(mutex.try_lock().is_err(), "it was handed to the future");
        if dropped {
            drop(future);
        } else {
            assert!(block_on(future));
        }
        assert!(mutex.try_lock().is_ok());
    }
}

/// The mutex is free, and the waiter in flight is a coroutine that cannot run.
#[test]
fn a_mutex_with_a_waiter_in_flight_goes_to_an_unwinding_waiter() {
    let mutex: &'static Mutex<u32> = leaked_lock(Mutex::new(0));
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
        // Keeps the worker, while the other coroutine is woken and overtaken.
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
fn an_rwlock_goes_to_an_unwinding_waiter() {
    fn read(lock: &&'static RwLock<u32>) {
        assert!(*lock.read().unwrap() < 3);
    }
    fn write(lock: &&'static RwLock<u32>) {
        *lock.write().unwrap() += 1;
    }
    for (wait, in_destructor) in [(write as fn(&_), read as fn(&_)), (read, write), (write, write)] {
        let lock: &'static RwLock<u32> = leaked_lock(RwLock::new(0));
        let guard = lock.write().unwrap();
        let (_runtime, waits) = an_unwinding_waiter_goes_first(lock, wait, in_destructor, |_| drop(guard));
        waits.join().unwrap();
    }
    // A reader gets the lock together with other readers, also ahead of a waiting writer.
    let lock: &'static RwLock<u32> = leaked_lock(RwLock::new(0));
    let guard = lock.read().unwrap();
    let (_runtime, waits) = an_unwinding_waiter_goes_first(lock, write, read, |_| {});
    drop(guard);
    waits.join().unwrap();
}

#[test]
fn permits_go_to_an_unwinding_waiter() {
    fn acquire(semaphore: &Semaphore) {
        drop(semaphore.acquire_many(2).unwrap());
    }
    let release = |semaphore: &Semaphore| semaphore.add_permits(2);
    let (_runtime, waits) = an_unwinding_waiter_goes_first(Semaphore::new(0), acquire, acquire, release);
    waits.join().unwrap();
}
