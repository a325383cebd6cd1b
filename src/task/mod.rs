//! Coroutines: spawning, joining, parking.
//!
//! [`spawn`] starts a coroutine with the default settings, [`Builder`] one with a name or a stack size
//! of its own. [`park`] and [`Task::unpark`] are the bare means of waiting, as in [`std::thread`].
//!
//! # Structured concurrency
//!
//! [`scope()`] lends locals to coroutines that end before it returns; [`try_scope`] ends them all at the
//! first error; [`ScopeBuilder`] limits how many are alive at a time. A [`JoinSet`] owns coroutines that
//! come and go, and gives their results in the order of their ends.
//!
//! # Cancellation
//!
//! [`JoinHandle::cancel`] ends one coroutine, [`Scope::cancel`] those of a scope, and a runtime's shutdown
//! all that are left: the present or next wait unwinds, and destructors run. [`mask`] holds a cancellation
//! off for a section of code, and [`checkpoint`] lets it in where nothing waits. A [`CancelToken`] is a
//! signal that many coroutines can look at or wait for; [`CancelToken::run`] ties it to the waits of a
//! closure.
//!
//! The points of cancellation are [`checkpoint`], [`yield_now`], and every call of this crate that may park.
//! Such a call that need not wait usually succeeds all the same. But when the [budget](#fairness) of 128 such
//! calls is spent, the next one unwinds, before it has taken anything. So a cancellation, a [time
//! limit](crate::time::timeout) or a shutdown also reaches a coroutine whose calls never have to wait, within
//! 128 calls, and no message, byte or connection is lost to it.
//!
//! Cancellations, time limits and shutdowns unwind as panics do, which other code can tell:
//!
//! - A destructor that panics meanwhile aborts the process: that is Rust's rule for a panic in a destructor
//!   during unwinding. Destructors that may fail look at [`std::thread::panicking`] first. What this crate
//!   itself drops for others, such as messages that nobody receives, results that nobody takes and closures
//!   that are not run, aborts nothing.
//! - std's `Mutex`, `RwLock`, `Once` and `LazyLock` are poisoned by an unwinding that passes through their
//!   guards or closures, whatever its cause. Those of [`sync`](crate::sync) are poisoned by panics only. A
//!   std lock whose guard is not held over a point of cancellation is never poisoned by one.
//! - Code that turns unwinding into an abort ends the whole process: `catch_unwind` and then
//!   [`abort`](std::process::abort), a guard whose `Drop` aborts, a frame of `extern "C"`. Wrap its waits in
//!   [`mask`], or use [`JoinError`] where a thread would use `catch_unwind`.
//! - A `catch_unwind` that goes on swallows the unwinding. The next point of cancellation unwinds again.
//!
//! # Destructors
//!
//! While a coroutine unwinds, from a panic or a cancellation, nothing can switch: std counts panics for each
//! thread, and another coroutine on it would find itself panicking. So a destructor that waits meanwhile
//! blocks its worker, with all coroutines that live there. What a destructor may count on:
//!
//! - While a cancellation or a time limit unwinds, an operation on a socket, a pipe, a child or a file's lock
//!   that would have to wait fails at once: with [`TimedOut`](std::io::ErrorKind::TimedOut) for a time limit,
//!   with [`Other`](std::io::ErrorKind::Other) for a cancellation or a shutdown. So a `BufWriter` whose peer
//!   does not read blocks nobody when it is dropped; what it holds is lost. An operation that need not wait
//!   succeeds. For a last message that must get out, [`mask`] the operation in the destructor: then it waits,
//!   and blocks the worker.
//! - While an ordinary panic unwinds, such operations wait, until a time limit that is in force passes.
//! - A join of a coroutine that lives on the same worker, and so could never end, fails with
//!   [`JoinError::Deadlock`]. Others block the worker until they end. A scope has no error to give, and must
//!   not end before its coroutines: where the runtime has one worker only, a scope in a destructor that
//!   unwinds aborts the process with a message that says so.
//! - Locks, permits and channels block the worker until they are served. [`sync`](crate::sync) says what they
//!   may wait for. What only a coroutine of the same worker can do never comes; a report on stderr then names
//!   the coroutine and "a wait in a destructor while unwinding".
//!
//! It is best not to wait in destructors: send with `try_send`, detach instead of joining.
//!
//! # Values of one's own, and futures
//!
//! [`task_local!`](crate::task_local) declares variables of which each coroutine has its own.
//! [`block_on`] runs a future in a coroutine, and a [`JoinHandle`] is a future for other executors.
//!
//! # Large values
//!
//! Closures, results and [messages](crate::channel) of more than 1 KiB travel in boxes: this crate copies a
//! large value once into its box and once out of it. A build without optimisation makes further copies in the
//! user's own code, one for each call that takes or gives the value. Values of 64 KiB fit the default stack
//! of 256 KiB; put larger ones into a `Box`.
//!
//! # Fairness
//!
//! A coroutine runs until it waits. One that calls what may wait, but never has to (its socket always has
//! bytes, its lock is always free), would keep its worker from all others. So each call of this crate that
//! may park counts against a budget of 128 calls when it need not. When the budget is spent, the next such
//! call lets others go first, as [`yield_now`] does, and a new budget begins. It does so before it takes
//! anything, and is a [point of cancellation](#cancellation) then.
//!
//! What never parks does not count: `try_lock`, `try_acquire`, `try_send` and the like, spawning, waking
//! and notifying others, dropping guards, the sends of `oneshot`, `watch` and `broadcast`, a look at what is
//! initialised already. It may be called with one of std's locks held, and never makes others wait for that
//! lock. Excepted are the calls with which a loop asks again and again, `try_recv` and a
//! [`select!`](crate::select!) with a default: they count.
//!
//! A coroutine that computes for long without any of these calls [yields](yield_now), or hands the work to
//! [`blocking`](crate::blocking()).

mod block_on;
mod builder;
mod cancel;
mod group;
mod handle;
mod join;
mod join_set;
mod local;
mod mask;
mod scope;
mod try_scope;

pub use crate::coroutine::{Id, JoinError, Panic};
pub use block_on::block_on;
pub use builder::Builder;
pub use cancel::{CancelToken, Cancelled, DropGuard};
pub use handle::{Task, current, park, park_timeout};
pub use join::JoinHandle;
pub use join_set::JoinSet;
pub use local::{AccessError, LocalKey};
pub use mask::{checkpoint, is_cancelled, mask};
pub use scope::{Scope, ScopeBuilder, ScopedJoinHandle, scope};
pub use try_scope::{TryScope, try_scope};

use crate::sched::{self, Spawn, runtime::Runtime};
use std::io;

/// Evaluates the expression, which starts a coroutine, with a closure for it that is small: the one in that
/// variable, or one that calls it from a box. What it gives is what [`JoinHandle`] expects for that result
/// type.
macro_rules! start {
    ($f:ident: $F:ty => $T:ty, |$small:ident| $start:expr) => {
        if const { $crate::base::large_box::is_large::<$T>() } {
            let f = $crate::base::large_box::large_box!($f);
            let $small = move || f.call::<$T>();
            $start
        } else if const { $crate::base::large_box::is_large::<$F>() } {
            let f = $crate::base::large_box::large_box!($f);
            let $small = move || f.into_inner()();
            $start
        } else {
            let $small = $f;
            $start
        }
    };
}
use start;

/// Spawns a coroutine and returns a handle to join it. Dropping the handle detaches the coroutine. Does
/// not park.
///
/// In a coroutine, the new one belongs to the same runtime. On a plain thread, it belongs to the default
/// runtime: the one that [`run`](crate::run) has started, otherwise a runtime that is started now and
/// lives until the process exits; returning from `main` does not wait for its coroutines. Libraries that
/// spawn from their own threads hold a [`Runtime`] and use [`Runtime::spawn`].
///
/// Any worker may start the coroutine; from then on it stays on that worker's thread, so `Rc`, `RefCell`,
/// thread-locals and lock guards may be held across blocking calls. There are two exceptions: the
/// initializer of a `thread_local!` must not wait, and what relies on the calls of one thread being nested,
/// such as dynamic scoping through a thread-local (`scoped-tls`), must not be held over a wait.
///
/// If the coroutine panics, std's message is printed, behind a line that names the coroutine (see
/// [reports](crate::runtime#reports)); other coroutines go on, and [`join`](JoinHandle::join) gives
/// [`JoinError::Panicked`], which names it as well. If the handle was dropped, nobody else notices.
///
/// # Panics
///
/// On a plain thread, if the default runtime cannot be started. [`Builder::spawn`] gives an error
/// instead.
///
/// ```
/// let answer = sward::spawn(|| 6 * 7);
/// assert_eq!(answer.join().unwrap(), 42);
/// ```
#[track_caller]
pub fn spawn<T, F>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match Spawn::here() {
        Ok(spawn) => start!(f: F => T, |f| JoinHandle::new(sched::spawn(spawn, f))),
        Err(error) => no_runtime(error),
    }
}

#[track_caller]
fn no_runtime<T>(error: io::Error) -> T {
    panic!("sward: the default runtime cannot start: {error}")
}

/// Lets other runnable coroutines of this worker go first; on a plain thread, other threads. Returns
/// once they have had a turn. Calls that may wait do it by themselves when 128 of them in a row need not: see
/// [fairness](self#fairness).
///
/// It is a [point of cancellation](self#cancellation): a cancelled coroutine unwinds out of it, and so does a
/// coroutine or a thread whose time limit has passed.
///
/// ```
/// sward::run(|| {
///     let other = sward::spawn(|| ());
///     while !other.is_finished() {
///         sward::yield_now();
///     }
/// });
/// ```
#[inline]
pub fn yield_now() {
    sched::yield_now();
}

impl Runtime {
    /// Spawns a coroutine in this runtime, from any thread or coroutine; otherwise as [`spawn`]. Once
    /// the runtime shuts down, the coroutine ends with [`JoinError::Cancelled`] without running.
    #[track_caller]
    pub fn spawn<T, F>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        start!(f: F => T, |f| JoinHandle::new(sched::spawn(Spawn::of(self.shared()), f)))
    }
}
