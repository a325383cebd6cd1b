//! Cancellations that arrive as errors: `catch_cancel`, `cancel_as_error`, and the kinds of `JoinError`.

use crate::common::{LONG, MOMENT, SHORT, in_runtime, one_worker, pair, until, waiting};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use sward::net::UnixStream;
use sward::task::{self, Interruption, JoinError, cancel_as_error, catch_cancel, mask};
use sward::time::{timeout, timeout_at};

fn interruption(error: io::Error) -> Interruption {
    let why = error.get_ref().and_then(|inner| inner.downcast_ref::<Interruption>());
    *why.unwrap_or_else(|| panic!("no interruption: {error:?}"))
}

#[test]
fn every_kind_of_wait_is_caught() {
    let runtime = one_worker();
    let caught = |f: Box<dyn FnOnce() + Send>| {
        let handle = waiting(&runtime, || catch_cancel(f));
        handle.cancel();
        assert_eq!(handle.join().expect("it was caught"), Err(Interruption::Cancelled));
    };
    let (sender, receiver) = sward::channel::bounded(0);
    let receives = receiver.clone();
    caught(Box::new(move || _ = receives.recv()));
    caught(Box::new(move || _ = sender.send(1)));
    caught(Box::new(|| sward::sleep(LONG)));
    caught(Box::new(task::park));
    let none = sward::sync::Semaphore::new(0);
    caught(Box::new(move || drop(none.acquire())));
    let (mut reads, _writes) = pair();
    caught(Box::new(move || drop(reads.read(&mut [0; 8]))));
    let lasts = runtime.spawn(|| sward::sleep(LONG));
    caught(Box::new(move || drop(lasts.join())));
}

/// Operations that wait in coroutines of their own fail as others do.
#[test]
fn copying_and_collecting_output_fail() {
    let runtime = one_worker();
    for idle in [None, Some(LONG)] {
        let ((a, _kept), (b, _also_kept)) = (pair(), pair());
        let copies = waiting(&runtime, move || {
            let settings = sward::io::CopyBidirectional::new();
            let settings = match idle {
                Some(limit) => settings.idle_timeout(limit),
                None => settings,
            };
            cancel_as_error(|| settings.copy(&a, &b).unwrap_err())
        });
        copies.cancel();
        assert_eq!(interruption(copies.join().expect("an error")), Interruption::Cancelled);
    }
    let mut sleeps = sward::process::Command::new("sleep");
    let child = sleeps.arg("600").stdout(sward::process::Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let collects = waiting(&runtime, move || cancel_as_error(|| child.wait_with_output().unwrap_err()));
    collects.cancel();
    let error = collects.join().expect("an error");
    // SAFETY: the call takes no pointers. Nobody has waited for the process.
    unsafe { libc::kill(id as libc::pid_t, libc::SIGKILL) };
    assert_eq!(interruption(error), Interruption::Cancelled);
}

/// A loop around waits of a cancelled coroutine, which end at once. Others run all the same.
#[test]
fn a_loop_that_catches_lets_others_go_first() {
    let runtime = one_worker();
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), 100_000);
    let stops = stop.clone();
    let catches = waiting(&runtime, move || {
        let unwinds = |_: &usize| {
            let wait = || sward::sleep(LONG);
            assert!(std::panic::catch_unwind(wait).is_err());
            !stops.load(Ordering::Relaxed)
        };
        (0..rounds).take_while(unwinds).count()
    });
    runtime.run(move || {
        catches.cancel();
        let other = sward::spawn(move || stop.store(true, Ordering::Relaxed));
        assert!(catches.join().expect("it was caught") < rounds, "no other coroutine ran");
        other.join().unwrap();
    });
}

/// A coroutine is cancelled, and its time limit passes before it unwinds. The first cause counts.
#[test]
fn the_first_cause_counts() {
    let runtime = one_worker();
    for attempt in 0.. {
        let limit = SHORT * (4 << attempt);
        let outcome = runtime.run(|| {
            let ends = Instant::now() + limit;
            let mut in_time = false;
            let mut error = None;
            let _ = timeout(limit, || {
                sward::scope(|s| {
                    let late = s.spawn(move || {
                        while Instant::now() < ends {
                            std::thread::sleep(SHORT);
                        }
                        sward::sleep(LONG);
                    });
                    late.cancel();
                    in_time = Instant::now() < ends;
                    error = Some(mask(|| late.join()).unwrap_err());
                });
            });
            in_time.then_some(error)
        });
        // Else the machine was too slow to be the first.
        if let Some(error) = outcome {
            let error = error.expect("the join was masked");
            assert!(error.is_cancelled(), "{error}");
            break;
        }
    }
}

/// What was caught stays in force: each wait is caught again, and the first one that nobody catches unwinds.
#[test]
fn a_caught_cancellation_comes_again() {
    let runtime = one_worker();
    let passed = Arc::new(AtomicBool::new(false));
    let passes = passed.clone();
    let handle = waiting(&runtime, move || {
        for _ in 0..3 {
            assert_eq!(catch_cancel(|| sward::sleep(LONG)), Err(Interruption::Cancelled));
        }
        passes.store(true, Ordering::Relaxed);
        sward::sleep(LONG);
    });
    handle.cancel();
    assert!(handle.join().unwrap_err().is_cancelled());
    assert!(passed.load(Ordering::Relaxed));
}

#[test]
fn what_is_no_cancellation_passes() {
    in_runtime(|| {
        assert_eq!(catch_cancel(|| 5), Ok(5));
        let panics = sward::spawn(|| catch_cancel(|| -> () { std::panic::resume_unwind(Box::new("mine")) }));
        assert!(panics.join().unwrap_err().is_panic());
        // An inner limit is its own timeout's.
        assert!(catch_cancel(|| timeout(SHORT, || sward::sleep(LONG))).expect("not cancelled").is_err());
        let large = catch_cancel(|| [7_u8; 4096]).expect("not cancelled");
        assert_eq!(large, [7; 4096]);
    });
}

#[test]
fn a_limit_from_outside_is_caught() {
    let test = || {
        let (mut reads, _writes) = pair();
        let caught = timeout(SHORT, || {
            let caught = catch_cancel(|| sward::sleep(LONG));
            assert_eq!(caught, Err(Interruption::TimedOut));
            cancel_as_error(|| {
                let error = reads.read(&mut [0; 8]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert_eq!(interruption(error), Interruption::TimedOut);
            });
        });
        assert!(caught.is_ok(), "nothing has unwound up to the timeout");
    };
    in_runtime(test);
    test();
}

#[test]
fn operations_on_files_fail() {
    let runtime = one_worker();
    // Bytes that were written can be read at once. Over TCP, another thread of the kernel may deliver them.
    let (mut reads, mut writes) = UnixStream::pair().expect("a pair");
    let handle = waiting(&runtime, move || {
        cancel_as_error(|| {
            let error = reads.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Other);
            assert_eq!(interruption(error), Interruption::Cancelled);
            // std's loops do not try again.
            assert_eq!(interruption(reads.read_exact(&mut [0; 8]).unwrap_err()), Interruption::Cancelled);
            writes.write_all(b"abc").expect("it need not wait");
            reads.read_exact(&mut [0; 3]).expect("it need not wait");
            // Everything else goes on.
            sward::sleep(SHORT);
            assert_eq!(catch_cancel(|| sward::sleep(LONG)), Err(Interruption::Cancelled));
            // A mask inside masks files as well.
            mask(|| {
                let error = timeout(SHORT, || reads.read(&mut [0; 8])).unwrap_err();
                assert_eq!(error.to_string(), "the deadline has elapsed");
            });
        });
        sward::sleep(LONG)
    });
    handle.cancel();
    assert!(handle.join().unwrap_err().is_cancelled());
}

/// A socket that is always ready does not keep a cancellation away.
#[test]
fn out_of_many_operations_that_need_not_wait_one_fails() {
    let runtime = one_worker();
    let (mut reads, writes) = pair();
    let [runs, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (its_runs, stops) = (runs.clone(), stop.clone());
    let handle = runtime.spawn(move || {
        cancel_as_error(|| {
            its_runs.store(true, Ordering::Relaxed);
            loop {
                (&writes).write_all(b"a")?;
                reads.read_exact(&mut [0])?;
                assert!(!stops.load(Ordering::Relaxed), "it was cancelled long ago");
            }
        })
    });
    // A coroutine that is cancelled before its start does not run.
    until(|| runs.load(Ordering::Relaxed));
    std::thread::sleep(MOMENT);
    handle.cancel();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(LONG / 10);
        stop.store(true, Ordering::Relaxed);
    });
    let error: io::Result<()> = handle.join().expect("nothing unwinds");
    assert_eq!(interruption(error.unwrap_err()), Interruption::Cancelled);
    drop(stopper);
}

/// In a mask there is nothing to report; a section in a section is one.
#[test]
fn sections_nest() {
    let runtime = one_worker();
    let (reads, mut writes) = pair();
    let handle = waiting(&runtime, move || {
        cancel_as_error(|| {
            cancel_as_error(|| {
                assert_eq!(interruption((&reads).read(&mut [0]).unwrap_err()), Interruption::Cancelled);
            });
            let inner = timeout(SHORT, || {
                cancel_as_error(|| catch_cancel(|| mask(|| cancel_as_error(|| sward::sleep(SHORT * 2)))))
            });
            assert_eq!(inner, Ok(Ok(())));
        });
        mask(|| {
            writes.write_all(b"x").expect("room");
            let read = cancel_as_error(|| catch_cancel(|| (&reads).read(&mut [0])));
            assert_eq!(read.expect("masked").expect("masked"), 1);
            sward::sleep(SHORT);
        });
        task::checkpoint();
        unreachable!("the cancellation unwinds after the mask");
    });
    handle.cancel();
    assert!(handle.join().unwrap_err().is_cancelled());
}

#[test]
fn errors_tell_the_three_causes_apart() {
    let runtime = one_worker();
    let cancelled = waiting(&runtime, task::park);
    cancelled.cancel();
    let left = waiting(&runtime, || catch_cancel(task::park));
    let unwinds = waiting(&runtime, task::park);
    let error = cancelled.join().unwrap_err();
    assert_eq!(error.interruption(), Some(Interruption::Cancelled));
    assert_eq!(error.to_string(), "the coroutine was cancelled");
    let (reads, _writes) = pair();
    let fails = waiting(&runtime, move || cancel_as_error(|| (&reads).read(&mut [0]).unwrap_err()));
    drop(runtime);
    assert_eq!(left.join().expect("caught"), Err(Interruption::ShutDown));
    assert_eq!(interruption(fails.join().expect("an error")), Interruption::ShutDown);
    let error = unwinds.join().unwrap_err();
    assert!(error.is_shutdown() && !error.is_cancelled() && !error.is_timed_out());
    assert_eq!(error.to_string(), "the coroutine's runtime has shut down");
}

/// A coroutine of a scope is under its caller's limit, and the scope cancels it when that passes. Either way
/// the limit was the cause.
#[test]
fn a_limit_that_ends_a_coroutine_is_named() {
    for _ in 0..20 {
        in_runtime(|| {
            let ended = timeout(SHORT, || {
                sward::scope(|s| {
                    let child = s.spawn(|| sward::sleep(LONG));
                    mask(|| child.join().unwrap_err())
                })
            });
            if let Ok(error) = ended {
                assert!(error.is_timed_out(), "{error:?}");
                assert_eq!(error.to_string(), "the coroutine's time limit has passed");
                assert!(matches!(error, JoinError::TimedOut));
            }
        });
    }
}

/// A loop that catches its cancellation again and again keeps its worker from nobody.
#[test]
fn a_loop_that_catches_lets_others_run() {
    let runtime = one_worker();
    let ran = Arc::new(AtomicBool::new(false));
    let (sees, runs) = (ran.clone(), ran.clone());
    let catches = waiting(&runtime, move || {
        let mut rounds = 0;
        while !sees.load(Ordering::Relaxed) && rounds < 1_000_000 {
            let _ = catch_cancel(|| sward::sleep(LONG));
            rounds += 1;
        }
        rounds
    });
    catches.cancel();
    runtime.spawn(move || runs.store(true, Ordering::Relaxed)).join().expect("it has run");
    assert!(catches.join().expect("caught") < 1_000_000);
}

/// What a scope that was cancelled spawns ends as cancelled, and not by a limit.
#[test]
fn children_of_a_cancelled_scope_are_cancelled() {
    in_runtime(|| {
        sward::scope(|s| {
            s.cancel();
            for _ in 0..50 {
                assert!(s.spawn(task::park).join().unwrap_err().is_cancelled());
            }
        });
    });
}

/// Nothing unwinds through a masked section when the runtime of a token's closure shuts down.
#[test]
fn a_shutdown_does_not_unwind_a_masked_run() {
    let runtime = one_worker();
    let passed = Arc::new(AtomicBool::new(false));
    let passes = passed.clone();
    let masked = waiting(&runtime, move || {
        let token = task::CancelToken::new();
        let run = || assert!(token.run(task::park).is_err());
        cancel_as_error(run);
        mask(run);
        passes.store(true, Ordering::Relaxed);
        task::park();
    });
    drop(runtime);
    assert!(masked.join().unwrap_err().is_shutdown());
    assert!(passed.load(Ordering::Relaxed));
}

/// A parent that a shutdown unwinds cancels its children, maybe before the shutdown does. That is their
/// cause.
#[test]
fn a_shutdown_is_handed_on() {
    for _ in 0..50 {
        let runtime = crate::common::two_workers();
        let (sender, receiver) = std::sync::mpsc::channel();
        let parent = waiting(&runtime, move || {
            sward::scope(|s| {
                for _ in 0..20 {
                    let sender = sender.clone();
                    s.spawn(move || _ = sender.send(catch_cancel(task::park)));
                }
                task::park();
            });
        });
        drop(runtime);
        assert!(parent.join().unwrap_err().is_shutdown());
        for caught in receiver {
            assert_eq!(caught, Err(Interruption::ShutDown));
        }
    }
}

/// The limit of a section ends a read. A cancellation that comes before the reader runs again is not the
/// cause.
#[test]
fn a_limit_that_came_first_is_the_error() {
    let runtime = one_worker();
    // On a slow machine the time is over before the reader has begun. Then the cancellation comes first.
    for wait in [SHORT, 20 * SHORT, 400 * SHORT, LONG] {
        let why = runtime.run(|| {
            let at = Instant::now() + wait;
            let reads: Arc<OnceLock<task::JoinHandle<Interruption>>> = Arc::default();
            let theirs = reads.clone();
            // Both timers are due at the same time, and this one is the first.
            let cancels = sward::spawn(move || {
                sward::time::sleep_until(at);
                until(|| theirs.get().is_some());
                theirs.get().expect("it was spawned").cancel();
            });
            sward::yield_now();
            let (mut reader, _writer) = pair();
            let spawned = sward::spawn(move || {
                let fails = || interruption(reader.read(&mut [0; 8]).unwrap_err());
                timeout_at(at, || cancel_as_error(fails)).expect("nothing has unwound")
            });
            assert!(reads.set(spawned).is_ok());
            cancels.join().expect("no panic");
            Arc::into_inner(reads).and_then(OnceLock::into_inner).expect("the only reference").join()
        });
        match why {
            Ok(why) => {
                assert_eq!(why, Interruption::TimedOut);
                return;
            }
            Err(JoinError::Cancelled) => {}
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("it was cancelled before it has run");
}
