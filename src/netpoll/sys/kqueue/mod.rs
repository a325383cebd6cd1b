//! The back-end `kqueue`. The contract is in `mod.rs` of the folder above.
//!
//! - `poller`: the `Poller` and its `Events`.
//! - [`translate`]: what a queue is asked for and what it reports, as values. It makes no calls, so all test
//!   builds test it.
//! - `call`: the two system calls.
//! - `native`, `libkqueue`: their declarations, of the system or of the emulation on Linux, which
//!   `--cfg sward_libkqueue` chooses.
//! - `wakeup_event`, `wakeup_pipe`: what `wake` uses to end a wait, with `EVFILT_USER` and without.
//!
//! Keys go through the queue in a pointer, so this is for systems whose pointers have 64 bits.

#[cfg(sward_backend = "kqueue")]
mod call;
#[cfg(all(sward_backend = "kqueue", sward_libkqueue))]
mod libkqueue;
#[cfg(all(sward_backend = "kqueue", not(sward_libkqueue)))]
mod native;
#[cfg(sward_backend = "kqueue")]
mod poller;
mod translate;
#[cfg(all(sward_backend = "kqueue", not(any(target_os = "netbsd", target_os = "openbsd"))))]
mod wakeup_event;
#[cfg(all(sward_backend = "kqueue", any(target_os = "netbsd", target_os = "openbsd")))]
mod wakeup_pipe;

#[cfg(all(sward_backend = "kqueue", sward_libkqueue))]
use libkqueue as raw;
#[cfg(all(sward_backend = "kqueue", not(sward_libkqueue)))]
use native as raw;
#[cfg(all(sward_backend = "kqueue", not(any(target_os = "netbsd", target_os = "openbsd"))))]
use wakeup_event as wakeup;
// Releases of these systems that are in use have no EVFILT_USER.
#[cfg(all(sward_backend = "kqueue", any(target_os = "netbsd", target_os = "openbsd")))]
use wakeup_pipe as wakeup;

#[cfg(sward_backend = "kqueue")]
pub(crate) use poller::{Events, Poller};
