//! The runtime as its owner holds it.

use super::metrics::{self, Metrics};
use super::shutdown::{SHUTDOWN_TIMEOUT, shut_down};
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::base::lock::assert_none_held;
use crate::coroutine::{JoinError, WaitReason, Why};
use crate::inspect::LeakCheck;
use crate::sched::{Shared, Spawn, on_worker, wait_masked};
use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

/// A set of workers with their coroutines. Dropping it shuts it down, as [`runtime`](crate::runtime) says.
#[must_use = "dropping a runtime shuts it down"]
pub struct Runtime {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("workers", &self.shared.config().workers).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Runs the closure as a coroutine, and blocks the thread until it returns. The closure may borrow from
    /// the caller, which does not go on before it has ended. Coroutines that it has spawned run on until
    /// the runtime is dropped.
    ///
    /// # Panics
    ///
    /// - If the closure panics, with its payload.
    /// - On a worker of any runtime, so inside a coroutine.
    /// - If there is no stack for the closure.
    #[track_caller]
    pub fn run<T: Send, F: FnOnce() -> T + Send>(&self, f: F) -> T {
        if const { is_large::<F>() || is_large::<T>() } {
            let (f, mut value) = (large_box!(f), LargeBox::empty());
            self.run_small(|| f.call_into(&mut value));
            value.into_inner()
        } else {
            self.run_small(f)
        }
    }

    #[track_caller]
    fn run_small<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        refuse_on_worker("Runtime::run");
        assert_none_held();
        let spawn = Spawn::of(&self.shared).named("main");
        // SAFETY: the coroutine has ended, and its output is taken, before this frame does: the wait
        // is masked, and on a plain thread it does not unwind.
        let handle = unsafe { spawn.start(f) };
        wait_masked(&handle.header().done, Why::new(WaitReason::Join, handle.header()));
        // SAFETY: it is done, `T` is its type, and the handle is not used again.
        match unsafe { handle.take::<T>() } {
            Ok(value) => value,
            Err(JoinError::Panicked(panic)) => resume_unwind(panic.into_payload()),
            Err(error) => panic!("sward: {error}"),
        }
    }

    /// What the runtime has done so far.
    pub fn metrics(&self) -> Metrics {
        metrics::collect(&self.shared)
    }

    /// Panics if coroutines of this runtime are still alive; otherwise as
    /// [`observe::assert_no_leaks`](crate::observe::assert_no_leaks), on a plain thread as well. Call it at
    /// the end of a test, before the runtime is dropped.
    ///
    /// ```should_panic
    /// let runtime = sward::runtime::Builder::new().build().unwrap();
    /// let (_sender, receiver) = sward::channel::bounded::<()>(1);
    /// runtime.spawn(move || receiver.recv());
    /// runtime.assert_no_leaks(); // the coroutine waits for ever
    /// ```
    #[track_caller]
    pub fn assert_no_leaks(&self) {
        LeakCheck::of(Some(&self.shared), HashSet::new()).assert();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Shuts the runtime down. Its coroutines have this long to unwind; then the workers have up to 200 ms to
    /// leave, usually a few.
    ///
    /// Blocks the thread. A coroutine of this very runtime may call it as well: then it returns at once, and
    /// the runtime ends without waiting for that.
    pub fn shutdown_timeout(self, timeout: Duration) {
        shut_down(&self.shared, timeout);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        shut_down(&self.shared, SHUTDOWN_TIMEOUT);
    }
}

/// Panics on a worker. That may also be outside of any coroutine: a worker drops closures that it cannot
/// start.
#[track_caller]
pub(super) fn refuse_on_worker(what: &str) {
    assert!(
        !on_worker(),
        "sward: {what} was called inside a coroutine, or in a destructor that runs on a worker; \
         spawn the closure instead, or call it directly"
    );
}
