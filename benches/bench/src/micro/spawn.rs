//! Batches of 1,000 trivial coroutines: spawn, run, exit, join.

use super::{Meter, Outcome, Peer, Size, forever};
use std::sync::atomic::{AtomicU64, Ordering};

const BATCH: u64 = 1_000;

pub fn blocking<P: Peer>(size: Size) -> Outcome {
    let (sum, batches) = (forever(AtomicU64::new(0)), size.ops.div_ceil(BATCH));
    let meter = Meter::start();
    for _ in 0..batches {
        let spawn = |n| P::spawn(move || sum.fetch_add(n, Ordering::Relaxed));
        let handles: Vec<_> = (0..BATCH).map(spawn).collect();
        for handle in handles {
            P::join(handle);
        }
    }
    let outcome = meter.stop(batches * BATCH);
    check(sum, batches);
    outcome
}

pub async fn tokio(size: Size) -> Outcome {
    let (sum, batches) = (forever(AtomicU64::new(0)), size.ops.div_ceil(BATCH));
    let meter = Meter::start();
    for _ in 0..batches {
        let spawn = |n| tokio::spawn(async move { sum.fetch_add(n, Ordering::Relaxed) });
        let handles: Vec<_> = (0..BATCH).map(spawn).collect();
        for handle in handles {
            handle.await.expect("it only counts");
        }
    }
    let outcome = meter.stop(batches * BATCH);
    check(sum, batches);
    outcome
}

fn check(sum: &AtomicU64, batches: u64) {
    assert_eq!(sum.load(Ordering::Relaxed), batches * (BATCH * (BATCH - 1) / 2), "each has run once");
}
