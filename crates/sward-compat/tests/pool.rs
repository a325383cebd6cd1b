//! The pool of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use sward::channel;
use sward_compat::{Pool, PoolError};

/// Each connection has a number.
fn numbered(limit: usize) -> (Arc<Pool<usize, ()>>, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    (Arc::new(Pool::new(limit, move || Ok(count.fetch_add(1, Ordering::Relaxed)))), made)
}

/// An error of a closure of `with`.
#[derive(Debug, PartialEq)]
struct Failed;

impl From<PoolError<()>> for Failed {
    fn from(_: PoolError<()>) -> Failed {
        Failed
    }
}

#[test]
fn makes_no_more_than_its_limit() {
    sward::run(|| {
        let (pool, made) = numbered(3);
        let handles: Vec<_> = (0..50)
            .map(|_| {
                let pool = Arc::clone(&pool);
                sward::spawn(move || {
                    let _connection = pool.get().unwrap();
                    sward::sleep(Duration::from_millis(1));
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert!(made.load(Ordering::Relaxed) <= 3);
        assert_eq!(pool.idle(), made.load(Ordering::Relaxed));
    });
}

#[test]
fn drops_a_connection_whose_user_was_cancelled() {
    sward::run(|| {
        let (pool, made) = numbered(1);
        let (send, recv) = channel::bounded(1);
        let user = sward::spawn({
            let pool = Arc::clone(&pool);
            move || {
                let _connection = pool.get().unwrap();
                send.send(()).unwrap();
                sward::sleep(Duration::from_secs(3600));
            }
        });
        recv.recv().unwrap();
        user.cancel();
        user.join().unwrap_err();
        assert_eq!(pool.idle(), 0);
        assert_eq!(*pool.get().unwrap(), 1, "a new one in its place");
        assert_eq!((pool.idle(), made.load(Ordering::Relaxed)), (1, 2));
    });
}

#[test]
fn keeps_a_connection_only_after_success() {
    sward::run(|| {
        let (pool, _) = numbered(1);
        assert_eq!(pool.with(|connection| Ok::<_, Failed>(*connection)), Ok(0));
        assert_eq!(pool.idle(), 1);
        let late = pool.with(|_| {
            let wait = || sward::sleep(Duration::from_secs(3600));
            sward::time::timeout(Duration::from_millis(1), wait).map_err(|_| Failed)
        });
        assert_eq!((late, pool.idle()), (Err(Failed), 0));
        assert_eq!(pool.with(|connection| Ok::<_, Failed>(*connection)), Ok(1));
    });
}

#[test]
fn drops_idle_connections_that_have_ended() {
    sward::run(|| {
        let made = AtomicUsize::new(0);
        let pool = Pool::new(1, move || Ok::<_, ()>(made.fetch_add(1, Ordering::Relaxed)));
        let pool = pool.check(|connection| *connection != 0);
        assert_eq!(*pool.get().unwrap(), 0);
        assert_eq!(*pool.get().unwrap(), 1);
        assert_eq!(*pool.get().unwrap(), 1);
    });
}

#[test]
fn gives_back_the_permit_of_one_that_was_not_made_or_was_taken() {
    sward::run(|| {
        let pool: Pool<u8, &str> = Pool::new(1, || Err("refused"));
        for _ in 0..3 {
            assert_eq!(pool.get().unwrap_err(), PoolError::Connect("refused"));
        }
        let (pool, _) = numbered(1);
        assert_eq!(pool.get().unwrap().take(), 0);
        assert_eq!(pool.idle(), 0);
        assert_eq!(*pool.get().unwrap(), 1);
    });
}

#[test]
fn a_caller_waits_no_longer_than_it_says() {
    sward::run(|| {
        let (pool, made) = numbered(1);
        let held = pool.get().unwrap();
        let short = Duration::from_millis(1);
        assert_eq!(pool.get_timeout(short).unwrap_err(), PoolError::TimedOut);
        // A time limit around the call ends the wait too.
        assert!(sward::time::timeout(short, || pool.get().map(drop)).is_err());
        drop(held);
        // Neither of them has kept the permit.
        assert_eq!(*pool.get_timeout(Duration::from_secs(3600)).unwrap(), 0);
        assert_eq!((pool.idle(), made.load(Ordering::Relaxed)), (1, 1));
    });
}

/// A connection that counts its drop.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counted(limit: usize) -> (Pool<Counted, ()>, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    (Pool::new(limit, move || Ok(Counted(Arc::clone(&count)))), dropped)
}

#[test]
fn drops_connections_that_were_idle_for_too_long() {
    sward::run(|| {
        let age = Duration::from_millis(1);
        let (pool, dropped) = counted(3);
        let pool = pool.idle_time(age);
        let dropped = || dropped.load(Ordering::Relaxed);
        let (one, two) = (pool.get().unwrap(), pool.get().unwrap());
        drop(one);
        sward::sleep(2 * age);
        // The return of another one drops it.
        drop(two);
        assert_eq!((pool.idle(), dropped()), (1, 1));
        sward::sleep(2 * age);
        // So does a caller, who gets a new one.
        let three = pool.get().unwrap();
        assert_eq!((pool.idle(), dropped()), (0, 2));
        drop(three);
        sward::sleep(2 * age);
        pool.drop_outdated();
        assert_eq!((pool.idle(), dropped()), (0, 3));
    });
}

#[test]
fn keeps_connections_that_are_not_too_old() {
    sward::run(|| {
        let (pool, dropped) = counted(2);
        let pool = pool.idle_time(Duration::from_secs(3600));
        drop((pool.get().unwrap(), pool.get().unwrap()));
        drop(pool.get().unwrap());
        assert_eq!((pool.idle(), dropped.load(Ordering::Relaxed)), (2, 0));
    });
}

#[test]
fn a_closed_pool_keeps_no_connection() {
    sward::run(|| {
        let (pool, dropped) = counted(2);
        let dropped = || dropped.load(Ordering::Relaxed);
        let used = pool.get().unwrap();
        drop(pool.get().unwrap());
        assert_eq!((pool.idle(), dropped()), (1, 0));
        pool.close();
        assert_eq!((pool.idle(), dropped()), (0, 1));
        drop(used);
        assert_eq!((pool.idle(), dropped()), (0, 2));
        assert_eq!(pool.get().map(drop), Err(PoolError::Closed));
        let error = std::io::Error::from(PoolError::<std::io::Error>::Closed);
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    });
}

#[test]
fn the_callers_of_a_pool_that_is_closed_wait_no_longer() {
    sward::run(|| {
        let (pool, _) = numbered(1);
        sward::scope(|s| {
            let used = pool.get().unwrap();
            let waits = s.spawn(|| pool.get().map(drop));
            let waits_shortly = s.spawn(|| pool.get_timeout(Duration::from_secs(3600)).map(drop));
            // They wait by now, or come after the close.
            sward::yield_now();
            pool.close();
            for end in [waits.join(), waits_shortly.join()] {
                assert!(matches!(end, Ok(Err(PoolError::Closed))), "{end:?}");
            }
            drop(used);
        });
    });
}
