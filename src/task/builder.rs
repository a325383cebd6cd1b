//! Settings of one coroutine.

use super::{JoinHandle, Scope, ScopedJoinHandle, start};
use crate::coroutine::Site;
use crate::sched::{self, Spawn};
use crate::stack::StackOverride;
use std::io;

/// Settings of a coroutine that is to be spawned, as [`std::thread::Builder`].
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
    site: Option<Site>,
}

impl Builder {
    /// The default settings.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The name that reports give the coroutine, beside its number and the line that has spawned it.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The address space of the coroutine's stack in bytes; by default the runtime's. It is rounded up to
    /// a power of two of at least 64 KiB, of which the lowest 16 KiB are a guard. Memory is committed as
    /// it is touched.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// The size of the guard below the coroutine's stack in bytes; by default the runtime's. Use it for a
    /// single coroutine that calls C with large frames: [`runtime::Builder::guard_size`] says more.
    ///
    /// [`runtime::Builder::guard_size`]: crate::runtime::Builder::guard_size
    pub fn guard_size(mut self, bytes: usize) -> Builder {
        self.guard_size = Some(bytes);
        self
    }

    /// Keeps the coroutine on the worker that starts it, even in a migrating runtime. In the default mode
    /// every coroutine stays there.
    pub fn pinned(mut self, pinned: bool) -> Builder {
        self.pinned = pinned;
        self
    }

    /// Spawns the coroutine; otherwise as [`spawn`](super::spawn).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a stack of zero bytes or of more than 1 GiB, and for a guard of zero bytes or of
    /// more than 64 MiB; on a plain thread whatever keeps the default runtime from starting. If there is no
    /// stack when the coroutine starts, that is the error of its [`join`](JoinHandle::join).
    #[track_caller]
    pub fn spawn<T, F>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let spawn = self.prepare()?;
        Ok(start!(f: F => T, |f| JoinHandle::new(sched::spawn(spawn, f))))
    }

    /// Spawns the coroutine in a scope, from whose surroundings it may borrow; otherwise as
    /// [`Scope::spawn`].
    ///
    /// ```
    /// let text = String::from("borrowed");
    /// sward::scope(|s| {
    ///     let reader = sward::task::Builder::new().name("reader").spawn_scoped(s, || text.len())?;
    ///     assert_eq!(reader.join().unwrap(), 8);
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_scoped<'scope, T, F>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        scope.spawn_with(&self, f)
    }

    /// Reports name that line instead of the caller's.
    pub(super) fn at(mut self, site: Site) -> Builder {
        self.site = Some(site);
        self
    }

    #[track_caller]
    pub(super) fn prepare(&self) -> io::Result<Spawn> {
        let stack = StackOverride::new(self.stack_size, self.guard_size)?;
        let mut spawn = Spawn::here()?.pinned(self.pinned).stack(stack);
        if let Some(name) = &self.name {
            spawn = spawn.named(name);
        }
        if let Some(site) = self.site {
            spawn = spawn.at(site);
        }
        Ok(spawn)
    }
}
