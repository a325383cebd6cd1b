//! Planted bugs: each is found, by several strategies, and fails again from its seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use sward::sim::{Check, Sim, Strategy};
use sward::sync::{Condvar, Mutex, Notify, Semaphore};
use sward::{channel, spawn, task};

/// Each strategy finds it, and the seed that it names fails again in the same way.
fn found(program: impl Fn(&Sim) + Sync, what: &str) {
    for strategy in [Strategy::RandomWalk, Strategy::Pct { depth: 3 }, Strategy::Mixed] {
        let run = |check: &Check| check.try_run(&program).expect_err("nothing is found");
        let check = Check::new().runs(1000).strategy(strategy);
        let failed = run(&check);
        assert!(failed.what().contains(what), "{failed}");
        let again = run(&check.clone().seed(failed.seed()).runs(1));
        assert_eq!(again.to_string(), failed.to_string());
        let file = std::env::temp_dir().join(format!("sward-sim-{what}-{strategy:?}.schedule"));
        failed.write_schedule(&file).unwrap();
        let replayed = check.replay(&file, &program).expect_err("the smallest schedule does not fail");
        assert!(replayed.what().contains(what), "{replayed}");
        std::fs::remove_file(file).unwrap();
        let json: serde_json::Value = serde_json::from_str(&failed.trace().to_json()).unwrap();
        assert!(json["traceEvents"].as_array().unwrap().len() > 5);
        println!("{failed}");
    }
    let search = Check::new().strategy(Strategy::Exhaustive { preemptions: 2 });
    let failed = search.try_run(&program).expect_err("nothing is found by the search");
    assert!(failed.what().contains(what), "{failed}");
}

#[test]
fn locks_in_two_orders() {
    found(
        |_| {
            let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
            let other = {
                let (a, b) = (Arc::clone(&a), Arc::clone(&b));
                spawn(move || {
                    let _b = b.lock().unwrap();
                    let _a = a.lock().unwrap();
                })
            };
            {
                let _a = a.lock().unwrap();
                let _b = b.lock().unwrap();
            }
            other.join().unwrap();
        },
        "deadlock",
    );
}

/// The flag is looked at before the wait is listed: a notification in between reaches nobody.
#[test]
fn a_lost_wake_up() {
    found(
        |_| {
            let shared = Arc::new((AtomicBool::new(false), Notify::new()));
            let waiter = {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    if !shared.0.load(Ordering::SeqCst) {
                        shared.1.wait();
                    }
                })
            };
            task::yield_now();
            shared.0.store(true, Ordering::SeqCst);
            shared.1.notify_all();
            waiter.join().unwrap();
        },
        "Notify::wait",
    );
}

/// Two wait, and the one that is woken forgets to wake the other one.
#[test]
fn a_forgotten_notify() {
    found(
        |_| {
            let queue = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
            let takers: Vec<_> = (0..2)
                .map(|_| {
                    let queue = Arc::clone(&queue);
                    spawn(move || {
                        let mut items = queue.0.lock().unwrap();
                        while items.is_empty() {
                            items = queue.1.wait(items).unwrap();
                        }
                        items.pop()
                    })
                })
                .collect();
            task::yield_now();
            queue.0.lock().unwrap().extend([1, 2]);
            queue.1.notify_one();
            takers.into_iter().for_each(|taker| {
                taker.join().unwrap();
            });
        },
        "Condvar::wait",
    );
}

/// Read, let others run, write.
#[test]
fn a_lost_update() {
    found(
        |_| {
            let count = Arc::new(Mutex::new(0));
            let adders: Vec<_> = (0..2)
                .map(|_| {
                    let count = Arc::clone(&count);
                    spawn(move || {
                        let seen = *count.lock().unwrap();
                        *count.lock().unwrap() = seen + 1;
                    })
                })
                .collect();
            adders.into_iter().for_each(|adder| adder.join().unwrap());
            assert_eq!(*count.lock().unwrap(), 2, "an update is lost");
        },
        "an update is lost",
    );
}

/// The receiver leaves after the first message, so the second one is sent to nobody, or is not.
#[test]
fn a_panic_that_nobody_joins() {
    found(
        |_| {
            let (sender, receiver) = channel::bounded(1);
            spawn(move || {
                sender.send(1).unwrap();
                sender.send(2).unwrap();
            });
            assert_eq!(receiver.recv(), Ok(1));
        },
        "a coroutine panicked, and nobody joined it",
    );
}

#[test]
fn a_coroutine_that_outlives_the_check() {
    found(
        |_| {
            let (sender, receiver) = channel::bounded::<()>(1);
            spawn(move || receiver.recv());
            std::mem::forget(sender);
        },
        "leak: a coroutine outlives the check",
    );
}

/// The permit is forgotten by hand and given back at the end, which a cancellation does not reach.
#[test]
fn a_permit_that_a_cancellation_loses() {
    let program = |careful: bool| {
        move |_: &Sim| {
            let (permits, done) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicUsize::new(0)));
            let workers: Vec<_> = (0..2)
                .map(|_| {
                    let (permits, done) = (Arc::clone(&permits), Arc::clone(&done));
                    spawn(move || {
                        let permit = permits.acquire().unwrap();
                        if careful {
                            task::yield_now();
                            drop(permit);
                        } else {
                            permit.forget();
                            task::yield_now();
                            permits.add_permits(1);
                        }
                        done.fetch_add(1, Ordering::SeqCst);
                    })
                })
                .collect();
            workers.into_iter().for_each(|worker| drop(worker.join()));
            assert_eq!(permits.available_permits(), 1, "a permit is lost");
        }
    };
    let check = Check::new().runs(5);
    check.run(program(false));
    let check = check.cancel_everywhere();
    let passed = check.run(program(true));
    assert!(passed.schedules > 10, "{passed:?}");
    let run = |check: &Check| check.try_run(program(false)).expect_err("nothing is found");
    let failed = run(&check);
    let is_it = |what: &str| what.contains("a permit is lost") || what.contains("deadlock");
    assert!(is_it(failed.what()), "{failed}");
    assert_eq!(run(&check.clone().seed(failed.seed()).runs(1)).to_string(), failed.to_string());
    let file = std::env::temp_dir().join(format!("sward-sim-permit-{}", std::process::id()));
    failed.write_schedule(&file).unwrap();
    let replayed = Check::new().replay(&file, program(false)).expect_err("the schedule has the cancellation");
    assert!(is_it(replayed.what()), "{replayed}");
    std::fs::remove_file(file).unwrap();
}
