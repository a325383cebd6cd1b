//! All primitives at once: random cancellations, and locks that are always free.

use crate::common::{Random, one_worker, two_workers};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use sward::sync::{Barrier, Condvar, Mutex, Notify, RwLock, Semaphore, WaitGroup};
use sward::task::JoinError;

/// Coroutines and threads contend for all primitives while coroutines are cancelled at random. In the end all
/// locks are free and not poisoned, their data is whole, and all permits are back.
#[test]
fn random_cancellations_leave_everything_intact() {
    struct World {
        mutex: Mutex<(u64, u64)>,
        lock: RwLock<(u64, u64)>,
        changed: Condvar,
        semaphore: Semaphore,
        inside: AtomicUsize,
        notify: Notify,
        group: WaitGroup,
    }

    /// Counts down however the coroutine ends.
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

/// A coroutine whose locks are always free still yields to others in time.
#[test]
fn free_locks_do_not_keep_a_worker_from_others() {
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
