//! Rank 4, the scheduler: policy. It knows no socket.
//!
//! - [`timers`], [`inbox`], [`idle`]: pure parts, run by loom and by plain tests.
//! - [`shared`]: what the workers of a runtime share, and the part of a worker that others see.
//! - [`run_queues`]: which coroutine a worker runs next.
//! - [`placement`]: on which worker a coroutine starts.
//! - [`worker`]: the loop that runs coroutines.
//! - [`wait`]: the waist, through which everything that blocks goes.
//! - [`select`]: waiting for the first of several things.
//! - [`readiness`]: an operation on a source that parks while it would block.
//! - [`open_file`]: an open file whose calls wait, with its mode and its timeouts.
//! - [`pipe_end`]: an open file that is read or written with `read(2)` and `write(2)`.
//! - [`checks`], [`thread_bound`]: waits that are refused where code counts on the calls of a thread being
//!   nested.
//! - [`monitor`]: what the netpoller thread does for busy workers.
//! - `blame`: what keeps a worker in one turn. `running`: which coroutine that is.
//! - [`runtime`]: a runtime's start and end, and the default one.
//! - [`hook`]: what a process has once: the panic hook.
//!
//! How workers sleep and are woken, with the argument that no work is slept over, is in `README.md`
//! beside this file.

mod blame;
mod checks;
mod hook;
mod idle;
mod inbox;
mod monitor;
mod open_file;
mod pipe_end;
mod placement;
mod readiness;
mod run_queues;
mod running;
pub(crate) mod runtime;
pub(crate) mod select;
mod shared;
mod thread_bound;
mod timers;
mod unwinding;
mod wait;
mod worker;

pub(crate) use open_file::{OpenFile, deadline_after, is_deadline, would_block, zero_timeout};
pub(crate) use pipe_end::{PipeEnd, pipe_conversions, pipe_reads, pipe_writes};
pub(crate) use readiness::Attempt;
pub(crate) use runtime::{Spawn, spawn};
pub(crate) use shared::Shared;
pub(crate) use unwinding::{can_never_end, refusal};
pub(crate) use wait::{
    Cancel, Woken, cancelled, cancelling, checkpoint, consume_budget, limit, limited, masked, set,
    set_for_good, sleep_until, unwind_cancelled, unwind_shutdown, wait_at, wait_for, wait_for_event, wait_in,
    wait_masked, with_local_record, yield_now,
};
pub(crate) use worker::{blocks_worker, current_coroutine, current_runtime, may_switch, on_worker};
