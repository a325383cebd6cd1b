//! No probe: nothing is known of other threads.

use super::Doing;
use std::time::Duration;

/// No probe: the type has no values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe {}

impl Probe {
    /// None.
    pub(crate) fn of_this_thread() -> Option<Probe> {
        None
    }

    /// Never called.
    pub(crate) fn doing(self) -> Option<Doing> {
        match self {}
    }

    /// Never called.
    pub(crate) fn delayed(self) -> Option<Duration> {
        match self {}
    }

    /// Never called.
    pub(crate) fn place(self) -> Option<String> {
        match self {}
    }
}
