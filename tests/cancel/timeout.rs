//! Time limits and deadlines, in coroutines and on plain threads.

use crate::common::{LONG, SHORT, both, fill_queue, in_runtime, listen, pair};
use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use sward::net::{TcpListener, TcpStream};
use sward::task::{self, JoinError};
use sward::time::{Deadline, Elapsed, interval_at, sleep, sleep_until, timeout, timeout_at};

#[track_caller]
pub(crate) fn elapses<T>(f: impl FnOnce() -> T) {
    let start = Instant::now();
    assert!(timeout(SHORT, f).is_err(), "the closure ended by itself");
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn a_sleep_is_ended() {
    both(|| {
        elapses(|| sleep(LONG));
        elapses(|| sleep_until(Instant::now() + LONG));
        elapses(|| sleep(Duration::MAX));
    });
}

#[test]
fn a_park_is_ended() {
    both(|| {
        elapses(task::park);
        elapses(|| task::park_timeout(LONG));
        elapses(|| {
            loop {
                task::park();
            }
        });
    });
}

#[test]
fn a_join_is_ended() {
    in_runtime(|| {
        let sleeper = sward::spawn(|| sleep(LONG));
        elapses(|| sleeper.join());
    });
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    let sleeper = runtime.spawn(|| sleep(LONG));
    elapses(|| sleeper.join());
}

#[test]
fn a_read_is_ended_and_the_stream_goes_on() {
    both(|| {
        let (mut ours, mut theirs) = pair();
        let mut buffer = [0; 8];
        elapses(|| ours.read(&mut buffer));
        elapses(|| ours.peek(&mut buffer));
        theirs.write_all(b"late").unwrap();
        assert_eq!(timeout(LONG, || ours.read(&mut buffer)).unwrap().unwrap(), 4);
        assert_eq!(&buffer[..4], b"late");
    });
}

#[test]
fn a_write_is_ended() {
    both(|| {
        let (mut ours, mut theirs) = pair();
        let block = [7; 1 << 16];
        let written = Cell::new(0);
        elapses(|| {
            loop {
                written.set(written.get() + ours.write(&block).unwrap());
            }
        });
        drop(ours);
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), written.get(), "what was written before has arrived");
    });
}

#[test]
fn an_accept_is_ended_and_the_listener_goes_on() {
    both(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        elapses(|| listener.accept());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        timeout(LONG, || listener.accept()).unwrap().unwrap();
    });
}

#[test]
fn a_connect_is_ended() {
    both(|| {
        let (listener, address) = listen();
        let _queued = fill_queue(&listener);
        elapses(|| TcpStream::connect(address));
    });
}

#[test]
fn a_tick_is_ended_and_not_lost() {
    both(|| {
        let start = Instant::now() + LONG;
        let mut ticks = interval_at(start, LONG);
        elapses(|| ticks.tick());
        ticks.reset_at(Instant::now());
        timeout(LONG, || ticks.tick()).unwrap();
    });
}

/// A time limit and the timeout of the socket: the earlier one ends the wait, each in its own way.
#[test]
fn a_limit_and_a_read_timeout() {
    both(|| {
        let (mut ours, _theirs) = pair();
        let mut buffer = [0; 8];
        ours.set_read_timeout(Some(SHORT)).unwrap();
        let read = timeout(LONG, || ours.read(&mut buffer)).expect("the socket's own limit is earlier");
        assert!(matches!(read.unwrap_err().kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        ours.set_read_timeout(Some(LONG)).unwrap();
        elapses(|| ours.read(&mut buffer));
    });
}

#[test]
fn a_section_that_ends_in_time_returns_its_value() {
    both(|| {
        assert_eq!(timeout(LONG, || 1), Ok(1));
        assert_eq!(timeout_at(Instant::now() + LONG, || 2), Ok(2));
        let slept = timeout(LONG, || {
            sleep(SHORT);
            3
        });
        assert_eq!(slept, Ok(3));
    });
}

#[test]
fn calls_that_need_not_wait_succeed_after_the_limit() {
    both(|| {
        assert_eq!(timeout(Duration::ZERO, || 1), Ok(1));
        let past = Instant::now();
        assert_eq!(timeout_at(past, || 2), Ok(2));
        let (mut ours, mut theirs) = pair();
        theirs.write_all(b"x").unwrap();
        let mut byte = [0];
        ours.peek(&mut byte).unwrap();
        let read = timeout_at(past, || {
            task::current().unpark();
            task::park();
            sleep_until(past);
            ours.read(&mut byte)
        });
        assert_eq!(read.unwrap().unwrap(), 1);
    });
}

#[test]
fn the_first_wait_after_the_time_is_ended() {
    both(|| {
        let reached = AtomicUsize::new(0);
        let ended = timeout_at(Instant::now(), || {
            reached.fetch_add(1, Ordering::Relaxed);
            sleep(LONG);
            reached.fetch_add(1, Ordering::Relaxed);
        });
        assert!(ended.is_err());
        assert_eq!(reached.into_inner(), 1);
    });
}

#[test]
fn a_duration_beyond_the_clock_is_no_limit() {
    both(|| {
        for huge in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(1 << 40)] {
            let ended = timeout(huge, || {
                sleep(Duration::from_micros(10));
                Deadline::current()
            });
            assert!(ended.unwrap() >= Deadline::after(LONG));
        }
    });
}

#[test]
fn the_inner_limit_leaves_the_outer_one_alone() {
    both(|| {
        let outer = timeout(LONG, || {
            let inner = timeout(SHORT, || sleep(LONG));
            assert!(inner.is_err());
            sleep(SHORT);
            let again = timeout(SHORT, || sleep(LONG));
            assert!(again.is_err());
            "whole"
        });
        assert_eq!(outer, Ok("whole"));
    });
}

#[test]
fn an_earlier_outer_limit_unwinds_through_the_inner_one() {
    both(|| {
        let after_inner = AtomicBool::new(false);
        let outer = timeout(SHORT, || {
            let inner: Result<(), Elapsed> = timeout(LONG, || sleep(LONG));
            after_inner.store(true, Ordering::Relaxed);
            inner
        });
        assert!(outer.is_err());
        assert!(!after_inner.into_inner());
    });
}

/// An inner limit that passes first ends its own section, although the outer one passes soon after.
#[test]
fn each_limit_ends_its_own_section() {
    both(|| {
        let inner_ended = AtomicBool::new(false);
        let start = Instant::now();
        let outer = timeout_at(start + 40 * SHORT, || {
            let inner = timeout_at(start, || sleep(LONG));
            inner_ended.store(inner.is_err(), Ordering::Relaxed);
            sleep(LONG);
        });
        assert!(outer.is_err());
        assert!(inner_ended.into_inner());
        assert!(start.elapsed() >= 40 * SHORT);
        assert_eq!(Deadline::current(), Deadline::never());
    });
}

#[test]
fn destructors_run_and_nothing_is_printed_or_poisoned() {
    struct Counts<'a>(&'a AtomicUsize);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    both(|| {
        let dropped = AtomicUsize::new(0);
        elapses(|| {
            let _outer = Counts(&dropped);
            let _ = timeout(LONG, || {
                let _inner = Counts(&dropped);
                sleep(LONG);
            });
        });
        assert_eq!(dropped.into_inner(), 2);
        assert!(!std::thread::panicking());
    });
}

#[test]
fn a_panic_goes_through() {
    both(|| {
        let caught = catch_unwind(|| timeout(LONG, || -> () { resume_unwind(Box::new("mine")) }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
        assert_eq!(Deadline::current(), Deadline::never());
        elapses(|| {
            let caught = catch_unwind(|| timeout(LONG, || -> () { resume_unwind(Box::new("mine")) }));
            assert!(caught.is_err());
            sleep(LONG);
        });
    });
}

#[test]
fn a_swallowed_limit_comes_again() {
    both(|| {
        let swallowed = AtomicBool::new(false);
        elapses(|| {
            swallowed.store(catch_unwind(|| sleep(LONG)).is_err(), Ordering::Relaxed);
            sleep(LONG);
        });
        assert!(swallowed.into_inner());
        // A limit that is always swallowed ends with the closure.
        assert!(timeout(SHORT, || catch_unwind(|| sleep(LONG)).is_err()).unwrap());
        sleep(SHORT);
    });
}

/// A limit does not end a wait in a destructor while its section unwinds.
#[test]
fn a_wait_during_unwinding_is_not_ended() {
    struct SleepsInDrop<'a>(&'a AtomicBool);
    impl Drop for SleepsInDrop<'_> {
        fn drop(&mut self) {
            let start = Instant::now();
            sleep(SHORT);
            self.0.store(start.elapsed() >= SHORT, Ordering::Relaxed);
        }
    }
    both(|| {
        let slept = AtomicBool::new(false);
        elapses(|| {
            let _sleeps = SleepsInDrop(&slept);
            sleep(LONG);
        });
        assert!(slept.into_inner());
    });
}

#[test]
fn a_cancellation_goes_through_a_timeout() {
    in_runtime(|| {
        let (tx, rx) = mpsc::channel();
        let handle = sward::spawn(move || {
            let ended = timeout(LONG, || {
                tx.send(()).unwrap();
                sleep(LONG);
            });
            unreachable!("{ended:?}");
        });
        while rx.try_recv().is_err() {
            sleep(Duration::from_micros(100));
        }
        handle.cancel();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
    });
}

/// A limit holds in its section only: not in coroutines that the section spawns, nor in others on the same
/// thread.
#[test]
fn other_coroutines_are_not_under_the_limit() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let (tx, rx) = mpsc::channel();
        elapses(|| {
            tx.send(sward::spawn(|| {
                sleep(4 * SHORT);
                Deadline::current()
            }))
            .unwrap();
            sleep(LONG);
        });
        assert_eq!(rx.recv().unwrap().join().unwrap(), Deadline::never());
    });
}

/// Limits race with the events of their waits. Nothing is lost, and nothing is left behind.
#[test]
fn limits_race_with_events() {
    in_runtime(|| {
        let handles: Vec<_> = (0..64u64)
            .map(|seed| {
                sward::spawn(move || {
                    let mut ended = 0;
                    for round in 0..100 {
                        let me = task::current();
                        let pause = Duration::from_micros((seed * 31 + round * 17) % 300);
                        let waker = sward::spawn(move || {
                            sleep(pause);
                            me.unpark();
                        });
                        let parked = timeout(Duration::from_micros(150), || {
                            task::park();
                            timeout(Duration::from_micros(50), || sleep(pause)).is_err()
                        });
                        ended += u32::from(parked.is_err());
                        assert_eq!(Deadline::current(), Deadline::never());
                        waker.join().unwrap();
                    }
                    ended
                })
            })
            .collect();
        for handle in handles {
            assert!(handle.join().unwrap() <= 100);
        }
    });
}

#[test]
fn the_current_deadline_is_the_earliest() {
    both(|| {
        let (early, late) = (Deadline::after(LONG), Deadline::after(2 * LONG));
        assert_eq!(Deadline::current(), Deadline::never());
        let seen = timeout_at(late, || {
            let before = Deadline::current();
            let inner = timeout_at(early, || timeout_at(late, Deadline::current)).unwrap().unwrap();
            (before, inner, Deadline::current())
        });
        assert_eq!(seen, Ok((late, early, late)));
        assert_eq!(timeout_at(Deadline::never(), Deadline::current), Ok(Deadline::never()));
        assert_eq!(timeout_at(early.instant().unwrap(), Deadline::current), Ok(early));
    });
}

#[test]
fn elapsed_is_an_error_of_its_kind() {
    fn read() -> io::Result<()> {
        timeout(SHORT, || sleep(LONG))?;
        Ok(())
    }
    let error = read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.get_ref().is_some_and(|inner| inner.is::<Elapsed>()));
    assert_eq!(error.to_string(), "the deadline has elapsed");
}

#[test]
fn a_closure_may_change_what_it_borrows() {
    both(|| {
        let mut seen = Vec::new();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            timeout(SHORT, || {
                seen.push(1);
                sleep(LONG);
                seen.push(2);
            })
        }));
        assert!(ended.unwrap().is_err());
        assert_eq!(seen, [1]);
    });
}

#[test]
fn auto_traits_are_as_promised() {
    fn send_sync_unpin<T: Send + Sync + Unpin>() {}
    send_sync_unpin::<Elapsed>();
    send_sync_unpin::<Deadline>();
    send_sync_unpin::<sward::time::Interval>();
}

/// A shutdown ends a coroutine under a time limit as a cancellation does, at whatever wait it meets it.
#[test]
fn a_shutdown_is_no_end_of_a_time_limit() {
    let elapsed = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let runtime = sward::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        for _ in 0..4 {
            let count = Arc::clone(&elapsed);
            runtime.spawn(move || {
                let limited = timeout(LONG, || task::CancelToken::new().run(task::park));
                count.fetch_add(usize::from(limited.is_err()), Ordering::SeqCst);
            });
            let count = Arc::clone(&elapsed);
            runtime.spawn(move || {
                let limited = timeout(LONG, || {
                    sward::try_scope(|s| {
                        s.spawn(|| {
                            task::park();
                            Ok::<(), ()>(())
                        });
                        Ok(())
                    })
                });
                count.fetch_add(usize::from(limited.is_err()), Ordering::SeqCst);
            });
        }
        sleep(Duration::from_millis(1));
        // One worker reaches its coroutines later than the other.
        runtime.spawn(|| std::thread::sleep(SHORT));
        sleep(Duration::from_millis(1));
    }
    assert_eq!(elapsed.load(Ordering::SeqCst), 0);
}
