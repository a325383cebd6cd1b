//! Rank 2: one suspended computation, and how it is woken. Knows no queue.
//!
//! - [`waiter`]: the word that settles who ends a wait.
//! - [`event`]: something that comes about, and those who wait for it.
//! - [`thread`]: what a plain thread blocks on, so that it can wait like a coroutine.
//! - [`switch`]: the stack switch; the only file that names corosensei.
//! - [`header`]: a coroutine as the scheduler sees it, and the cell with its closure and result.
//! - [`join_error`]: why a coroutine gave no result.
//! - [`label`]: how reports name a coroutine.
//! - [`unstarted`]: the report of coroutines that never ran and that nobody joins.
//! - [`own`]: what belongs to one coroutine or one plain thread alone.
//! - [`awaiter`]: a coroutine's end awaited by a future.
//! - [`locals`]: the values of its task locals.
//! - [`waitlist`]: those who wait for their turn, under the lock of whoever owns the list.
//! - [`quiet`]: destructors of users' values whose panics must not do harm.
//! - [`reason`]: why a coroutine waits.

mod awaiter;
mod event;
mod header;
mod join_error;
mod label;
mod local_record;
mod locals;
mod quiet;
mod reason;
mod switch;
mod thread;
mod unstarted;
mod waiter;
mod waitlist;

pub(crate) use awaiter::Awaiting;
pub(crate) use event::{Event, EventNode, Marks};
pub use header::Id;
pub(crate) use header::{Cancellation, Handle, Header, Schedule, Settings, new};
pub use join_error::{JoinError, Panic};
pub(crate) use label::{Label, Site};
pub(crate) use local_record::{LocalRecord, Unwinding};
pub(crate) use locals::{Gone, LocalId, Value};
pub(crate) use quiet::{drop_each, drop_one, quietly};
pub(crate) use reason::WaitReason;
pub(crate) use switch::{Request, RequestAt, Step, Suspend};
pub(crate) use thread::with_parker;
#[cfg(all(test, loom))]
pub(crate) use waiter::testing;
pub(crate) use waiter::{Batch, Cause, Fired, Park, Ticket, Waiter};
pub(crate) use waitlist::{WaitList, WaitNode};

#[cfg(all(test, loom))]
pub(crate) use waiter::Sleeper;
