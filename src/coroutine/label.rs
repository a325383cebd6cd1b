//! How reports name a coroutine: `coroutine 'name' (#id)`, or `coroutine #id` for one without a name.
//!
//! It allocates nothing, since the report of an overflow is written in a signal handler.

use super::{Header, Id};
use std::fmt;

/// A coroutine in the words of reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label<'a> {
    /// Its name, if it has one.
    pub(crate) name: Option<&'a str>,
    /// Its number.
    pub(crate) id: Id,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "coroutine '{name}' (#{})", self.id),
            None => write!(f, "coroutine #{}", self.id),
        }
    }
}

impl Header {
    /// The coroutine in the words of reports.
    pub(crate) fn label(&self) -> Label<'_> {
        Label { name: self.name(), id: self.id() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_first() {
        assert_eq!(Label { name: Some("reader"), id: Id(7) }.to_string(), "coroutine 'reader' (#7)");
        assert_eq!(Label { name: None, id: Id(7) }.to_string(), "coroutine #7");
    }
}
