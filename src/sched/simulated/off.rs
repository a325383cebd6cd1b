//! Without the feature `sim` no worker is simulated: functions that only simulated workers call are
//! unreachable.

use crate::coroutine::{Header, Id, WaitReason};
use crate::sched::config::Phase;
use crate::sched::run_queues::{Next, RunQueues};
use crate::sched::runnable::Runnable;
use crate::sched::shared::{Home, Remote, Shared};
use std::ptr::NonNull;
use std::time::Instant;

/// Whether a worker can be simulated.
pub(crate) const POSSIBLE: bool = false;

/// The simulation of a worker: none.
pub(crate) struct Simulated(());

/// What runs next in a simulation.
pub(crate) enum Chosen {
    Next(Next),
    #[expect(dead_code, reason = "only a simulation makes it")]
    Enter(Phase),
}

/// How a simulation has let time pass.
#[expect(dead_code, reason = "only a simulation makes it")]
pub(crate) enum Passed {
    Moved,
    Enter(Phase),
}

impl Simulated {
    /// What every worker has.
    #[inline(always)]
    pub(crate) const fn none() -> Simulated {
        Simulated(())
    }

    /// Whether the worker is simulated.
    #[inline(always)]
    pub(crate) const fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn wants_poll(&self, _: Option<Instant>) -> bool {
        false
    }

    pub(crate) fn next(&self, _: &RunQueues, _: &Home, _: &Remote, _: &Shared) -> Chosen {
        Chosen::Next(Next::Nothing)
    }

    pub(crate) fn preempts(&self, _: &Header, _: &RunQueues, _: &Home, _: &Remote, _: &Shared) -> bool {
        true
    }

    pub(crate) fn budget_is_used_up(&self) -> bool {
        false
    }

    pub(crate) fn pass_time(&self, _: Option<Instant>) -> Passed {
        Passed::Moved
    }

    pub(crate) fn blocks(&self, _: WaitReason, _deadline: Option<Instant>) {}

    pub(crate) fn random(&self) -> u32 {
        0
    }

    pub(crate) fn draw_below(&self, _: usize) -> usize {
        0
    }

    pub(crate) fn spawned(&self, _: NonNull<Header>) {}

    pub(crate) fn waits(&self, _: &Header, _masked: bool) {}

    pub(crate) fn yields(&self, _: &Header) {}

    pub(crate) fn ends(&self, _: &Header) {}

    #[inline(always)]
    pub(crate) fn worker_leaves(&self) {}

    pub(crate) fn next_id(&self) -> Id {
        Id(0)
    }

    pub(crate) fn host(&self) -> u32 {
        0
    }

    pub(crate) fn begin_spawning_for(&self, _: u32) {}

    pub(crate) fn end_spawning_for(&self) {}

    pub(crate) fn take_any(&self) -> Option<Runnable> {
        None
    }
}
