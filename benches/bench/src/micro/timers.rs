//! Ping-pong in which each receive sets a timeout of 30 s that never passes. So each way a timer is set and
//! cancelled.

use super::{Channels, Meter, Outcome, Size};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

pub fn blocking<P: Channels>(size: Size) -> Outcome {
    let ((there, ping), (back, pong)) = (P::one_to_one::<u64>(1), P::one_to_one::<u64>(1));
    let meter = Meter::start();
    let echo = P::spawn(move || {
        while let Some(n) = P::recv_timeout(&ping, LIMIT) {
            P::send(&back, n);
        }
    });
    let ask = P::spawn(move || {
        for n in 0..size.ops {
            P::send(&there, n);
            assert_eq!(P::recv_timeout(&pong, LIMIT), Some(n));
        }
    });
    P::join(ask);
    P::join(echo);
    meter.stop(size.ops)
}

pub async fn tokio(size: Size) -> Outcome {
    use tokio::sync::mpsc::channel;
    use tokio::time::timeout;
    let ((there, mut ping), (back, mut pong)) = (channel(1), channel(1));
    let meter = Meter::start();
    let echo = tokio::spawn(async move {
        while let Ok(Some(n)) = timeout(LIMIT, ping.recv()).await {
            back.send(n).await.expect("the asker is there");
        }
    });
    let ask = tokio::spawn(async move {
        for n in 0..size.ops {
            there.send(n).await.expect("the echo is there");
            assert_eq!(timeout(LIMIT, pong.recv()).await, Ok(Some(n)));
        }
    });
    ask.await.expect("all came back");
    echo.await.expect("all came back");
    meter.stop(size.ops)
}
