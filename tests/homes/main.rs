//! What code may expect of its thread, where its thread is a home: the same thread, with the same
//! thread-locals, at every moment of its life, whichever worker runs the home. Each check runs in coroutines
//! that wait at the points in question. It repeats them until one of them has moved to another worker.
//!
//! Where homes do not move, the same checks pass on the workers' own threads.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod c_library;
mod coroutines;
mod dynamic_loading;
mod kernel;
mod locks;
mod processes;
mod scheduling;
mod stress;
mod thread_ends;
mod values;
