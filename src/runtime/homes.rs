//! The setting of mobile homes.

use crate::sched::MAX_HOMES;
use crate::storage;
use std::io;

/// How many homes `Auto` allows. Allocators and libraries keep state for each thread that they have met, and
/// a home is a thread to them; and each home costs a thread that does nothing.
const AUTO: usize = 256;

/// Whether a runtime's coroutines live in mobile homes: [`Builder::homes`](super::Builder::homes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Homes {
    /// They do not: a coroutine stays on the worker that has started it.
    #[default]
    Off,
    /// They do, where the platform allows it, in up to 256 homes.
    Auto,
    /// They do, where the platform allows it, in up to that many homes, from 1 to 65536.
    Count(usize),
}

impl Homes {
    /// Reads the value of `SWARD_HOMES`.
    pub(super) fn parse(text: &str) -> Option<Homes> {
        match text.trim() {
            "auto" => Some(Homes::Auto),
            "off" => Some(Homes::Off),
            text => text.parse().ok().map(Homes::Count).filter(|homes| homes.limit().is_ok()),
        }
    }

    /// The most homes, 0 for none.
    pub(super) fn limit(self) -> io::Result<usize> {
        match self {
            Homes::Off => Ok(0),
            Homes::Auto => Ok(AUTO),
            Homes::Count(n) if (1..=MAX_HOMES).contains(&n) => Ok(n),
            Homes::Count(n) => {
                let text = format!("a runtime has from 1 to {MAX_HOMES} mobile homes, not {n}");
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }
}

/// Whether this process can have mobile homes.
///
/// # Errors
///
/// `Unsupported`, with the reason: the platform, the C library, or a tool under which the program runs.
///
/// ```
/// match sward::runtime::homes_supported() {
///     Ok(()) => println!("coroutines may move with their home"),
///     Err(reason) => println!("each coroutine stays on its worker: {reason}"),
/// }
/// ```
pub fn homes_supported() -> io::Result<()> {
    let unsupported = |reason| io::Error::new(io::ErrorKind::Unsupported, format!("{reason}"));
    storage::supported().map_err(unsupported)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read() {
        assert_eq!(Homes::parse("auto"), Some(Homes::Auto));
        assert_eq!(Homes::parse(" off "), Some(Homes::Off));
        assert_eq!(Homes::parse("17"), Some(Homes::Count(17)));
        for text in ["", "0", "65537", "-1", "on", "Auto"] {
            assert_eq!(Homes::parse(text), None, "{text:?}");
        }
    }
}
