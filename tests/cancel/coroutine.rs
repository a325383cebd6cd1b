//! Cancellation of a coroutine in each kind of wait, and where it is masked.

use crate::common::{LONG, MOMENT, SetOnDrop, everywhere, fill_queue, in_runtime, listen, pair};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use sward::net::{TcpStream, ToSocketAddrs};
use sward::task::{self, CancelToken, Cancelled, JoinError};

/// Cancels a coroutine that waits in the closure: before it has started to wait, and while it does.
pub(crate) fn cancelled_in(wait: impl Fn() + Send + Sync + 'static) {
    let wait = Arc::new(wait);
    for round in 0..10 {
        let (wait, unwound) = (wait.clone(), Arc::new(AtomicBool::new(false)));
        let (theirs, begun) = (SetOnDrop(unwound.clone()), Arc::new(AtomicBool::new(false)));
        let begins = begun.clone();
        let waits = sward::spawn(move || {
            let _unwound = theirs;
            begins.store(true, Ordering::Release);
            wait();
            unreachable!("cancelled");
        });
        if round > 0 {
            while !begun.load(Ordering::Acquire) {
                sward::yield_now();
            }
        }
        if round > 5 {
            sward::sleep(MOMENT);
        }
        waits.cancel();
        let result = waits.join();
        assert!(matches!(result, Err(JoinError::Cancelled)), "{result:?}");
        assert!(unwound.load(Ordering::Acquire));
    }
}

#[test]
fn out_of_a_sleep_and_a_park() {
    in_runtime(|| {
        cancelled_in(|| sward::sleep(LONG));
        cancelled_in(task::park);
        cancelled_in(|| task::park_timeout(LONG));
    });
}

#[test]
fn out_of_a_join() {
    in_runtime(|| {
        let go = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicUsize::new(0));
        let (gone, ends) = (go.clone(), ended.clone());
        let started = Arc::new(AtomicUsize::new(0));
        let starts = started.clone();
        cancelled_in(move || {
            let (gone, ends) = (gone.clone(), ends.clone());
            starts.fetch_add(1, Ordering::SeqCst);
            let joined = sward::spawn(move || {
                while !gone.load(Ordering::Acquire) {
                    sward::sleep(Duration::from_millis(1));
                }
                ends.fetch_add(1, Ordering::SeqCst);
            });
            joined.join().unwrap();
        });
        go.store(true, Ordering::Release); // the joined ones are detached, and end by themselves
        while ended.load(Ordering::SeqCst) < started.load(Ordering::SeqCst) {
            sward::yield_now();
        }
    });
}

#[test]
fn out_of_a_read() {
    in_runtime(|| {
        let (ours, mut theirs) = pair();
        let ours = Arc::new(ours);
        let reads = ours.clone();
        cancelled_in(move || {
            let mut byte = [0];
            let read = (&*reads).read(&mut byte).expect("cancelled");
            unreachable!("{read} bytes, {byte:?}");
        });
        let reads = ours.clone();
        cancelled_in(move || drop(reads.peek(&mut [0])));
        let reader = sward::spawn(move || {
            let mut text = [0; 5];
            (&*ours).read_exact(&mut text).map(|()| text)
        });
        theirs.write_all(b"hello").expect("written");
        assert_eq!(reader.join().unwrap().expect("read"), *b"hello");
    });
}

#[test]
fn out_of_a_write() {
    in_runtime(|| {
        let (ours, mut theirs) = pair();
        let ours = Arc::new(ours);
        let written = Arc::new(AtomicUsize::new(0));
        let (writes, counts) = (ours.clone(), written.clone());
        cancelled_in(move || {
            loop {
                let n = (&*writes).write(&[7; 65_536]).expect("cancelled");
                counts.fetch_add(n, Ordering::SeqCst);
            }
        });
        let writer = sward::spawn(move || {
            (&*ours).write_all(&[8; 65_536]).expect("written");
            ours.shutdown(sward::net::Shutdown::Write)
        });
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).expect("read");
        writer.join().unwrap().expect("shut down");
        let before = written.load(Ordering::SeqCst);
        assert_eq!(all.len(), before + 65_536, "a cancelled write has written after all");
        assert!(all[..before].iter().all(|byte| *byte == 7) && all[before..].iter().all(|byte| *byte == 8));
    });
}

#[test]
fn out_of_an_accept() {
    in_runtime(|| {
        let (listener, address) = listen();
        let listener = Arc::new(listener);
        let accepts = listener.clone();
        cancelled_in(move || drop(accepts.accept()));
        let acceptor = sward::spawn(move || listener.accept().map(|(stream, _)| stream));
        let mut client = TcpStream::connect(address).expect("connected");
        let mut server = acceptor.join().unwrap().expect("accepted");
        client.write_all(b"x").expect("written");
        let mut byte = [0];
        server.read_exact(&mut byte).expect("read");
        assert_eq!(&byte, b"x");
    });
}

#[test]
fn out_of_a_connect() {
    in_runtime(|| {
        let (listener, address) = listen();
        let queued = fill_queue(&listener);
        cancelled_in(move || drop(TcpStream::connect(address)));
        for _ in &queued {
            listener.accept().expect("accepted");
        }
        // An abandoned connection may still be in the queue.
        TcpStream::connect_timeout(&address, Duration::from_secs(120)).expect("connected");
    });
}

/// A name resolution under way is awaited, and the next wait unwinds.
#[test]
fn out_of_a_name_resolution() {
    in_runtime(|| {
        cancelled_in(|| {
            loop {
                ("localhost", 80).to_socket_addrs().expect("resolved");
                task::checkpoint();
            }
        });
        cancelled_in(|| {
            drop(("localhost", 80).to_socket_addrs());
            task::park();
        });
        assert!(("localhost", 80).to_socket_addrs().expect("resolved").count() > 0);
    });
}

#[test]
fn a_swallowed_cancellation_is_met_at_every_wait() {
    in_runtime(|| {
        let (stream, _theirs) = pair();
        let (listener, _) = listen();
        let met = Arc::new(AtomicUsize::new(0));
        let meets = met.clone();
        let (starts, started) = sward::channel::bounded(1);
        let stubborn = sward::spawn(move || {
            starts.send(()).unwrap();
            let swallow = |wait: &mut dyn FnMut()| {
                assert!(catch_unwind(AssertUnwindSafe(wait)).is_err());
                assert!(!std::thread::panicking());
                meets.fetch_add(1, Ordering::Relaxed);
            };
            swallow(&mut || sward::sleep(LONG));
            swallow(&mut task::park);
            swallow(&mut || drop((&stream).read(&mut [0])));
            swallow(&mut || drop(listener.accept()));
            swallow(&mut || sward::spawn(task::park).join().unwrap());
            swallow(&mut || CancelToken::new().wait());
            swallow(&mut task::checkpoint);
            swallow(&mut || {
                sward::scope(|s| {
                    s.spawn(task::park);
                });
            });
            swallow(&mut || {
                let _: Result<(), ()> = sward::try_scope(|s| {
                    s.spawn(|| {
                        task::park();
                        Ok(())
                    });
                    Ok(())
                });
            });
            swallow(&mut || CancelToken::new().run(task::park).unwrap());
            let mut set = task::JoinSet::new();
            set.spawn(task::park);
            swallow(&mut || drop(set.join_next()));
            "to the end"
        });
        // A coroutine that is cancelled before its start does not run.
        started.recv().unwrap();
        sward::sleep(MOMENT);
        stubborn.cancel();
        assert_eq!(stubborn.join().unwrap(), "to the end");
        assert_eq!(met.load(Ordering::Relaxed), 11);
    });
}

#[test]
fn a_mask_defers_a_cancellation() {
    in_runtime(|| {
        let masked = Arc::new(AtomicBool::new(false));
        let theirs = masked.clone();
        let handle = sward::spawn(move || {
            let both = task::mask(|| {
                theirs.store(true, Ordering::Release);
                while !task::is_cancelled() {
                    sward::sleep(Duration::from_millis(1));
                }
                task::mask(|| sward::sleep(Duration::from_millis(1)));
                task::checkpoint();
                sward::sleep(Duration::from_millis(1));
                sward::spawn(|| 2).join().unwrap()
            });
            assert_eq!(both, 2);
            let unmasked = catch_unwind(task::checkpoint);
            assert!(unmasked.is_err());
            // A panic that leaves a masked section removes the mask.
            assert!(catch_unwind(|| task::mask(|| std::panic::resume_unwind(Box::new(())))).is_err());
            assert!(catch_unwind(task::park).is_err());
            both
        });
        while !masked.load(Ordering::Acquire) {
            sward::yield_now();
        }
        handle.cancel();
        assert_eq!(handle.join().unwrap(), 2);
    });
}

#[test]
fn masks_and_checkpoints_have_no_effect_without_a_cancellation() {
    everywhere(|| {
        assert!(!task::is_cancelled());
        task::checkpoint();
        assert_eq!(task::mask(|| (task::checkpoint(), sward::sleep(Duration::from_micros(1)), 3).2), 3);
    });
}

#[test]
fn a_checkpoint_in_a_destructor_that_unwinds_lets_it_end() {
    struct Checks(Arc<AtomicBool>);
    impl Drop for Checks {
        fn drop(&mut self) {
            task::checkpoint();
            self.0.store(true, Ordering::Release);
        }
    }
    in_runtime(|| {
        let checked = Arc::new(AtomicBool::new(false));
        let checks = Checks(checked.clone());
        let (starts, started) = sward::channel::bounded(1);
        let handle = sward::spawn(move || {
            let _checks = checks;
            starts.send(()).unwrap();
            task::park();
        });
        started.recv().unwrap();
        sward::sleep(MOMENT);
        handle.cancel();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        assert!(checked.load(Ordering::Acquire));
    });
}

/// Which types may cross threads and unwinding is a part of the interface.
#[test]
fn auto_traits_are_as_promised() {
    fn of<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    of::<CancelToken>();
    of::<task::DropGuard>();
    of::<Cancelled>();
    of::<task::JoinHandle<std::cell::Cell<u8>>>();
    of::<task::JoinSet<std::cell::Cell<u8>>>();
}
