//! What ThreadSanitizer cannot follow, in a form that it can.
//!
//! | each module supplies | |
//! |---|---|
//! | `KEPT_ROUNDS` | the rounds in which the tool that watches the program uses the end of a thread itself |
//!
//! - `thread`: ThreadSanitizer.
//! - `none`: everything else.

#[cfg(not(sward_sanitizer = "thread"))]
mod none;
#[cfg(sward_sanitizer = "thread")]
mod thread;

#[cfg(not(sward_sanitizer = "thread"))]
pub(crate) use none::KEPT_ROUNDS;
#[cfg(sward_sanitizer = "thread")]
pub(crate) use thread::KEPT_ROUNDS;
