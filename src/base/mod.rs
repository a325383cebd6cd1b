//! Rank 0, the ground floor: what every other layer stands on and that knows nothing of the crate.
//!
//! - [`sys`]: what the system, the C library and the processor supply.
//! - [`backoff`]: naps between the tries of a call that would block although it is reported as ready.
//! - [`bit_set`]: sets of small numbers.
//! - [`at_exit`]: a value that a thread has until it has run everything else.
//! - [`fork`]: whether this process is a forked child, which has a runtime in name only.
//! - [`list`]: the intrusive queue that threads runnable coroutines together without allocating.
//! - [`sync`]: atomics, exchangeable for loom's in model runs.
//! - [`spin_lock`]: the lock of what is touched for a few instructions.
//! - [`lock`]: the mutex of the runtime's own state, with ranks asserted in debug builds.
//! - [`list_lock`]: the lock of a wait list.
//! - [`large_box`]: boxes in which large values go through the crate.
//! - [`recycle`]: memory blocks that are used again.
//! - [`slab`]: values under keys, in blocks that are freed when they are empty.
//! - [`local`]: thread-locals behind accessors that are never inlined.

pub(crate) mod at_exit;
pub(crate) mod backoff;
pub(crate) mod bit_set;
pub(crate) mod fork;
pub(crate) mod large_box;
pub(crate) mod list;
pub(crate) mod list_lock;
pub(crate) mod local;
pub(crate) mod lock;
pub(crate) mod recycle;
pub(crate) mod slab;
pub(crate) mod spin_lock;
pub(crate) mod sync;
pub(crate) mod sys;
