//! Fibonacci by fork and join: one half is spawned, the other computed in place. `n` is the greatest that
//! takes no more spawns than `ops`. Measures the time for each spawn.

use super::{Meter, Outcome, Peer, Size};

/// `n` and its number of spawns: fib(n) takes one more than fib(n - 1) and fib(n - 2) together.
fn number(size: Size) -> (u64, u64) {
    let (mut n, mut spawns, mut before) = (1, 0, 0);
    while spawns + before < size.ops {
        (n, spawns, before) = (n + 1, spawns + before + 1, spawns);
    }
    (n, spawns)
}

fn plain(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

fn fib<P: Peer>(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let half = P::spawn(move || fib::<P>(n - 1));
    fib::<P>(n - 2) + P::join(half)
}

pub fn blocking<P: Peer>(size: Size) -> Outcome {
    let (n, spawns) = number(size);
    let meter = Meter::start();
    assert_eq!(fib::<P>(n), plain(n));
    meter.stop(spawns)
}

fn tokio_fib(n: u64) -> std::pin::Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let half = tokio::spawn(tokio_fib(n - 1));
        tokio_fib(n - 2).await + half.await.expect("it only adds")
    })
}

pub async fn tokio(size: Size) -> Outcome {
    let (n, spawns) = number(size);
    let meter = Meter::start();
    assert_eq!(tokio_fib(n).await, plain(n));
    meter.stop(spawns)
}
