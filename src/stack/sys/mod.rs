//! What of the memory calls and signals differs between systems.
//!
//! - `linux`: Linux and Android.
//! - `other`: all other systems.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::{
    DISCARD, GUARD, RESERVE, decline_huge_pages, max_mappings, populates, together, was_sent,
};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use other::{
    DISCARD, GUARD, RESERVE, decline_huge_pages, max_mappings, populates, together, was_sent,
};
