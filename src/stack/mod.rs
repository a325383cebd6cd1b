//! Rank 1, the stacks: pages. It knows no coroutine.
//!
//! ```text
//!  region: one mapping, reserved for ever                                 addresses grow -->
//!  +-------+---------------------+-------+---------------------+-------+--------- ...
//!  | guard |   unused   <-- used | guard |   unused   <-- used | guard |
//!  +-------+---------------------+-------+---------------------+-------+--------- ...
//!  |<-------- one slot -------->|
//!          ^ low end             ^ base
//! ```
//!
//! - [`size`]: the sizes that there are: powers of two, of guard and rest in whole pages.
//! - [`capability`]: what the system may refuse now and grant later.
//! - [`advise`]: advice to the kernel about many ranges at once.
//! - [`guard`]: how the guards are installed.
//! - [`region`]: address space for slots.
//! - [`central`]: the stacks that no worker has, in chunks that are emptied when they are idle.
//! - [`pool`]: free stacks, per worker and shared.
//! - [`overflow`]: the report of a stack overflow.
//! - [`sys`]: what differs between systems.
//!
//! Invariant: a [`Stack`] is one slot, owned by one value; its guard has been installed before the slot is
//! given out, and stays while anybody has the stack. It goes only with a chunk of slots that nobody has.

mod advise;
mod capability;
mod central;
mod guard;
pub(crate) mod overflow;
mod pool;
mod region;
mod size;
mod sys;

pub(crate) use guard::check_environment;
pub(crate) use pool::{Pool, Stack};
pub(crate) use size::{StackOverride, StackSize};
