//! The kqueue back-end. The contract is in the folder's `mod.rs` above.
//!
//! - [`translate`]: what a queue is asked for and what it tells, as values; it makes no calls.
//! - `poller`: the back-end itself.
//! - `call`: the two system calls.
//! - `native`, `libkqueue`: their declarations, of the system or of the emulation on Linux, which
//!   `--cfg sward_libkqueue` chooses.
//! - `bell_user`, `bell_pipe`: what ends a wait, with `EVFILT_USER` and without.
//!
//! Keys go through the queue in a pointer, so this is for systems whose pointers have 64 bits.

#[cfg(all(sward_backend = "kqueue", any(target_os = "netbsd", target_os = "openbsd")))]
mod bell_pipe;
#[cfg(all(sward_backend = "kqueue", not(any(target_os = "netbsd", target_os = "openbsd"))))]
mod bell_user;
#[cfg(sward_backend = "kqueue")]
mod call;
#[cfg(all(sward_backend = "kqueue", sward_libkqueue))]
mod libkqueue;
#[cfg(all(sward_backend = "kqueue", not(sward_libkqueue)))]
mod native;
#[cfg(sward_backend = "kqueue")]
mod poller;
mod translate;

// Releases of these systems that are in use have no EVFILT_USER.
#[cfg(all(sward_backend = "kqueue", any(target_os = "netbsd", target_os = "openbsd")))]
use bell_pipe as bell;
#[cfg(all(sward_backend = "kqueue", not(any(target_os = "netbsd", target_os = "openbsd"))))]
use bell_user as bell;
#[cfg(all(sward_backend = "kqueue", sward_libkqueue))]
use libkqueue as raw;
#[cfg(all(sward_backend = "kqueue", not(sward_libkqueue)))]
use native as raw;

#[cfg(sward_backend = "kqueue")]
pub(super) use poller::{Events, Poller};
