//! `try_scope`.

use crate::common::{CountOnDrop, MOMENT, everywhere, message_of};

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use sward::task::{self, ScopeBuilder, TryScope};

#[test]
fn without_an_error_all_run() {
    everywhere(|| {
        let (mut a, mut b) = (0, 0);
        let value: Result<i32, String> = sward::try_scope(|s| {
            s.spawn(|| {
                a = 1;
                Ok(())
            });
            s.spawn_with(task::Builder::new().name("named"), || {
                b = 2;
                Ok(())
            })
            .expect("spawned");
            Ok(3)
        });
        assert_eq!((a, b, value), (1, 2, Ok(3)));
    });
}

#[test]
fn the_first_error_ends_the_others_and_is_returned() {
    everywhere(|| {
        let drops = AtomicUsize::new(0);
        let outcome: Result<(), String> = sward::try_scope(|s| {
            for _ in 0..10 {
                let counts = CountOnDrop(&drops);
                s.spawn(move || {
                    let _counts = counts;
                    task::park();
                    Err("woken".into())
                });
            }
            s.spawn(|| Err("first".into()));
            while !s.is_cancelled() {
                sward::yield_now();
            }
            s.spawn(|| unreachable!("not run after an error"));
            Err("later".into())
        });
        assert_eq!(outcome, Err("first".into()));
        assert_eq!(drops.into_inner(), 10);
    });
}

#[test]
fn an_error_of_the_closure_is_an_error() {
    everywhere(|| {
        let outcome: Result<(), &str> = sward::try_scope(|s| {
            s.spawn(|| {
                task::park();
                Ok(())
            });
            Err("of the closure")
        });
        assert_eq!(outcome, Err("of the closure"));
    });
}

#[test]
fn of_many_errors_one_is_returned_and_the_others_dropped() {
    everywhere(|| {
        let drops = AtomicUsize::new(0);
        let outcome: Result<(), CountOnDrop<&AtomicUsize>> = sward::try_scope(|s| {
            for _ in 0..50 {
                let drops = &drops;
                s.spawn(move || Err(CountOnDrop(drops)));
            }
            Ok(())
        });
        let before = drops.load(Ordering::Relaxed);
        assert!(before < 50);
        drop(outcome);
        assert_eq!(drops.into_inner(), before + 1);
    });
}

#[test]
fn a_panic_continues_in_the_caller_and_takes_precedence_over_an_error() {
    everywhere(|| {
        let message = message_of(|| {
            let _: Result<(), &str> = sward::try_scope(|s| {
                s.spawn(|| {
                    task::park();
                    Ok(())
                });
                s.spawn(|| panic!("of the child"));
                Ok(())
            });
        });
        assert_eq!(message, "of the child");
        let masked = AtomicBool::new(false);
        let message = message_of(|| {
            let _: Result<(), &str> = sward::try_scope(|s| {
                s.spawn(|| {
                    task::mask(|| {
                        masked.store(true, Ordering::Release);
                        sward::sleep(MOMENT);
                        panic!("of the child");
                    })
                });
                while !masked.load(Ordering::Acquire) {
                    sward::yield_now();
                }
                s.spawn(|| Err("an error"));
                Ok(())
            });
        });
        assert_eq!(message, "of the child");
    });
}

#[test]
fn a_panic_of_the_closure_goes_through_try_scope() {
    everywhere(|| {
        let message = message_of(|| {
            let _: Result<(), &str> = sward::try_scope(|s| {
                s.spawn(|| {
                    task::park();
                    Ok(())
                });
                panic!("of the closure");
            });
        });
        assert_eq!(message, "of the closure");
    });
}

#[test]
fn a_try_scope_can_be_cancelled_without_an_error() {
    everywhere(|| {
        let outcome: Result<&str, ()> = sward::try_scope(|s| {
            s.spawn(|| {
                task::park();
                Err(())
            });
            s.cancel();
            Ok("enough")
        });
        assert_eq!(outcome, Ok("enough"));
    });
}

#[test]
fn try_scopes_nest_and_have_a_limit() {
    fn tree<'scope>(s: &'scope TryScope<'scope, '_, u32>, depth: u32) {
        for i in 0..if depth > 0 { 3 } else { 0 } {
            s.spawn(move || {
                tree(s, depth - 1);
                if depth == 1 && i == 2 { Err(depth) } else { Ok(()) }
            });
        }
    }
    everywhere(|| {
        assert_eq!(sward::try_scope(|s| (tree(s, 4), Ok(())).1), Err(1));
        let ran = AtomicUsize::new(0);
        let outcome = ScopeBuilder::new().limit(2).try_scope(|s| {
            for i in 0..1_000 {
                let ran = &ran;
                s.spawn(move || {
                    ran.fetch_add(1, Ordering::Relaxed);
                    if i == 10 { Err(i) } else { Ok(()) }
                });
                if s.is_cancelled() {
                    break;
                }
            }
            Ok(())
        });
        assert_eq!(outcome, Err(10));
        assert!(ran.into_inner() < 1_000);
    });
}
