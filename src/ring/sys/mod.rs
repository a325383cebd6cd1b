//! The kernel's side of a ring. A module supplies:
//!
//! `Kernel::new() -> io::Result<Kernel>`: a ring that can at least read, write, sync and cancel, or an error.
//!
//! `knows(&self, entry) -> bool`: whether it can do what the entry asks for.
//!
//! `completions(&self) -> usize`: the length of the completion queue.
//!
//! `unsafe fn push(&self, entry) -> bool`: appends an entry to the submission queue; false if that is full.
//!
//! `unsafe fn submit(&self) -> Taken`: asks the kernel to take the entries that were pushed.
//!
//! `unsafe fn take_back(&self) -> Option<u64>`: removes an entry that the kernel has not taken, and returns
//! its key.
//!
//! `has_completions(&self) -> bool`, `unsafe fn next_completion(&self) -> Option<(u64, i32)>`: the key and
//! the result of the next call that has ended.
//!
//! `push`, `submit` and `take_back` are called by one thread at a time, and so is `next_completion`. The two
//! groups do not exclude each other.

#[cfg(all(target_os = "linux", sward_ring_faults, not(any(loom, miri))))]
mod faulty;
#[cfg(all(target_os = "linux", not(any(loom, miri))))]
mod linux;
#[cfg(not(all(target_os = "linux", not(any(loom, miri)))))]
mod none;

#[cfg(all(target_os = "linux", sward_ring_faults, not(any(loom, miri))))]
pub(crate) use faulty::{Entry, Kernel};
#[cfg(all(target_os = "linux", not(any(sward_ring_faults, loom, miri))))]
pub(crate) use linux::{Entry, Kernel};
#[cfg(not(all(target_os = "linux", not(any(loom, miri)))))]
pub(crate) use none::{Entry, Kernel};
