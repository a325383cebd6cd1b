//! Rank 3, the netpoller: kernel events in, waiters to wake out. It knows no queue and schedules
//! nothing.
//!
//! - [`shard`]: a poller and the table of what it watches; one per worker.
//! - [`source`]: an open file with its two readiness events; joins a shard at its first would-block.
//! - [`thread`]: the dedicated thread that polls on behalf of workers that are too busy to.
//! - [`fd`]: asking about one descriptor, and waiting for it on a plain thread, with no shard.
//! - [`event`]: what a back-end reports.
//! - [`sys`]: the back-ends, one for each kind of system, and the contract that they keep.

mod event;
mod fd;
mod shard;
mod source;
mod sys;
mod thread;

pub(crate) use event::Direction;
pub(crate) use fd::{can_be_watched, is_hung_up, is_ready};
pub(crate) use shard::Shard;
pub(crate) use source::Source;
pub(crate) use sys::Events;
pub(crate) use thread::{Monitored, Netpoller, NextDeadline};
