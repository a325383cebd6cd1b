//! Parks 100,000 coroutines at once and prints what they cost: `cargo run --release --example spawn_100k --
//! [--count N] [--stack-size BYTES] [--observe ADDR]`. With `--observe` they stay parked until the program is
//! ended.
//!
//! Limits: on Linux before 6.13 each guard takes two memory mappings, so it ends at some 16,000 coroutines
//! unless `vm.max_map_count` is raised.

mod common;

use std::fs;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use sward::task::{self, JoinHandle};

/// What one parked coroutine may cost: resident memory and page tables.
const BOUND: f64 = 4.8 * 1024.0;

fn main() {
    let mut arguments =
        common::Arguments::new("spawn_100k [--count N] [--stack-size BYTES] [--observe ADDR]");
    let count = arguments.number("--count", 100_000) as usize;
    let stack_size = arguments.number("--stack-size", 0) as usize;
    let observed = arguments.observe();
    arguments.end();
    let failed = sward::run(|| measure(count, stack_size, observed));
    exit(i32::from(failed > 0));
}

fn measure(count: usize, stack_size: usize, observed: bool) -> usize {
    // The memory of the handles is not a cost of the coroutines, so it is touched before.
    let mut places: Vec<Option<JoinHandle<()>>> = (0..count).map(|_| None).collect();
    let (started, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let before = Memory::now();

    let start = Instant::now();
    for place in &mut places {
        let (started, go) = (started.clone(), go.clone());
        let mut builder = task::Builder::new();
        if stack_size > 0 {
            builder = builder.stack_size(stack_size);
        }
        let coroutine = builder.spawn(move || {
            started.fetch_add(1, Ordering::Relaxed);
            while !go.load(Ordering::Acquire) {
                task::park();
            }
        });
        *place = Some(coroutine.unwrap_or_else(|e| common::fail(&e.to_string())));
    }
    let handles: Vec<JoinHandle<()>> = places.into_iter().flatten().collect();
    while started.load(Ordering::Relaxed) + handles.iter().filter(|h| h.is_finished()).count() < count {
        sward::sleep(Duration::from_millis(1));
    }
    let parked = start.elapsed();
    // Long enough for a search for deadlocks. What it allocates counts.
    sward::sleep(Duration::from_millis(500));
    let after = Memory::now();

    if observed {
        eprintln!("{count} are parked");
        sward::sleep(Duration::MAX);
    }
    let start = Instant::now();
    go.store(true, Ordering::Release);
    for handle in &handles {
        handle.task().unpark();
    }
    let mut failures = handles.into_iter().filter_map(|handle| handle.join().err());
    let first = failures.next();
    let failed = failures.count() + usize::from(first.is_some());
    let joined = start.elapsed();

    let alive = (count - failed).max(1) as f64;
    let (resident, tables) =
        ((after.resident - before.resident) / alive, (after.tables - before.tables) / alive);
    println!("coroutines parked at once   {:>12}", count - failed);
    println!("resident, each              {resident:>12.0} B");
    println!("page tables, each           {tables:>12.0} B");
    let held = if resident + tables <= BOUND { "within" } else { "above" };
    println!("together                    {:>12.2} KiB, {held} 4.8 KiB", (resident + tables) / 1024.0);
    println!("memory mappings             {:>12}", after.mappings);
    println!("until all were parked       {parked:>12.1?}");
    println!("to wake and join them       {joined:>12.1?}");
    if let Some(error) = first {
        println!("failed                      {failed:>12}: {error}");
    }
    failed
}

struct Memory {
    resident: f64,
    tables: f64,
    mappings: usize,
}

impl Memory {
    fn now() -> Memory {
        let pid = std::process::id();
        let bytes = |name| common::status(pid, name).unwrap_or(0) as f64 * 1024.0;
        Memory {
            resident: bytes("VmRSS"),
            tables: bytes("VmPTE"),
            mappings: fs::read_to_string("/proc/self/maps").unwrap_or_default().lines().count(),
        }
    }
}
