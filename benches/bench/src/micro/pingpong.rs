//! A value goes to a second coroutine over a rendezvous channel and comes back over another. tokio's nearest
//! has a capacity of one, `may`'s has no bound.

use super::{Channels, Meter, Outcome, Size, forever, meet};
use std::sync::atomic::AtomicU64;

pub fn blocking<P: Channels>(size: Size) -> Outcome {
    let ((there, ping), (back, pong)) = (P::one_to_one::<u64>(0), P::one_to_one::<u64>(0));
    let (arrived, apart) = (forever(AtomicU64::new(0)), size.partners > 0);
    let start = move || {
        if apart {
            meet(arrived);
        }
        Meter::start()
    };
    let echo = P::spawn(move || {
        start();
        while let Some(n) = P::recv(&ping) {
            P::send(&back, n);
        }
    });
    let ask = P::spawn(move || {
        let meter = start();
        for n in 0..size.ops {
            P::send(&there, n);
            assert_eq!(P::recv(&pong), Some(n));
        }
        meter
    });
    let meter = P::join(ask);
    P::join(echo);
    meter.stop(size.ops)
}

pub async fn tokio(size: Size) -> Outcome {
    let ((there, mut ping), (back, mut pong)) =
        (tokio::sync::mpsc::channel(1), tokio::sync::mpsc::channel(1));
    let (arrived, apart) = (forever(AtomicU64::new(0)), size.partners > 0);
    let start = move || {
        if apart {
            meet(arrived);
        }
        Meter::start()
    };
    let echo = tokio::spawn(async move {
        start();
        while let Some(n) = ping.recv().await {
            back.send(n).await.expect("the asker is there");
        }
    });
    let ask = tokio::spawn(async move {
        let meter = start();
        for n in 0..size.ops {
            there.send(n).await.expect("the echo is there");
            assert_eq!(pong.recv().await, Some(n));
        }
        meter
    });
    let meter = ask.await.expect("all came back");
    echo.await.expect("all came back");
    meter.stop(size.ops)
}
