//! What a back-end reports: an event names a source by its key, and says in which directions it is ready.

/// Reading or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `read`, `accept`, `peek`.
    Read,
    /// `write`, `connect`.
    Write,
}

/// What identifies a source within its shard: a slot of the table and the slot's generation. So an event for
/// a closed descriptor is recognised, even if its number or its slot is in use again.
pub(super) type Key = crate::base::slab::Key;

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollEvent {
    pub(super) key: Key,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Sticky: a short read does not mean "drained". The peer has closed its sending
    /// side, the connection is gone, or there is urgent data, before which a read stops.
    pub(super) read_sticky: bool,
    /// Sticky: the connection is gone or refused, so every later write returns at
    /// once.
    pub(super) write_sticky: bool,
}
