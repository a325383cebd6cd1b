//! Coroutines sleep once each, for random times of up to a second. Measures the CPU time for each, and how
//! late they wake.

use super::{Meter, Outcome, Peer, Size};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// A time below one second. A sleeper has the same in each run.
fn duration(sleeper: u64) -> Duration {
    let mixed = (sleeper + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Duration::from_micros((mixed ^ mixed >> 32) % 1_000_000)
}

fn lateness(deadline: Instant) -> u64 {
    let now = Instant::now();
    assert!(now >= deadline, "nobody wakes early");
    (now - deadline).as_nanos() as u64
}

fn outcome(meter: Meter, size: Size, lateness: impl Iterator<Item = u64>) -> Outcome {
    let mut histogram = Histogram::<u32>::new_with_bounds(1, 60_000_000_000, 3).expect("fine bounds");
    lateness.for_each(|nanos| histogram.saturating_record(nanos));
    assert_eq!(histogram.len(), size.ops);
    meter.stop(size.ops).with("late99", histogram.value_at_quantile(0.99) as f64)
}

pub fn blocking<P: Peer>(size: Size) -> Outcome {
    let meter = Meter::start();
    let spawn = |sleeper| {
        P::spawn(move || {
            let deadline = Instant::now() + duration(sleeper);
            P::sleep(duration(sleeper));
            lateness(deadline)
        })
    };
    let handles: Vec<_> = (0..size.ops).map(spawn).collect();
    outcome(meter, size, handles.into_iter().map(P::join))
}

pub async fn tokio(size: Size) -> Outcome {
    let meter = Meter::start();
    let spawn = |sleeper| {
        tokio::spawn(async move {
            let deadline = Instant::now() + duration(sleeper);
            tokio::time::sleep(duration(sleeper)).await;
            lateness(deadline)
        })
    };
    let handles: Vec<_> = (0..size.ops).map(spawn).collect();
    let mut late = Vec::with_capacity(handles.len());
    for handle in handles {
        late.push(handle.await.expect("it only sleeps"));
    }
    outcome(meter, size, late.into_iter())
}
