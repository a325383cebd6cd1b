//! Pipes, the standard streams, copying, and waiting for descriptors of any kind.
//!
//! - [`pipe`]: [`PipeReader`] and [`PipeWriter`].
//! - [`stdin`], [`stdout`], [`stderr`]: a coroutine that waits for input parks, be it a terminal, a pipe or
//!   a file.
//! - [`copy`], and [`copy_bidirectional`] for proxies, with an idle limit by [`CopyBidirectional`].
//! - [`Pollable`] waits for anything that the system can tell the readiness of: pipes, terminals and serial
//!   lines, `eventfd`, `timerfd`, `inotify`, or another crate's sockets.
//!
//! The traits are std's: [`Read`](std::io::Read), [`Write`](std::io::Write), [`BufRead`](std::io::BufRead).

// Rank 7. `inherited` has the rules by which the standard streams are used, `nowait` what Linux offers for
// it.

mod copy;
mod inherited;
mod pipe;
mod pollable;
mod shared;
mod stdio;
mod sys;

pub use copy::{CloseWrite, CopyBidirectional, CopyIdle, copy, copy_bidirectional};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use pollable::Pollable;
pub use shared::{ReadShared, WriteShared};
pub use stdio::{Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock, stderr, stdin, stdout};
