//! Where a dump is made, and what it says of runtimes and workers.

use crate::common::{LONG, MOMENT, SetOnDrop, homes_by_default, in_runtime, two_workers};
use crate::find::{all, coroutines_stay, named, start, until_parked};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use sward::observe::{CoroutineState, RuntimeMode, RuntimePhase, WorkerState, dump};
use sward::runtime::Builder;

fn runtime_named(name: &str) -> Option<sward::observe::RuntimeDump> {
    dump().runtimes.into_iter().find(|runtime| runtime.name == name)
}

fn of_name(name: &str, workers: usize) -> sward::runtime::Runtime {
    Builder::new().worker_threads(workers).thread_name(name).build().expect("a runtime")
}

#[test]
fn an_idle_runtime_has_no_coroutines_and_leaves_the_list() {
    let runtime = of_name("idle", 3);
    let shown = runtime_named("idle").expect("it lives");
    assert_eq!((shown.coroutines.len(), shown.unstarted, shown.phase), (0, 0, RuntimePhase::Running));
    assert!(shown.complete && shown.workers.len() >= 3);
    let mode = match (coroutines_stay(), homes_by_default()) {
        (false, _) => RuntimeMode::Migrating,
        (true, true) => RuntimeMode::MobileHomes,
        (true, false) => RuntimeMode::Pinned,
    };
    assert_eq!(shown.mode, mode);
    drop(runtime);
    assert!(runtime_named("idle").is_none());
}

#[test]
fn several_runtimes_are_shown_and_dumps_may_overlap() {
    let runtimes = ["several-a", "several-b"].map(|name| of_name(name, 2));
    for (index, runtime) in runtimes.iter().enumerate() {
        for number in 0..50 {
            let name = format!("several: {index} {number}");
            runtime.run(|| drop(start(&name, || sward::sleep(LONG))));
        }
    }
    let all_are_shown = || {
        let dump = dump();
        (0..2).all(|index| {
            (0..50).all(|number| {
                named(&dump, &format!("several: {index} {number}"))
                    .is_some_and(|coroutine| coroutine.state == CoroutineState::Parked)
            })
        })
    };
    while !all_are_shown() {
        std::thread::sleep(MOMENT);
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..5).for_each(|_| assert!(all_are_shown())));
        }
        runtimes[0].run(|| (0..5).for_each(|_| assert!(all_are_shown())));
    });
}

/// What a dump says of a coroutine that never ends its turn, and of its siblings.
#[test]
fn a_worker_that_is_stuck_in_a_turn_does_not_hold_the_dump_up() {
    let runtime = Builder::new().worker_threads(1).thread_name("long-turn").build().expect("a runtime");
    let (end, runs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (its_end, its_runs) = (end.clone(), runs.clone());
    let _end = SetOnDrop(end);
    runtime.run(|| {
        for number in 0..10 {
            drop(start(&format!("long turn: sibling {number}"), || sward::sleep(LONG)));
        }
        (0..10).for_each(|number| drop(until_parked(&format!("long turn: sibling {number}"), "sleep")));
        drop(start("long turn: hog", move || {
            its_runs.store(true, Ordering::Relaxed);
            while !its_end.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }));
    });
    while !runs.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let dump = dump();
    let hog = named(&dump, "long turn: hog").expect("it runs");
    assert_eq!(hog.state, CoroutineState::Running, "{dump}");
    for number in 0..10 {
        let name = format!("long turn: sibling {number}");
        let sibling = named(&dump, &name).unwrap_or_else(|| panic!("{name} is missing:\n{dump}"));
        assert_eq!(sibling.wait.as_ref().map(|wait| wait.call), Some("sleep"), "{dump}");
    }
    let shown = dump.runtimes.iter().find(|runtime| runtime.name == "long-turn").expect("it lives");
    assert!(shown.workers.iter().any(|worker| worker.state == WorkerState::Running(hog.id)), "{dump}");
    assert!(dump.took < Duration::from_secs(60), "{:?}", dump.took);
}

#[test]
fn a_coroutine_in_its_first_turn_is_shown() {
    let runtime = of_name("first-turn", 1);
    let (end, runs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (its_end, its_runs) = (end.clone(), runs.clone());
    let end = SetOnDrop(end);
    let line = line!() + 1;
    let hog = runtime.spawn(move || {
        its_runs.store(true, Ordering::Relaxed);
        while !its_end.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    while !runs.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let shown = runtime_named("first-turn").expect("it lives");
    let found = shown.coroutines.iter().find(|coroutine| Some(coroutine.id) == hog.task().id());
    let found = found.unwrap_or_else(|| panic!("missing: {shown:?}"));
    assert_eq!((found.state, found.spawned_at.line()), (CoroutineState::Running, line));
    drop(end);
    hog.join().expect("no panic");
}

/// A coroutine asks for a dump while all others of its worker come and go.
#[test]
fn a_dump_in_a_coroutine_under_load() {
    let runtime = two_workers();
    let end = Arc::new(AtomicBool::new(false));
    let churn: Vec<_> = (0..4)
        .map(|_| {
            let end = end.clone();
            runtime.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    let many: Vec<_> = (0..50)
                        .map(|n| sward::spawn(move || (n % 3..3).for_each(|_| sward::yield_now())))
                        .collect();
                    many.into_iter().for_each(|one| one.join().expect("no panic"));
                }
            })
        })
        .collect();
    runtime.run(|| {
        let stays = start("load: stays", || sward::sleep(LONG));
        while named(&dump(), "load: stays").is_none() {
            sward::sleep(MOMENT);
        }
        for _ in 0..50 {
            let dump = dump();
            let mut ids: Vec<_> = all(&dump).map(|coroutine| coroutine.id).collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count, "a coroutine is in the dump twice");
            assert!(named(&dump, "load: stays").is_some(), "{dump}");
        }
        stays.cancel();
    });
    end.store(true, Ordering::Relaxed);
    churn.into_iter().for_each(|one| one.join().expect("no panic"));
}

#[test]
fn a_dump_during_a_shutdown() {
    let runtime = of_name("closing", 2);
    runtime.run(|| {
        for _ in 0..10 {
            drop(start("closing: unwinds slowly", || {
                let _slow = SleepsAtTheEnd;
                sward::sleep(LONG);
            }));
        }
        sward::sleep(MOMENT);
    });
    let shutdown = std::thread::spawn(move || drop(runtime));
    let mut phases = Vec::new();
    while let Some(shown) = runtime_named("closing") {
        phases.push(shown.phase);
        std::thread::sleep(Duration::from_millis(1));
        if shutdown.is_finished() {
            break;
        }
    }
    shutdown.join().expect("no panic");
    println!("{} dumps, {phases:?}", phases.len());
}

struct SleepsAtTheEnd;

impl Drop for SleepsAtTheEnd {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cancelled_caller_of_a_dump_unwinds() {
    in_runtime(|| {
        let caller = sward::spawn(|| (0..10_000).for_each(|_| drop(dump())));
        sward::sleep(MOMENT);
        caller.cancel();
        assert!(caller.join().is_err());
    });
}
