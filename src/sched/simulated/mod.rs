//! The seam for simulations (feature `sim`): what decides in place of a worker's policy.
//!
//! A simulated runtime has one worker, on a thread that belongs to the simulation, and no netpoller thread.
//! All of it is the code of any other runtime, but for four questions, which its worker hands to a
//! [`Simulation`]:
//!
//! ```text
//!  question                             any other worker               a simulated one
//!  which coroutine runs next            `RunQueues::next`, in rounds   `Simulation::choose`
//!  do others run at a call that need    when its budget of 128 calls   `Simulation::preempts`, each time;
//!  not wait                             is used up                     in a poll, `budget_is_used_up`
//!  nothing can run                      it searches, and sleeps        `Simulation::pass_time`
//!  a wait cannot park                   the thread blocks              `Simulation::blocks`
//! ```
//!
//! Without the feature this is an empty type whose questions have constant answers, so nothing is left of it.

#[cfg(not(sward_sim))]
mod off;
#[cfg(sward_sim)]
mod on;

#[cfg(not(sward_sim))]
pub(crate) use off::{Chosen, POSSIBLE, Passed, Simulated};
#[cfg(sward_sim)]
pub(crate) use on::{Candidate, Choice, Chosen, Ends, POSSIBLE, Passed, Simulated, Simulation};
