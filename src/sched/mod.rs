//! Rank 4, the scheduler: policy. It knows no socket.
//!
//! From the bottom up; a file imports only files above it in this list:
//!
//! - [`timers`], [`inbox`], [`handover`], [`idle`], [`before_sleep`], [`random`](mod@random): pure parts, run
//!   by loom or by plain tests.
//! - [`accounts`]: what the coroutines of each spawn site cost.
//! - [`deques`], [`config`], [`captured`], [`threads`], [`running`], [`budget`], [`ids`],
//!   [`test_seam`]: small parts.
//! - [`ring`], [`recorder`]: what workers have done lately. [`hint`]: that a new deadlock is possible.
//! - [`worker_ring`]: a worker's ring of calls that the kernel makes.
//! - [`home_queues`], [`home`], [`runnable`]: the group of coroutines that stay together. [`mobile`]: the
//!   homes that any worker may run. [`remote`]: the part of a worker that other threads use. [`shared`]: what
//!   the workers of a runtime share.
//! - [`capture`](mod@capture): what each coroutine does, for a dump. [`registry`]: the runtimes of the
//!   process. [`rest`]: whether no coroutine runs, and none can run by itself.
//! - [`run_queues`]: which coroutine a worker runs next. [`simulated`]: what
//!   decides that in a simulation. [`placement`]: on which worker a coroutine starts.
//!   [`stealing`], [`polling`]: work from other workers, and from the kernel.
//! - [`worker`]: the policy of a worker. [`newcomers`]: in which home a coroutine starts. [`instruments`]:
//!   what observes turns while it is on. [`turn`]: one run of one coroutine. [`start`]: the worker's thread.
//! - [`current`]: the calling thread's worker, and the coroutine that runs there.
//! - [`schedule`]: where a woken coroutine is queued. [`spawn`](mod@spawn): how a coroutine is made and
//!   queued.
//! - [`blocked_threads`]: the threads that a wait blocks.
//! - [`future_timer`]: the timers of futures. [`simulated_host`]: the host of a
//!   coroutine, in a simulation.
//! - [`cancel`], [`deadline`], [`unwinding`], [`checks`], [`thread_bound`]: what a wait has to observe:
//!   time limits, a thread that unwinds, code that must not wait.
//! - [`wait`](mod@wait): the waist, through which everything that blocks goes.
//!
//! `virtual_workers` tests the policies with up to 64 workers on one thread.
//!
//! `README.md` beside this file says how workers sleep and are woken, why no work is left waiting while a
//! worker sleeps, and how long a coroutine waits for its turn at most.

mod accounts;
mod before_sleep;
mod blocked_threads;
mod budget;
mod cancel;
mod capture;
mod captured;
mod checks;
mod config;
mod current;
mod deadline;
mod deques;
mod future_timer;
mod handover;
mod hint;
mod home;
mod home_queues;
mod idle;
mod ids;
mod inbox;
mod instruments;
mod mobile;
mod newcomers;
mod placement;
mod polling;
mod random;
mod recorder;
mod registry;
mod remote;
mod rest;
mod ring;
mod run_queues;
mod runnable;
mod running;
mod schedule;
mod shared;
mod simulated;
mod simulated_host;
mod spawn;
mod start;
mod stealing;
mod test_seam;
mod thread_bound;
mod threads;
mod timers;
mod turn;
mod unwinding;
#[cfg(all(test, not(loom)))]
mod virtual_workers;
mod wait;
mod worker;
mod worker_ring;

pub(crate) use accounts::{SiteFigures, accounted};
pub(crate) use blocked_threads::{BlockedThread, for_each_blocked_thread, waits_for_somebody};
pub(crate) use budget::this_holder;
pub(crate) use cancel::{
    cancel, checkpoint, fails_when_cancelled, interrupted, interruption, is_masked, limited, masked,
    unwind_cancelled, unwind_shutdown, unwind_with_group, with_errors,
};
#[cfg(sward_sim)]
pub(crate) use capture::capture_simulated;
pub(crate) use capture::{
    Live, all_need_somebody, capture, for_each_live, for_each_name, for_each_wait_for_others, sample_turn,
};
pub(crate) use captured::{Captured, CapturedRuntime, CapturedWorker, Detail, State, WorkerState};
pub(crate) use checks::prepare as prepare_checks;
pub(crate) use config::{Config, Phase, RingUse};
pub(crate) use current::{
    Here, blocks_worker, cancelled, cancelling, count_file_call, current_coroutine, current_runtime,
    follow_to_shard, here_in, is_worker_of, join_shard, join_some_shard, limit, may_switch, on_worker,
    random, ring, simulated_choice, simulated_random, wants_ring, with_local_record, worker_index,
};
pub(crate) use deadline::deadline_of_file;
pub(crate) use future_timer::FutureTimer;
pub(crate) use hint::{hint_of_rest, hinted, take_hints, watch_hints};
pub(crate) use instruments::{set_accounting, switch_recorder};
pub(crate) use mobile::MAX_HOMES;
pub(crate) use recorder::{
    CALIBRATION, Clock, Cursor, DEFAULT_BYTES, Raw, Recorded, What, note_call_began, note_call_ended,
    set_bytes as set_recorder_bytes,
};
pub(crate) use registry::{register, runtimes};
pub(crate) use remote::{FileWay, WorkerCounts};
pub(crate) use rest::for_each_started;
pub(crate) use shared::{Remote, Shared};
#[cfg(sward_sim)]
pub(crate) use simulated::{Candidate, Choice, Ends, Passed, Simulation};
pub(crate) use simulated_host::SimulatedHost;
pub(crate) use spawn::{Spawn, spawn, spawn_detached};
#[cfg(sward_sim)]
pub(crate) use start::simulate;
pub(crate) use start::{add_spare_worker, start_worker};
pub(crate) use threads::AbortOnPanic;
pub(crate) use unwinding::{Blocks, can_never_end, elapsed, refusal};
pub(crate) use wait::{
    Cancel, Ended, Wait, Woken, budget_is_used_up, caught, consume_budget, consume_budget_of_copy,
    consume_budget_of_file, set, set_for_good, sleep_until, wait, wait_at, wait_for, wait_for_event, wait_in,
    wait_in_ring, wait_masked, yield_now,
};

pub(crate) use worker_ring::RingState;

#[cfg(all(test, not(loom)))]
pub(crate) use wait::testing;
