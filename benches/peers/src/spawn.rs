//! Batches of 1,000 outstanding trivial coroutines, spawned, run and joined: nanoseconds for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn batch(sum: &Arc<AtomicUsize>) {
    let handles: Vec<_> = (0..1_000)
        .map(|_| {
            let sum = sum.clone();
            sward::spawn(move || {
                sum.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    for handle in handles {
        handle.join().expect("it only counts");
    }
}

fn main() {
    sward::run(|| {
        let sum = Arc::new(AtomicUsize::new(0));
        for _ in 0..200 {
            batch(&sum);
        }
        sum.store(0, Ordering::Relaxed);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            batch(&sum);
        }
        println!("{}", start.elapsed().as_nanos() / sum.load(Ordering::Relaxed) as u128);
    });
}
