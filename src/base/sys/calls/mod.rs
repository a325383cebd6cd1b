//! The system calls of sockets, pollers, pipes and stacks, and where something else may answer them.
//!
//! - [`kernel`]: the calls themselves: libc's functions, and a few that libc does not have or makes slower.
//!   Without the feature `sim` they are what this module exports, so the choice costs nothing.
//! - `asked` (`cfg(sward_sim)`): functions of the same names, which ask the thread's [`World`] first, or else
//!   the process's `faults`, and make the kernel's call if neither answers.
//! - `world`: the interface of what answers in the kernel's place: a simulated network, or seeded faults.
//! - `faults`: errors and short counts that a seed decides, on the real system.
//!
//! [`newer`] makes a call that older kernels do not have, and for which the caller has a fallback.
//! [`before_thread`] is asked before the crate starts a thread, which takes std's several calls.
//!
//! A source says [`closing`] before its descriptor is closed, so that a world can forget the number.

#[cfg(sward_sim)]
mod asked;
#[cfg(all(any(target_os = "linux", target_os = "android"), target_pointer_width = "64"))]
mod direct;
#[cfg(sward_backend = "epoll")]
mod epoll;
#[cfg(sward_sim)]
mod faults;
mod kernel;
#[cfg(not(sward_sim))]
mod unasked;
#[cfg(sward_sim)]
mod world;

#[cfg(sward_sim)]
pub(crate) use asked::*;
#[cfg(sward_sim)]
pub(crate) use faults::{Classes, Faults, set_faults};
#[cfg(not(sward_sim))]
pub(crate) use kernel::*;
#[cfg(not(sward_sim))]
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(unused_imports))]
pub(crate) use unasked::{addresses_of, before_thread, closing, newer};
#[cfg(sward_sim)]
pub(crate) use world::{
    Answer, Call, Context, Entered, FileCall, FileChange, OutValue, World, enter, gather, scatter, total,
    world,
};
