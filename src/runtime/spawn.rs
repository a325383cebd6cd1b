//! Spawning a coroutine in the present, the default or a given runtime.

use super::default::spawn_here;
use super::handle::Runtime;
use super::join::JoinHandle;
use crate::sched::{self, Spawn};
use std::io;

/// Evaluates the expression, which starts a coroutine, with a small closure in that variable: the given one,
/// or one that calls it from a box. The expression's value is what [`JoinHandle`] expects for that result
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
pub(crate) use start;

/// Spawns a coroutine and returns a handle to join it, as [`std::thread::spawn`]. Dropping the handle
/// detaches the coroutine. Does not park.
///
/// In a coroutine, the new one belongs to the same runtime. On a plain thread, it belongs to the default
/// runtime: the one that [`run`](crate::run) has started, or else a runtime that is started now and lives
/// until the process exits. Returning from `main` does not wait for its coroutines. A library that spawns
/// from its own threads should hold a [`Runtime`] and use [`Runtime::spawn`].
///
/// Any worker may start the coroutine. From then on it stays on that worker's thread, so `Rc`, `RefCell`,
/// thread-locals and lock guards may be held over calls that wait. There are two exceptions. The initializer
/// of a `thread_local!` must not wait. And code that relies on the calls of one thread being nested, such as
/// dynamic scoping through a thread-local (`scoped-tls`), must not hold its scope over a wait.
///
/// If the coroutine panics, std's message is printed after a line that names the coroutine (see
/// [reports](crate::runtime#reports)). Other coroutines go on. [`join`](JoinHandle::join) returns
/// [`JoinError::Panicked`](crate::task::JoinError::Panicked), which names it as well. If the handle was
/// dropped, nobody else notices.
///
/// # Panics
///
/// On a plain thread, if the default runtime cannot be started.
/// [`Builder::spawn`](crate::task::Builder::spawn) returns an error instead.
///
/// ```
/// let answer = sward::spawn(|| 6 * 7);
/// assert_eq!(answer.join().unwrap(), 42);
/// ```
#[track_caller]
#[doc(alias("go", "goroutine", "fiber", "green_thread"))]
pub fn spawn<T, F>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    match spawn_here() {
        Ok(spawn) => start!(f: F => T, |f| JoinHandle::new(sched::spawn(spawn, f))),
        Err(error) => no_runtime(error),
    }
}

/// On a plain thread there is no default runtime to spawn in.
#[track_caller]
pub(crate) fn no_runtime<T>(error: io::Error) -> T {
    panic!("sward: the default runtime cannot start: {error}")
}

impl Runtime {
    /// Spawns a coroutine in this runtime, from any thread or coroutine; otherwise as [`spawn`]. Once the
    /// runtime shuts down, the coroutine ends with
    /// [`JoinError::ShutDown`](crate::task::JoinError::ShutDown) without running.
    #[track_caller]
    pub fn spawn<T, F>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        start!(f: F => T, |f| JoinHandle::new(sched::spawn(Spawn::of(self.shared()), f)))
    }
}
