//! Systems with one back-end.

use crate::netpoll::backend::Backend;
use std::io;

#[cfg(sward_backend = "epoll")]
pub(crate) use super::epoll::{Events, Poller};
#[cfg(sward_backend = "kqueue")]
pub(crate) use super::kqueue::{Events, Poller};
#[cfg(sward_backend = "poll")]
pub(crate) use super::poll::{Events, Poller};

#[cfg(sward_backend = "epoll")]
const BACKEND: Backend = Backend::Epoll;
#[cfg(sward_backend = "kqueue")]
const BACKEND: Backend = Backend::Kqueue;
#[cfg(sward_backend = "poll")]
const BACKEND: Backend = Backend::Poll;

/// What this system has.
pub(crate) const BACKENDS: &[Backend] = &[BACKEND];

/// Whether sources must arm a direction before they wait.
#[inline]
pub(crate) const fn one_shot() -> bool {
    Poller::ONE_SHOT
}

/// Whether urgent data is an event of its own.
pub(crate) const fn reports_priority() -> bool {
    Poller::REPORTS_PRIORITY
}

/// A poller. There is only one kind.
pub(crate) fn new_poller(_wanted: Backend) -> io::Result<Poller> {
    Poller::new()
}

/// Its kind.
pub(crate) fn backend_of(_poller: &Poller) -> Backend {
    BACKEND
}
