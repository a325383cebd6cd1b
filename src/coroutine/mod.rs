//! Rank 2: one suspended computation, and how it is woken. Knows no queue.
//!
//! How something waits:
//!
//! - [`waiter`]: the word that decides which party ends a wait.
//! - [`event`]: a flag with its waiters, for readiness, the end of a coroutine, park tokens.
//! - [`waitlist`]: waiters in order, under the lock of what they wait for.
//! - [`thread`]: what a plain thread blocks on, so that it can wait like a coroutine.
//! - [`alarm`]: what a future waits with, as the one party that waits.
//! - [`awaiter`]: a future that waits for the end of a coroutine.
//! - [`dormant`]: a record on the heap that waits, and whose wake-up starts a coroutine.
//! - [`reason`], [`subject`]: why a coroutine waits, and for what.
//!
//! What a coroutine is:
//!
//! - [`header`]: a coroutine as the scheduler sees it, and the cell with its closure and result.
//! - [`lifetime`]: who owns that result, and when the cell is freed.
//! - [`switch`]: the stack switch; the only file that names corosensei.
//! - [`sys`]: what sanitizers are told of it.
//! - [`walk`]: how a coroutine walks its own stack.
//! - [`capture`]: the stacks of suspended coroutines, as addresses.
//! - [`local_record`]: what only the coroutine, or the plain thread, itself uses: limits, masks, task locals.
//! - [`locals`]: the values of its task locals.
//! - [`label`]: its number, and how reports name it.
//!
//! How it ends:
//!
//! - [`join_error`]: why a coroutine has no result.
//! - [`cancellation`]: the payload with which a cancelled wait unwinds, and what caused it.
//! - [`contain`]: panics in users' destructors.
//! - [`lost_panics`]: panics that nobody hears of.
//! - [`unstarted`]: the report of coroutines that never ran and that nobody joins.

mod alarm;
mod awaiter;
mod cancellation;
mod capture;
mod contain;
mod dormant;
mod event;
mod header;
mod join_error;
mod label;
mod lifetime;
mod local_record;
mod locals;
mod lost_panics;
mod reason;
mod subject;
mod switch;
mod sys;
mod thread;
mod unstarted;
mod waiter;
mod waitlist;
mod walk;

pub(crate) use alarm::{Alarm, is_of_future};
pub(crate) use awaiter::{Awaited, Awaiting};
pub(crate) use cancellation::Cancellation;
pub use cancellation::Interruption;
pub(crate) use capture::{Capture, Trace};
pub(crate) use contain::{contain_panic, drop_each, drop_one};
pub(crate) use dormant::{Dormant, Parked, RecordTable};
pub(crate) use event::{Event, EventNode, StickyNumbers};
pub(crate) use header::{Handle, Header, Schedule, Settings, new, new_detached};
pub use join_error::{JoinError, Panic};
pub use label::Id;
pub(crate) use label::{Label, Site};
pub(crate) use local_record::{LocalRecord, Unwinding};
pub(crate) use locals::{Gone, LocalId, Value};
pub(crate) use lost_panics::{last_lost_panic, lost_panics};
#[cfg(sward_sim)]
pub(crate) use lost_panics::{lost_panics_here, take_lost_panic_here};
pub(crate) use reason::{WAIT_REASONS, WaitReason};
#[allow(unused_imports, reason = "for reports")]
pub(crate) use subject::Waiting;
pub(crate) use subject::{Facts, Holder, Subject, SubjectRef, Why};
pub(crate) use switch::{Request, Step, Suspend};
pub(crate) use thread::{with_parker, with_parker_to_wait};
pub(crate) use waiter::{Batch, Cause, Fired, Park, Ticket, Waiter, with_ticket};
#[cfg(test)]
pub(crate) use waiter::{Table, testing};
pub(crate) use waitlist::{NodeState, WaitList, WaitNode};
pub(crate) use walk::Extent;

#[cfg(all(test, loom))]
pub(crate) use waiter::Sleeper;
