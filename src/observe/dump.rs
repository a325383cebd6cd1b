//! The facts of a dump, as data.

use std::fmt;

/// What each coroutine of the process does.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Dump {}

/// Collects what each coroutine of the process does.
pub fn dump() -> Dump {
    Dump::default()
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no runtimes")
    }
}
