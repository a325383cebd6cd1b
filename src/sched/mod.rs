//! Rank 4, the scheduler: policy. It knows no socket.
//!
//! - [`timers`], [`inbox`], [`idle`]: pure parts, run by loom and by plain tests.
//! - [`runnable`], [`deques`], [`config`], [`threads`]: what the parts below are made of.
//! - [`remote`]: the part of a worker that other threads see.
//! - [`shared`]: what the workers of a runtime share.
//! - [`run_queues`]: which coroutine a worker runs next.
//! - [`placement`]: on which worker a coroutine starts.
//! - [`worker`]: the loop that runs coroutines. [`start`]: the start of its thread.
//! - [`current`]: the calling thread's worker, and the coroutine that runs there.
//! - [`schedule`]: where a woken coroutine is queued.
//! - [`wait`]: the waist, through which everything that blocks goes.
//! - [`checks`], [`thread_bound`]: waits that are refused where code counts on the calls of a thread being
//!   nested.
//! - [`monitor`]: what the netpoller thread does for busy workers.
//! - `blame`: what keeps a worker in one turn. `running`: which coroutine that is.
//! - [`runtime`]: a runtime's start and end, and the default one.
//! - [`hook`]: what a process has once: the panic hook.
//!
//! How workers sleep and are woken, with the argument that no work is slept over, is in `README.md`
//! beside this file.

mod budget;
mod checks;
mod config;
mod current;
mod deques;
mod idle;
mod inbox;
mod placement;
mod remote;
mod run_queues;
mod runnable;
mod running;
mod schedule;
mod section;
mod shared;
mod spawn;
mod start;
mod thread_bound;
mod threads;
mod timers;
mod unwinding;
mod wait;
mod worker;

pub(crate) use checks::prepare as prepare_checks;
pub(crate) use config::{Config, Phase};
pub(crate) use current::{
    blocks_worker, cancelled, cancelling, current_coroutine, current_runtime, is_worker_of, join_shard,
    limit, may_switch, on_worker, random, with_local_record,
};
pub(crate) use section::deadline_of_file;
pub(crate) use shared::{Remote, Shared};
pub(crate) use spawn::{Spawn, spawn};
pub(crate) use start::{add_spare_worker, start_worker};
pub(crate) use threads::AbortOnPanic;
pub(crate) use unwinding::{Blocks, can_never_end, elapsed, refusal};
pub(crate) use wait::{
    Cancel, Ended, Wait, Woken, checkpoint, consume_budget, limited, masked, set, set_for_good, sleep_until,
    unwind_cancelled, unwind_shutdown, wait, wait_at, wait_for, wait_for_event, wait_in, wait_in_ring,
    wait_masked, with_ticket, yield_now,
};
