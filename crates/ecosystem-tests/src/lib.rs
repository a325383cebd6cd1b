//! The checks that each crate of `docs/ECOSYSTEM.md` passes, against a real peer. `tests/rows/` has a test
//! for each crate, and `ci/servers.sh` starts the servers.
//!
//! A [`Row`] says how a crate makes a short operation, and one that its peer leaves unanswered. [`check`]
//! makes three checks of it, on two workers:
//!
//! 1. 100 coroutines make 20 operations each.
//! 2. 100 operations that the peer leaves unanswered are at the peer *at once*. Meanwhile a ticker on each
//!    worker keeps its beat. So no operation keeps a worker.
//! 3. A cancellation, and a time limit, end such an operation; the crate's pool then works as before, and no
//!    connection is left over.
//!
//! None of them depends on how fast the machine is: the peer's own count says how many operations it has, and
//! the beat is compared with that of a plain thread.

mod gate;

pub use gate::{Entered, Gate, Local};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sward::runtime::Builder;
use sward::task::{JoinError, JoinHandle};
use sward::time::timeout;

const COROUTINES: usize = 100;
const OPERATIONS: u32 = 20;
const WORKERS: usize = 2;
/// How many operations are cancelled, and how many get a time limit.
const ENDED: usize = 10;
/// After it a check has failed. Only a failed check waits for so long.
const DEADLINE: Duration = Duration::from_secs(120);
/// The plain thread's beats while the peer holds all operations, and the time between two of them.
const BEATS: usize = 50;
const BEAT: Duration = Duration::from_millis(10);

/// A crate under test, with its connections.
pub trait Row: Send + Sync + 'static {
    /// The most connections that it may have.
    const CONNECTIONS: usize = COROUTINES;
    /// Whether a cancellation ends an operation at once. One in `sward::blocking` ends with its answer.
    const CANCELS: bool = true;

    /// A short operation. Checks its answer, which depends on `n`.
    fn operate(&self, n: u32);

    /// An operation that the peer answers when the gate is opened.
    fn wait(&self);

    /// The peer's side of [`wait`](Self::wait).
    fn gate(&self) -> &dyn Gate;
}

/// Makes the three checks.
///
/// # Panics
///
/// If one fails.
pub fn check<R: Row>(row: impl FnOnce() -> R + Send) {
    check_on(Builder::new(), DEADLINE, row);
}

/// Makes them on a runtime of that builder. What takes longer than the limit has failed.
///
/// # Panics
///
/// If one fails.
pub fn check_on<R: Row>(builder: Builder, limit: Duration, row: impl FnOnce() -> R + Send) {
    let runtime = builder.worker_threads(WORKERS).build().expect("two workers");
    runtime.run(|| {
        let row = Arc::new(row());
        let began = Instant::now();
        operations(&row, COROUTINES, OPERATIONS);
        println!("{COROUTINES} × {OPERATIONS} operations: {:?}", began.elapsed());
        at_once(&row, limit);
        ended(&row, limit);
    });
}

/// Runs that many coroutines, each with its number.
fn spread<R: Row, T: Send + 'static>(row: &Arc<R>, count: usize, f: fn(&R, u32) -> T) -> Vec<JoinHandle<T>> {
    let start = |n| {
        let row = Arc::clone(row);
        sward::spawn(move || f(&row, n))
    };
    (0..count as u32).map(start).collect()
}

fn operations<R: Row>(row: &Arc<R>, coroutines: usize, each: u32) {
    let handles: Vec<_> = (0..coroutines as u32)
        .map(|coroutine| {
            let row = Arc::clone(row);
            sward::spawn(move || (0..each).for_each(|n| row.operate(coroutine * each + n)))
        })
        .collect();
    for handle in handles {
        handle.join().expect("an operation failed");
    }
}

/// A closed gate, which opens at the end, also if a check fails: so what waits at it ends.
struct Closed<'a> {
    gate: &'a dyn Gate,
    open: AtomicBool,
    limit: Duration,
}

impl<'a> Closed<'a> {
    fn new(gate: &'a dyn Gate, limit: Duration) -> Closed<'a> {
        sward::blocking(|| gate.close()).expect("a thread");
        Closed { gate, open: AtomicBool::new(false), limit }
    }

    fn open(&self) {
        if !self.open.swap(true, Ordering::Relaxed) {
            self.gate.open();
        }
    }

    /// Waits, without keeping a worker, until the peer has that many operations.
    ///
    /// If it never has, the gate opens on a plain thread: the workers may be blocked at it, this coroutine's
    /// as well.
    fn until(&self, what: &str, expected: usize) {
        let count = sward::blocking(|| {
            let count = poll(self.limit, expected, || self.gate.waiting());
            if count != expected {
                self.open();
            }
            count
        });
        assert_eq!(count.expect("a thread"), expected, "{what}");
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        // A coroutine that unwinds blocks its worker here.
        let _ = sward::blocking(|| self.open());
    }
}

/// Asks until the answer is the expected one, or the time has passed. Returns the last answer.
fn poll(limit: Duration, expected: usize, ask: impl Fn() -> usize) -> usize {
    let end = Instant::now() + limit;
    loop {
        let answer = ask();
        if answer == expected || Instant::now() > end {
            return answer;
        }
        thread::sleep(BEAT);
    }
}

/// Waits until the peer has no operation that it does not answer. The gate is open.
fn until_none(gate: &dyn Gate, limit: Duration) {
    let count = sward::blocking(|| poll(limit, 0, || gate.waiting()));
    assert_eq!(count.expect("a thread"), 0, "operations at the peer after the answers");
}

fn at_once<R: Row>(row: &Arc<R>, limit: Duration) {
    let tickers = Tickers::start();
    let closed = Closed::new(row.gate(), limit);
    let began = Instant::now();
    let handles = spread(row, COROUTINES, |row, _| row.wait());
    closed.until("operations at the peer at once", COROUTINES);
    println!("{COROUTINES} at once: after {:?}", began.elapsed());

    let before = tickers.beats();
    let thread = sward::blocking(|| (0..BEATS).map(|_| thread::sleep(BEAT)).count()).expect("a thread");
    for (now, before) in tickers.beats().into_iter().zip(before) {
        let beats = now - before;
        assert!(beats * 10 >= thread, "a worker's ticker made {beats} beats, a thread's {thread}");
    }

    drop(closed);
    for handle in handles {
        handle.join().expect("an operation failed");
    }
    until_none(row.gate(), limit);
}

fn ended<R: Row>(row: &Arc<R>, limit: Duration) {
    let closed = Closed::new(row.gate(), limit);
    let cancelled = spread(row, ENDED, |row, _| row.wait());
    closed.until("operations before the cancellation", ENDED);
    for handle in &cancelled {
        handle.cancel();
    }
    if R::CANCELS {
        for handle in cancelled {
            let end = timeout(limit, || handle.join()).expect("the cancellation ends the operation");
            assert!(matches!(end, Err(JoinError::Cancelled)), "{end:?}");
        }
        // Long enough that on most machines the operation is at the peer when it ends.
        for handle in spread(row, ENDED, |row, _| timeout(BEAT * 20, || row.wait())) {
            let end = timeout(limit, || handle.join()).expect("the time limit ends the operation");
            end.expect("an operation failed").expect_err("the peer does not answer");
        }
        drop(closed);
    } else {
        let limited = spread(row, ENDED, |row, _| timeout(BEAT * 20, || row.wait()));
        closed.until("operations with a time limit", 2 * ENDED);
        drop(closed);
        for handle in cancelled {
            let _ = handle.join();
        }
        for handle in limited {
            let _ = handle.join().expect("an operation failed");
        }
    }
    until_none(row.gate(), limit);
    operations(row, COROUTINES, 1);
    let left = sward::blocking(|| row.gate().connections()).expect("a thread");
    assert!(left.is_none_or(|left| left <= R::CONNECTIONS), "{left:?} connections are left");
}

/// A coroutine on each worker that counts how often it has slept.
struct Tickers {
    counts: Arc<[AtomicUsize; WORKERS]>,
    stop: Arc<AtomicBool>,
}

impl Tickers {
    fn start() -> Tickers {
        let counts = Arc::new([const { AtomicUsize::new(0) }; WORKERS]);
        let (started, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for n in 0..WORKERS {
            let (counts, started, stop) = (Arc::clone(&counts), Arc::clone(&started), Arc::clone(&stop));
            sward::spawn(move || {
                // It keeps its worker until each has started, so no two are on the same worker.
                started.fetch_add(1, Ordering::Relaxed);
                while started.load(Ordering::Relaxed) < WORKERS && !stop.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                while !stop.load(Ordering::Relaxed) {
                    sward::sleep(BEAT);
                    counts[n].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Tickers { counts, stop }
    }

    fn beats(&self) -> [usize; WORKERS] {
        std::array::from_fn(|n| self.counts[n].load(Ordering::Relaxed))
    }
}

impl Drop for Tickers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
