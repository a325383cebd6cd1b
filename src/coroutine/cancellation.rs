//! The payload of the panic with which a cancelled wait unwinds its coroutine, and what caused it.

use std::fmt;
use std::io;
use std::sync::Arc;

/// What has ended a wait, or a whole coroutine, before its time.
///
/// [`catch_cancel`](crate::task::catch_cancel) returns it. It is also the inner error of the [`io::Error`]s
/// that operations return in a section of [`cancel_as_error`](crate::task::cancel_as_error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interruption {
    /// A cancellation: of a [`JoinHandle`](crate::task::JoinHandle), a scope, a set or a token.
    Cancelled,
    /// A time limit has passed: that of a [`timeout`](crate::time::timeout()).
    TimedOut,
    /// The runtime of the coroutine shuts down.
    ShutDown,
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interruption::Cancelled => "the coroutine was cancelled",
            Interruption::TimedOut => "a time limit has passed",
            Interruption::ShutDown => "the runtime of the coroutine shuts down",
        })
    }
}

impl std::error::Error for Interruption {}

/// Of the kind [`TimedOut`](io::ErrorKind::TimedOut), or [`Other`](io::ErrorKind::Other). It is never
/// `Interrupted`, since loops such as that of [`read_exact`](io::Read::read_exact) try again after that.
impl From<Interruption> for io::Error {
    fn from(why: Interruption) -> io::Error {
        let kind = match why {
            Interruption::TimedOut => io::ErrorKind::TimedOut,
            Interruption::Cancelled | Interruption::ShutDown => io::ErrorKind::Other,
        };
        io::Error::new(kind, why)
    }
}

/// The payload with which a cancelled wait unwinds. Private to the crate, so that no panic of a user is taken
/// for a cancellation.
pub(crate) struct Cancellation {
    /// What caused it.
    pub(crate) why: Interruption,
    /// Whether the time limit of a section expired. Otherwise the whole coroutine unwinds.
    pub(crate) elapsed: bool,
    /// Keeps [`LocalRecord::cancelling`](super::LocalRecord::cancelling) true as long as the payload exists.
    pub(super) _alive: Arc<()>,
}
