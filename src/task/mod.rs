//! Coroutines: spawning, joining, parking.
//!
//! [`spawn`] starts a coroutine with the default settings, [`Builder`] one with a name or a stack size
//! of its own. [`park`] and [`Task::unpark`] are the bare means of waiting, as in [`std::thread`].

mod builder;
mod handle;
mod join;

pub use crate::coroutine::{Id, JoinError};
pub use builder::Builder;
pub use handle::{Task, current, park, park_timeout};
pub use join::JoinHandle;

use crate::sched::{self, Spawn, runtime::Runtime};

/// Spawns a coroutine and returns a handle to join it. Dropping the handle detaches the coroutine.
///
/// In a coroutine, the new one belongs to the same runtime. On a plain thread, it belongs to the
/// default runtime: the one that [`run`](crate::run) has started, else one that starts now and has no
/// end. Does not park.
///
/// Until it is started the coroutine may be run by any worker; from then on it stays on that worker's thread,
/// so `Rc`, `RefCell`, thread-locals and lock guards may be held across blocking calls. There are two
/// exceptions: the initializer of a `thread_local!` must not wait, and what relies on the calls of one thread
/// being nested, such as dynamic scoping through a thread-local (`scoped-tls`), must not be held over a wait.
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
pub fn spawn<T, F>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let spawn = Spawn::here().unwrap_or_else(|e| panic!("sward: the default runtime cannot start: {e}"));
    JoinHandle::new(sched::spawn(spawn, f))
}

/// Lets other runnable coroutines of this worker go first; on a plain thread, other threads. Returns
/// once they had a turn. Not a point of cancellation.
///
/// ```
/// sward::run(|| {
///     let other = sward::spawn(|| ());
///     while !other.is_finished() {
///         sward::yield_now();
///     }
/// });
/// ```
pub fn yield_now() {
    sched::yield_now();
}

impl Runtime {
    /// Spawns a coroutine in this runtime, from any thread or coroutine; otherwise as [`spawn`]. Once
    /// the runtime shuts down, the coroutine ends with [`JoinError::Cancelled`] without running.
    pub fn spawn<T, F>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        JoinHandle::new(sched::spawn(Spawn::of(self.shared()), f))
    }
}
