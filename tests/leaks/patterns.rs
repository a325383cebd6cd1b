//! The patterns of leaks that are known from Go, as programs of sward. The table in `docs/DEBUGGING.md` has a
//! row for each: most of them end with an error here, since dropping a handle closes its channel.
//!
//! The names of Go's patterns are those of "Unveiling and Vanquishing Goroutine Leaks in Enterprise
//! Microservices" (CGO 2024), which Go's own tests of its leak profile use.

use crate::common::eventually;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use sward::channel::{Receiver, Sender, after, bounded, unbounded};
use sward::observe::{CoroutineDump, LeakSearch, Leaks, assert_no_leaks};
use sward::runtime::{Builder, Runtime};
use sward::sync::{Condvar, Mutex, Semaphore, WaitGroup};
use sward::task;

fn runtime() -> Runtime {
    Builder::new().worker_threads(2).watch_deadlocks(false).build().expect("a runtime")
}

/// All waits of a moment, in groups of ten.
fn search() -> Leaks {
    LeakSearch::new().older_than(Duration::from_millis(20)).at_least(10).find()
}

fn has_name(coroutine: &CoroutineDump, prefix: &str) -> bool {
    coroutine.name.as_ref().is_some_and(|name| name.starts_with(prefix))
}

/// Ten coroutines whose names have that prefix do the same, and a group of ten comes to be suspected.
#[track_caller]
fn ten_are_suspected<T: Send + 'static>(prefix: &str, f: impl Fn() -> T + Clone + Send + 'static) {
    let runtime = runtime();
    runtime.run(move || {
        for number in 0..10 {
            let f = f.clone();
            drop(task::Builder::new().name(format!("{prefix} {number}")).spawn(f).expect("spawned"));
        }
    });
    let mine = |leaks: &Leaks| {
        let is_mine = |group: &&Vec<CoroutineDump>| group.iter().all(|one| has_name(one, prefix));
        leaks.suspected.iter().find(is_mine).map(Vec::len)
    };
    eventually("they are suspected", || mine(&search()) == Some(10));
    let text = search().to_string();
    assert!(text.contains("suspected: these 10 have all waited for long"), "{text}");
    assert!(catch_unwind(AssertUnwindSafe(|| runtime.assert_no_leaks())).is_err());
}

// What ends by itself.

/// NoCloseRange: workers receive from a channel that nobody closes. The end of its only sender does.
#[test]
fn a_range_ends_with_its_senders() {
    runtime().run(|| {
        let (sender, receiver) = bounded::<u32>(0);
        for _ in 0..3 {
            let items = receiver.clone();
            sward::spawn(move || items.into_iter().count());
        }
        (0..9).for_each(|item| sender.send(item).expect("a worker"));
        drop((sender, receiver));
        assert_no_leaks();
    });
}

/// MethodContractViolation: a worker is started, and never stopped. Dropping the worker stops it.
#[test]
fn a_worker_ends_with_its_owner() {
    struct Worker {
        _items: Sender<u32>,
        _done: Sender<()>,
    }
    fn start() -> Worker {
        let ((items, incoming), (done, is_done)) = (bounded(0), bounded(0));
        sward::spawn(move || {
            loop {
                sward::select! {
                    recv(incoming) -> item => if item.is_err() { return },
                    recv(is_done) -> _ => return,
                }
            }
        });
        Worker { _items: items, _done: done }
    }
    runtime().run(|| {
        drop(start());
        assert_no_leaks();
    });
}

/// DoubleSend: a missing `return` sends twice to a receiver that receives once.
#[test]
fn a_second_send_fails_without_a_receiver() {
    runtime().run(|| {
        let (sender, receiver) = bounded::<Result<u32, String>>(0);
        let sends = sward::spawn(move || {
            let _ = sender.send(Err("first".to_owned()));
            sender.send(Ok(2)).is_err()
        });
        assert!(receiver.recv().expect("sent").is_err());
        drop(receiver);
        assert!(sends.join().expect("no panic"));
        assert_no_leaks();
    });
}

/// EarlyReturn: the parent returns before it receives.
#[test]
fn a_send_fails_after_an_early_return() {
    fn parent(fails: bool) -> Result<u32, ()> {
        let (sender, receiver) = bounded(0);
        sward::spawn(move || sender.send(7).is_ok());
        if fails {
            return Err(());
        }
        receiver.recv().map_err(drop)
    }
    runtime().run(|| {
        assert!(parent(true).is_err() && parent(false) == Ok(7));
        assert_no_leaks();
    });
}

/// NCastLeak: many send, and the parent receives the first message only.
#[test]
fn the_sends_of_all_but_the_first_fail() {
    runtime().run(|| {
        let (sender, receiver) = bounded(0);
        for number in 0..10 {
            let sender = sender.clone();
            sward::spawn(move || sender.send(number).is_ok());
        }
        assert!(receiver.recv().is_ok());
        drop(receiver);
        assert_no_leaks();
    });
}

/// Timeout: the parent waits for a result for some time only.
#[test]
fn a_send_fails_after_a_timeout() {
    runtime().run(|| {
        let (sender, receiver) = bounded(0);
        sward::spawn(move || {
            sward::sleep(Duration::from_millis(30));
            sender.send(7).is_ok()
        });
        let (limit, mut timed_out) = (after(Duration::from_millis(1)), false);
        sward::select! {
            recv(receiver) -> _ => {}
            recv(limit) -> _ => timed_out = true,
        }
        drop(receiver);
        assert!(timed_out);
        assert_no_leaks();
    });
}

// What is suspected, and found by `assert_no_leaks`.

#[test]
fn a_forgotten_sender_of_ones_own() {
    ten_are_suspected("own sender", || {
        let (sender, receiver) = unbounded::<u32>();
        receiver.recv().is_ok() && sender.send(1).is_ok()
    });
}

/// Somebody keeps the receiver and does not receive.
#[test]
fn a_forgotten_receiver() {
    let (sender, receiver) = bounded::<u32>(0);
    ten_are_suspected("forgotten receiver", move || sender.send(1).is_ok());
    drop(receiver);
}

/// Each has what the other one waits for.
#[test]
fn two_that_wait_for_each_others_channels() {
    type Ends = (Sender<Receiver<()>>, Receiver<Receiver<()>>);
    ten_are_suspected("circle", || {
        let ((sender, receiver), (other, others)): (Ends, Ends) = (bounded(1), bounded(1));
        let partner = sward::spawn(move || others.recv().is_ok_and(|_| sender.send(bounded(1).1).is_ok()));
        let received = receiver.recv().is_ok() && other.send(bounded(1).1).is_ok();
        (received, partner)
    });
}

#[test]
fn a_call_to_a_wait_group_is_missing() {
    ten_are_suspected("wait group", || {
        let group = WaitGroup::new();
        group.add(1);
        group.wait();
    });
}

#[test]
fn a_notification_is_missing() {
    ten_are_suspected("condition", || {
        let mutex = Mutex::new(());
        drop(Condvar::new().wait(mutex.lock().expect("no panic")));
    });
}

#[test]
fn a_permit_is_never_released() {
    ten_are_suspected("permit", || {
        let permits = Semaphore::new(1);
        permits.acquire().expect("it is open").forget();
        permits.acquire().is_ok()
    });
}

// What is certain.

#[test]
fn a_deadlock_and_all_behind_it() {
    let runtime = runtime();
    let inside = Arc::new(AtomicUsize::new(0));
    runtime.run(|| {
        let start = |name: &str, f: Box<dyn FnOnce() + Send>| {
            task::Builder::new().name(name).spawn(f).expect("spawned")
        };
        let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
        for number in 0..2 {
            let (inside, locks) = (inside.clone(), locks.clone());
            let member = start(
                "certain member",
                Box::new(move || {
                    let _own = locks[number].lock();
                    inside.fetch_add(1, Ordering::Relaxed);
                    while inside.load(Ordering::Relaxed) < 2 {
                        sward::yield_now();
                    }
                    drop(locks[1 - number].lock());
                }),
            );
            drop(start("certain joiner", Box::new(move || drop(member.join()))));
        }
    });
    let certain = || {
        let leaks = search();
        leaks.certain.iter().filter(|one| has_name(one, "certain ")).count()
    };
    eventually("all four are found", || certain() == 4);
}

// What is none.

#[test]
fn waits_with_a_limit_and_for_the_world_are_not_suspected() {
    let runtime = runtime();
    runtime.run(|| {
        let (sender, receiver) = unbounded::<u32>();
        for number in 0..10 {
            let receiver = receiver.clone();
            let limited = move || receiver.recv_timeout(Duration::from_secs(60)).is_ok();
            drop(task::Builder::new().name(format!("healthy {number}")).spawn(limited).expect("spawned"));
            let sleeps = || sward::sleep(Duration::from_secs(60));
            drop(task::Builder::new().name(format!("healthy {number}")).spawn(sleeps).expect("spawned"));
        }
        sward::sleep(Duration::from_millis(100));
        let leaks = search();
        let all = leaks.suspected.iter().flatten().chain(&leaks.certain);
        assert_eq!(all.filter(|one| has_name(one, "healthy")).count(), 0, "{leaks}");
        drop(sender);
    });
}
