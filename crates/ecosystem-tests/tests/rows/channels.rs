//! Channels of other crates, and `futures`. What waits, waits for a message that comes through when the gate
//! opens.

use ecosystem_tests::{Gate, Local, Row, check};
use futures::SinkExt;
use futures::channel::{mpsc, oneshot};
use futures::stream::{FuturesUnordered, StreamExt};

/// The request of an operation, and where its answer goes.
struct Ask<A>(Option<u32>, A);

/// A coroutine that answers `Some(n)` with `n + 1`, and `None` when the gate is open.
fn answers<A: Send + 'static>(gate: &Local, ask: Ask<A>, answer: fn(A, u32)) {
    match ask {
        Ask(Some(n), to) => answer(to, n + 1),
        Ask(None, to) => {
            let gate = gate.clone();
            sward::spawn(move || {
                gate.pass();
                answer(to, 0);
            });
        }
    }
}

struct AsyncChannel {
    asks: async_channel::Sender<Ask<async_channel::Sender<u32>>>,
    gate: Local,
}

impl AsyncChannel {
    fn ask(&self, n: Option<u32>) -> u32 {
        let (answer, answered) = async_channel::bounded(1);
        // Glue: async_channel
        sward::block_on(async {
            // End.
            self.asks.send(Ask(n, answer)).await.expect("the other side lives");
            answered.recv().await.expect("an answer")
        })
    }
}

impl Row for AsyncChannel {
    fn operate(&self, n: u32) {
        assert_eq!(self.ask(Some(n)), n + 1);
    }

    fn wait(&self) {
        self.ask(None);
    }

    fn gate(&self) -> &dyn Gate {
        &self.gate
    }
}

#[test]
fn async_channel() {
    check(|| {
        let (asks, asked) = async_channel::bounded(8);
        let gate = Local::default();
        let at = gate.clone();
        sward::spawn(move || {
            while let Ok(ask) = sward::block_on(asked.recv()) {
                answers(&at, ask, |to: async_channel::Sender<u32>, n| {
                    let _ = sward::block_on(to.send(n));
                });
            }
        });
        AsyncChannel { asks, gate }
    });
}

struct Flume {
    asks: flume::Sender<Ask<flume::Sender<u32>>>,
    gate: Local,
}

impl Flume {
    fn ask(&self, n: Option<u32>) -> u32 {
        let (answer, answered) = flume::bounded(1);
        // Glue: flume
        sward::block_on(async {
            // End.
            self.asks.send_async(Ask(n, answer)).await.expect("the other side lives");
            answered.recv_async().await.expect("an answer")
        })
    }
}

impl Row for Flume {
    fn operate(&self, n: u32) {
        assert_eq!(self.ask(Some(n)), n + 1);
    }

    fn wait(&self) {
        self.ask(None);
    }

    fn gate(&self) -> &dyn Gate {
        &self.gate
    }
}

#[test]
fn flume() {
    check(|| {
        let (asks, asked) = flume::bounded(8);
        let gate = Local::default();
        let at = gate.clone();
        sward::spawn(move || {
            while let Ok(ask) = sward::block_on(asked.recv_async()) {
                answers(&at, ask, |to: flume::Sender<u32>, n| {
                    let _ = sward::block_on(to.send_async(n));
                });
            }
        });
        Flume { asks, gate }
    });
}

/// `futures`: its channels, `FuturesUnordered`, and two futures at once.
struct Futures {
    asks: mpsc::Sender<Ask<oneshot::Sender<u32>>>,
    gate: Local,
}

impl Futures {
    fn ask(&self, n: Option<u32>) -> impl Future<Output = u32> {
        let mut asks = self.asks.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            asks.send(Ask(n, answer)).await.expect("the other side lives");
            answered.await.expect("an answer")
        }
    }
}

impl Row for Futures {
    fn operate(&self, n: u32) {
        // Glue: futures
        let sum = sward::block_on(async {
            // End.
            let all: FuturesUnordered<_> = (0..3).map(|more| self.ask(Some(n + more))).collect();
            all.fold(0, async |sum, answer| sum + answer).await
        });
        assert_eq!(sum, 3 * n + 6);
    }

    fn wait(&self) {
        sward::block_on(self.ask(None));
    }

    fn gate(&self) -> &dyn Gate {
        &self.gate
    }
}

#[test]
fn futures() {
    check(|| {
        let (asks, mut asked) = mpsc::channel(8);
        let gate = Local::default();
        let at = gate.clone();
        sward::spawn(move || {
            while let Some(ask) = sward::block_on(asked.next()) {
                answers(&at, ask, |to: oneshot::Sender<u32>, n| {
                    let _ = to.send(n);
                });
            }
        });
        Futures { asks, gate }
    });
}
