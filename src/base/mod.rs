//! Rank 0: what every other layer uses. It imports nothing of the crate.
//!
//! - [`sys`]: what the system, the C library and the processor supply.
//! - [`backoff`]: naps between the attempts of a call that would block although its file is reported as
//!   ready.
//! - [`bit_set`]: sets of small numbers.
//! - [`at_exit`]: a value that a thread keeps until it has run everything else.
//! - [`clock`]: the clock of deadlines and timers.
//! - [`counted_threads`]: how many threads of the process are this crate's.
//! - [`fork`]: what a forked child may use of its parent's runtimes.
//! - [`new_thread`]: how the crate starts a thread of its own.
//! - [`histogram`]: how often times of which length occurred.
//! - [`list`]: the intrusive queue that links runnable coroutines without an allocation.
//! - [`sync`]: atomics, which are loom's in models.
//! - [`spin_lock`]: the lock of critical sections of a few instructions.
//! - [`lock`]: the mutex of the runtime's own state, with lock ranks that debug builds assert.
//! - [`list_lock`]: the lock of a wait list.
//! - [`large_box`]: boxes for large values that are passed on inside the crate.
//! - [`recycle`]: memory blocks that a thread keeps for its next coroutines.
//! - [`slab`]: a table of values under keys, in blocks that are freed when they are empty.
//! - [`local`]: thread-locals behind accessors that are never inlined.

pub(crate) mod at_exit;
pub(crate) mod backoff;
pub(crate) mod bit_set;
pub(crate) mod clock;
pub(crate) mod counted_threads;
pub(crate) mod fork;
pub(crate) mod histogram;
pub(crate) mod large_box;
pub(crate) mod list;
pub(crate) mod list_lock;
pub(crate) mod local;
pub(crate) mod lock;
pub(crate) mod new_thread;
pub(crate) mod recycle;
pub(crate) mod slab;
pub(crate) mod spin_lock;
pub(crate) mod sync;
pub(crate) mod sys;
