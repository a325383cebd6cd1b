//! The pool for blocking calls, and its limit.

use crate::common::SetOnDrop;
use crate::common::in_child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use sward::runtime::{Builder, metrics, set_max_blocking_threads};
use sward::task::JoinError;

#[test]
fn the_pool() {
    in_child(|| {
        assert_eq!(set_max_blocking_threads(0).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        set_max_blocking_threads(2).unwrap();
        let here = std::thread::current().id();
        assert_eq!(
            sward::blocking(|| std::thread::current().id()).unwrap(),
            here,
            "a plain thread may block"
        );
        let runtime = Builder::new().worker_threads(1).build().unwrap();
        runtime.run(borrows_and_returns);
        runtime.run(panics_pass_through);
        runtime.run(the_worker_goes_on);
        runtime.run(calls_beyond_the_limit_wait_and_can_be_cancelled);
        runtime.run(a_started_call_is_awaited);
    });
}

fn borrows_and_returns() {
    let mut text = String::from("borrowed");
    let length = sward::blocking(|| {
        text.push('!');
        text.len()
    });
    assert_eq!((length.unwrap(), text.as_str()), (9, "borrowed!"));
}

fn panics_pass_through() {
    let caught = std::panic::catch_unwind(|| sward::blocking(|| std::panic::resume_unwind(Box::new(7))));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&7));
    assert_eq!(sward::blocking(|| 1).unwrap(), 1, "the thread has survived");
}

fn the_worker_goes_on() {
    let (release, released) = mpsc::channel();
    let blocked = sward::spawn(move || sward::blocking(move || released.recv().unwrap()).unwrap());
    // On the only worker, while the call blocks.
    sward::spawn(move || release.send(5).unwrap()).join().unwrap();
    assert_eq!(blocked.join().unwrap(), 5);
}

/// Fills the pool, and returns the senders that empty it again.
fn fill() -> (Vec<mpsc::Sender<()>>, Vec<sward::task::JoinHandle<()>>) {
    let started = Arc::new(AtomicUsize::new(0));
    let calls = (0..2).map(|_| {
        let started = Arc::clone(&started);
        let (release, released) = mpsc::channel();
        let call = sward::spawn(move || {
            sward::blocking(move || {
                started.fetch_add(1, Ordering::Release);
                released.recv().unwrap();
            })
            .unwrap();
        });
        (release, call)
    });
    let (release, calls) = calls.unzip();
    while started.load(Ordering::Acquire) < 2 {
        sward::sleep(Duration::from_millis(1));
    }
    (release, calls)
}

fn calls_beyond_the_limit_wait_and_can_be_cancelled() {
    let (release, calls) = fill();
    static RAN: AtomicBool = AtomicBool::new(false);
    static DROPPED: AtomicBool = AtomicBool::new(false);
    let (ran, dropped) = (&RAN, &DROPPED);
    let guard = SetOnDrop(dropped);
    let queued = sward::spawn(move || {
        sward::blocking(move || {
            let _guard = guard;
            ran.store(true, Ordering::Release);
        })
    });
    while metrics().unwrap().blocking_queued == 0 {
        sward::sleep(Duration::from_millis(1));
    }
    assert_eq!((metrics().unwrap().blocking_threads, metrics().unwrap().blocking_idle), (2, 0));
    queued.cancel();
    assert!(matches!(queued.join(), Err(JoinError::Cancelled)));
    assert_eq!(metrics().unwrap().blocking_queued, 0);
    let last = sward::spawn(|| sward::blocking(|| "after all").unwrap());
    release.into_iter().for_each(|release| release.send(()).unwrap());
    calls.into_iter().for_each(|call| call.join().unwrap());
    assert_eq!(last.join().unwrap(), "after all");
    assert!(!ran.load(Ordering::Acquire) && dropped.load(Ordering::Acquire));
}

fn a_started_call_is_awaited() {
    let (release, released) = mpsc::channel();
    let (returned, result) = mpsc::channel();
    let (begun, beginning) = mpsc::channel();
    let call = sward::spawn(move || {
        let value = sward::blocking(move || {
            begun.send(()).unwrap();
            released.recv().unwrap()
        });
        returned.send(value.unwrap()).unwrap();
        sward::task::park();
    });
    sward::blocking(move || beginning.recv().unwrap()).unwrap();
    call.cancel();
    assert!(!call.is_finished());
    release.send(3).unwrap();
    assert!(matches!(call.join(), Err(JoinError::Cancelled)));
    assert_eq!(result.recv(), Ok(3));
}
