//! `park` and `unpark`, and sleeps.

use crate::common::{in_runtime, one_worker, two_workers};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sward::task;

#[test]
fn no_unpark_is_lost() {
    let runtime = two_workers();
    runtime.run(|| {
        let pairs: Vec<_> = (0..16)
            .map(|_| {
                let turn = Arc::new(AtomicUsize::new(0));
                let (tx, rx) = std::sync::mpsc::channel();
                let theirs = turn.clone();
                let other = sward::spawn(move || {
                    let peer: task::Task = loop {
                        match rx.try_recv() {
                            Ok(peer) => break peer,
                            Err(_) => sward::yield_now(),
                        }
                    };
                    for round in 0..2_000 {
                        while theirs.load(Ordering::Acquire) != 2 * round + 1 {
                            task::park();
                        }
                        theirs.store(2 * round + 2, Ordering::Release);
                        peer.unpark();
                    }
                });
                let peer = other.task();
                let mine = sward::spawn(move || {
                    tx.send(task::current()).expect("the peer listens");
                    for round in 0..2_000 {
                        turn.store(2 * round + 1, Ordering::Release);
                        peer.unpark();
                        while turn.load(Ordering::Acquire) != 2 * round + 2 {
                            task::park();
                        }
                    }
                });
                (mine, other)
            })
            .collect();
        for (mine, other) in pairs {
            mine.join().unwrap();
            other.join().unwrap();
        }
    });
}

#[test]
fn threads_and_coroutines_unpark_each_other() {
    in_runtime(|| {
        let me = task::current();
        let ready = Arc::new(AtomicBool::new(false));
        let (theirs, thread_task) = (ready.clone(), std::sync::mpsc::channel());
        let tx = thread_task.0;
        let thread = std::thread::spawn(move || {
            tx.send(task::current()).expect("somebody listens");
            while !theirs.load(Ordering::Acquire) {
                task::park();
            }
            me.unpark();
        });
        let thread_task = thread_task.1.recv().expect("the thread sends");
        ready.store(true, Ordering::Release);
        thread_task.unpark();
        task::park();
        thread.join().unwrap();
    });
}

#[test]
fn a_sleep_lasts_and_ends() {
    in_runtime(|| {
        let start = Instant::now();
        let handles: Vec<_> = (0..1_000u64)
            .map(|i| {
                sward::spawn(move || {
                    let (start, time) = (Instant::now(), Duration::from_micros(i * 20));
                    sward::sleep(time);
                    assert!(start.elapsed() >= time);
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        assert!(start.elapsed() >= Duration::from_micros(999 * 20));
        sward::sleep(Duration::ZERO);
    });
}

#[test]
fn a_ping_pong_pair_does_not_starve_others() {
    let runtime = one_worker();
    runtime.run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let peers: Arc<Mutex<Vec<task::Task>>> = Arc::default();
        let pair: Vec<_> = (0..2)
            .map(|i| {
                let (stop, peers) = (stop.clone(), peers.clone());
                sward::spawn(move || {
                    peers.lock().unwrap().push(task::current());
                    while peers.lock().unwrap().len() < 2 {
                        sward::yield_now();
                    }
                    let me = task::current().id();
                    let peer = peers.lock().unwrap().iter().find(|t| t.id() != me).cloned().unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        peer.unpark();
                        task::park();
                    }
                    peer.unpark();
                    i
                })
            })
            .collect();
        sward::sleep(Duration::from_millis(5)); // the timer and this coroutine get their turn
        let third = sward::spawn(|| 3);
        assert_eq!(third.join().unwrap(), 3);
        stop.store(true, Ordering::Relaxed);
        for handle in pair {
            handle.join().unwrap();
        }
    });
}

/// Timers of waits that end early do not pile up: each wait with a limit of an hour is woken at once, and
/// takes its timer with it.
#[test]
fn timers_of_waits_that_end_early_do_not_pile_up() {
    let runtime = one_worker();
    runtime.run(|| {
        for _ in 0..100_000 {
            task::current().unpark();
            task::park_timeout(Duration::from_secs(3600));
        }
        let me = task::current();
        let waker = sward::spawn(move || {
            for _ in 0..1_000 {
                me.unpark();
                sward::yield_now();
            }
        });
        while !waker.is_finished() {
            task::park_timeout(Duration::from_millis(1));
        }
    });
}
