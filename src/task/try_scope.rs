//! Scopes of coroutines that may fail: the first error cancels all others. The same as Go's errgroup.

use super::Builder;
use super::group::{Group, GroupEnd};
use super::scope::ScopeBuilder;
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::base::list_lock::ListLock;
use crate::coroutine::{Cancellation, contain_panic, drop_one};
use crate::runtime::spawn::no_runtime;
use crate::sched;
use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs the closure with a [`TryScope`], in which it spawns coroutines that borrow and that may fail, and
/// waits until all of them have ended. The first error, of a coroutine or of the closure, cancels the other
/// coroutines, and is returned when they have ended. Go's `errgroup`, with a scope around it. Parks until
/// then.
///
/// ```
/// use std::io;
///
/// fn fetch(part: &str) -> io::Result<usize> {
///     if part.is_empty() { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(part.len()) }
/// }
///
/// let (mut head, mut body) = (0, 0);
/// let fetched: io::Result<()> = sward::try_scope(|s| {
///     s.spawn(|| Ok(head = fetch("head")?));
///     s.spawn(|| Ok(body = fetch("and body")?));
///     Ok(())
/// });
/// fetched?;
/// assert_eq!(head + body, 12);
///
/// let failed: io::Result<()> = sward::try_scope(|s| {
///     s.spawn(|| fetch("").map(drop));
///     s.spawn(|| Ok(sward::task::park())); // for ever, if it were not for the error
///     Ok(())
/// });
/// assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::InvalidInput);
/// # Ok::<(), io::Error>(())
/// ```
///
/// The closure itself is not interrupted by the error of a coroutine; it can check
/// [`TryScope::is_cancelled`]. With `panic = "abort"` nothing is cancelled, and an error is returned when the
/// others have ended by themselves. Cancellation of the caller, its time limit, and deadlock in a destructor
/// are as for [`scope`](super::scope()).
///
/// # Errors
///
/// The first error.
///
/// # Panics
///
/// - If the closure panics, with its payload.
/// - If a coroutine panics, with the payload of the first one, whether there were errors or not. A panic
///   cancels the others as an error does.
/// - If a closure that was not run panics as it is dropped.
/// - If there was no stack for a coroutine.
///
/// # What does not compile
///
/// The same as for [`scope`](super::scope()).
///
/// ```compile_fail,E0373
/// let _: Result<(), ()> = sward::try_scope(|s| {
///     let local = 1;
///     s.spawn(|| Ok(println!("{local}")));
///     Ok(())
/// });
/// ```
#[doc(alias("errgroup", "WithContext"))]
pub fn try_scope<'env, F, T, E>(f: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
    E: Send,
{
    ScopeBuilder::new().try_scope(f)
}

impl ScopeBuilder {
    /// Runs the closure in a scope with these settings; otherwise as [`try_scope`].
    ///
    /// ```
    /// let done = sward::task::ScopeBuilder::new().limit(2).try_scope(|s| {
    ///     for i in 0..10 {
    ///         s.spawn(move || if i < 5 { Ok(()) } else { Err(i) });
    ///     }
    ///     Ok(())
    /// });
    /// assert!(done.unwrap_err() >= 5);
    /// ```
    pub fn try_scope<'env, F, T, E>(self, f: F) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
        E: Send,
    {
        if const { is_large::<F>() || is_large::<T>() } {
            let (f, mut value) = (large_box!(f), LargeBox::<T>::empty());
            let outcome = self.try_scope_of_small(|s| match f.into_inner()(s) {
                Ok(outcome) => {
                    // SAFETY: the place is for such a value.
                    unsafe {
                        value.as_mut_ptr().write(outcome);
                        value.assume_full();
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            });
            value.into_inner_if(outcome)
        } else {
            self.try_scope_of_small(f)
        }
    }

    fn try_scope_of_small<'env, F, T, E>(self, f: F) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
        E: Send,
    {
        let first = ListLock::new(FirstFailure { error: None, panic: None });
        let scope = TryScope { group: self.group(), first, scope: PhantomData, env: PhantomData };
        let value = scope.group.run(|| f(&scope).map_err(|error| scope.fail(error)).ok());
        let end = scope.group.end();
        let (error, panic) = scope.first.lock().take();
        if panic.is_some() || end == GroupEnd::Panicked {
            // Before the unwinding, during which a destructor that panics aborts the process.
            contain_panic(|| drop(error));
            contain_panic(|| drop(value));
            match panic {
                Some(payload) => resume_unwind(payload),
                // The panic was in a destructor: of a closure that was not run, or of a panic's payload.
                None => panic!("a scoped coroutine panicked"),
            }
        }
        if let Some(error) = error {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
                contain_panic(|| drop(error));
                resume_unwind(payload);
            }
            return Err(error);
        }
        match end {
            GroupEnd::Clean | GroupEnd::Panicked => {}
            GroupEnd::Unstarted => {
                sched::checkpoint();
                panic!("a scoped coroutine did not start: there was no stack, or its runtime has shut down");
            }
            GroupEnd::Cancelled => {
                sched::checkpoint();
                // Its runtime shuts down, and has not cancelled the caller yet. A caller that unwinds
                // already, or that is masked, goes on with the value that it has.
                if !std::thread::panicking() && !sched::is_masked() {
                    if sched::current_coroutine().is_some() {
                        sched::unwind_shutdown();
                    }
                    panic!("a scoped coroutine was cancelled: its runtime has shut down");
                }
            }
        }
        Ok(value.expect("an error of the closure is an error of the scope"))
    }
}

/// Spawns coroutines that may borrow and that may fail: see [`try_scope`].
pub struct TryScope<'scope, 'env: 'scope, E> {
    group: Group,
    first: ListLock<FirstFailure<E>>,
    /// Invariant, as in [`Scope`](super::Scope).
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The first error, and the first panic.
struct FirstFailure<E> {
    error: Option<E>,
    panic: Option<Box<dyn Any + Send>>,
}

impl<E> FirstFailure<E> {
    fn take(&mut self) -> (Option<E>, Option<Box<dyn Any + Send>>) {
        (self.error.take(), self.panic.take())
    }
}

// A scope whose closure panics drops this while it unwinds.
impl<E> Drop for FirstFailure<E> {
    fn drop(&mut self) {
        let (error, panic) = self.take();
        contain_panic(|| drop(panic));
        drop_one(error);
    }
}

impl<'scope, 'env, E: Send> TryScope<'scope, 'env, E> {
    /// Spawns a coroutine in the scope. It returns results other than the error through what it borrows.
    /// After an error the coroutine is not run. Parks only in a scope with a [limit](ScopeBuilder::limit).
    ///
    /// # Panics
    ///
    /// On a plain thread, if the default runtime cannot be started. [`spawn_with`](Self::spawn_with) returns
    /// an error instead.
    #[track_caller]
    pub fn spawn<F>(&'scope self, f: F)
    where
        F: FnOnce() -> Result<(), E> + Send + 'scope,
    {
        match self.spawn_with(Builder::new(), f) {
            Ok(()) => {}
            Err(error) => no_runtime(error),
        }
    }

    /// Spawns a coroutine with a name or a stack size of its own; otherwise as [`spawn`](Self::spawn).
    ///
    /// # Errors
    ///
    /// As [`Builder::spawn`].
    #[track_caller]
    pub fn spawn_with<F>(&'scope self, builder: Builder, f: F) -> io::Result<()>
    where
        F: FnOnce() -> Result<(), E> + Send + 'scope,
    {
        if const { is_large::<F>() } {
            let f = large_box!(f);
            self.start(&builder, move || f.into_inner()())
        } else {
            self.start(&builder, f)
        }
    }

    #[track_caller]
    fn start<F>(&'scope self, builder: &Builder, f: F) -> io::Result<()>
    where
        F: FnOnce() -> Result<(), E> + Send + 'scope,
    {
        // Around `fail` as well: it drops an error that is not the first, which may panic.
        let run = || f().unwrap_or_else(|error| self.fail(error));
        let job = || match catch_unwind(AssertUnwindSafe(run)) {
            Ok(()) => {}
            Err(payload) if payload.is::<Cancellation>() => resume_unwind(payload),
            Err(payload) => self.panicked(payload),
        };
        // SAFETY: as in `Scope::spawn_with`; the handle is dropped at once.
        unsafe { self.group.spawn(builder, job) }.map(drop)
    }

    /// Cancels all coroutines of the scope, and all that are spawned in it afterwards. This is no error:
    /// the scope returns the closure's result. Does not park. Returns false, and does nothing, with `panic =
    /// "abort"`.
    pub fn cancel(&self) -> bool {
        self.group.cancel()
    }

    /// Whether an error, a panic or [`cancel`](Self::cancel) has cancelled the coroutines of the scope. Does
    /// not park.
    pub fn is_cancelled(&self) -> bool {
        self.group.is_cancelled()
    }

    fn fail(&self, error: E) {
        let not_first = {
            let mut first = self.first.lock();
            match &first.error {
                None => first.error.replace(error),
                Some(_) => Some(error),
            }
        };
        self.group.cancel();
        drop(not_first);
    }

    fn panicked(&self, payload: Box<dyn Any + Send>) {
        let not_first = {
            let mut first = self.first.lock();
            match &first.panic {
                None => first.panic.replace(payload),
                Some(_) => Some(payload),
            }
        };
        self.group.cancel();
        drop(not_first);
    }
}

impl<E> fmt::Debug for TryScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScope").field("cancelled", &self.group.is_cancelled()).finish_non_exhaustive()
    }
}
