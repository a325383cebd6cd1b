//! The settings of a runtime, and the phases of its life.

use crate::stack::StackSize;
use std::time::Duration;

/// How a runtime was asked to be.
pub(crate) struct Config {
    pub(crate) workers: usize,
    pub(crate) stack_size: StackSize,
    pub(crate) thread_name: String,
    pub(crate) migrate: bool,
    pub(crate) stall: Duration,
    /// Whether the stacks of coroutines are looked at before each wait.
    pub(crate) checks: bool,
}

/// The life of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// It runs.
    Running = 0,
    /// Its coroutines are cancelled; workers leave when all have ended.
    Closing = 1,
    /// The time for that is over: workers leave as soon as they can, the rest is leaked.
    Abandoned = 2,
}
