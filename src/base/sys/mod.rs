//! What the system, the C library and the processor supply: the only files of this layer that differ between
//! targets.
//!
//! - [`call`]: system calls as `io::Result`; the caller names the errnos that it expects.
//! - [`calls`]: the system calls of sockets, pollers and pipes, which a simulated world or seeded faults
//!   may answer.
//! - [`clock`]: the processor time of threads.
//! - [`frames`]: the frames of the calling thread, as addresses.
//! - [`pointer`]: the stack pointer.
//! - [`poll`](mod@poll): `poll(2)` with as fine a timeout as the system offers.
//! - [`prefetch`](mod@prefetch): requests for memory some time before it is used.
//! - [`sample`](mod@sample): the stack of another thread.
//! - `uring`: the structures and the system calls of io_uring, where there is one.
//! - [`ticks`](mod@ticks): a clock that takes a few nanoseconds to read.
//! - [`sanitizer`]: what a sanitizer cannot follow.
//! - [`thread`]: whether the system runs a thread, and where the thread waits.

mod call;
pub(crate) mod calls;
mod clock;
pub(crate) mod frames;
mod pointer;
mod poll;
mod prefetch;
mod sample;
mod sanitizer;
mod thread;
mod ticks;
#[cfg(all(target_os = "linux", not(any(loom, miri))))]
pub(crate) mod uring;

#[cfg_attr(not(any(sward_ppoll, sward_backend = "kqueue")), allow(unused_imports))]
pub(crate) use call::timespec;
pub(crate) use call::{check, nonblocking, page_size, report, retry, set_nonblocking};
pub(crate) use clock::ThreadClock;
pub(crate) use pointer::{GOES_ON_AT, stack_pointer};
pub(crate) use poll::poll;
pub(crate) use prefetch::{LINE, prefetch};
pub(crate) use sample::{MOST_FRAMES, Sample, recover, sample};
pub(crate) use sanitizer::{KEPT_BLOCKS, KEPT_ROUNDS};
pub(crate) use thread::{Probe, ThreadState, count_threads};
pub(crate) use ticks::ticks;
