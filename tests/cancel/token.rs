//! `CancelToken`.

use crate::common::{LONG, MOMENT, SetOnDrop, everywhere, in_runtime, pair};
use crate::coroutine::cancelled_in;
use std::io::{ErrorKind, Read, Write};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use sward::task::{self, CancelToken, Cancelled, JoinError};

#[test]
fn a_token_wakes_all_waiters() {
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

/// Children are made, cancelled and dropped while their parent is cancelled. The cancellation reaches all of
/// them.
#[test]
fn a_tree_of_tokens_is_cancelled_while_it_changes() {
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
        let theirs = SetOnDrop(unwound.clone());
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

/// The token and the end of the closure race. The outcome is one of the two, and nothing is left behind.
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
