//! Scopes: coroutines that borrow what their parent owns, and end before the parent goes on.
//!
//! Lifetimes and names are those of [`std::thread::scope`], whose documentation says what the closure may
//! lend, and why. [`Group`] does the work; `group.rs` has the argument.

use super::group::{Group, GroupEnd};
use super::{Builder, JoinError, JoinHandle, Task};
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::coroutine::contain_panic;
use crate::runtime::spawn::{no_runtime, start};
use crate::sched;
use crate::select::EventArm;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{catch_unwind, resume_unwind};

/// Runs the closure with a [`Scope`], in which it spawns coroutines that borrow from outside of the scope,
/// and waits until all of them have ended; [`std::thread::scope`] for coroutines. Parks until then.
///
/// ```
/// let mut numbers = vec![1, 2, 3];
/// let mut sum = 0;
/// sward::scope(|s| {
///     s.spawn(|| println!("borrowed: {numbers:?}"));
///     s.spawn(|| sum = numbers.iter().sum());
/// });
/// numbers.push(4); // nobody borrows them any more
/// assert_eq!(sum, 6);
/// ```
///
/// In a coroutine the closure runs in that coroutine, and the coroutines of the scope belong to its runtime.
/// On a plain thread they belong to the default runtime, as with [`spawn`](crate::spawn), and the thread
/// blocks at the end. Scopes nest, and coroutines of a scope can spawn in it. They inherit the time limit of
/// the caller of `scope`. [`ScopeBuilder`] limits how many are alive at a time;
/// [`try_scope`](fn@super::try_scope) is for coroutines that may fail.
///
/// # Cancellation
///
/// If the caller is cancelled in the scope, in the closure or at the end, or if its time limit passes, the
/// coroutines of the scope are cancelled. The caller goes on unwinding when they have ended. A coroutine that
/// never waits, or that masks its cancellation, delays this.
///
/// # Panics
///
/// - If the closure panics, with its payload. The coroutines of the scope are cancelled first, and have
///   ended.
/// - If a coroutine of the scope panicked and was not joined, or if there was no stack for it. This does not
///   cancel the others.
///
/// # Deadlock
///
/// While a coroutine unwinds, its destructors cannot park: a scope in a destructor blocks the worker's thread
/// until the coroutines of the scope have ended. Some of them may be able to run on this worker only, because
/// they have started on it or because it is the only one. Those never end. Do not open a scope in a
/// destructor, or check [`std::thread::panicking`] first.
///
/// # What does not compile
///
/// A coroutine of the scope does not borrow what the closure owns, or what is not `Send`, and no handle
/// leaves the scope.
///
/// ```compile_fail,E0373
/// sward::scope(|s| {
///     let local = 1;
///     s.spawn(|| println!("{local}"));
/// });
/// ```
///
/// ```compile_fail,E0277
/// let local = std::rc::Rc::new(1);
/// sward::scope(|s| {
///     s.spawn(|| drop(local));
/// });
/// ```
///
/// ```compile_fail,E0521
/// let mut escaped = None;
/// sward::scope(|s| {
///     escaped = Some(s.spawn(|| 1));
/// });
/// ```
///
/// ```compile_fail,E0499
/// let mut number = 1;
/// sward::scope(|s| {
///     s.spawn(|| number += 1);
///     s.spawn(|| number += 1);
/// });
/// ```
#[doc(alias("nursery", "errgroup"))]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    ScopeBuilder::new().scope(f)
}

/// Settings of a scope.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
/// sward::task::ScopeBuilder::new().limit(3).scope(|s| {
///     for _ in 0..100 {
///         s.spawn(|| { // parks while three of them are alive
///             most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
///             sward::yield_now();
///             running.fetch_sub(1, Ordering::SeqCst);
///         });
///     }
/// });
/// assert!(most.into_inner() <= 3);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ScopeBuilder {
    /// The most coroutines that are alive at a time.
    max_alive: Option<usize>,
}

impl ScopeBuilder {
    /// The default settings: no limit.
    pub fn new() -> ScopeBuilder {
        ScopeBuilder::default()
    }

    /// The maximum number of coroutines of the scope that are alive at a time. While it is reached, `spawn`
    /// in the scope parks, first come, first served; a cancelled caller unwinds out of it. The same as
    /// `SetLimit` of Go's errgroup. If all coroutines of the scope wait in `spawn` in this scope, they
    /// deadlock.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn limit(mut self, most: usize) -> ScopeBuilder {
        assert!(most > 0, "sward: a scope in which no coroutine may be alive");
        self.max_alive = Some(most);
        self
    }

    /// Runs the closure in a scope with these settings; otherwise as [`scope`].
    pub fn scope<'env, F, T>(self, f: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        if const { is_large::<F>() || is_large::<T>() } {
            let (f, mut value) = (large_box!(f), LargeBox::<T>::empty());
            // SAFETY: the place is for such a value.
            self.scope_of_small(|s| unsafe {
                value.as_mut_ptr().write(f.into_inner()(s));
                value.assume_full();
            });
            value.into_inner()
        } else {
            self.scope_of_small(f)
        }
    }

    fn scope_of_small<'env, F, T>(self, f: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        let scope = Scope { group: self.group(), scope: PhantomData, env: PhantomData };
        let value = scope.group.run(|| f(&scope));
        let end = scope.group.end();
        if end == GroupEnd::Clean {
            return value;
        }
        let outcome = catch_unwind(|| match end {
            GroupEnd::Clean => {}
            GroupEnd::Panicked => panic!("a scoped coroutine panicked"),
            GroupEnd::Unstarted => {
                sched::checkpoint();
                panic!("a scoped coroutine did not start: there was no stack, or its runtime has shut down");
            }
            // If a time limit or a shutdown has ended it, that is the caller's as well, who meets it here.
            GroupEnd::Cancelled => sched::checkpoint(),
        });
        if let Err(payload) = outcome {
            // Before the unwinding, during which a destructor that panics aborts the process.
            contain_panic(|| drop(value));
            resume_unwind(payload);
        }
        value
    }

    pub(super) fn group(&self) -> Group {
        Group::new(self.max_alive)
    }
}

/// Spawns coroutines that may borrow: see [`scope`]. As [`std::thread::Scope`].
///
/// `'scope` is the lifetime of the scope itself, `'env` that of what is borrowed from around it.
pub struct Scope<'scope, 'env: 'scope> {
    group: Group,
    /// Invariant in `'scope`: a shorter one would let coroutines borrow what ends before they do.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Spawns a coroutine in the scope, as [`std::thread::Scope::spawn`]. The scope waits for it, also if its
    /// handle is dropped. Parks only in a scope with a [limit](ScopeBuilder::limit).
    ///
    /// # Panics
    ///
    /// On a plain thread, if the default runtime cannot be started. [`Builder::spawn_scoped`] returns an
    /// error instead.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match self.spawn_with(&Builder::new(), f) {
            Ok(handle) => handle,
            Err(error) => no_runtime(error),
        }
    }

    #[track_caller]
    pub(super) fn spawn_with<F, T>(
        &'scope self,
        builder: &Builder,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        // SAFETY: only the closure of `run`, and coroutines that it or they have spawned, can have a
        // `&'scope self`. `'scope` outlives `run`, which is called with a closure that borrows for it, and
        // the returned handle has that lifetime.
        let handle = start!(f: F => T, |f| unsafe { self.group.spawn(builder, f) })?;
        Ok(ScopedJoinHandle { inner: JoinHandle::new(handle), group: &self.group })
    }

    /// Cancels all coroutines of the scope, and all that are spawned in it afterwards, as
    /// [`JoinHandle::cancel`] does. The closure itself is not interrupted. Does not park.
    ///
    /// Returns false, and does nothing, with `panic = "abort"`.
    ///
    /// ```
    /// sward::scope(|s| {
    ///     for _ in 0..10 {
    ///         s.spawn(sward::task::park); // for ever
    ///     }
    ///     s.cancel();
    /// });
    /// ```
    pub fn cancel(&self) -> bool {
        self.group.cancel()
    }
}

impl Builder {
    /// Spawns the coroutine in a scope, from whose surroundings it may borrow; as
    /// [`std::thread::Builder::spawn_scoped`], and otherwise as [`Scope::spawn`].
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
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("cancelled", &self.group.is_cancelled()).finish_non_exhaustive()
    }
}

/// Owns the right to the result of a coroutine in a [`Scope`]; [`std::thread::ScopedJoinHandle`] for
/// coroutines. Dropping it leaves the coroutine to the scope, which waits for it; its result is then dropped
/// where it ends.
pub struct ScopedJoinHandle<'scope, T> {
    inner: JoinHandle<T>,
    group: &'scope Group,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the coroutine to end and returns its result. Parks. A cancelled caller unwinds out of it.
    ///
    /// # Errors
    ///
    /// As [`JoinHandle::join`]. A panic that is reported here does not make the scope panic.
    ///
    /// ```
    /// let text = String::from("to be or not to be");
    /// let longest = sward::scope(|s| {
    ///     let longest = s.spawn(|| text.split(' ').max_by_key(|word| word.len()));
    ///     longest.join().unwrap()
    /// });
    /// assert_eq!(longest, Some("not"));
    /// ```
    pub fn join(self) -> Result<T, JoinError> {
        self.inner.join_and_report(|error| match error {
            JoinError::Panicked(_) => self.group.panic_was_joined(),
            JoinError::NoStack(_) => self.group.unstarted_was_joined(),
            JoinError::Cancelled | JoinError::TimedOut | JoinError::ShutDown | JoinError::Deadlock => {}
        })
    }

    /// Whether the coroutine has ended, so that [`join`](Self::join) returns at once.
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }

    /// Asks this one coroutine to end, as [`JoinHandle::cancel`]. Does not park.
    pub fn cancel(&self) -> bool {
        self.inner.cancel()
    }

    /// The coroutine, to unpark it or to ask for its name.
    pub fn task(&self) -> Task {
        self.inner.task()
    }

    /// The coroutine's end as an alternative of a [`Select`](crate::select::Select).
    pub fn arm(&self) -> EventArm<'_> {
        self.inner.arm()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle").field("task", &self.task()).finish_non_exhaustive()
    }
}
