//! Rank 0, the ground floor: what every other layer stands on and that knows nothing of the crate.
//!
//! - [`sys`]: system calls as `io::Result`, with the errnos a caller expects named at the call.
//! - [`backoff`]: naps between the tries of a call that would block although it is reported as ready.
//! - [`poll`]: `poll(2)` with as fine a timeout as the system offers.
//! - [`bits`]: sets of small numbers.
//! - [`clock`]: the processor time of threads.
//! - [`thread`]: what the system does with a thread.
//! - [`at_exit`]: a value that a thread has until it has run everything else.
//! - [`frames`]: the frames of the calling thread, as addresses.
//! - [`fork`]: whether this process is a forked child, which has a runtime in name only.
//! - [`list`]: the intrusive queue that threads runnable coroutines together without allocating.
//! - [`sync`]: atomics, exchangeable for loom's in model runs.
//! - [`spin`]: the lock of what is touched for a few instructions.
//! - [`lock`]: the mutex of the runtime's own state, with ranks asserted in debug builds.
//! - [`parcel`]: boxes in which large values go through the crate.
//! - [`prefetch`]: memory asked for some time before it is used.
//! - [`recycle`]: memory blocks that are used again.
//! - [`slab`]: values under keys, in blocks that are freed when they are empty.
//! - [`local`]: thread-locals behind accessors that are never inlined.

pub(crate) mod at_exit;
pub(crate) mod backoff;
pub(crate) mod bits;
pub(crate) mod clock;
pub(crate) mod fork;
pub(crate) mod frames;
pub(crate) mod list;
pub(crate) mod local;
pub(crate) mod lock;
pub(crate) mod parcel;
pub(crate) mod poll;
pub(crate) mod prefetch;
pub(crate) mod recycle;
pub(crate) mod slab;
pub(crate) mod spin;
pub(crate) mod sync;
pub(crate) mod sys;
pub(crate) mod thread;
