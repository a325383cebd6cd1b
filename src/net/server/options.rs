//! The settings of a server.

use super::handle::{Control, ServeHandle};
use std::sync::Arc;
use std::time::Duration;

/// Settings of [`serve`](super::serve()). By default there are no limits.
#[derive(Debug)]
pub struct ServeOptions {
    pub(super) limits: Limits,
    pub(super) control: Arc<Control>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) idle: Option<Duration>,
    pub(super) request: Option<Duration>,
    pub(super) write: Option<Duration>,
    pub(super) connections: usize,
    pub(super) per_peer: usize,
    pub(super) unread: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions::new()
    }
}

impl ServeOptions {
    /// No limits.
    pub fn new() -> ServeOptions {
        let limits = Limits {
            idle: None,
            request: None,
            write: None,
            connections: usize::MAX,
            per_peer: usize::MAX,
            unread: 64 * 1024,
        };
        ServeOptions { limits, control: Arc::default() }
    }

    /// Closes a connection on which nothing has happened for that long after its handler has returned
    /// [`Next::Idle`](super::Next::Idle), or after it was accepted. The handler does not run for that;
    /// [`Next::IdleFor`](super::Next::IdleFor) is for handlers that want to. The limit is observed as late
    /// as that one.
    #[must_use]
    pub fn idle_limit(mut self, limit: Duration) -> ServeOptions {
        self.limits.idle = Some(limit);
        self
    }

    /// How long a client may take to send a request: from the run of the handler that meets its first byte
    /// until it was read. After that time reads fail with `TimedOut`, and a connection that idles with a part
    /// of a request in its buffer is closed. The first request has to begin within this time, too.
    ///
    /// Each run of the handler has the time anew, unless bytes were left in the buffer that it has not
    /// consumed.
    #[must_use]
    pub fn request_limit(mut self, limit: Duration) -> ServeOptions {
        self.limits.request = Some(limit);
        self
    }

    /// How long each single write may wait for a client that does not read. After that time it fails with
    /// `TimedOut`.
    #[must_use]
    pub fn write_limit(mut self, limit: Duration) -> ServeOptions {
        self.limits.write = Some(limit);
        self
    }

    /// Accepts no further connection while there are so many. Others wait in the listener's backlog.
    #[must_use]
    pub fn max_connections(mut self, most: usize) -> ServeOptions {
        self.limits.connections = most.max(1);
        self
    }

    /// Closes a new connection at once if there are so many from its address already. IPv6 addresses with the
    /// same first 64 bits count as one. Connections of a Unix listener have no address, and no such limit.
    #[must_use]
    pub fn max_connections_per_peer(mut self, most: usize) -> ServeOptions {
        self.limits.per_peer = most.max(1);
        self
    }

    /// How many unread bytes [`Conn::fill`](super::Conn::fill) gathers at most; it is 64 KiB by default.
    #[must_use]
    pub fn max_unread(mut self, most: usize) -> ServeOptions {
        self.limits.unread = most.max(1);
        self
    }

    /// A handle to the server that is started with these options.
    pub fn handle(&self) -> ServeHandle {
        ServeHandle::to(&self.control)
    }
}
