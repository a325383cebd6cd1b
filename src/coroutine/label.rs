//! A coroutine's number, and how reports name it: `coroutine #7 "name" (spawned at src/main.rs:10:5)`,
//! without the name if it has none.
//!
//! Formatting a label allocates nothing, since a signal handler writes the report of a stack overflow.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

/// A coroutine's number, unique in its process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub(crate) u64);

impl Id {
    /// Reserves `count` numbers that were never used, and returns the first. Zero is never among them.
    pub(crate) fn reserve(count: u64) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(count, Ordering::Relaxed)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The call that spawned a coroutine.
pub(crate) type Site = &'static Location<'static>;

/// A coroutine as reports name it.
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
            // Escaped, as a name may come from outside of the program, and reports go to terminals.
            write!(f, " {name:?}")?;
        }
        write!(f, " (spawned at {})", self.site)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_number_name_and_spawn_site() {
        let site = Location::caller();
        let place = format!("{}:{}:{}", file!(), site.line(), site.column());
        let label = Label { id: Id(7), name: Some("reader"), site };
        assert_eq!(label.to_string(), format!("coroutine #7 \"reader\" (spawned at {place})"));
        let hostile = Label { name: Some("\u{1b}[2J\n"), site, ..label };
        assert_eq!(hostile.to_string(), format!("coroutine #7 \"\\u{{1b}}[2J\\n\" (spawned at {place})"));
        let label = Label { name: None, ..label };
        assert_eq!(label.to_string(), format!("coroutine #7 (spawned at {place})"));
    }
}
