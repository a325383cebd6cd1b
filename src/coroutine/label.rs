//! How reports name a coroutine: `coroutine #7 "name" (spawned at src/main.rs:10:5)`, without the name if it
//! has none.
//!
//! It allocates nothing, since the report of an overflow is written in a signal handler.

use super::{Header, Id};
use std::fmt;
use std::panic::Location;

/// The call that spawned a coroutine.
pub(crate) type Site = &'static Location<'static>;

/// A coroutine in the words of reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label<'a> {
    /// Its number.
    pub(crate) id: Id,
    /// Its name, if it has one.
    pub(crate) name: Option<&'a str>,
    /// The call that spawned it.
    pub(crate) site: Site,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "coroutine #{}", self.id)?;
        if let Some(name) = self.name {
            write!(f, " \"{name}\"")?;
        }
        write!(f, " (spawned at {})", self.site)
    }
}

impl Header {
    /// The coroutine in the words of reports.
    pub(crate) fn label(&self) -> Label<'_> {
        Label { id: self.id(), name: self.name(), site: self.site() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_which_coroutine_it_was_and_who_spawned_it() {
        let site = Location::caller();
        let place = format!("{}:{}:{}", file!(), site.line(), site.column());
        let label = Label { id: Id(7), name: Some("reader"), site };
        assert_eq!(label.to_string(), format!("coroutine #7 \"reader\" (spawned at {place})"));
        let label = Label { name: None, ..label };
        assert_eq!(label.to_string(), format!("coroutine #7 (spawned at {place})"));
    }
}
