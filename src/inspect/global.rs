//! The global deadlock: all coroutines of the process wait, and nothing is left that could wake one.
//!
//! # What counts
//!
//! It is a state of the whole process, in which
//!
//! 1. each coroutine is parked in a wait that only a coroutine or a thread of this process ends
//!    ([`WaitReason::needs_somebody`](crate::coroutine::WaitReason::needs_somebody)): no socket, file, child
//!    process or name, no blocking call;
//! 2. no timer is set and no wait of a thread has a deadline;
//! 3. nothing is queued, and all workers sleep;
//! 4. the pool for blocking calls has neither a running nor a queued call, and no future waits for a socket;
//! 5. each thread of the process is either one of this crate's own, or blocked in a wait of this crate as
//!    in 1.
//!
//! Own threads are the workers, the netpoller threads, the lenders of mobile homes, the threads of the pool,
//! and the threads of dumps and reports ([`counted_threads`](crate::base::counted_threads)). None of them
//! runs code that could wake a coroutine in such a state. The threads of `sward::signal` and of child
//! processes are not among them, since they wait for the world outside: with one of them there is no report.
//!
//! A program with one more thread is never reported, since any thread may hold a sender or a handle. It could
//! only be a guess. The kernel's count of threads decides this, on Linux. Other systems have none, so there
//! the state is never reported.
//!
//! # Why no report is false
//!
//! [`look`] reads all of this twice. If both times it finds such a state, with the same turns of the workers,
//! the same waits of threads and the same own threads, then:
//!
//! - No coroutine ran between the two (`sched/rest.rs`), and no blocked thread did. So each wait that the
//!   second look has found lasted all the time, and so did each own thread.
//! - In the first look the kernel counted as many threads as these are, after they were found. The second
//!   look has found the same ones, so all of them existed while the kernel counted. So there was no other
//!   one.
//! - A blocked thread whose wait has been ended, and which the system has not run since, is not parked any
//!   more. Then there is no such state.
//! - Threads make threads, and signal handlers must not call this crate. So nobody exists who could wake a
//!   coroutine or make somebody who does. The state lasts for ever.
//!
//! *Futures.* A coroutine in `block_on` waits for a waker, and another party may hold that. The timer of a
//! future counts as a timer until it is taken to be fired. From then until its waker was called a worker is
//! awake, or the netpoller thread counts a move: no rest either way (`sched/rest.rs`). A future that waits
//! for a socket counts until it was woken. What else holds a waker is a future that waits in a list of this
//! crate, which a coroutine or a thread has to serve, or a thread that this crate does not know.
//!
//! A thread that is about to end may still be counted. Then the state is found at a later look.

use super::collect::{alone, collect};
use super::dump::{CoroutineDump, Dump};
use super::text::Chosen;
use crate::base::counted_threads::CountedThreads;
use crate::base::sys::count_threads;
use crate::blocking::usage;
use crate::netpoll::futures_wait;
use crate::sched::{self, Phase, Shared};
use std::fmt;

/// How many groups of coroutines a report shows.
const GROUPS: usize = 20;

/// What is found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Somebody can wake a coroutine.
    Hope,
    /// Only threads that this crate does not know can, or a thread that is about to end.
    Threads,
    /// Nobody can, for ever.
    Deadlock(State),
}

/// A global deadlock.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    own: CountedThreads,
    /// The turns of each runtime's workers.
    turns: Vec<Vec<u64>>,
    coroutines: usize,
    /// The waits of plain threads.
    waits: Vec<u64>,
}

impl State {
    /// Whether nothing has happened between the two.
    pub(super) fn is_the_same(&self, other: &State) -> bool {
        self.turns == other.turns && self.waits == other.waits
    }
}

/// Looks whether all coroutines wait for ever.
pub(super) fn look() -> Found {
    let _alone = alone();
    match (State::now(), State::now()) {
        // The second look proves that what the first one has counted existed while the kernel counted.
        (Some((state, alone)), Some((later, _))) if state == later => match alone {
            true => Found::Deadlock(state),
            false => Found::Threads,
        },
        _ => Found::Hope,
    }
}

impl State {
    /// The state of a process in which nothing of this crate wakes a coroutine, and whether there are no
    /// other threads.
    fn now() -> Option<(State, bool)> {
        let (runtimes, pool) = (sched::runtimes(), usage());
        if runtimes.is_empty() || pool.idle != pool.threads || pool.queued > 0 || futures_wait() {
            return None;
        }
        let turns = runtimes.iter().map(|shared| turns_at_rest(shared)).collect::<Option<_>>()?;
        let own = CountedThreads::now();
        let waits = sched::waits_for_somebody()?;
        let threads = count_threads();
        let counts = runtimes.iter().map(|shared| sched::all_need_somebody(shared));
        let coroutines = counts.sum::<Option<usize>>()?;
        let alone = threads == Some(own.count() + waits.len());
        (coroutines > 0).then_some((State { own, turns, coroutines, waits }, alone))
    }
}

/// The turns of a runtime in which nothing runs by itself.
fn turns_at_rest(shared: &Shared) -> Option<Vec<u64>> {
    let rests = shared.phase() == Phase::Running && !shared.has_timers();
    rests.then(|| shared.at_rest()).flatten()
}

/// The report of a global deadlock.
pub(super) struct Report(Dump);

impl Report {
    /// Collects what all coroutines do.
    pub(super) fn collect() -> Report {
        Report(collect())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.runtimes.iter().flat_map(|runtime| &runtime.coroutines);
        let coroutines: Vec<CoroutineDump> = all.cloned().collect();
        match coroutines.len() {
            1 => f.write_str("deadlock: the only coroutine waits")?,
            count => write!(f, "deadlock: all {count} coroutines wait")?,
        }
        f.write_str(
            ", and nothing is left that could wake one: no timer, socket, blocking call, signal or other thread",
        )?;
        let text = Chosen { dump: &self.0, coroutines: &coroutines, groups: GROUPS }.to_string();
        write!(f, "\n{}", text.trim_end())
    }
}
