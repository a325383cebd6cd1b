//! Two coroutines on different workers wake each other in turn. Measures the time of one wake. It uses park
//! and unpark; tokio has neither, and uses `Notify`.

use super::{Meter, Outcome, Peer, Size, forever, meet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub fn blocking<P: Peer>(size: Size) -> Outcome {
    let (arrived, turn) = (forever(AtomicU64::new(0)), forever(AtomicU64::new(0)));
    let tasks: &'static [OnceLock<P::Task>; 2] = forever([OnceLock::new(), OnceLock::new()]);
    let spawn = |me: u64| {
        P::spawn(move || {
            let _ = tasks[me as usize].set(P::current());
            if size.partners > 0 {
                meet(arrived);
            }
            let meter = Meter::start();
            while turn.load(Ordering::Acquire) < size.ops {
                if turn.load(Ordering::Acquire) % 2 != me {
                    P::park();
                    continue;
                }
                turn.fetch_add(1, Ordering::AcqRel);
                // If the partner is not known yet, it has not begun, and will check the turn when it does.
                if let Some(other) = tasks[1 - me as usize].get() {
                    P::unpark(other);
                }
            }
            meter
        })
    };
    let [meter, _] = [spawn(0), spawn(1)].map(P::join);
    assert!(turn.load(Ordering::Acquire) >= size.ops);
    meter.stop(size.ops)
}

pub async fn tokio(size: Size) -> Outcome {
    let (arrived, turn) = (forever(AtomicU64::new(0)), forever(AtomicU64::new(0)));
    let bells = forever([tokio::sync::Notify::new(), tokio::sync::Notify::new()]);
    let spawn = |me: u64| {
        tokio::spawn(async move {
            if size.partners > 0 {
                meet(arrived);
            }
            let meter = Meter::start();
            while turn.load(Ordering::Acquire) < size.ops {
                if turn.load(Ordering::Acquire) % 2 != me {
                    bells[me as usize].notified().await;
                    continue;
                }
                turn.fetch_add(1, Ordering::AcqRel);
                bells[1 - me as usize].notify_one();
            }
            meter
        })
    };
    let (first, second) = (spawn(0), spawn(1));
    let meter = first.await.expect("it only wakes");
    second.await.expect("it only wakes");
    assert!(turn.load(Ordering::Acquire) >= size.ops);
    meter.stop(size.ops)
}
