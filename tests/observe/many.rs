//! Many coroutines: groups, and that nobody is held for long.

use crate::common::{LONG, with_workers};
use crate::find::all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::observe::dump;
use sward::runtime::Builder;
use sward::sync::{Mutex, Semaphore};

const MANY: usize = 10_000;

/// Parks that many coroutines in each of three ways.
fn park(each: usize) -> Vec<sward::task::JoinHandle<()>> {
    let started = Arc::new(AtomicUsize::new(0));
    let permits = Arc::new(Semaphore::new(0));
    let mut handles = Vec::new();
    for _ in 0..each {
        let (starts, permits) = (started.clone(), permits.clone());
        handles.push(sward::spawn(move || {
            starts.fetch_add(1, Ordering::Relaxed);
            drop(permits.acquire());
        }));
        let starts = started.clone();
        handles.push(sward::spawn(move || {
            starts.fetch_add(1, Ordering::Relaxed);
            sward::sleep(LONG);
        }));
        let starts = started.clone();
        handles.push(sward::spawn(move || {
            starts.fetch_add(1, Ordering::Relaxed);
            sward::task::park();
        }));
    }
    while started.load(Ordering::Relaxed) < 3 * each {
        sward::sleep(Duration::from_millis(5));
    }
    handles
}

#[test]
fn ten_thousand_coroutines_are_a_few_groups() {
    let runtime =
        Builder::new().worker_threads(2).thread_name("many").stack_size(64 << 10).build().expect("a runtime");
    runtime.run(|| {
        let handles = park(MANY / 3);
        sward::sleep(Duration::from_millis(50));
        let dump = dump();
        let shown = all(&dump).filter(|coroutine| coroutine.spawned_at.file() == file!()).count();
        assert!(shown >= 3 * (MANY / 3), "{shown}");
        let text = dump.to_string();
        let lines = text.lines().count();
        assert!(lines < 2000, "{lines} lines");
        let groups: Vec<_> = text.lines().filter(|line| line.contains(" coroutines (spawned at ")).collect();
        for call in ["Semaphore::acquire", "sleep", "task::park"] {
            assert!(groups.iter().any(|line| line.contains(&format!("parked in {call} for"))), "{text}");
        }
        let sizes: Vec<usize> =
            groups.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        assert!(sizes.iter().max() >= Some(&(MANY / 8)), "{groups:#?}");
        let full = format!("{dump:#}");
        assert!(full.matches("coroutine #").count() >= 3 * (MANY / 3));
        println!("{shown} coroutines: {:?}, {lines} lines, {} in full", dump.took, full.lines().count());
        for handle in &handles {
            handle.cancel();
        }
    });
}

/// For people, in a build with optimizations: `cargo test --release --test observe -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_coroutines() {
    let runtime = Builder::new().worker_threads(2).stack_size(64 << 10).build().expect("a runtime");
    runtime.run(|| {
        let handles = park(100_000 / 3);
        for round in ["the first", "the second"] {
            let dump = dump();
            let begin = Instant::now();
            let (text, json) = (dump.to_string(), dump.to_json());
            println!(
                "{} coroutines: {round} dump took {:?}, text and JSON ({} and {} bytes) {:?}",
                all(&dump).count(),
                dump.took,
                text.len(),
                json.len(),
                begin.elapsed()
            );
        }
        for handle in &handles {
            handle.cancel();
        }
    });
}

/// A coroutine on each worker that wants to wake every millisecond. The figures are for people: how late a
/// thread is depends on the machine.
#[test]
fn a_ticker_goes_on_beside_a_dump() {
    let runtime = with_workers(2);
    let late = |name: &str, during: &dyn Fn()| {
        let (end, all) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let tickers: Vec<_> = (0..2)
            .map(|_| {
                let (end, all) = (end.clone(), all.clone());
                sward::spawn(move || {
                    let mut mine = Vec::new();
                    let mut due = Instant::now();
                    while !end.load(Ordering::Relaxed) {
                        due = (due + Duration::from_millis(1)).max(Instant::now());
                        sward::time::sleep_until(due);
                        mine.push(due.elapsed());
                    }
                    all.lock().expect("no panic").append(&mut mine);
                })
            })
            .collect();
        sward::sleep(Duration::from_millis(20));
        let begin = Instant::now();
        during();
        let took = begin.elapsed();
        end.store(true, Ordering::Relaxed);
        tickers.into_iter().for_each(|ticker| ticker.join().expect("no panic"));
        let mut all = std::mem::take(&mut *all.lock().expect("no panic"));
        all.sort_unstable();
        let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
        println!(
            "{name}: {took:.1?}, {} ticks, late by {:.1?} (median), {:.1?} (90 %), {:.1?} (99 %), {:.1?} (worst)",
            all.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        );
    };
    runtime.run(|| {
        late("without", &|| sward::sleep(Duration::from_millis(300)));
        let handles = park(MANY / 3);
        late("beside parked coroutines", &|| sward::sleep(Duration::from_millis(300)));
        late("beside a dump", &|| (0..5).for_each(|_| drop(dump())));
        for handle in &handles {
            handle.cancel();
        }
    });
}
