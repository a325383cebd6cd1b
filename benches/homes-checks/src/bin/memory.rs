//! What allocators keep for each thread: `memory [COUNT]` parks that many coroutines, each with some memory,
//! and prints the resident memory of the process in KiB. The features choose the allocator.

#[path = "../../../../tests/homes/coroutines.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod coroutines;

use std::collections::HashMap;
use std::sync::Arc;
use sward::sync::Barrier;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let count = std::env::args().nth(1).map_or(100_000, |count| count.parse().expect("a number"));
    let runtime = coroutines::builder().build().expect("a runtime");
    if let Err(reason) = coroutines::homes_move(&runtime) {
        eprintln!("homes do not move: {reason}");
    }
    runtime.run(|| {
        let (parked, end) = (Arc::new(Barrier::new(count + 1)), Arc::new(Barrier::new(count + 1)));
        let spawn = |number| {
            let (parked, end) = (parked.clone(), end.clone());
            sward::spawn(move || {
                let kept = allocate(number);
                parked.wait();
                end.wait();
                drop(kept);
            })
        };
        let handles: Vec<_> = (0..count).map(spawn).collect();
        parked.wait();
        println!("{}", resident());
        end.wait();
        for handle in handles {
            handle.join().expect("no panic");
        }
    });
}

/// Short-lived blocks of many sizes, and a few that are kept: as after one request of a server.
fn allocate(number: usize) -> (Vec<u8>, HashMap<usize, String>) {
    for shift in 4..14 {
        std::hint::black_box(vec![1_u8; (1 << shift) + number % 16]);
    }
    let map = (0..4).map(|i| (i, format!("value {i} of {number}"))).collect();
    (vec![2; 200], map)
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
