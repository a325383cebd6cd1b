//! What a check promises of itself: every schedule is run, every failure is seen, and no run hangs.

use crate::common::{child, child_command, in_child, is_child, limit_address_space, text, this_test};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use sward::sim::{Check, Sim, Strategy};
use sward::sync::Mutex;
use sward::task::JoinError;
use sward::{channel, select, sleep, spawn, task};

const ALL: Strategy = Strategy::Exhaustive { preemptions: 2 };

/// What fails, under that strategy.
fn fails(strategy: Strategy, program: impl Fn(&Sim) + Sync) -> String {
    Check::new().strategy(strategy).try_run(program).expect_err("nothing is found").what().to_owned()
}

#[test]
fn a_loop_of_calls_that_need_not_wait_lets_others_run() {
    for strategy in [Strategy::Mixed, Strategy::RandomWalk, Strategy::Pct { depth: 3 }] {
        Check::new().runs(10).step_limit(20_000).strategy(strategy).run(|_| {
            let (sender, receiver) = channel::bounded::<u32>(1);
            let sends = spawn(move || sender.send(1).unwrap());
            while receiver.try_recv().is_err() {}
            sends.join().unwrap();
        });
    }
}

/// All of them inside of one poll, if none is pending.
#[test]
fn a_loop_of_futures_that_need_not_wait_lets_others_run() {
    for strategy in [Strategy::Mixed, Strategy::RandomWalk, Strategy::Pct { depth: 3 }] {
        Check::new().runs(10).step_limit(20_000).strategy(strategy).run(|_| {
            let (mutex, flag) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
            let sets = Arc::clone(&flag);
            let setter = spawn(move || sets.store(true, SeqCst));
            sward::block_on(async {
                while !flag.load(SeqCst) {
                    drop(mutex.lock_async().await);
                }
            });
            setter.join().unwrap();
        });
    }
    let check = Check::new().runs(1).step_limit(5_000).strategy(Strategy::RandomWalk);
    let failed = check.try_run(|_| {
        let mutex = Mutex::new(());
        sward::block_on(async {
            loop {
                drop(mutex.lock_async().await);
            }
        })
    });
    let failed = failed.expect_err("it never ends");
    assert!(failed.what().contains("after 5000 steps"), "{failed}");
}

#[test]
fn calls_that_need_not_wait_count_as_steps() {
    let check = Check::new().runs(1).step_limit(5_000).strategy(Strategy::RandomWalk);
    let failed = check.try_run(|_| {
        let (_sender, receiver) = channel::bounded::<u32>(1);
        while receiver.try_recv().is_err() {}
    });
    let failed = failed.expect_err("it never ends");
    assert!(failed.what().contains("after 5000 steps"), "{failed}");
}

/// The first messages' cancellations end the program early; the later waits are cancelled all the same.
#[test]
fn each_wait_is_cancelled_although_others_end_the_program_early() {
    let received = StdMutex::new(BTreeMap::<u32, u32>::new());
    let check = Check::new().runs(1).strategy(Strategy::RandomWalk).cancel_everywhere();
    check.run(|_| {
        let (sender, receiver) = channel::bounded::<u32>(0);
        sward::scope(|scope| {
            let sends = scope.spawn(move || (0..20).all(|i| sender.send(i).is_ok()));
            let receives = scope.spawn(move || {
                let mut count = 0;
                while receiver.recv().is_ok() {
                    count += 1;
                }
                count
            });
            let _ = sends.join();
            if let Ok(count) = receives.join() {
                *received.lock().unwrap().entry(count).or_default() += 1;
            }
        });
    });
    let received = received.into_inner().unwrap();
    assert!((1..20).filter(|count| received.contains_key(count)).count() > 10, "{received:?}");
}

/// A coroutine that yields alone has yielded to nobody, which later decisions do not remember.
#[test]
fn a_search_runs_the_schedule_after_a_yield_to_nobody() {
    let program = |_: &Sim| {
        let (flag, lock) = (Arc::new(AtomicBool::new(false)), Mutex::new(()));
        task::yield_now();
        let sets = {
            let flag = Arc::clone(&flag);
            spawn(move || flag.store(true, SeqCst))
        };
        drop(lock.lock());
        assert!(flag.load(SeqCst), "too early");
        sets.join().unwrap();
    };
    assert!(fails(ALL, program).contains("too early"));
}

#[test]
fn a_search_lets_a_coroutine_that_has_yielded_go_on_before_the_others() {
    let program = |_: &Sim| {
        let flag = Arc::new(AtomicBool::new(false));
        let sets = {
            let flag = Arc::clone(&flag);
            spawn(move || flag.store(true, SeqCst))
        };
        task::yield_now();
        assert!(flag.load(SeqCst), "the other has not run");
        sets.join().unwrap();
    };
    assert!(fails(ALL, program).contains("the other has not run"));
}

#[test]
fn a_search_has_each_arm_of_a_select_first() {
    for wrong in 1..=3 {
        let program = |_: &Sim| {
            let receivers = [1, 2, 3].map(|value| {
                let (sender, receiver) = channel::bounded::<u32>(1);
                sender.send(value).unwrap();
                receiver
            });
            let [one, two, three] = receivers;
            let got = select! {
                recv(one) -> value => value.unwrap(),
                recv(two) -> value => value.unwrap(),
                recv(three) -> value => value.unwrap(),
            };
            assert!(got != wrong, "it is {wrong}");
        };
        let failed = Check::new().strategy(ALL).try_run(program).expect_err("an arm never comes first");
        assert!(failed.what().contains(&format!("it is {wrong}")), "{failed}");
        let file = std::env::temp_dir().join(format!("sward-sim-select-{}-{wrong}", std::process::id()));
        failed.write_schedule(&file).unwrap();
        let again = Check::new().replay(&file, program).expect_err("the schedule has no such draw");
        std::fs::remove_file(file).unwrap();
        assert_eq!(again.what(), failed.what());
    }
}

/// a1 < b1 < c1 < b2 < a2: three orderings, of which two have to come in a fixed relation to each other.
#[test]
fn pct_finds_a_bug_whose_first_change_goes_lowest() {
    let found = AtomicUsize::new(0);
    let program = |_: &Sim| {
        let stage = Arc::new(AtomicUsize::new(0));
        let step = |stage: &AtomicUsize, from: usize| {
            _ = stage.compare_exchange(from, from + 1, SeqCst, SeqCst);
        };
        let two = |from: usize, to: usize| {
            let stage = Arc::clone(&stage);
            spawn(move || {
                let own = Mutex::new(());
                step(&stage, from);
                drop(own.lock());
                step(&stage, to);
            })
        };
        let (a, b) = (two(0, 4), two(1, 3));
        let c = {
            let stage = Arc::clone(&stage);
            spawn(move || step(&stage, 2))
        };
        a.join().unwrap();
        b.join().unwrap();
        c.join().unwrap();
        found.fetch_add(usize::from(stage.load(SeqCst) == 5), SeqCst);
    };
    Check::new().runs(1500).strategy(Strategy::Pct { depth: 3 }).run(program);
    let found = found.into_inner();
    println!("{found} of 1500 schedules, two or three runs of each");
    assert!(found > 0);
}

#[test]
fn a_busy_coroutine_that_outlives_the_check_is_a_leak() {
    let what = fails(Strategy::RandomWalk, |_| {
        spawn(|| {
            loop {
                task::yield_now();
            }
        });
    });
    assert!(what.contains("leak: a coroutine outlives the check"), "{what}");
}

/// Both runs have the same events, and only the second one fails.
#[test]
fn a_failure_of_the_second_run_alone_is_a_difference() {
    let runs = AtomicU64::new(0);
    let what = fails(Strategy::RandomWalk, |_| {
        assert!(runs.fetch_add(1, SeqCst) != 1, "the second run");
    });
    assert!(what.contains("two runs of this seed differ") && what.contains("the second run"), "{what}");
}

/// Such a coroutine is known to be gone: it is no leak, its host is not up, and a crash does not touch it.
#[test]
fn a_coroutine_that_gets_no_stack_has_ended() {
    // In a process of its own, since the limit holds for a whole process.
    in_child(|| {
        let check = Check::new().runs(1);
        check.run(|_| spawn(|| ()).join().unwrap());
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
        // Leaves less room than one such stack needs.
        limit_address_space(pages * 4096 + (512 << 20));
        let huge = || task::Builder::new().stack_size(1 << 30).spawn(|| ()).expect("spawned").join();
        check.run(move |sim| {
            assert!(matches!(huge(), Err(JoinError::NoStack(_))));
            sim.host("a", move || assert!(matches!(huge(), Err(JoinError::NoStack(_)))));
            sward::sleep(std::time::Duration::from_secs(1));
            assert!(!sim.is_up("a"));
            sim.crash("a");
        });
    });
}

struct NotesHost(Sim, Arc<StdMutex<Vec<bool>>>);

impl Drop for NotesHost {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0.is_up("a"));
    }
}

/// Coroutines that a run has given up are discarded after its end, and destructors may ask for their host.
#[test]
fn a_host_is_not_up_when_what_it_has_left_is_discarded() {
    let seen = Arc::new(StdMutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let _ = Check::new().runs(1).step_limit(2_000).try_run(move |sim| {
        let (sim, notes) = (*sim, Arc::clone(&notes));
        sim.host("a", move || {
            task::mask(|| {
                loop {
                    let note = NotesHost(sim, Arc::clone(&notes));
                    spawn(move || drop(note));
                    task::yield_now();
                }
            });
        });
        task::park();
    });
    let seen = seen.lock().unwrap();
    assert!(seen.contains(&true) && seen.last() == Some(&false), "of {}", seen.len());
}

/// A lease that is checked, and then used: no timer fires in between, unless something pauses.
#[test]
fn a_pause_between_a_check_and_a_use_is_found() {
    let program = |sim: &Sim| {
        let (sim, lock) = (*sim, Mutex::new(()));
        let lease = sim.now() + Duration::from_millis(10);
        for _ in 0..10 {
            if sim.now() + Duration::from_millis(1) < lease {
                drop(lock.lock());
                assert!(sim.now() < lease, "the lease has run out between check and use");
            }
        }
    };
    for strategy in [Strategy::RandomWalk, Strategy::Pct { depth: 3 }] {
        let check = Check::new().runs(300).strategy(strategy);
        check.run(program);
        let check = check.pauses(Duration::from_secs(1));
        let failed = check.try_run(program).expect_err("nothing is found");
        assert!(failed.what().contains("the lease has run out") && failed.to_string().contains("pauses for"));
        let again = check.seed(failed.seed()).runs(1).try_run(program).expect_err("it does not fail again");
        assert_eq!(again.to_string(), failed.to_string());
    }
}

/// Pauses are no failures by themselves: no deadlock, no leak.
#[test]
fn pauses_change_nothing_but_times() {
    Check::new().runs(200).pauses(Duration::from_secs(10)).run(|_| {
        let (sender, receiver) = channel::bounded(1);
        let sends = spawn(move || (0..5).for_each(|i| sender.send(i).unwrap()));
        assert_eq!(receiver.iter().sum::<i32>(), 10);
        spawn(task::yield_now);
        sends.join().unwrap();
    });
}

#[test]
fn a_host_that_pauses_runs_nothing_and_others_go_on() {
    Check::new().runs(20).run(|sim| {
        let (inside, ticks) = (*sim, Arc::new(AtomicU64::new(0)));
        for name in ["a", "b"] {
            let ticks = Arc::clone(&ticks);
            sim.host(name, move || {
                loop {
                    let before = inside.now();
                    sward::sleep(Duration::from_secs(1));
                    ticks.fetch_add(if name == "a" { 1 } else { 1000 }, SeqCst);
                    assert!(name == "a" || inside.now() - before < Duration::from_secs(2));
                }
            });
        }
        sward::sleep(Duration::from_millis(500));
        sim.pause("a", Duration::from_secs(100));
        sward::sleep(Duration::from_secs(90));
        assert_eq!(ticks.load(SeqCst), 90_000);
        sward::sleep(Duration::from_secs(20));
        assert_eq!(ticks.load(SeqCst) % 1000, 10);
        sim.pause("a", Duration::MAX);
        sim.crash("a");
        sim.restart("a");
        sward::sleep(Duration::from_secs(10));
        assert!(ticks.load(SeqCst) % 1000 > 15);
    });
}

/// Two that yield in a loop take turns, and the third, which they wait for, has its turn all the same.
#[test]
fn loops_that_yield_starve_nobody() {
    let program = |_: &Sim| {
        let flag = Arc::new(AtomicBool::new(false));
        let (sees, sets) = (Arc::clone(&flag), Arc::clone(&flag));
        let sees = spawn(move || {
            while !sees.load(SeqCst) {
                task::yield_now();
            }
        });
        let sets = spawn(move || sets.store(true, SeqCst));
        while !flag.load(SeqCst) {
            task::yield_now();
        }
        sees.join().unwrap();
        sets.join().unwrap();
    };
    for preemptions in 0..2 {
        let check = Check::new().strategy(Strategy::Exhaustive { preemptions }).step_limit(1000);
        let passed = check.run(program);
        assert!(passed.all, "{passed:?}");
    }
    // A schedule without decisions is the default one.
    let file = std::env::temp_dir().join(format!("sward-sim-default-{}", std::process::id()));
    std::fs::write(&file, "sward::sim schedule 1\nseed 0\n").unwrap();
    let passed = Check::new().step_limit(1000).replay(&file, program);
    std::fs::remove_file(file).unwrap();
    assert!(passed.is_ok(), "{}", passed.unwrap_err());
}

#[test]
fn a_search_cancels_each_wait() {
    let cancelled = AtomicUsize::new(0);
    let program = |_: &Sim| {
        let waits = spawn(|| {
            sward::sleep(Duration::from_secs(1));
            sward::sleep(Duration::from_secs(1));
        });
        cancelled.fetch_add(usize::from(waits.join().is_err()), SeqCst);
    };
    let passed = Check::new().strategy(ALL).run(program);
    assert!(passed.all && cancelled.swap(0, SeqCst) == 0);
    let passed = Check::new().strategy(ALL).cancel_everywhere().run(program);
    assert!(passed.all && cancelled.into_inner() >= 4, "{passed:?}");
}

/// Tests of one process fail at a time, with the same seeds.
#[test]
fn each_failure_has_files_of_its_own() {
    let path = |text: &'static str| {
        let fails = || Check::new().runs(1).run(|_| panic!("{text}"));
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fails)).expect_err("it fails");
        let report = payload.downcast_ref::<String>().unwrap().clone();
        let from = report.split_once("SWARD_SIM_SCHEDULE=").unwrap().1;
        std::path::PathBuf::from(from.split(' ').next().unwrap())
    };
    let (one, other) = (path("one"), path("another"));
    assert_ne!(one, other);
    for file in [one, other] {
        assert!(file.exists());
        std::fs::remove_file(file.with_extension("json")).unwrap();
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn variables_with_wrong_values_are_refused() {
    for (variable, value, says) in [
        ("SWARD_SIM_RUNS", "0", "SWARD_SIM_RUNS is at least 1"),
        ("SWARD_SIM_RUNS", "many", "SWARD_SIM_RUNS is a number up to 2^64 - 1, not \"many\""),
        ("SWARD_SIM_SEED", "-1", "SWARD_SIM_SEED is a number up to 2^64 - 1, not \"-1\""),
        ("SWARD_SIM_SCHEDULE", "/proc/version", "/proc/version: it is no schedule"),
    ] {
        if is_child() {
            sward::sim::check(|_| ());
        } else {
            let output = child(this_test!(), &[(variable, value)]);
            assert!(!output.status.success() && text(&output).contains(says), "{}", text(&output));
        }
    }
}

/// Also if the harness captures what tests print, as it does by default.
#[test]
fn a_run_that_hangs_is_reported_at_once() {
    let child = child_command(|| {
        sward::sim::check(|_| {
            let lock = Arc::new(StdMutex::new(()));
            let other = Arc::clone(&lock);
            spawn(move || {
                let _held = other.lock();
                sward::sleep(Duration::from_secs(1));
            });
            sward::sleep(Duration::from_millis(1));
            drop(lock.lock());
        });
    });
    let Some(mut child) = child else { return };
    let mut child = child.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut report = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut report).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(report.contains("coroutine #0 \"main\" has kept the simulation from going on"), "{report}");
}

/// Seeds that are run at once have the result of seeds that are run one after the other.
#[test]
fn jobs_find_the_first_seed_that_fails() {
    let program = |_: &Sim| {
        let count = Arc::new(Mutex::new(0));
        let add = |count: &Mutex<u32>| {
            let read = *count.lock().unwrap();
            *count.lock().unwrap() = read + 1;
        };
        let other = Arc::clone(&count);
        let adder = spawn(move || add(&other));
        add(&count);
        adder.join().unwrap();
        assert_eq!(*count.lock().unwrap(), 2);
    };
    let check = Check::new().runs(10_000);
    let alone = check.try_run(program).expect_err("no update is lost");
    for jobs in [2, 8] {
        let failed = check.clone().jobs(jobs).try_run(program).expect_err("no update is lost");
        assert_eq!((failed.seed(), failed.to_string()), (alone.seed(), alone.to_string()), "{jobs} jobs");
    }
    let sound = |_: &Sim| spawn(|| sleep(Duration::from_millis(1))).join().unwrap();
    let passed = [1, 3].map(|jobs| Check::new().runs(50).jobs(jobs).run(sound));
    assert_eq!(passed[0], passed[1]);
    assert_eq!(passed[0].schedules, 50);
}
