//! Why a wait for readiness ended without a ready arm. Names and texts are crossbeam-channel's.

use std::error::Error;
use std::fmt;

/// No arm of a [`Select`](super::Select) is ready now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryReadyError;

/// No arm of a [`Select`](super::Select) was ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyTimeoutError;

impl fmt::Display for TryReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all operations in select would block")
    }
}

impl fmt::Display for ReadyTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out waiting on select")
    }
}

impl Error for TryReadyError {}
impl Error for ReadyTimeoutError {}
