//! Activations: where they run, and where the sockets of their records go.

use super::{Mode, VirtualRuntime, WORKERS};
use crate::sched::worker_index;
// Of higher ranks, which only tests may use.
#[cfg(test)]
use crate::descriptor::Host;
#[cfg(test)]
use crate::net::UnixStream;
#[cfg(test)]
use crate::task::{self, Next};
use std::io::{ErrorKind, Read, Write};
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Ticks in a period (`netpoll/affinity.rs`).
const PERIOD: u64 = 8;
const RECORDS: usize = 64;
const PERIODS: usize = 40;

#[derive(Debug)]
struct Outcome {
    /// How often records have moved to another shard.
    moves: usize,
    /// How many were run by one worker in the last periods.
    settled: usize,
}

/// Each of the records is activated once in each period. The first worker may be slow.
fn serve(workers: usize, slow: bool) -> Outcome {
    let mut runtime = VirtualRuntime::new(workers, Mode::Pinned, 1);
    runtime.slow[0] = slow;
    runtime.events = true;
    let (ours, theirs): (Vec<_>, Vec<_>) = (0..RECORDS).map(|_| UnixStream::pair().expect("a pair")).unzip();
    let runs = Arc::new(Mutex::new(vec![Vec::new(); RECORDS]));
    let (own, controls) = (Arc::clone(&runs), Arc::new(Mutex::new(Vec::new())));
    let keep = Arc::clone(&controls);
    let adopted = runtime.spawn(move || {
        for (record, socket) in theirs.into_iter().enumerate() {
            socket.set_nonblocking(true).expect("a socket");
            let own = Arc::clone(&own);
            let handler = move |socket: &UnixStream, _: &mut (), _| {
                let mut byte = [0];
                loop {
                    match (&*socket).read(&mut byte) {
                        Ok(1) => {
                            own.lock().expect("no panic")[record].push(worker_index().expect("a worker"))
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Idle,
                        _ => return Next::Close,
                    }
                }
            };
            keep.lock().expect("no panic").push(task::on_ready(socket, (), handler).expect("watched"));
        }
    });
    runtime.run_until(10_000, || adopted.is_finished());
    let host = Host::common(&runtime.shared, Location::caller());
    for period in 1..=PERIODS {
        for socket in &ours {
            (&*socket).write_all(b"x").expect("sent");
        }
        runtime.shared.ticks.fetch_add(PERIOD, Ordering::Relaxed);
        let served = || runs.lock().expect("no panic").iter().all(|runs| runs.len() == period);
        runtime.run_until(10_000, served);
    }
    let (moves, runs) = (host.totals().moves as usize, std::mem::take(&mut *runs.lock().expect("no panic")));
    let settled = |runs: &&Vec<usize>| runs.iter().rev().take(5).all(|worker| Some(worker) == runs.last());
    let outcome = Outcome { moves, settled: runs.iter().filter(settled).count() };
    println!("{workers} workers, slow {slow}: {outcome:?}; {:?}", runtime.take_counts());
    controls.lock().expect("no panic").drain(..).for_each(|control| control.close());
    runtime.run_until(10_000, || host.open() == 0);
    drop(host);
    runtime.end();
    outcome
}

/// A record moves at most three times in this many periods: after 4, 8 and 16 of them
/// (`netpoll/affinity.rs`).
const MOST_MOVES: usize = 3;

#[test]
fn records_leave_a_worker_that_others_help() {
    for workers in WORKERS {
        let outcome = serve(workers, true);
        assert!(outcome.moves <= MOST_MOVES * RECORDS, "{outcome:?}");
        assert!(outcome.settled >= RECORDS / 2, "{outcome:?}");
        // Where the slow worker has many of them, others run most of these.
        let own = RECORDS / workers;
        assert!(workers == 1 || own < 8 || outcome.moves >= own / 2, "{workers} workers: {outcome:?}");
    }
}

#[test]
fn records_stay_where_all_workers_are_alike() {
    for workers in WORKERS {
        let outcome = serve(workers, false);
        assert!(outcome.moves <= RECORDS / 2, "{outcome:?}");
        assert!(outcome.settled >= RECORDS / 2, "{outcome:?}");
    }
}
