//! Rank 5, descriptors: what waits for an open file. It knows no socket, and it schedules nothing.
//!
//! - [`readiness`]: an operation on a source that parks while it would block.
//! - [`open_file`]: an open file whose calls wait, with its mode and its timeouts.
//! - [`pipe_end`]: an open file that is read or written with `read(2)` and `write(2)`.

mod open_file;
mod pipe_end;
mod readiness;

pub(crate) use open_file::{OpenFile, deadline_after, would_block, zero_timeout};
pub(crate) use pipe_end::{PipeEnd, pipe_conversions, pipe_reads, pipe_writes};
pub(crate) use readiness::{Attempt, PerformError};
