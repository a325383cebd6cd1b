//! Pipes, the standard streams, copying, and waiting for descriptors of any kind.
//!
//! - [`pipe()`]: [`PipeReader`] and [`PipeWriter`].
//! - [`stdin`], [`stdout`], [`stderr`]: a coroutine that waits for them parks, whether they are terminals,
//!   pipes or files.
//! - [`copy()`], and [`copy_bidirectional`] for proxies; [`CopyBidirectional`] adds an idle limit.
//! - [`Pollable`] waits for any descriptor that the system can poll: pipes, terminals and serial lines,
//!   `eventfd`, `timerfd`, `inotify`, or another crate's sockets.
//! - [`poll()`] is `poll(2)`: it waits for the first of several descriptors, and leaves their mode alone.
//!
//! The traits are std's: [`Read`](std::io::Read), [`Write`](std::io::Write), [`BufRead`](std::io::BufRead).

// Rank 9. `inherited` has the rules for the standard streams, which other processes share. `shared` has the
// bounds for streams that read and write through a shared reference. `sys` has what differs between systems.
// `pipe`, `stdio`, `copy`, `pollable`, `poll`: the items of the list above, in its order.

mod copy;
mod inherited;
mod pipe;
mod poll;
mod pollable;
mod shared;
mod stdio;
mod sys;

pub use copy::{CloseWrite, CopyBidirectional, CopyIdle, copy, copy_bidirectional};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use poll::{PollFd, poll};
pub use pollable::Pollable;
pub use shared::{ReadShared, WriteShared};
pub use stdio::{Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock, stderr, stdin, stdout};
