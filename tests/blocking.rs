//! Calls that block, on the pool. One test, since the pool and its limit are the process's.

mod checked;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use sward::runtime::{Builder, metrics, set_max_blocking_threads};
use sward::task::JoinError;

#[test]
fn the_pool() {
    assert_eq!(set_max_blocking_threads(0).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    set_max_blocking_threads(2).unwrap();
    let here = std::thread::current().id();
    assert_eq!(sward::blocking(|| std::thread::current().id()).unwrap(), here, "a plain thread may block");
    let runtime = Builder::new().worker_threads(1).build().unwrap();
    runtime.run(borrows_and_returns);
    runtime.run(panics_pass_through);
    runtime.run(the_worker_goes_on);
    runtime.run(what_is_too_much_waits_and_can_be_cancelled);
    runtime.run(what_has_been_started_is_awaited);
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
    let (tell, told) = mpsc::channel();
    let blocked = sward::spawn(move || sward::blocking(move || told.recv().unwrap()).unwrap());
    // On the one worker, while the call blocks.
    sward::spawn(move || tell.send(5).unwrap()).join().unwrap();
    assert_eq!(blocked.join().unwrap(), 5);
}

/// Fills the pool, and gives what empties it again.
fn fill() -> (Vec<mpsc::Sender<()>>, Vec<sward::task::JoinHandle<()>>) {
    let started: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let calls = (0..2).map(|_| {
        let (tell, told) = mpsc::channel();
        let call = sward::spawn(move || {
            sward::blocking(move || {
                started.fetch_add(1, Ordering::Release);
                told.recv().unwrap();
            })
            .unwrap();
        });
        (tell, call)
    });
    let (tell, calls) = calls.unzip();
    while started.load(Ordering::Acquire) < 2 {
        sward::sleep(Duration::from_millis(1));
    }
    (tell, calls)
}

fn what_is_too_much_waits_and_can_be_cancelled() {
    let (tell, calls) = fill();
    let ran: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let dropped: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    struct Told(&'static AtomicBool);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let guard = Told(dropped);
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
    tell.into_iter().for_each(|tell| tell.send(()).unwrap());
    calls.into_iter().for_each(|call| call.join().unwrap());
    assert_eq!(last.join().unwrap(), "after all");
    assert!(!ran.load(Ordering::Acquire) && dropped.load(Ordering::Acquire));
}

fn what_has_been_started_is_awaited() {
    let (tell, told) = mpsc::channel();
    let (returned, result) = mpsc::channel();
    let (begun, beginning) = mpsc::channel();
    let call = sward::spawn(move || {
        let value = sward::blocking(move || {
            begun.send(()).unwrap();
            told.recv().unwrap()
        });
        returned.send(value.unwrap()).unwrap();
        sward::task::park();
    });
    sward::blocking(move || beginning.recv().unwrap()).unwrap();
    call.cancel();
    assert!(!call.is_finished());
    tell.send(3).unwrap();
    assert!(matches!(call.join(), Err(JoinError::Cancelled)));
    assert_eq!(result.recv(), Ok(3));
}
