//! What differs between systems in memory calls and signals.
//!
//! | each module supplies | |
//! |---|---|
//! | `DISCARD` | the advice that the content of a range is not needed |
//! | `GUARD` | the advice that makes a range a guard, if there is one |
//! | `RESERVE` | the flag of a mapping that counts as memory only once it is used |
//! | `max_mappings` | how many mappings a process may have, if there is a limit |
//! | `free_of` | how much of a limited address space is free, if the system says |
//! | `decline_huge_pages` | keeps huge pages out of a mapping |
//! | `populates` | whether the kernel populates new mappings at once |
//! | `faults` | whether a word must not be read, which is zero if it can be |
//! | `resident` | which pages of a range are present |
//! | `advise_together` | one advice for many ranges in one call |
//! | `was_sent` | whether a signal was sent by a process, and is no fault |
//!
//! - `linux`: Linux and Android.
//! - `valgrind`: says where stacks are.
//! - `other`: all other systems.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other;
mod valgrind;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{
    DISCARD, GUARD, RESERVE, advise_together, decline_huge_pages, faults, free_of, max_mappings, populates,
    resident, was_sent,
};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use other::{
    DISCARD, GUARD, RESERVE, advise_together, decline_huge_pages, faults, free_of, max_mappings, populates,
    resident, was_sent,
};
pub(super) use valgrind::announce;
