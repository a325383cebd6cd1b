//! What a back-end reports: events, each with the key of its source.

/// Reading or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `read`, `accept`, `peek`.
    Read,
    /// `write`, `connect`.
    Write,
}

/// What identifies a source within its shard: a slot of the table and the slot's generation, so that
/// an event for a descriptor that was closed, and whose number or slot is in use again, is known.
pub(super) type Key = crate::base::slab::Key;

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollEvent {
    pub(super) key: Key,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// A short read does not mean "drained": the peer has closed its sending side, the connection is
    /// gone, or there is urgent data, before which a read stops.
    pub(super) read_for_good: bool,
    /// The connection is gone or refused: every later write returns at once.
    pub(super) write_for_good: bool,
}
