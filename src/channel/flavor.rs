//! What a receiver receives from.

use super::shared::Shared;
use super::timed::Timed;
use std::sync::Arc;

/// The kinds of channels that have a [`Receiver`](super::Receiver).
pub(super) enum Flavor<T> {
    /// Senders send.
    Chan(Shared<T>),
    /// Time sends.
    Timed(Arc<dyn Timed<T>>),
    /// Nobody sends.
    Never,
}
