//! How long coroutines wait for their turn: beside coroutines that compute and yield, behind a coroutine that
//! spawns many, and beside one that computes for long.

use super::{Meter, Outcome, Peer, Size};
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the coroutines that yield compute in a turn.
const SLICE: Duration = Duration::from_millis(10);
/// The time between two spawns.
const BETWEEN: Duration = Duration::from_millis(5);
/// The number of spawns between two yields.
const BATCH: u64 = 128;
/// When the sleepers should wake, and for how long the hog, which starts after them, computes.
const SLEEP: Duration = Duration::from_millis(100);
const HOG: Duration = Duration::from_millis(1_500);
/// How long the sleepers that sleep again and again sleep at a time, for how long in all, when the hog starts
/// beside them, and for how long it computes.
const NAP: Duration = Duration::from_millis(10);
const NAPS: Duration = Duration::from_millis(1_000);
const BEFORE_HOG: Duration = Duration::from_millis(200);
const SHORT_HOG: Duration = Duration::from_millis(400);

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn quantiles(outcome: Outcome, nanos: &[u64]) -> Outcome {
    let mut histogram = Histogram::<u32>::new_with_bounds(1, 600_000_000_000, 3).expect("fine bounds");
    nanos.iter().for_each(|&nanos| histogram.saturating_record(nanos));
    outcome
        .with("p50", histogram.value_at_quantile(0.5) as f64)
        .with("p99", histogram.value_at_quantile(0.99) as f64)
        .with("max", histogram.max() as f64)
}

/// From spawn to start: `ops` coroutines, 200 a second, beside `tasks` that compute for 10 ms and yield.
pub fn start_beside<P: Peer>(size: Size) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let yielders: Vec<_> = (0..size.tasks)
        .map(|_| {
            let stop = Arc::clone(&stop);
            P::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    compute(SLICE);
                    P::yield_now();
                }
            })
        })
        .collect();
    let meter = Meter::start();
    let spawn = |_| {
        P::sleep(BETWEEN);
        let spawned = Instant::now();
        P::spawn(move || spawned.elapsed().as_nanos() as u64)
    };
    let started: Vec<_> = (0..size.ops).map(spawn).collect();
    let nanos: Vec<u64> = started.into_iter().map(P::join).collect();
    let outcome = meter.stop(size.ops);
    stop.store(true, Ordering::Relaxed);
    yielders.into_iter().for_each(P::join);
    quantiles(outcome, &nanos)
}

/// The most coroutines that were spawned and not started, when one spawns `ops` and yields after each 128.
pub fn backlog<P: Peer>(size: Size) -> Outcome {
    let started = Arc::new(AtomicU64::new(0));
    let meter = Meter::start();
    let mut most = 0;
    let mut handles = Vec::with_capacity(size.ops as usize);
    for spawned in 1..=size.ops {
        let count = Arc::clone(&started);
        handles.push(P::spawn(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        if spawned % BATCH == 0 {
            most = most.max(spawned - started.load(Ordering::Relaxed));
            P::yield_now();
        }
    }
    handles.into_iter().for_each(P::join);
    meter.stop(size.ops).with("backlog", most as f64)
}

/// How late `tasks` sleepers wake that were spawned in a row, beside one that starts to compute for 1.5 s.
pub fn beside_hog<P: Peer>(size: Size) -> Outcome {
    let meter = Meter::start();
    let sleepers: Vec<_> = (0..size.tasks)
        .map(|_| {
            P::spawn(|| {
                let deadline = Instant::now() + SLEEP;
                P::sleep(SLEEP);
                (Instant::now() - deadline).as_nanos() as u64
            })
        })
        .collect();
    // By then all of them sleep.
    P::sleep(SLEEP / 2);
    let hog = P::spawn(|| compute(HOG));
    let nanos: Vec<u64> = sleepers.into_iter().map(P::join).collect();
    P::join(hog);
    quantiles(meter.stop(size.tasks), &nanos)
}

/// How late `tasks` sleepers wake that sleep again and again, beside one that computes for 400 ms.
pub fn naps<P: Peer>(size: Size) -> Outcome {
    let meter = Meter::start();
    let sleepers: Vec<_> = (0..size.tasks)
        .map(|_| {
            P::spawn(|| {
                let (start, mut nanos) = (Instant::now(), Vec::new());
                while start.elapsed() < NAPS {
                    let deadline = Instant::now() + NAP;
                    P::sleep(NAP);
                    nanos.push((Instant::now() - deadline).as_nanos() as u64);
                }
                nanos
            })
        })
        .collect();
    P::sleep(BEFORE_HOG);
    let hog = P::spawn(|| compute(SHORT_HOG));
    let nanos: Vec<u64> = sleepers.into_iter().flat_map(P::join).collect();
    P::join(hog);
    quantiles(meter.stop(nanos.len() as u64), &nanos)
}

pub async fn tokio_start_beside(size: Size) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let yielders: Vec<_> = (0..size.tasks)
        .map(|_| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    compute(SLICE);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let meter = Meter::start();
    let mut started = Vec::new();
    for _ in 0..size.ops {
        tokio::time::sleep(BETWEEN).await;
        let spawned = Instant::now();
        started.push(tokio::spawn(async move { spawned.elapsed().as_nanos() as u64 }));
    }
    let nanos = join(started).await;
    let outcome = meter.stop(size.ops);
    stop.store(true, Ordering::Relaxed);
    join(yielders).await;
    quantiles(outcome, &nanos)
}

pub async fn tokio_backlog(size: Size) -> Outcome {
    let started = Arc::new(AtomicU64::new(0));
    let meter = Meter::start();
    let mut most = 0;
    let mut handles = Vec::with_capacity(size.ops as usize);
    for spawned in 1..=size.ops {
        let count = Arc::clone(&started);
        handles.push(tokio::spawn(async move {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        if spawned % BATCH == 0 {
            most = most.max(spawned - started.load(Ordering::Relaxed));
            tokio::task::yield_now().await;
        }
    }
    join(handles).await;
    meter.stop(size.ops).with("backlog", most as f64)
}

pub async fn tokio_beside_hog(size: Size) -> Outcome {
    let meter = Meter::start();
    let sleeper = || async {
        let deadline = Instant::now() + SLEEP;
        tokio::time::sleep(SLEEP).await;
        (Instant::now() - deadline).as_nanos() as u64
    };
    let sleepers: Vec<_> = (0..size.tasks).map(|_| tokio::spawn(sleeper())).collect();
    tokio::time::sleep(SLEEP / 2).await;
    let hog = tokio::spawn(async { compute(HOG) });
    let nanos = join(sleepers).await;
    hog.await.expect("it only computes");
    quantiles(meter.stop(size.tasks), &nanos)
}

pub async fn tokio_naps(size: Size) -> Outcome {
    let meter = Meter::start();
    let sleeper = || async {
        let (start, mut nanos) = (Instant::now(), Vec::new());
        while start.elapsed() < NAPS {
            let deadline = Instant::now() + NAP;
            tokio::time::sleep(NAP).await;
            nanos.push((Instant::now() - deadline).as_nanos() as u64);
        }
        nanos
    };
    let sleepers: Vec<_> = (0..size.tasks).map(|_| tokio::spawn(sleeper())).collect();
    tokio::time::sleep(BEFORE_HOG).await;
    let hog = tokio::spawn(async { compute(SHORT_HOG) });
    let nanos = join(sleepers).await.concat();
    hog.await.expect("it only computes");
    quantiles(meter.stop(nanos.len() as u64), &nanos)
}

async fn join<T>(handles: Vec<tokio::task::JoinHandle<T>>) -> Vec<T> {
    let mut values = Vec::with_capacity(handles.len());
    for handle in handles {
        values.push(handle.await.expect("it ends well"));
    }
    values
}
