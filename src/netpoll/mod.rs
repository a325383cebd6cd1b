//! Rank 3, the netpoller: it turns the kernel's events into waiters to wake. It knows no run queue and
//! schedules nothing.
//!
//! - [`source`]: an open file and its readiness in both directions. It joins a shard when a call on it first
//!   would block.
//! - [`affinity`]: whether a source moves to another shard, where it is used.
//! - [`shard`]: a poller and the table of what it watches. Each worker has one.
//! - [`readiness`]: the two readiness events of a source, which its shard shares.
//! - [`thread`]: the thread that polls for workers in long turns; [`asleep`]: whether it sleeps.
//! - [`fd`]: questions about one descriptor, and the wait of a plain thread for it. Both need no shard.
//! - [`backend`]: the names of the back-ends.
//! - [`event`]: what a back-end reports.
//! - [`sys`]: the back-ends, one for each kind of system, and the contract that they keep.

mod affinity;
mod asleep;
mod backend;
mod event;
mod fd;
mod readiness;
mod shard;
mod source;
mod sys;
mod thread;

pub(crate) use backend::Backend;
pub(crate) use event::Direction;
pub(crate) use fd::{can_be_watched, is_hung_up, is_ready};
pub(crate) use readiness::futures_wait;
pub(crate) use shard::Shard;
pub(crate) use source::Source;
pub(crate) use sys::{BACKENDS, Events, reports_priority};
pub(crate) use thread::{Monitored, Netpoller, NextDeadline};
