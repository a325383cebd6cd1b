//! The payload of the panic with which a cancelled wait unwinds its coroutine.

use std::sync::Arc;

/// The payload with which a cancelled wait unwinds. Private to the crate, so that no panic of a user is taken
/// for a cancellation.
pub(crate) struct Cancellation {
    /// Whether the time limit of a section expired. Otherwise the whole coroutine was cancelled.
    pub(crate) elapsed: bool,
    /// Keeps [`LocalRecord::cancelling`](super::LocalRecord::cancelling) true as long as the payload exists.
    pub(super) _alive: Arc<()>,
}
