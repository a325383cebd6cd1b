//! Tells valgrind where stacks are, so that it knows a stack switch. Otherwise it has to guess whether a
//! stack pointer that jumps has left a stack or has released most of it.
//!
//! A request to valgrind is a few instructions that change nothing, with the request in registers. They cost
//! next to nothing outside of valgrind, and each stack is announced once, when its region is made. So every
//! build does it.
//!
//! - `x86_64`, `aarch64`: the instructions of valgrind's `valgrind.h`, where valgrind is: on Linux.
//! - `none`: everything else.

#[cfg(all(target_os = "linux", target_arch = "aarch64", target_pointer_width = "64", not(miri)))]
mod aarch64;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "aarch64", target_arch = "x86_64"),
    not(miri)
)))]
mod none;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64", not(miri)))]
mod x86_64;

#[cfg(all(target_os = "linux", target_arch = "aarch64", target_pointer_width = "64", not(miri)))]
use aarch64::request;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "aarch64", target_arch = "x86_64"),
    not(miri)
)))]
use none::request;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64", not(miri)))]
use x86_64::request;

/// `VG_USERREQ__STACK_REGISTER`.
const STACK_REGISTER: usize = 0x1501;

/// Announces a stack, from its lowest address to its base.
pub(in crate::stack) fn announce(low: usize, base: usize) {
    // valgrind counts the base's last byte as part of it.
    request(&[STACK_REGISTER, low, base - 1, 0, 0, 0]);
}
