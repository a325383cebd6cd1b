//! Settings of one coroutine.

use super::JoinHandle;
use crate::coroutine::Site;
use crate::runtime::spawn::start;
use crate::runtime::spawn_here;
use crate::sched::{self, Spawn};
use crate::stack::StackOverride;
use std::io;

/// The settings of a new coroutine; [`std::thread::Builder`] for coroutines.
///
/// ```
/// let worker = sward::task::Builder::new()
///     .name("resizer")
///     .stack_size(1 << 20)
///     .spawn(|| sward::task::current().name().map(str::to_owned))?;
/// assert_eq!(worker.join().unwrap().as_deref(), Some("resizer"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
    guard_size: Option<usize>,
    pinned: bool,
    isolated: bool,
    site: Option<Site>,
}

impl Builder {
    /// The default settings.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The name for reports, which also have the coroutine's number and the line that spawned it.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The address space of the coroutine's stack in bytes; by default the runtime's. It is rounded up to a
    /// power of two of at least 64 KiB, of which the lowest 16 KiB are a guard. Memory is committed as it is
    /// touched.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// The size of the guard below the coroutine's stack in bytes; by default the runtime's. Set it for a
    /// coroutine that calls C code with large frames: [`runtime::Builder::guard_size`] says more.
    ///
    /// [`runtime::Builder::guard_size`]: crate::runtime::Builder::guard_size
    pub fn guard_size(mut self, bytes: usize) -> Builder {
        self.guard_size = Some(bytes);
        self
    }

    /// Keeps the coroutine on the worker that starts it, also in a migrating runtime. In the default mode
    /// every coroutine stays there.
    pub fn pinned(mut self, pinned: bool) -> Builder {
        self.pinned = pinned;
        self
    }

    /// Gives the coroutine a home of its own, in a runtime with
    /// [mobile homes](crate::runtime::Builder::homes): no other coroutine waits while it computes. Use this
    /// for one that computes for long without a wait. Its children start in other homes. In other runtimes
    /// this changes nothing. If the runtime can have no more homes, it shares one.
    ///
    /// ```
    /// sward::run(|| {
    ///     let sum = sward::task::Builder::new().isolated(true).spawn(|| (0..1_000_000_u64).sum::<u64>())?;
    ///     assert_eq!(sum.join().unwrap(), 499_999_500_000);
    ///     std::io::Result::Ok(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn isolated(mut self, isolated: bool) -> Builder {
        self.isolated = isolated;
        self
    }

    /// Spawns the coroutine, as [`std::thread::Builder::spawn`]; otherwise as [`spawn`](super::spawn()). Does
    /// not park.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a stack of zero bytes or more than 1 GiB, and for a guard of zero bytes or more
    /// than 64 MiB. On a plain thread also any error that prevents the default runtime from starting. If no
    /// stack is free when the coroutine starts, [`join`](JoinHandle::join) returns that error.
    #[track_caller]
    pub fn spawn<T, F>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let spawn = self.prepare()?;
        Ok(start!(f: F => T, |f| JoinHandle::new(sched::spawn(spawn, f))))
    }

    /// Reports name that line instead of the caller's.
    pub(super) fn at(mut self, site: Site) -> Builder {
        self.site = Some(site);
        self
    }

    #[track_caller]
    pub(super) fn prepare(&self) -> io::Result<Spawn> {
        let stack = StackOverride::new(self.stack_size, self.guard_size)?;
        let mut spawn = spawn_here()?.pinned(self.pinned).isolated(self.isolated).stack(stack);
        if let Some(name) = &self.name {
            spawn = spawn.named(name);
        }
        if let Some(site) = self.site {
            spawn = spawn.at(site);
        }
        Ok(spawn)
    }
}
