//! No probe: the system does not report what other threads do.

use super::ThreadState;
use std::time::Duration;

/// Unknown.
pub(crate) fn count_threads() -> Option<usize> {
    None
}

/// No probe: the type has no values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe {}

impl Probe {
    /// None.
    pub(crate) fn of_this_thread() -> Option<Probe> {
        None
    }

    /// Never called.
    pub(crate) fn state(self) -> Option<ThreadState> {
        match self {}
    }

    /// Never called.
    pub(crate) fn run_delay(self) -> Option<Duration> {
        match self {}
    }

    /// Never called.
    pub(crate) fn wait_channel(self) -> Option<String> {
        match self {}
    }
}
