//! 100 coroutines share one lock around a short critical section: a mutex, or a readers-writer lock with 90 %
//! reads.

use super::{Locks, Meter, Outcome, Size, forever};

/// One access of the readers-writer lock in that many is a write.
const WRITES: u64 = 10;

pub fn mutex<P: Locks>(size: Size) -> Outcome {
    let (mutex, each) = (forever(P::mutex()), size.ops.div_ceil(size.tasks));
    let meter = Meter::start();
    let count = move || (0..each).for_each(|_| P::lock(mutex, |n| *n += 1));
    let handles: Vec<_> = (0..size.tasks).map(|_| P::spawn(count)).collect();
    handles.into_iter().for_each(P::join);
    let outcome = meter.stop(each * size.tasks);
    assert_eq!(P::lock(mutex, |n| *n), each * size.tasks, "no increment is lost");
    outcome
}

pub fn rwlock<P: Locks>(size: Size) -> Outcome {
    let (lock, each) = (forever(P::rwlock()), size.ops.div_ceil(size.tasks));
    let meter = Meter::start();
    let work = move || {
        let mut seen = 0;
        for n in 0..each {
            if n % WRITES == 0 {
                P::write(lock, |n| *n += 1);
            } else {
                let now = P::read(lock, |n| *n);
                assert!(now >= seen, "the count never falls");
                seen = now;
            }
        }
    };
    let handles: Vec<_> = (0..size.tasks).map(|_| P::spawn(work)).collect();
    handles.into_iter().for_each(P::join);
    let outcome = meter.stop(each * size.tasks);
    assert_eq!(P::read(lock, |n| *n), each.div_ceil(WRITES) * size.tasks, "no increment is lost");
    outcome
}

pub async fn tokio_mutex(size: Size) -> Outcome {
    let (mutex, each) = (forever(tokio::sync::Mutex::new(0)), size.ops.div_ceil(size.tasks));
    let meter = Meter::start();
    let count = move || async move {
        for _ in 0..each {
            *mutex.lock().await += 1;
        }
    };
    let handles: Vec<_> = (0..size.tasks).map(|_| tokio::spawn(count())).collect();
    for handle in handles {
        handle.await.expect("it only counts");
    }
    let outcome = meter.stop(each * size.tasks);
    assert_eq!(*mutex.lock().await, each * size.tasks, "no increment is lost");
    outcome
}

pub async fn tokio_rwlock(size: Size) -> Outcome {
    let (lock, each) = (forever(tokio::sync::RwLock::new(0)), size.ops.div_ceil(size.tasks));
    let meter = Meter::start();
    let work = move || async move {
        let mut seen = 0;
        for n in 0..each {
            if n % WRITES == 0 {
                *lock.write().await += 1;
            } else {
                let now = *lock.read().await;
                assert!(now >= seen, "the count never falls");
                seen = now;
            }
        }
    };
    let handles: Vec<_> = (0..size.tasks).map(|_| tokio::spawn(work())).collect();
    for handle in handles {
        handle.await.expect("the count never falls");
    }
    let outcome = meter.stop(each * size.tasks);
    assert_eq!(*lock.read().await, each.div_ceil(WRITES) * size.tasks, "no increment is lost");
    outcome
}
