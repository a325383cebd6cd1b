//! What a runtime has done so far, to be read only.

use crate::blocking::usage;
use crate::inspect;
use crate::sched::{Shared, current_runtime};

/// What a runtime has done so far. The numbers are read one after the other while the runtime goes on
/// working.
///
/// ```
/// sward::run(|| {
///     let metrics = sward::runtime::metrics().expect("inside a runtime");
///     assert_eq!(metrics.workers.iter().map(|worker| worker.live).sum::<usize>(), 1);
/// });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// One for each worker.
    pub workers: Vec<WorkerMetrics>,
    /// How many mobile homes the runtime may have, and how many exist; `None` without mobile homes.
    pub homes: Option<HomeMetrics>,
    /// Coroutines that never ran because there was no stack for them:
    /// [`JoinError::NoStack`](crate::task::JoinError::NoStack). If nobody joins such a coroutine, a line on
    /// stderr says so, at most every ten seconds.
    pub no_stack: u64,
    /// How many deadlocks the process has [reported](super::Builder::watch_deadlocks), global ones included.
    pub deadlocks: usize,
    /// Threads of the process's pool for [`blocking`](crate::blocking()) calls.
    pub blocking_threads: usize,
    /// Threads of that pool that have nothing to do.
    pub blocking_idle: usize,
    /// Calls that wait for a thread of that pool.
    pub blocking_queued: usize,
}

/// The [mobile homes](super::Builder::homes) of a runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HomeMetrics {
    /// How many there may be.
    pub limit: usize,
    /// How many exist.
    pub made: usize,
    /// How many of them have no coroutines.
    pub vacant: usize,
}

/// What one worker has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Coroutines that were started on this worker and have not ended.
    pub live: usize,
    /// How often it has run a coroutine.
    pub turns: u64,
    /// How often it has asked the kernel for events.
    pub polls: u64,
    /// How often it has taken work from another worker.
    pub steals: u64,
    /// How often the netpoller thread has polled in its place, because it was busy.
    pub helped: u64,
}

/// The metrics of the runtime that the caller runs in; `None` on a plain thread.
pub fn metrics() -> Option<Metrics> {
    current_runtime().map(|shared| collect(&shared))
}

pub(super) fn collect(shared: &Shared) -> Metrics {
    let workers = shared.counts().map(|[live, turns, polls, steals, helped]| WorkerMetrics {
        live: live as usize,
        turns,
        polls,
        steals,
        helped,
    });
    let pool = usage();
    Metrics {
        workers: workers.collect(),
        homes: shared.has_mobile_homes().then(|| HomeMetrics {
            limit: shared.mobile.limit(),
            made: shared.mobile.iter().count(),
            vacant: shared.mobile.vacant(),
        }),
        no_stack: shared.no_stack(),
        deadlocks: inspect::deadlocks_reported(),
        blocking_threads: pool.threads,
        blocking_idle: pool.idle,
        blocking_queued: pool.queued,
    }
}
