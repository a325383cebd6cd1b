//! Files of simulated hosts (`sward::sim`): paths are those of the host, and the simulation follows what a
//! crash would leave.
//!
//! `on` asks the thread's world; `off`, without the feature `sim`, has constant answers, so nothing is left
//! of it. On a thread that simulates nothing, and in a simulation outside of all hosts, files are the
//! system's.

#[cfg(not(sward_sim))]
mod off;
#[cfg(sward_sim)]
mod on;

#[cfg(not(sward_sim))]
pub(super) use off::*;
#[cfg(sward_sim)]
pub(super) use on::*;
