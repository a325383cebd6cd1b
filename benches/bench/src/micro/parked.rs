//! Many coroutines are parked at once, then woken and joined. Measures the time for each, and the memory
//! while all are parked. `with_heap`: each holds allocations as well, so that what an allocator keeps for
//! each thread counts. `LD_PRELOAD` chooses the allocator.

use super::{Meter, Outcome, Peer, Size, forever};
use crate::sys;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The time between two checks whether all are parked.
const POLL: Duration = Duration::from_millis(1);

/// The sizes of the allocations that a coroutine holds, and of one that it frees before it parks.
const HELD: [usize; 8] = [16, 32, 48, 96, 160, 320, 640, 224];
const FREED: usize = 2048;

fn heap() -> impl Sized + Send {
    drop(std::hint::black_box(vec![1u8; FREED]));
    std::hint::black_box(HELD.map(|size| vec![1u8; size]))
}

pub fn blocking<P: Peer>(size: Size) -> Outcome {
    holding::<P, ()>(size, || ())
}

pub fn with_heap<P: Peer>(size: Size) -> Outcome {
    holding::<P, _>(size, heap)
}

fn holding<P: Peer, T: 'static>(size: Size, hold: fn() -> T) -> Outcome {
    let (parked, go) = (forever(AtomicU64::new(0)), forever(AtomicBool::new(false)));
    let before = sys::memory(std::process::id());
    let meter = Meter::start();
    let wait = move || {
        let _held = hold();
        parked.fetch_add(1, Ordering::Relaxed);
        while !go.load(Ordering::Acquire) {
            P::park();
        }
    };
    let handles: Vec<_> = (0..size.ops).map(|_| P::spawn(wait)).collect();
    while parked.load(Ordering::Relaxed) < size.ops {
        P::sleep(POLL);
    }
    let bytes = sys::memory(std::process::id()) - before;
    go.store(true, Ordering::Release);
    for handle in &handles {
        P::unpark(&P::task_of(handle));
    }
    for handle in handles {
        P::join(handle);
    }
    meter.stop(size.ops).with("bytes", bytes / size.ops as f64)
}

/// tokio has no park. The nearest is a wait for a `Notify` that all share.
pub async fn tokio(size: Size) -> Outcome {
    tokio_holding(size, || ()).await
}

pub async fn tokio_with_heap(size: Size) -> Outcome {
    tokio_holding(size, heap).await
}

async fn tokio_holding<T: Send + 'static>(size: Size, hold: fn() -> T) -> Outcome {
    let (parked, gate) = (forever(AtomicU64::new(0)), forever(tokio::sync::Notify::new()));
    let before = sys::memory(std::process::id());
    let meter = Meter::start();
    let wait = move || async move {
        let _held = hold();
        let mut opened = std::pin::pin!(gate.notified());
        opened.as_mut().enable();
        parked.fetch_add(1, Ordering::Relaxed);
        opened.await;
    };
    let handles: Vec<_> = (0..size.ops).map(|_| tokio::spawn(wait())).collect();
    while parked.load(Ordering::Relaxed) < size.ops {
        tokio::time::sleep(POLL).await;
    }
    let bytes = sys::memory(std::process::id()) - before;
    gate.notify_waiters();
    for handle in handles {
        handle.await.expect("it only waits");
    }
    meter.stop(size.ops).with("bytes", bytes / size.ops as f64)
}
