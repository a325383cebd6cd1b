//! How work spreads over any number of workers, and what that costs: wake-ups, steals, looks at other
//! workers.

use super::{Mode, VirtualRuntime, WORKERS};
use crate::sched::worker_index;
// Of higher ranks, which only tests may use.
#[cfg(test)]
use crate::{spawn, task, yield_now};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const SEEDS: u64 = 5;

/// Runs the test with each number of workers and some seeds. All workers sleep at its beginning.
fn each(mode: Mode, test: impl Fn(&VirtualRuntime, usize)) {
    for workers in WORKERS {
        for seed in 0..SEEDS {
            let runtime = VirtualRuntime::new(workers, mode, seed);
            runtime.run_to_rest();
            runtime.take_counts();
            test(&runtime, workers);
            runtime.end();
        }
    }
}

/// Which worker has run each of that many coroutines last; and how often each was run.
type By = Arc<Mutex<Vec<Vec<usize>>>>;

fn note(by: &By, index: usize) {
    by.lock().expect("no panic")[index].push(worker_index().expect("a coroutine runs on a worker"));
}

/// A tree of coroutines that end in their first turn.
fn tree(depth: u32, done: &Arc<AtomicUsize>) {
    done.fetch_add(1, Ordering::Relaxed);
    if depth > 0 {
        for _ in 0..2 {
            let done = Arc::clone(done);
            spawn(move || tree(depth - 1, &done));
        }
    }
}

/// Greedy scheduling: no more rounds than a worker's share, the depth of the tree, and two rounds for each
/// worker, since each wakes the next one.
#[test]
fn a_tree_of_spawns_keeps_all_workers_busy() {
    const DEPTH: u32 = 12;
    const NODES: usize = (2 << DEPTH) - 1;
    each(Mode::Pinned, |runtime, workers| {
        let done = Arc::new(AtomicUsize::new(0));
        let own = Arc::clone(&done);
        runtime.spawn(move || tree(DEPTH, &own));
        let most = NODES.div_ceil(workers) + DEPTH as usize + 2 * workers;
        let rounds = runtime.run_until(most, || done.load(Ordering::Relaxed) == NODES);
        let counts = runtime.take_counts();
        println!("{}: {rounds} rounds, bound {most}; {counts:?}", runtime.name);
        // Thieves take halves of deques, and a worker without work searches once before it sleeps.
        assert!(counts.steals <= NODES / 8, "{}: {counts:?}", runtime.name);
        assert!(counts.wake_ups <= counts.notifications && counts.notifications <= 2 * workers);
        assert!(counts.scans <= NODES, "{}: {counts:?}", runtime.name);
    });
}

/// Short coroutines, all spawned in one turn.
#[test]
fn a_burst_wakes_all_workers() {
    each(Mode::Pinned, |runtime, workers| {
        let burst = 100 * workers;
        let by: By = Arc::new(Mutex::new(vec![Vec::new(); burst]));
        let own = Arc::clone(&by);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ran);
        runtime.spawn(move || {
            // Its children are not those of a first turn.
            yield_now();
            for index in 0..burst {
                let (own, count) = (Arc::clone(&own), Arc::clone(&count));
                spawn(move || {
                    note(&own, index);
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        let ran = || ran.load(Ordering::Relaxed);
        let all_work = || {
            let by = by.lock().expect("no panic");
            (0..workers).all(|worker| by.iter().any(|ran| ran.first() == Some(&worker)))
        };
        let awake = runtime.run_until(2 * workers + 4, all_work);
        let most = burst / workers + 2 * workers;
        let rounds = awake + runtime.run_until(most, || ran() == burst);
        let counts = runtime.take_counts();
        println!(
            "{}: all work after {awake} rounds, end after {rounds}, bound {most}; {counts:?}",
            runtime.name
        );
        assert!(rounds <= most + 4, "{}: {rounds} rounds", runtime.name);
        // One notification wakes each worker, and no worker is woken for nothing.
        assert!(counts.notifications <= workers + 1 && counts.fruitless == 0, "{}: {counts:?}", runtime.name);
        assert!(counts.steals <= burst / 2 && counts.scans <= burst, "{}: {counts:?}", runtime.name);
    });
}

/// Where coroutines live that wait: spawned in one turn, or one in each turn.
#[test]
fn long_lived_coroutines_spread() {
    for in_a_row in [true, false] {
        each(Mode::Pinned, |runtime, workers| {
            for count in [4, 10, 30, 1_000, if in_a_row { 6_400 } else { 2_000 }] {
                let parked = Arc::new(AtomicUsize::new(0));
                let tasks = Arc::new(Mutex::new(Vec::new()));
                let (own, all) = (Arc::clone(&parked), Arc::clone(&tasks));
                runtime.spawn(move || {
                    for _ in 0..count {
                        let own = Arc::clone(&own);
                        let handle = spawn(move || {
                            own.fetch_add(1, Ordering::Relaxed);
                            task::park();
                        });
                        all.lock().expect("no panic").push(handle.task().clone());
                        if !in_a_row {
                            yield_now();
                        }
                    }
                });
                runtime.run_until(100_000, || parked.load(Ordering::Relaxed) == count);
                runtime.run_to_rest();
                let loads = runtime.loads();
                let (least, most) = (*loads.iter().min().expect("some"), *loads.iter().max().expect("some"));
                let counts = runtime.take_counts();
                println!("{}: {count}, in a row {in_a_row}: {least} to {most}; {counts:?}", runtime.name);
                assert!(most <= least + least / 16 + 4, "{}: {loads:?}", runtime.name);
                // For each coroutine: one notification, two tries to steal by the worker that this wakes, one
                // comparison of loads.
                assert!(counts.scans <= 4 * count + 20 * workers, "{}: {counts:?}", runtime.name);
                assert!(counts.notifications <= count + workers, "{}: {counts:?}", runtime.name);
                tasks.lock().expect("no panic").drain(..).for_each(|task: task::Task| task.unpark());
                runtime.run_to_rest();
                runtime.take_counts();
                assert!(runtime.loads().iter().all(|load| *load == 0));
            }
        });
    }
}

/// Single coroutines from a plain thread, while all workers sleep.
#[test]
fn no_worker_is_woken_more_often_than_the_others() {
    const EACH: usize = 20;
    each(Mode::Pinned, |runtime, workers| {
        let by: By = Arc::new(Mutex::new(vec![Vec::new()]));
        for _ in 0..EACH * workers {
            let own = Arc::clone(&by);
            runtime.spawn(move || note(&own, 0));
            runtime.run_to_rest();
        }
        let (by, counts) = (by.lock().expect("no panic"), runtime.take_counts());
        for worker in 0..workers {
            let ran = by[0].iter().filter(|ran| **ran == worker).count();
            assert!(ran.abs_diff(EACH) <= 2, "{}: {ran} on worker {worker}", runtime.name);
        }
        println!("{}: {counts:?}", runtime.name);
        assert!(counts.wake_ups == EACH * workers && counts.fruitless == 0, "{}: {counts:?}", runtime.name);
    });
}

/// Two coroutines that wake one another in turn: no third worker is woken, wherever the two live.
#[test]
fn a_ping_pong_pair_wakes_no_third_worker() {
    const TURNS: usize = 200;
    each(Mode::Pinned, |runtime, _| {
        let by: By = Arc::new(Mutex::new(vec![Vec::new(); 2]));
        let tasks: Arc<Mutex<Vec<task::Task>>> = Arc::default();
        for index in 0..2 {
            let (own, all) = (Arc::clone(&by), Arc::clone(&tasks));
            let player = move || {
                for _ in 0..TURNS {
                    task::park();
                    note(&own, index);
                    let other = all.lock().expect("no panic")[1 - index].clone();
                    other.unpark();
                }
            };
            let task = runtime.spawn(player).task().clone();
            tasks.lock().expect("no panic").push(task);
            // It lives on the worker that was woken for it.
            runtime.run_to_rest();
        }
        runtime.take_counts();
        let first = tasks.lock().expect("no panic")[0].clone();
        first.unpark();
        runtime.run_to_rest();
        let counts = runtime.take_counts();
        println!("{}: {counts:?}", runtime.name);
        let by = by.lock().expect("no panic");
        assert!(by.iter().all(|ran| ran.len() == TURNS), "{}: {by:?}", runtime.name);
        let far = by[0][0] != by[1][0];
        // At most one wake-up for each turn of two workers, and none between coroutines of one.
        let most = if far { 2 * TURNS } else { 1 };
        assert!(counts.wake_ups <= most && counts.notifications == 0, "{}: {counts:?}", runtime.name);
        assert!(counts.steals == 0, "{}: {counts:?}", runtime.name);
    });
}

/// Coroutines in homes of their own, all woken in one turn: any worker runs their homes.
#[test]
fn woken_homes_are_run_by_all_workers() {
    const HOMES: usize = 64;
    const WAVES: usize = 10;
    if crate::storage::supported().is_err() {
        return;
    }
    each(Mode::Homes(HOMES + 1), |runtime, workers| {
        let parked = Arc::new(AtomicUsize::new(0));
        let by: By = Arc::new(Mutex::new(vec![Vec::new(); HOMES]));
        let live = |index| {
            let (parked, by) = (Arc::clone(&parked), Arc::clone(&by));
            runtime.spawn(move || {
                for _ in 0..WAVES {
                    parked.fetch_add(1, Ordering::Relaxed);
                    task::park();
                    note(&by, index);
                }
            })
        };
        let handles: Vec<_> = (0..HOMES).map(live).collect();
        let tasks: Vec<_> = handles.iter().map(|handle| handle.task().clone()).collect();
        runtime.run_until(10_000, || parked.load(Ordering::Relaxed) == HOMES);
        runtime.run_to_rest();
        let most = runtime.loads().into_iter().max().expect("some");
        assert!(most <= HOMES / workers + 2, "{}: {:?}", runtime.name, runtime.loads());
        runtime.take_counts();
        for wave in 1..=WAVES {
            let all = tasks.clone();
            runtime.spawn(move || all.iter().for_each(|task| task.unpark()));
            let all_ran = || by.lock().expect("no panic").iter().all(|ran| ran.len() == wave);
            let rounds = runtime.run_until(HOMES / workers + 2 * workers + 4, all_ran);
            runtime.run_to_rest();
            let counts = runtime.take_counts();
            println!("{}: wave {wave}: {rounds} rounds; {counts:?}", runtime.name);
            assert!(counts.steals <= HOMES / 2, "{}: {counts:?}", runtime.name);
            assert!(counts.notifications <= workers + 1, "{}: {counts:?}", runtime.name);
        }
        assert!(handles.iter().all(|handle| handle.is_finished()));
    });
}
