//! What a sanitizer cannot follow, in a form that it can.
//!
//! | each module supplies | |
//! |---|---|
//! | `KEPT_BLOCKS` | the most freed blocks of a size that a thread keeps, to use them again |
//! | `KEPT_ROUNDS` | the rounds in which the tool that watches the program uses the end of a thread itself |
//!
//! - `thread`: ThreadSanitizer.
//! - `memory`: AddressSanitizer and LeakSanitizer.
//! - `none`: everything else.

#[cfg(any(sward_sanitizer = "address", sward_sanitizer = "leak"))]
mod memory;
#[cfg_attr(
    any(sward_sanitizer = "address", sward_sanitizer = "leak"),
    allow(dead_code, reason = "`memory` has some of its own")
)]
#[cfg(not(sward_sanitizer = "thread"))]
mod none;
#[cfg(sward_sanitizer = "thread")]
mod thread;

#[cfg(any(sward_sanitizer = "address", sward_sanitizer = "leak"))]
pub(crate) use memory::{KEPT_BLOCKS, KEPT_ROUNDS};
#[cfg(not(sward_sanitizer))]
pub(crate) use none::{KEPT_BLOCKS, KEPT_ROUNDS};
#[cfg(sward_sanitizer = "thread")]
pub(crate) use thread::{KEPT_BLOCKS, KEPT_ROUNDS};
