//! I/O on descriptors that are no sockets of [`net`](crate::net).
//!
//! [`Pollable`] waits for anything that the system can tell the readiness of: pipes, terminals and serial
//! lines, `eventfd`, `timerfd`, `inotify`, or another crate's sockets.

mod pollable;

pub use pollable::Pollable;
