//! Rank 1, the stacks: pages of memory. It knows no coroutine.
//!
//! ```text
//!  region: one mapping, never unmapped                                    addresses grow -->
//!  +-------+---------------------+-------+---------------------+-------+--------- ...
//!  | guard |   unused   <-- used | guard |   unused   <-- used | guard |
//!  +-------+---------------------+-------+---------------------+-------+--------- ...
//!  |<-------- one slot -------->|
//!          ^ low end             ^ base
//! ```
//!
//! - [`size`]: the sizes of stacks and guards: powers of two, in whole pages.
//! - [`capability`]: a system call that the system may refuse now and grant later.
//! - [`advise`]: advice to the kernel about many ranges at once.
//! - [`guard`]: how the guards are installed.
//! - [`region`]: address space for slots, and the table that the overflow report reads.
//! - [`central`]: the stacks that no worker holds, in chunks that are emptied when they are idle.
//! - [`pool`]: a cache of free stacks for each worker, in front of the central free lists.
//! - [`depth`]: how deep a coroutine has used its stack.
//! - [`overflow`]: the report of a stack overflow.
//! - [`sys`]: what differs between systems.
//!
//! Invariant: a [`Stack`] is one slot with one owner. Its guard is installed before the stack is handed out,
//! and stays until the stack is free again. A guard goes only with a whole chunk, none of whose slots is
//! taken.

mod advise;
mod capability;
mod central;
pub(crate) mod depth;
mod guard;
pub(crate) mod overflow;
mod pool;
mod region;
mod size;
mod sys;

pub(crate) use guard::check_environment;
pub(crate) use pool::{Pool, Stack, count};
pub(crate) use region::address_space_is_short;
pub(crate) use size::{StackOverride, StackSize};
