//! Rank 5, descriptors: what waits for an open file. It knows no socket, and it schedules nothing.
//!
//! - [`readiness`]: an operation on a source that parks while it would block.
//! - [`activation`]: a handler that runs whenever a source is ready, and between two runs is a record without
//!   a stack. [`host`]: the records that belong together, with their time limits and their end.
//!   [`watched`]: what such a handler can wait for.
//! - [`poll`](mod@poll): `poll(2)` that parks.
//! - [`open_file`]: an open file whose calls wait, with its mode and its timeouts.
//! - [`pipe_end`]: an open file that is read or written with `read(2)` and `write(2)`.

mod activation;
mod host;
mod open_file;
mod pipe_end;
mod poll;
mod readiness;
mod watched;

pub(crate) use activation::{Active, Body, Verdict, adopt};
pub use activation::{Next, Why};
pub(crate) use host::{Dormancy, Host, Totals, WakerSlot, dormancy};
pub(crate) use open_file::{OpenFile, deadline_after, would_block, zero_timeout};
pub(crate) use pipe_end::{PipeEnd, pipe_conversions, pipe_reads, pipe_writes};
pub(crate) use poll::poll_entries;
pub(crate) use readiness::{Attempt, PerformError, perform, set_again};
pub use watched::Watched;
pub(crate) use watched::{Sealed as WatchedParts, WatchedFile};
