//! What a runtime has done so far, to be read only.

use crate::base::histogram::Histogram;
use crate::blocking::usage;
use crate::coroutine::{WAIT_REASONS, lost_panics};
use crate::descriptor::dormancy;
use crate::inspect;
use crate::sched::{self, FileWay, RingState, Shared, WorkerCounts, current_runtime};
use crate::stack;
use std::time::Duration;

/// What a runtime has done so far, and what it holds at present. The numbers are read one after the other
/// while the runtime goes on working.
///
/// [`to_prometheus`](Metrics::to_prometheus) writes them for a server of metrics. With the feature `metrics`,
/// `MetricsReporter` passes them to the recorder of that crate.
///
/// Reading takes some microseconds, and some more for each thousand of sockets. What it reads is counted
/// anyway, except for what is said to need accounting: see
/// [`observe::set_accounting`](crate::observe::set_accounting).
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
    /// The interface of the kernel by which its workers wait for sockets and pipes: `epoll`, `io_uring`,
    /// `kqueue` or `poll`. Where the system refuses what `SWARD_NETPOLL` asks for, this says what is used
    /// instead.
    pub netpoll: &'static str,
    /// Items that wait for any worker: coroutines that were spawned outside of the runtime, mobile homes, in
    /// migrating mode also started coroutines.
    pub injected: usize,
    /// The same that come after all others, as they have yielded. Zero in the default mode.
    pub yielded: usize,
    /// How long coroutines have waited for their turns. Needs accounting. The growth of its sum in a
    /// second is how many coroutines waited for their turns on average.
    pub run_delay: Histogram,
    /// Waits that have ended, by kind. Needs accounting.
    pub parks: Vec<ParkMetrics>,
    /// The stacks of the process.
    pub stacks: StackMetrics,
    /// Coroutines that never ran because there was no stack for them:
    /// [`JoinError::NoStack`](crate::task::JoinError::NoStack). If nobody joins such a coroutine, a line on
    /// stderr says so, at most every ten seconds.
    pub no_stack: u64,
    /// The connections of [`net::serve`](crate::net::serve()), and what was passed to
    /// [`task::on_ready`](crate::task::on_ready()).
    pub activations: ActivationMetrics,
    /// How many coroutines of the process have panicked, and nobody has joined them to hear of it: they were
    /// detached, or the handle was dropped later. A panic that ends its scope counts as well.
    pub lost_panics: u64,
    /// How many deadlocks the process has [reported](super::Builder::watch_deadlocks), global ones included.
    pub deadlocks: usize,
    /// Threads of the process's pool for [`blocking`](crate::blocking()) calls.
    pub blocking_threads: usize,
    /// Threads of that pool that have nothing to do.
    pub blocking_idle: usize,
    /// Calls that wait for a thread of that pool.
    pub blocking_queued: usize,
}

/// What has a coroutine only while there is something to do: the connections of
/// [`net::serve`](crate::net::serve()), and what was passed to [`task::on_ready`](crate::task::on_ready()).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActivationMetrics {
    /// How many of them wait, and have no coroutine.
    pub idle: usize,
    /// How many of them have one.
    pub active: usize,
    /// How often their handlers have run.
    pub runs: u64,
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

/// The waits of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkMetrics {
    /// The call that waits, such as `"Mutex::lock"`.
    pub call: &'static str,
    /// How many such waits have ended.
    pub count: u64,
    /// How long they have lasted, together.
    pub time: Duration,
}

/// The stacks of the process, of all runtimes. Bytes are address space: memory is committed where a stack was
/// touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackMetrics {
    /// Stacks of coroutines that have started and have not ended. One in its first turn may count as cached.
    pub in_use: usize,
    /// Their bytes, guards included.
    pub in_use_bytes: usize,
    /// Stacks that are kept for coroutines to come. The system has most of their memory back.
    pub cached: usize,
    /// Their bytes.
    pub cached_bytes: usize,
}

/// What one worker has done so far, and what it holds at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Coroutines that were started on this worker and have not ended.
    pub live: usize,
    /// Started coroutines that waited for their turns as the worker looked last, which a worker that has work
    /// does every millisecond or two. It counts up to 64. In migrating mode they are in `queued` and in
    /// [`Metrics::yielded`] instead.
    pub ready: usize,
    /// What other workers may take from it: unstarted coroutines, mobile homes, in migrating mode also
    /// started coroutines.
    pub queued: usize,
    /// Unstarted coroutines that were assigned to it.
    pub assigned: usize,
    /// Timers that are set.
    pub timers: usize,
    /// Descriptors for whose events it asks the kernel.
    pub descriptors: usize,
    /// How often it has run a coroutine.
    pub turns: u64,
    /// How often it has asked the kernel for events.
    pub polls: u64,
    /// How long it had not asked, each time that it asked the kernel for events: so long may an event
    /// have waited. Time in which it slept does not count. Nor does it count that the netpoller thread may
    /// have asked in its place (`helped`).
    pub poll_delay: Histogram,
    /// How often it has taken work from another worker.
    pub steals: u64,
    /// How often the netpoller thread has polled in its place, because it was busy.
    pub helped: u64,
    /// How often a coroutine had to let others run first, since it had made 128 calls in a row that did not
    /// have to wait.
    pub budget_yields: u64,
    /// How many calls on [files](crate::fs) its coroutines have made in place, since all that they needed was
    /// cached.
    pub file_calls_in_place: u64,
    /// How many calls on [files](crate::fs) its coroutines have left to the pool for blocking calls.
    pub file_calls_by_pool: u64,
    /// How many calls on [files](crate::fs) the kernel has made for its coroutines in its ring.
    pub file_calls_by_ring: u64,
    /// What became of its ring.
    pub io_uring: IoUring,
    /// How many turns have lasted for the [stall threshold](super::Builder::stall_threshold).
    pub stalls: u64,
}

/// What became of the ring by which the kernel makes a worker's calls on [files](crate::fs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoUring {
    /// No call on a file has needed it, or it is switched off.
    #[default]
    Unused,
    /// It is in use.
    Works,
    /// The system has none, or forbids it: a sandbox, a setting of the system, an old kernel, too little
    /// memory. The pool for blocking calls makes the calls instead.
    Refused,
}

impl IoUring {
    fn of(state: RingState) -> IoUring {
        match state {
            RingState::Unused => IoUring::Unused,
            RingState::Works => IoUring::Works,
            RingState::Refused => IoUring::Refused,
        }
    }
}

/// The metrics of the runtime that the caller runs in; `None` on a plain thread.
pub fn metrics() -> Option<Metrics> {
    current_runtime().map(|shared| collect(&shared))
}

impl WorkerMetrics {
    fn of(counts: WorkerCounts) -> WorkerMetrics {
        WorkerMetrics {
            live: counts.live,
            ready: counts.ready,
            queued: counts.queued,
            assigned: counts.assigned,
            timers: counts.timers,
            descriptors: counts.descriptors,
            turns: counts.turns,
            polls: counts.polls,
            poll_delay: counts.poll_delays,
            steals: counts.steals,
            helped: counts.helped,
            budget_yields: counts.budget_yields,
            file_calls_in_place: counts.file_calls[FileWay::OnWorker as usize],
            file_calls_by_pool: counts.file_calls[FileWay::Pool as usize],
            file_calls_by_ring: counts.file_calls[FileWay::Ring as usize],
            io_uring: IoUring::of(counts.ring),
            stalls: counts.stalls,
        }
    }
}

impl StackMetrics {
    fn now() -> StackMetrics {
        let (all, bytes) = stack::count();
        let (mut in_use, mut in_use_bytes) = (0, 0);
        for shared in sched::runtimes() {
            let (more, their) = shared.stacks();
            in_use += more;
            in_use_bytes += their;
        }
        let (cached, cached_bytes) = (all.saturating_sub(in_use), bytes.saturating_sub(in_use_bytes));
        StackMetrics { in_use, in_use_bytes, cached, cached_bytes }
    }
}

/// What the accounts of all workers say together: run delays, and waits by kind.
fn accounts(shared: &Shared) -> (Histogram, Vec<ParkMetrics>) {
    let mut delays = Histogram::default();
    let mut parks = [None::<ParkMetrics>; WAIT_REASONS];
    for figures in shared.active_remotes().iter().flat_map(|remote| remote.accounts.read()) {
        delays.merge(&figures.delays);
        for (reason, count, time) in figures.waits {
            let none = ParkMetrics { call: reason.describe(), count: 0, time: Duration::ZERO };
            let park = parks[reason as usize].get_or_insert(none);
            park.count += count;
            park.time += time;
        }
    }
    (delays, parks.into_iter().flatten().collect())
}

/// The metrics of all runtimes of the process, in the order in which they started, with the names of their
/// threads.
#[cfg(feature = "dashboard")]
pub(crate) fn metrics_of_all() -> Vec<(String, Metrics)> {
    let of = |shared: &std::sync::Arc<Shared>| (shared.config().thread_name.clone(), collect(shared));
    sched::runtimes().iter().map(of).collect()
}

pub(super) fn collect(shared: &Shared) -> Metrics {
    let (pool, dormancy) = (usage(), dormancy(shared));
    let (injected, yielded) = shared.count_waiting();
    let (run_delay, parks) = accounts(shared);
    Metrics {
        workers: shared.active_remotes().iter().map(|remote| WorkerMetrics::of(remote.counts())).collect(),
        homes: shared.has_mobile_homes().then(|| HomeMetrics {
            limit: shared.mobile.limit(),
            made: shared.mobile.iter().count(),
            vacant: shared.mobile.vacant(),
        }),
        netpoll: shared.netpoll().name(),
        injected,
        yielded,
        run_delay,
        parks,
        stacks: StackMetrics::now(),
        no_stack: shared.no_stack(),
        activations: ActivationMetrics {
            idle: dormancy.idle,
            active: dormancy.records - dormancy.idle,
            runs: dormancy.activations,
        },
        lost_panics: lost_panics(),
        deadlocks: inspect::deadlocks_reported(),
        blocking_threads: pool.threads,
        blocking_idle: pool.idle,
        blocking_queued: pool.queued,
    }
}
