//! `JoinSet`.

use crate::common::{CountOnDrop, MOMENT, everywhere, in_runtime};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::task::{self, JoinError, JoinSet};
use sward::time::timeout_at;

#[test]
fn a_set_returns_results_in_the_order_of_the_ends() {
    everywhere(|| {
        let mut set = JoinSet::new();
        let turn = Arc::new(AtomicUsize::new(10));
        for i in 0..10 {
            let turn = turn.clone();
            set.spawn(move || {
                while turn.load(Ordering::Acquire) != i + 1 {
                    sward::sleep(Duration::from_micros(100));
                }
                i
            });
        }
        assert_eq!(set.len(), 10);
        for i in (0..10).rev() {
            assert_eq!(set.join_next().unwrap().unwrap(), i);
            turn.store(i, Ordering::Release);
        }
        assert!(set.is_empty() && set.join_next().is_none() && set.try_join_next().is_none());
    });
}

#[test]
fn a_set_of_many_loses_none() {
    everywhere(|| {
        let mut set = JoinSet::new();
        let (mut sum, mut count) = (0, 0);
        for i in 0..10_000_u64 {
            set.spawn(move || {
                if i % 7 == 0 {
                    sward::yield_now();
                }
                i
            });
            while let Some(result) = set.try_join_next() {
                (sum, count) = (sum + result.unwrap(), count + 1);
            }
            if set.len() > 100 {
                (sum, count) = (sum + set.join_next().unwrap().unwrap(), count + 1);
            }
        }
        while let Some(result) = set.join_next() {
            (sum, count) = (sum + result.unwrap(), count + 1);
        }
        assert_eq!((sum, count), (9_999 * 5_000, 10_000));
    });
}

#[test]
fn a_set_reports_every_kind_of_end() {
    everywhere(|| {
        let mut set = JoinSet::new();
        set.spawn(|| panic!("of a member"));
        match set.join_next() {
            Some(Err(JoinError::Panicked(panic))) => assert_eq!(panic.message(), Some("of a member")),
            other => panic!("{other:?}"),
        }
        for _ in 0..100 {
            set.spawn(task::park);
        }
        assert!(set.try_join_next().is_none());
        set.cancel_all();
        for _ in 0..100 {
            assert!(matches!(set.join_next(), Some(Err(JoinError::Cancelled))));
        }
        let absurd = set.spawn_with(task::Builder::new().stack_size(0), || ());
        assert_eq!(absurd.expect_err("refused").kind(), std::io::ErrorKind::InvalidInput);
        assert!(set.join_next().is_none());
    });
}

#[test]
fn a_set_waits_with_a_timeout() {
    everywhere(|| {
        let mut set = JoinSet::new();
        assert!(set.join_next_timeout(Duration::from_secs(3600)).is_none());
        let task = set.spawn(|| (task::park(), 5).1);
        assert!(set.join_next_timeout(Duration::from_millis(2)).is_none());
        assert!(set.join_next_timeout(Duration::ZERO).is_none());
        assert_eq!(set.len(), 1);
        task.unpark();
        assert_eq!(set.join_next_timeout(Duration::from_secs(3600)).unwrap().unwrap(), 5);
    });
}

#[test]
fn a_dropped_set_cancels_its_coroutines() {
    everywhere(|| {
        let done = Arc::new(AtomicUsize::new(0));
        struct Done(Arc<AtomicUsize>);
        impl Drop for Done {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Release);
            }
        }
        let mut set = JoinSet::new();
        for _ in 0..10 {
            let done = Done(done.clone());
            set.spawn(move || {
                let _done = done;
                task::park();
                unreachable!("cancelled");
            });
        }
        drop(set);
        while done.load(Ordering::Acquire) < 10 {
            sward::yield_now();
        }
    });
}

#[test]
fn a_set_shuts_down() {
    everywhere(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut set = JoinSet::new();
        for i in 0..100 {
            let drops = drops.clone();
            set.spawn(move || {
                let _counts = CountOnDrop(drops);
                if i % 2 == 0 {
                    task::park();
                }
            });
        }
        while drops.load(Ordering::Relaxed) < 50 {
            sward::yield_now();
        }
        set.shutdown();
        assert!(set.is_empty());
        assert_eq!(Arc::strong_count(&drops), 1);
    });
}

/// A coroutine that ends with its runtime counts as ended, also if it never ran.
#[test]
fn a_set_outlives_its_runtime() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    let mut set = runtime.run(|| {
        let mut set = JoinSet::new();
        for _ in 0..100 {
            set.spawn(task::park);
        }
        set
    });
    drop(runtime);
    for _ in 0..100 {
        assert!(matches!(set.join_next(), Some(Err(JoinError::ShutDown))));
    }
    assert!(set.is_empty());
}

struct SleepsAtTheEnd(Duration);

impl Drop for SleepsAtTheEnd {
    fn drop(&mut self) {
        sward::sleep(self.0);
    }
}

sward::task_local! {
    static AT_THE_END: SleepsAtTheEnd = SleepsAtTheEnd(Duration::ZERO);
    static LONG_AT_THE_END: SleepsAtTheEnd = SleepsAtTheEnd(Duration::from_secs(600));
    static LOCKS_AT_THE_END: LocksAtTheEnd = LocksAtTheEnd;
}

/// The test holds it while the destructors of `LOCKS_AT_THE_END` wait.
static GATE: sward::sync::Mutex<()> = sward::sync::Mutex::new(());

struct LocksAtTheEnd;

impl Drop for LocksAtTheEnd {
    fn drop(&mut self) {
        drop(GATE.lock().unwrap());
    }
}

/// While the destructors of its task locals run, a coroutine has not ended. `try_join_next` does not wait for
/// it, a limit holds, and the set joins others before it.
#[test]
fn a_set_does_not_wait_for_locals_unasked() {
    everywhere(|| {
        let mut set = JoinSet::new();
        set.spawn(|| LONG_AT_THE_END.with(|_| 1));
        sward::sleep(MOMENT);
        assert!(set.try_join_next().is_none());
        let limited = sward::time::timeout(MOMENT, || set.join_next().is_some());
        assert!(limited.is_err());
        assert!(set.join_next_timeout(MOMENT).is_none());
        let gate = GATE.lock().unwrap();
        set.spawn(|| LOCKS_AT_THE_END.with(|_| 2));
        sward::sleep(MOMENT);
        set.spawn(|| AT_THE_END.with(|_| 3));
        assert_eq!(set.join_next().expect("one").expect("no panic"), 3);
        drop(gate);
        assert_eq!(set.join_next().expect("one").expect("no panic"), 2);
        assert_eq!(set.len(), 1);
        set.cancel_all();
        // Its closure has returned by now.
        assert_eq!(set.join_next().expect("one").expect("no panic"), 1);
        assert!(set.is_empty() && set.join_next().is_none());
    });
}

/// A cancelled `join_next` takes nothing: results that have come meanwhile stay in the set.
#[test]
fn a_cancelled_join_next_loses_no_result() {
    in_runtime(|| {
        for round in 0..200 {
            let results = Arc::new(Mutex::new(Vec::new()));
            let theirs = results.clone();
            let joiner = sward::spawn(move || {
                let mut set = JoinSet::new();
                for i in 0..8_u64 {
                    set.spawn(move || {
                        task::mask(|| sward::sleep(Duration::from_micros(20 * i)));
                        i
                    });
                }
                let mut taken = Vec::new();
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    while let Some(result) = set.join_next() {
                        taken.push(result.unwrap());
                    }
                }));
                task::mask(|| {
                    while let Some(result) = set.join_next() {
                        taken.push(result.unwrap());
                    }
                });
                taken.sort_unstable();
                *theirs.lock().unwrap() = taken;
                unwound.is_err()
            });
            sward::sleep(Duration::from_micros(round));
            joiner.cancel();
            if joiner.join().is_ok() {
                assert_eq!(*results.lock().unwrap(), (0..8).collect::<Vec<_>>());
            }
        }
    });
}

/// The budget runs out in some of these calls, which then meet the limit. They must not have taken anything.
#[test]
fn a_limit_that_ends_a_join_loses_no_result() {
    everywhere(|| {
        const MEMBERS: usize = 600;
        let mut set = JoinSet::new();
        for _ in 0..MEMBERS {
            set.spawn(|| ());
        }
        sward::sleep(MOMENT);
        let past = Instant::now();
        let (mut joined, mut ended) = (0, 0);
        while !set.is_empty() {
            let before = set.len();
            let next = if joined % 2 == 0 { JoinSet::join_next } else { JoinSet::try_join_next };
            match timeout_at(past, || next(&mut set)) {
                Ok(Some(result)) => (result.unwrap(), joined += 1).1,
                Ok(None) => sward::yield_now(),
                Err(_) => {
                    assert_eq!(set.len(), before);
                    ended += 1;
                }
            }
            // One more call for the budget now and then, so that it runs out in each part of a join.
            if joined % 7 == 0 {
                sward::sleep(Duration::ZERO);
            }
        }
        assert_eq!(joined, MEMBERS);
        assert!(ended > 0, "no call met the limit");
    });
}

#[test]
fn detached_coroutines_run_on_and_leave_the_set() {
    everywhere(|| {
        let (go, ran) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut set = JoinSet::new();
        for i in 0..10 {
            let (go, ran) = (go.clone(), ran.clone());
            set.spawn(move || {
                while !go.load(Ordering::Acquire) {
                    sward::sleep(Duration::from_micros(100));
                }
                ran.fetch_add(1, Ordering::Release);
                i
            });
        }
        set.detach_all();
        assert!(set.is_empty());
        set.spawn(|| 100);
        go.store(true, Ordering::Release);
        while ran.load(Ordering::Acquire) < 10 {
            sward::yield_now();
        }
        assert_eq!(set.join_next().unwrap().unwrap(), 100);
        assert!(set.join_next().is_none());
    });
}
