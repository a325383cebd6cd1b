//! Coroutines that yield to one another.

use super::{Meter, Outcome, Peer, Size};

pub fn blocking<P: Peer>(size: Size) -> Outcome {
    let each = size.ops.div_ceil(size.tasks);
    let meter = Meter::start();
    let yields = move || (0..each).map(|_| P::yield_now()).count() as u64;
    let handles: Vec<_> = (0..size.tasks).map(|_| P::spawn(yields)).collect();
    let done: u64 = handles.into_iter().map(P::join).sum();
    assert_eq!(done, each * size.tasks);
    meter.stop(done)
}

pub async fn tokio(size: Size) -> Outcome {
    let each = size.ops.div_ceil(size.tasks);
    let meter = Meter::start();
    let yields = move || async move {
        for _ in 0..each {
            tokio::task::yield_now().await;
        }
        each
    };
    let handles: Vec<_> = (0..size.tasks).map(|_| tokio::spawn(yields())).collect();
    let mut done = 0;
    for handle in handles {
        done += handle.await.expect("it only yields");
    }
    assert_eq!(done, each * size.tasks);
    meter.stop(done)
}
