//! The pool of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use sward::channel;
use sward_compat::Pool;

/// Each connection has a number.
fn numbered(limit: usize) -> (Arc<Pool<usize, ()>>, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    (Arc::new(Pool::new(limit, move || Ok(count.fetch_add(1, Ordering::Relaxed)))), made)
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
        assert_eq!(pool.with(|connection| Ok::<_, ()>(*connection)), Ok(0));
        assert_eq!(pool.idle(), 1);
        let late = pool.with(|_| {
            let wait = || sward::sleep(Duration::from_secs(3600));
            sward::time::timeout(Duration::from_millis(1), wait).map_err(|_| ())
        });
        assert_eq!((late, pool.idle()), (Err(()), 0));
        assert_eq!(pool.with(|connection| Ok::<_, ()>(*connection)), Ok(1));
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
            assert_eq!(pool.get().unwrap_err(), "refused");
        }
        let (pool, _) = numbered(1);
        assert_eq!(pool.get().unwrap().take(), 0);
        assert_eq!(pool.idle(), 0);
        assert_eq!(*pool.get().unwrap(), 1);
    });
}
