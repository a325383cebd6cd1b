//! Coroutines: spawning, joining, parking, cancelling.
//!
//! [`spawn()`] starts a coroutine with the default settings, [`Builder`] one with a name or a stack size of
//! its own. [`park`] and [`Task::unpark`] are the basic means of waiting, as in [`std::thread`].
//!
//! # Structured concurrency
//!
//! [`scope()`] lends locals to coroutines that end before it returns. [`try_scope()`] ends them all at the
//! first error. [`ScopeBuilder`] limits how many are alive at a time. A [`JoinSet`] owns coroutines and
//! returns their results in the order in which they end.
//!
//! # Cancellation
//!
//! A *cancellation* is a request that a coroutine ends. The coroutine meets it in the wait in which it is
//! parked, or else at its next *cancellation point*. That call does not return. It unwinds the coroutine's
//! stack, as a panic does: destructors run, but no message is printed. The joiner gets
//! [`JoinError::Cancelled`], [`TimedOut`](JoinError::TimedOut) or [`ShutDown`](JoinError::ShutDown).
//!
//! *Cancellation points* are [`checkpoint`], [`yield_now`], and every call of this crate that may park. A
//! call that does not have to wait usually succeeds nevertheless. But out of 128 such calls in a row, at
//! least one is a cancellation point too ([fairness](#fairness)). It unwinds before it has taken anything. So
//! a coroutine whose calls never have to wait is reached within 128 calls, and no message, byte or connection
//! is lost. A coroutine that only computes is not interrupted: let it call [`checkpoint`].
//!
//! What can unwind a coroutine in this way:
//!
//! - *A cancellation*: [`JoinHandle::cancel`], [`Scope::cancel`], [`JoinSet::cancel_all`], and dropping a
//!   [`JoinSet`]. The whole coroutine unwinds.
//! - *The shutdown* of its runtime. It cancels all coroutines that are left.
//! - *A limit*: a time at which a section of code must end, set with
//!   [`time::timeout`](crate::time::timeout()). Only the section unwinds; `timeout` returns an error, and the
//!   coroutine goes on.
//! - *A token*: [`CancelToken::cancel`] unwinds the closures of [`CancelToken::run`]. Each `run` returns an
//!   error, and its caller goes on.
//!
//! The coroutines of a scope are cancelled if its caller is. They are also under the limit that the caller is
//! under.
//!
//! A *mask* holds all of this off: in the closure of [`mask()`], no cancellation and no limit from outside
//! ends a wait. The first cancellation point after the mask meets them. Use it where a section must run to
//! its end.
//!
//! Where nothing may unwind, a cancellation can arrive as an error instead: [`catch_cancel`] turns the
//! unwinding of any wait into a result, and [`cancel_as_error`] lets operations on files fail.
//!
//! A [`CancelToken`] by itself interrupts nothing. It is a signal that coroutines can poll or wait for; only
//! [`CancelToken::run`] ties it to the waits of a closure.
//!
//! ## Code that meets the unwinding
//!
//! A cancellation, a limit and a shutdown unwind as panics do, and other code can notice:
//!
//! - A destructor that panics meanwhile aborts the process: this is Rust's rule for a panic in a destructor
//!   during unwinding. A destructor that may fail should check [`std::thread::panicking`] first. Values that
//!   this crate itself drops for others never abort the process, such as messages that nobody receives,
//!   results that nobody takes, and closures that are not run.
//! - std's `Mutex`, `RwLock`, `Once` and `LazyLock` are poisoned by any unwinding through their guards or
//!   closures. Those of [`sync`](crate::sync) are poisoned by panics only. A std lock whose guard is not held
//!   over a cancellation point is never poisoned by a cancellation.
//! - Code that turns unwinding into an abort ends the whole process: `catch_unwind` followed by
//!   [`abort`](std::process::abort), a guard whose `Drop` aborts, a frame of `extern "C"`. Wrap the waits in
//!   it in [`mask()`]; or use [`JoinError`] where a thread would use `catch_unwind`.
//! - A `catch_unwind` that continues swallows the unwinding. The next cancellation point unwinds again.
//!
//! # Destructors
//!
//! While a coroutine unwinds, from a panic or a cancellation, its worker cannot switch to another one: std
//! counts panics per thread, and the other coroutine would appear to be panicking. So a destructor that waits
//! meanwhile blocks its worker, with all coroutines that live there. What a destructor may rely on:
//!
//! - While a cancellation or a limit unwinds, an operation on a socket, a pipe, a child or a file's lock that
//!   would have to wait fails at once: with [`TimedOut`](std::io::ErrorKind::TimedOut) for a limit, with
//!   [`Other`](std::io::ErrorKind::Other) for a cancellation or a shutdown. So dropping a `BufWriter` whose
//!   peer does not read blocks nobody; its contents are lost. An operation that need not wait succeeds. If a
//!   last message must be sent, [`mask()`] the operation in the destructor: it then waits, and blocks the
//!   worker.
//! - While an ordinary panic unwinds, such operations wait until a limit that is in force passes.
//! - Joining a coroutine that lives on the same worker fails with [`JoinError::Deadlock`], since that
//!   coroutine could never end. Other joins block the worker until the coroutine ends. A scope has no error
//!   to return, and must not end before its coroutines do. If the runtime has only one worker, a scope in a
//!   destructor that unwinds aborts the process, with a message that says so.
//! - Locks, permits and channels block the worker until they are served; [`sync`](crate::sync) says what they
//!   may wait for. If only a coroutine of the same worker could serve them, this never happens. A report on
//!   stderr then names the coroutine and "a wait in a destructor while unwinding".
//!
//! It is best not to wait in destructors: send with `try_send`, and detach instead of joining.
//!
//! # Task locals, and futures
//!
//! [`task_local!`](crate::task_local) declares variables with one value for each coroutine. [`block_on()`]
//! runs a future in a coroutine, and a [`JoinHandle`] is a future for other executors.
//!
//! # Large values
//!
//! Closures, results and [messages](crate::channel) of more than 1 KiB travel in boxes: this crate copies a
//! large value once into its box and once out of it. A build without optimisation makes further copies in the
//! user's own code, one for each call that takes or returns the value. Values of 64 KiB fit the default stack
//! of 256 KiB; put larger ones into a `Box`.
//!
//! # Fairness
//!
//! A coroutine runs until it waits. If it makes calls that may wait but never have to (its socket always has
//! bytes, its lock is always free), it would keep its worker from all others. So each call of this crate that
//! may park, and need not, uses up one unit of a budget of 128. When the budget is used up, the next such
//! call lets others go first, as [`yield_now`] does, and a new budget begins. It does this before it takes
//! anything, and is a [cancellation point](#cancellation) then.
//!
//! Calls that never park do not count: `try_lock`, `try_acquire`, `try_send` and the like; spawning, waking
//! and notifying; dropping guards; the sends of `oneshot`, `watch` and `broadcast`; reading what is
//! initialised already. They may be made with one of std's locks held, and never make others wait for that
//! lock. Some are excepted, since loops poll with them: `try_recv`, a [`select!`](crate::select!) with a
//! default, and a `try_join_next` that returns a result. They count.
//!
//! A coroutine that computes for long without any of these calls should [yield](yield_now), or pass the work
//! to [`blocking`](crate::blocking()).

// Rank 8. `group` is the engine of `scope` and `try_scope`. `cancel` is the tokens, `mask` where a
// cancellation is let in and held off; what cancels a coroutine is in `sched` and `coroutine`. `local`:
// task locals. `join_set`, `builder`, `block_on`: one type or function each. `on_ready`: handlers without a
// stack, over `descriptor`. Spawning and its handles are in `runtime`.

mod block_on;
mod builder;
mod cancel;
mod group;
mod join_set;
mod local;
mod mask;
mod on_ready;
mod scope;
mod try_scope;

pub use crate::coroutine::{Id, Interruption, JoinError, Panic};
pub use crate::descriptor::{Next, Watched, Why};
pub use crate::runtime::join::JoinHandle;
pub use crate::runtime::spawn::spawn;
pub use crate::runtime::task_handle::{Task, current, park, park_timeout, yield_now};
pub use block_on::block_on;
pub use builder::Builder;
pub use cancel::{CancelToken, Cancelled, DropGuard};
pub use join_set::JoinSet;
pub use local::{AccessError, LocalKey};
pub(crate) use mask::as_file_operation;
pub use mask::{cancel_as_error, catch_cancel, checkpoint, is_cancelled, mask};
pub use on_ready::{OnReady, Timer, on_ready};
pub use scope::{Scope, ScopeBuilder, ScopedJoinHandle, scope};
pub use try_scope::{TryScope, try_scope};
