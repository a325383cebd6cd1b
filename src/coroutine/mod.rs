//! Rank 2: one suspended computation, and how it is woken. Knows no queue.
//!
//! - [`waiter`]: the word that settles who ends a wait.
//! - [`event`]: something that comes about, and those who wait for it.
//! - [`thread`]: what a plain thread blocks on, so that it can wait like a coroutine.
//! - [`switch`]: the stack switch; the only file that names corosensei.
//! - [`header`]: a coroutine as the scheduler sees it, and the cell with its closure and result.
//! - [`own`]: what belongs to one coroutine or one plain thread alone.
//! - [`waitlist`]: those who wait for their turn, under the lock of whoever owns the list.
//! - [`reason`]: why a coroutine waits.

mod event;
mod header;
mod own;
mod reason;
mod switch;
mod thread;
mod waiter;
mod waitlist;

pub(crate) use event::{Event, Marks, Node};
pub(crate) use header::{Cancellation, Handle, Header, Schedule, Settings, new};
pub use header::{Id, JoinError};
pub(crate) use own::Own;
pub(crate) use reason::WaitReason;
pub(crate) use switch::{Step, Suspend};
pub(crate) use thread::{Parker, with_parker};
pub(crate) use waiter::{Batch, Cause, Fired, Park, Ticket, Waiter};
pub(crate) use waitlist::{Place, WaitList};
