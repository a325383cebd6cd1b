//! Cancellation: of each kind of wait, by tokens, and where it is held off.

mod checked;
mod common;

use common::{listen, pair};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use sward::net::{TcpStream, ToSocketAddrs};
use sward::task::{self, CancelToken, Cancelled, JoinError};

/// Long enough for a coroutine to park; nothing depends on its being so.
const MOMENT: Duration = Duration::from_millis(5);

/// A time that no test waits for unless it hangs.
const LONG: Duration = Duration::from_secs(3600);

/// Runs the closure in a runtime of its own. Unlike `sward::run` this does not become the default runtime,
/// in which other tests spawn from plain threads meanwhile.
fn in_runtime<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime").run(f)
}

/// Runs the test in a coroutine of a runtime with two workers, of one with one, and on a plain thread.
fn everywhere(test: impl Fn() + Send + Sync) {
    in_runtime(&test);
    sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime").run(&test);
    test();
}

/// Sets the flag when it is dropped.
struct Unwound(Arc<AtomicBool>);

impl Drop for Unwound {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Cancels a coroutine that waits in the closure: before it has started to wait, and while it does.
fn cancelled_in(wait: impl Fn() + Send + Sync + 'static) {
    let wait = Arc::new(wait);
    for round in 0..10 {
        let (wait, unwound) = (wait.clone(), Arc::new(AtomicBool::new(false)));
        let (theirs, begun) = (Unwound(unwound.clone()), Arc::new(AtomicBool::new(false)));
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
        go.store(true, Ordering::Release); // those that were joined are detached, and end by themselves
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
        // A queue of one: the connections beyond it are not answered.
        // SAFETY: the call takes no pointers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
            assert!(queued.len() < 16, "the queue has no end");
        }
        cancelled_in(move || drop(TcpStream::connect(address)));
        for _ in &queued {
            listener.accept().expect("accepted");
        }
        // A connection that was given up may still be in the queue, dead.
        TcpStream::connect_timeout(&address, Duration::from_secs(30)).expect("connected");
    });
}

/// A look-up is waited for, and the next wait unwinds.
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
        let stubborn = sward::spawn(move || {
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
        sward::sleep(MOMENT);
        stubborn.cancel();
        assert_eq!(stubborn.join().unwrap(), "to the end");
        assert_eq!(met.load(Ordering::Relaxed), 11);
    });
}

#[test]
fn a_mask_holds_it_off() {
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
            // A panic that leaves a mask takes it off.
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
fn masks_and_checkpoints_do_nothing_where_nothing_is_cancelled() {
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
        let handle = sward::spawn(move || {
            let _checks = checks;
            task::park();
        });
        sward::sleep(MOMENT);
        handle.cancel();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        assert!(checked.load(Ordering::Acquire));
    });
}

#[test]
fn a_token_wakes_all_who_wait() {
    everywhere(|| {
        let (token, woken) = (CancelToken::new(), AtomicUsize::new(0));
        sward::scope(|s| {
            for _ in 0..100 {
                s.spawn(|| {
                    token.wait();
                    woken.fetch_add(1, Ordering::Relaxed);
                });
            }
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let token = token.clone();
                    std::thread::spawn(move || token.wait())
                })
                .collect();
            sward::sleep(MOMENT);
            assert_eq!(woken.load(Ordering::Relaxed), 0);
            token.cancel();
            token.cancel();
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        });
        assert_eq!(woken.into_inner(), 100);
        token.wait();
        assert!(token.is_cancelled());
    });
}

#[test]
fn a_wait_for_a_token_times_out() {
    everywhere(|| {
        let token = CancelToken::new();
        assert!(!token.wait_timeout(Duration::ZERO));
        assert!(!token.wait_timeout(Duration::from_millis(2)));
        token.cancel();
        assert!(token.wait_timeout(Duration::ZERO));
        assert!(token.wait_timeout(LONG));
    });
}

#[test]
fn a_waiter_that_is_cancelled_leaves_the_token() {
    in_runtime(|| {
        let token = CancelToken::new();
        let waits = token.clone();
        cancelled_in(move || waits.wait());
        let waits = token.clone();
        let other = sward::spawn(move || waits.wait());
        token.cancel();
        other.join().unwrap();
    });
}

#[test]
fn cancellation_goes_down_the_tree_only() {
    let root = CancelToken::new();
    let (left, right) = (root.child_token(), root.child_token());
    let (below_left, below_right) = (left.child_token(), right.child_token());
    left.cancel();
    assert!(left.is_cancelled() && below_left.is_cancelled());
    assert!(!root.is_cancelled() && !right.is_cancelled() && !below_right.is_cancelled());
    assert!(left.child_token().is_cancelled());
    drop(right); // what is between may be forgotten
    root.cancel();
    assert!(below_right.is_cancelled());
    assert!(root.clone().is_cancelled());
}

#[test]
fn a_child_outlives_its_parents_handles() {
    let child = CancelToken::new().child_token().child_token();
    assert!(!child.is_cancelled());
    child.cancel();
    assert!(child.is_cancelled());
}

/// Children are made, cancelled and dropped while their parent is cancelled: none is missed.
#[test]
fn a_tree_is_cancelled_while_it_changes() {
    in_runtime(|| {
        for _ in 0..200 {
            let root = CancelToken::new();
            let growers: Vec<_> = (0..4)
                .map(|i| {
                    let root = root.clone();
                    sward::spawn(move || {
                        let mut kept = Vec::new();
                        while !root.is_cancelled() {
                            let child = root.child_token();
                            let grandchild = child.child_token();
                            if i % 2 == 0 {
                                child.cancel();
                                assert!(grandchild.is_cancelled());
                            }
                            kept.push(grandchild);
                            if kept.len() > 50 {
                                kept.clear();
                                sward::yield_now();
                            }
                        }
                        kept
                    })
                })
                .collect();
            sward::sleep(Duration::from_micros(100));
            root.cancel();
            for grower in growers {
                for token in grower.join().unwrap() {
                    token.wait();
                }
            }
        }
    });
}

#[test]
fn a_guard_cancels_unless_disarmed() {
    let token = CancelToken::new();
    let guard = token.clone().drop_guard();
    assert!(!token.is_cancelled());
    let back = guard.disarm();
    assert!(!back.is_cancelled());
    let caught = catch_unwind(|| {
        let _guard = back.drop_guard();
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(caught.is_err() && token.is_cancelled());
}

#[test]
fn a_token_runs_closures_that_borrow() {
    everywhere(|| {
        let (token, text) = (CancelToken::new(), String::from("text"));
        let mut seen = 0;
        assert_eq!(token.run(|| seen = text.len()), Ok(()));
        assert_eq!(seen, 4);
        assert_eq!(token.run(|| token.child_token().run(|| 5)), Ok(Ok(5)));
        token.cancel();
        assert_eq!(token.run(|| unreachable!("cancelled before")), Err(Cancelled));
    });
}

#[test]
fn a_token_ends_what_it_runs() {
    everywhere(|| {
        let (token, unwound) = (CancelToken::new(), Arc::new(AtomicBool::new(false)));
        let later = token.clone();
        let cancels = sward::spawn(move || {
            sward::sleep(MOMENT);
            later.cancel();
        });
        let theirs = Unwound(unwound.clone());
        let outcome = token.run(|| {
            let _unwound = theirs;
            sward::sleep(LONG);
        });
        assert_eq!(outcome, Err(Cancelled));
        assert!(unwound.load(Ordering::Acquire));
        assert_eq!(outcome.unwrap_err().to_string(), "cancelled");
        cancels.join().unwrap();
    });
}

#[test]
fn a_read_ends_with_a_token() {
    everywhere(|| {
        let (mut ours, mut theirs) = pair();
        let token = CancelToken::new();
        let later = token.clone();
        let cancels = sward::spawn(move || {
            sward::sleep(MOMENT);
            later.cancel();
        });
        assert!(token.run(|| ours.read(&mut [0]).map(drop)).is_err());
        cancels.join().unwrap();
        theirs.write_all(b"y").expect("written");
        let mut byte = [0];
        ours.read_exact(&mut byte).expect("read");
        assert_eq!(&byte, b"y");
        ours.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        let outcome = CancelToken::new().run(|| ours.read(&mut [0]).map(drop));
        let error = outcome.expect("not cancelled").expect_err("nothing to read");
        assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock));
    });
}

#[test]
fn a_panic_goes_through_a_tokens_run() {
    everywhere(|| {
        let token = CancelToken::new();
        let caught = catch_unwind(|| token.run(|| panic!("inside")));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"inside"));
        assert!(!token.is_cancelled());
    });
}

#[test]
fn a_cancelled_caller_ends_what_its_token_runs() {
    in_runtime(|| {
        let unwound = Arc::new(AtomicUsize::new(0));
        let theirs = unwound.clone();
        let begun = Arc::new(AtomicBool::new(false));
        let begins = begun.clone();
        let caller = sward::spawn(move || {
            struct Counts<'a>(&'a AtomicUsize);
            impl Drop for Counts<'_> {
                fn drop(&mut self) {
                    self.0.fetch_add(1, Ordering::SeqCst);
                }
            }
            CancelToken::new().run(|| {
                let _counts = Counts(&theirs);
                begins.store(true, Ordering::SeqCst);
                task::park();
            })
        });
        while !begun.load(Ordering::SeqCst) {
            sward::yield_now();
        }
        caller.cancel();
        assert!(matches!(caller.join(), Err(JoinError::Cancelled)));
        assert_eq!(unwound.load(Ordering::SeqCst), 1);
    });
}

/// The token and the end of the closure race: the outcome is one of the two, and nothing is left.
#[test]
fn a_token_races_with_the_end() {
    in_runtime(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        for round in 0..1_000 {
            let token = CancelToken::new();
            let later = token.clone();
            let cancels = sward::spawn(move || {
                if round % 2 == 0 {
                    sward::sleep(Duration::from_micros(round % 60));
                }
                later.cancel();
            });
            let outcome = token.run(|| {
                alive.fetch_add(1, Ordering::SeqCst);
                struct Ends<'a>(&'a AtomicUsize);
                impl Drop for Ends<'_> {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, Ordering::SeqCst);
                    }
                }
                let _ends = Ends(&alive);
                sward::sleep(Duration::from_micros(round % 50));
                round
            });
            assert!(outcome == Ok(round) || outcome == Err(Cancelled));
            assert_eq!(alive.load(Ordering::SeqCst), 0);
            cancels.join().unwrap();
        }
    });
}

/// Which types may cross threads, and unwinding, is part of the interface.
#[test]
fn auto_traits_are_as_promised() {
    fn of<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    of::<CancelToken>();
    of::<task::DropGuard>();
    of::<Cancelled>();
    of::<task::JoinHandle<std::cell::Cell<u8>>>();
    of::<task::JoinSet<std::cell::Cell<u8>>>();
}
