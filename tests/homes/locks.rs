//! Locks and waits of std, parking_lot and pthreads. They know their owner by its thread, and block it.
//!
//! A coroutine that blocks its thread may block the worker that the owner needs. So what may last over a wait
//! is taken by `try_lock` here, and what blocks is woken by a plain thread or by its own limit.

use super::coroutines::coroutines;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_guard_of_std_lasts_over_waits() {
    let count = Arc::new(Mutex::new(0));
    let counted = count.clone();
    let runs = coroutines(50).run(move |this| {
        for _ in 0..10 {
            let mut guard = this.retry(|| counted.try_lock().ok());
            let before = *guard;
            this.pauses(2);
            *guard = before + 1;
        }
    });
    assert_eq!(*count.lock().expect("no panic"), 10 * runs);
}

#[test]
fn a_guard_of_parking_lot_lasts_over_waits() {
    let count = Arc::new(parking_lot::Mutex::new(0));
    let counted = count.clone();
    let runs = coroutines(50).run(move |this| {
        for _ in 0..10 {
            let mut guard = this.retry(|| counted.try_lock());
            let before = *guard;
            this.pauses(2);
            *guard = before + 1;
        }
    });
    assert_eq!(*count.lock(), 10 * runs);
    // The owner of a re-entrant one is a thread.
    let count = Arc::new(parking_lot::ReentrantMutex::new(AtomicUsize::new(0)));
    let counted = count.clone();
    let runs = coroutines(20).isolated().run(move |this| {
        for _ in 0..5 {
            let guard = this.retry(|| counted.try_lock());
            let before = guard.load(Ordering::Relaxed);
            this.pauses(2);
            drop(counted.lock());
            this.pause();
            guard.store(before + 1, Ordering::Relaxed);
        }
    });
    assert_eq!(count.lock().load(Ordering::Relaxed), 5 * runs);
}

/// Between waits a lock may block: its owner runs.
#[test]
fn contended_locks_block_the_thread_and_wake_it() {
    let counts = Arc::new((Mutex::new(0), parking_lot::Mutex::new(0)));
    let counted = counts.clone();
    let runs = coroutines(50).run(move |this| {
        for _ in 0..20 {
            *counted.0.lock().expect("no panic") += 1;
            *counted.1.lock() += 1;
            this.pause();
        }
    });
    assert_eq!(*counts.0.lock().expect("no panic"), 20 * runs);
    assert_eq!(*counts.1.lock(), 20 * runs);
}

/// The lock of stdout is re-entrant, and knows its owner by `thread::current().id()`.
#[test]
fn the_lock_of_stdout_lasts_over_waits() {
    // It has no `try_lock`.
    let gate = Arc::new(sward::sync::Mutex::new(()));
    coroutines(20).run(move |this| {
        let gate = gate.lock().expect("no panic");
        let mut outer = std::io::stdout().lock();
        outer.flush().expect("written");
        this.pauses(3);
        let mut inner = std::io::stdout().lock();
        this.pauses(2);
        inner.flush().expect("written");
        drop(outer);
        this.pause();
        drop(inner);
        drop(gate);
    });
}

/// A mutex of pthreads, in memory that stays.
fn pthread_mutex(kind: libc::c_int) -> &'static PthreadMutex {
    let mutex =
        Box::leak(Box::new(PthreadMutex(std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))));
    // SAFETY: the attributes are initialized before they are used, and the mutex has no other user yet.
    unsafe {
        let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
        assert_eq!(libc::pthread_mutexattr_init(&raw mut attributes), 0);
        assert_eq!(libc::pthread_mutexattr_settype(&raw mut attributes, kind), 0);
        assert_eq!(libc::pthread_mutex_init(mutex.0.get(), &raw const attributes), 0);
    }
    mutex
}

struct PthreadMutex(std::cell::UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: all access is by the functions of pthreads.
unsafe impl Sync for PthreadMutex {}

impl PthreadMutex {
    fn lock(&self) -> libc::c_int {
        // SAFETY: it is initialized, and stays where it is.
        unsafe { libc::pthread_mutex_lock(self.0.get()) }
    }

    fn try_lock(&self) -> libc::c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_trylock(self.0.get()) }
    }

    fn unlock(&self) -> libc::c_int {
        // SAFETY: as above. A kind that checks its owner refuses a wrong one.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) }
    }
}

/// pthreads know the owner by the number in its `struct pthread`.
#[test]
fn a_recursive_mutex_knows_its_owner() {
    let mutex = pthread_mutex(libc::PTHREAD_MUTEX_RECURSIVE);
    let owner = AtomicUsize::new(usize::MAX);
    coroutines(20).isolated().run(move |this| {
        for _ in 0..5 {
            this.retry(|| (mutex.try_lock() == 0).then_some(()));
            assert_eq!(owner.swap(this.number, Ordering::SeqCst), usize::MAX);
            this.pauses(2);
            assert_eq!(mutex.lock(), 0);
            this.pauses(2);
            assert_eq!(mutex.unlock(), 0);
            this.pause();
            assert_eq!(owner.swap(usize::MAX, Ordering::SeqCst), this.number);
            assert_eq!(mutex.unlock(), 0);
            this.pause();
        }
    });
}

#[test]
fn a_checking_mutex_refuses_others() {
    let mutex = pthread_mutex(libc::PTHREAD_MUTEX_ERRORCHECK);
    coroutines(20).isolated().run(move |this| {
        for _ in 0..5 {
            let taken = mutex.try_lock();
            if taken == 0 {
                this.pauses(2);
                assert_eq!(mutex.lock(), libc::EDEADLK);
                this.pause();
                assert_eq!(mutex.unlock(), 0);
            } else {
                assert_eq!(taken, libc::EBUSY);
                assert_eq!(mutex.unlock(), libc::EPERM);
            }
            this.pause();
        }
    });
}

#[test]
fn a_parked_thread_is_unparked() {
    coroutines(20).run(|this| {
        this.pauses(this.number % 3);
        let woken = AtomicBool::new(false);
        let thread = thread::current();
        thread::scope(|scope| {
            scope.spawn(|| {
                woken.store(true, Ordering::Release);
                thread.unpark();
            });
            while !woken.load(Ordering::Acquire) {
                thread::park();
            }
        });
        this.pause();
        assert_eq!(thread::current().id(), thread.id());
        // A token that comes before.
        thread.unpark();
        thread::park();
    });
}

#[test]
fn the_channels_of_std_pass_every_message() {
    const COUNT: usize = 1_000;
    let ends = || {
        let (first, middle) = mpsc::sync_channel(1);
        let (last, end) = mpsc::channel();
        (Mutex::new(Some(first)), Mutex::new(Some((middle, last))), Mutex::new(Some(end)))
    };
    let round = Mutex::new((0, Arc::new(ends())));
    coroutines(3).run(move |this| {
        // The next three coroutines share the next channels.
        let ends = {
            let mut round = round.lock().expect("no panic");
            round.0 += 1;
            let ends_of_this_round = round.1.clone();
            if round.0 % 3 == 0 {
                round.1 = Arc::new(ends());
            }
            ends_of_this_round
        };
        match this.number {
            0 => {
                let first = ends.0.lock().expect("no panic").take().expect("once");
                for i in 0..COUNT {
                    this.retry(|| first.try_send(i).ok());
                }
            }
            1 => {
                let (middle, last) = ends.1.lock().expect("no panic").take().expect("once");
                for _ in 0..COUNT {
                    let i: usize = this.retry(|| middle.recv_timeout(Duration::from_micros(50)).ok());
                    last.send(i + 1).expect("the end is open");
                }
            }
            _ => {
                let end = ends.2.lock().expect("no panic").take().expect("once");
                for i in 0..COUNT {
                    assert_eq!(this.retry(|| end.try_recv().ok()), i + 1);
                }
            }
        }
    });
}

#[test]
fn a_condvar_waits_out_its_limit() {
    const LIMIT: Duration = Duration::from_millis(2);
    coroutines(10).run(|this| {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        this.pauses(2);
        let start = Instant::now();
        let guard = mutex.lock().expect("no panic");
        let (_guard, result) = condvar.wait_timeout_while(guard, LIMIT, |()| true).expect("no panic");
        assert!(result.timed_out() && start.elapsed() >= LIMIT);
        this.pause();
    });
}

/// A plain thread notifies coroutines that block in a `Condvar`.
#[test]
fn a_condvar_is_notified() {
    coroutines(10).run(|this| {
        let (mutex, condvar) = (Mutex::new(false), Condvar::new());
        this.pauses(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                *mutex.lock().expect("no panic") = true;
                condvar.notify_all();
            });
            let guard = mutex.lock().expect("no panic");
            drop(condvar.wait_while(guard, |set| !*set).expect("no panic"));
        });
        this.pause();
    });
}
