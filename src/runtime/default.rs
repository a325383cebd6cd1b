//! The default runtime: the one that `run` starts for its closure, or `spawn` on a plain thread.

use super::builder::Builder;
use super::handle::refuse_on_worker;
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::sched::{Shared, Spawn, current_runtime, on_worker};
use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// The runtime that `spawn` uses on plain threads.
static DEFAULT: parking_lot::Mutex<Option<Arc<Shared>>> = parking_lot::Mutex::new(None);

/// Starts a runtime with the default settings, runs the closure as its first coroutine, and shuts the runtime
/// down when the closure has returned. Blocks the thread until then. The closure may borrow from the caller.
///
/// The shutdown cancels the coroutines that are still alive: see [`runtime`](crate::runtime#shutdown). Join a
/// coroutine whose work has to be completed.
///
/// While the closure runs, this is the default runtime: [`spawn`](crate::spawn) on plain threads uses it, and
/// the coroutines that it spawns there end with this runtime as well. If there is a default runtime already,
/// that one stays the default. Two calls of `run` at the same time have a runtime each.
///
/// The shutdown unwinds coroutines as a panic would. So code that answers unwinding with an abort ends the
/// process at the end of `run`: a `catch_unwind` with an [`abort`](std::process::abort), as some programs
/// wrap the bodies of their threads, or a guard whose `Drop` aborts. Leave that out in coroutines: a panic
/// ends only its own coroutine, and [`join`](crate::task::JoinHandle::join) distinguishes it from a
/// cancellation.
///
/// # Panics
///
/// - If the closure panics, with its payload.
/// - On a worker of any runtime, so inside a coroutine.
/// - If the runtime cannot start: a wrong value in the [environment](crate::runtime#environment), or no
///   threads, descriptors or memory.
/// - If there is no stack for the closure.
///
/// ```
/// let words = ["a", "b"];
/// let n = sward::run(|| words.len());
/// assert_eq!(n, 2);
/// ```
#[track_caller]
pub fn run<T: Send, F: FnOnce() -> T + Send>(f: F) -> T {
    if const { is_large::<F>() || is_large::<T>() } {
        let (f, mut value) = (large_box!(f), LargeBox::empty());
        run_small(|| f.call_into(&mut value));
        value.into_inner()
    } else {
        run_small(f)
    }
}

#[track_caller]
fn run_small<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    refuse_on_worker("run");
    // Not `unwrap_or_else`: a panic in a closure would not be blamed on the caller.
    let runtime = match Builder::new().build() {
        Ok(runtime) => runtime,
        Err(e) => panic!("sward: the runtime cannot start: {e}"),
    };
    let _default = AsDefault::claim(&runtime.shared);
    runtime.run(f)
}

/// While it lives, a runtime is the default one, unless there was one already.
struct AsDefault(Option<Arc<Shared>>);

impl AsDefault {
    fn claim(shared: &Arc<Shared>) -> AsDefault {
        let mut default = DEFAULT.lock();
        let free = default.is_none();
        if free {
            *default = Some(Arc::clone(shared));
        }
        AsDefault(free.then(|| Arc::clone(shared)))
    }
}

impl Drop for AsDefault {
    fn drop(&mut self) {
        if let Some(mine) = &self.0 {
            let mut default = DEFAULT.lock();
            if default.as_ref().is_some_and(|present| Arc::ptr_eq(present, mine)) {
                *default = None;
            }
        }
    }
}

/// A coroutine to be spawned in the runtime of the calling worker, or else in the default runtime, which is
/// started if there is none. Reports name the caller's line, unless [`Spawn::at`] sets another.
// Inlined into the spawn, so that the settings are not copied.
#[inline]
#[track_caller]
pub(crate) fn spawn_here() -> io::Result<Spawn> {
    if on_worker() { Ok(Spawn::on_this_worker()) } else { Ok(Spawn::of(&existing_or_started()?)) }
}

/// The runtime of the calling worker, or else the default runtime, which is started if there is none.
pub(crate) fn runtime_here() -> io::Result<Arc<Shared>> {
    current_runtime().map_or_else(existing_or_started, Ok)
}

/// The default runtime, which is started if there is none.
///
/// # Panics
///
/// If it cannot be started.
pub(super) fn default_runtime() -> Arc<Shared> {
    match existing_or_started() {
        Ok(shared) => shared,
        Err(e) => panic!("sward: the default runtime, whose timers a future needs, cannot start: {e}"),
    }
}

#[cold]
fn existing_or_started() -> io::Result<Arc<Shared>> {
    let mut default = DEFAULT.lock();
    if let Some(shared) = &*default {
        return Ok(Arc::clone(shared));
    }
    // It has no end: like Go's, it goes with the process.
    let runtime = ManuallyDrop::new(Builder::new().build()?);
    *default = Some(Arc::clone(&runtime.shared));
    Ok(Arc::clone(&runtime.shared))
}
