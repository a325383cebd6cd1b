//! What a running program says about itself: dumps of programs that hang, which stop nobody, and deadlocks.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;
#[path = "../programs/mod.rs"]
mod programs;

mod find;

mod dashboard;

// Nobody may look at the waits of coroutines that migrate, so no deadlock is found among them.
#[cfg(not(sward_migrate))]
mod deadlocks;
mod environment;
mod json;
mod leak_check;
// Nor are the limits of their waits known.
#[cfg(not(sward_migrate))]
mod leaks;
mod lost_panics;
mod many;
mod reasons;
mod record;
mod sites;
mod stalls;
mod stuck;
mod workers;
