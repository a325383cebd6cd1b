//! What a coroutine tells the tool that watches the program. To most builds there is none, and all of this is
//! nothing.
//!
//! Sanitizers follow each thread by its stack. A stack switch that they are not told of makes them report
//! errors that do not exist. Each module supplies:
//!
//! | | who calls it, and when |
//! |---|---|
//! | `Fiber::new` | the worker, before the first turn of a coroutine on that stack |
//! | `Fiber::resuming` | the worker, just before it leaves its own stack |
//! | `Fiber::resumed` | the worker, just after it is back |
//! | `Fiber::ended` | the worker, once the coroutine has returned |
//! | `Fiber::inside` | what the coroutine itself uses |
//! | `Inside::entered` | the coroutine, first of all |
//! | `Inside::leaving` | the coroutine, just before it leaves its stack, for the last time too |
//! | `Inside::returned` | the coroutine, just after it is back |
//!
//! - `thread`: ThreadSanitizer.
//! - `address`: AddressSanitizer, with its search for leaks.
//! - `leak`: LeakSanitizer by itself.
//! - `none`: everything else.
//!
//! The build script sees which one a build has. corosensei's feature `sanitizer` must be off: a switch that
//! AddressSanitizer is told of twice ends the program.

#[cfg(sward_sanitizer = "address")]
mod address;
#[cfg(any(sward_sanitizer = "address", sward_sanitizer = "leak"))]
mod leak;
#[cfg(not(sward_sanitizer))]
mod none;
#[cfg(sward_sanitizer = "thread")]
mod thread;
#[cfg(sward_sanitizer = "address")]
mod worker_stack;

#[cfg(sward_sanitizer = "address")]
pub(super) use address::{Fiber, Inside};
#[cfg(sward_sanitizer = "leak")]
pub(super) use leak::{Fiber, Inside};
#[cfg(not(sward_sanitizer))]
pub(super) use none::{Fiber, Inside};
#[cfg(sward_sanitizer = "thread")]
pub(super) use thread::{Fiber, Inside};
