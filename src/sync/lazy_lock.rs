//! A value that is initialised at its first use: a [`OnceLock`] and a closure.

use super::OnceLock;
use crate::base::sync::const_fn;
use crate::coroutine::WaitReason;
use crate::sched;
use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// [`std::sync::LazyLock`], whose closure may wait for anything: callers that come meanwhile park. A
/// cancelled caller unwinds out of this wait.
///
/// # Poisoning and cancellation
///
/// If the closure panics there is never a value: each later use panics, as in std. The closure runs with
/// cancellation and time limits masked: it can be called only once, so if its caller were cancelled in the
/// middle, there would be no value for the others.
///
/// ```
/// use sward::sync::LazyLock;
///
/// static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| (0..10).map(|n| n * n).collect());
/// assert_eq!(TABLE[3], 9);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    cell: OnceLock<T>,
    /// Used only while `cell` is being initialised, so by one thread at a time.
    init: Cell<Option<F>>,
}

// SAFETY: `cell` is Sync by itself. The closure is taken out of `init` by one caller, so it is as if it were
// sent to the thread of that caller.
unsafe impl<T: Sync + Send, F: Send> Sync for LazyLock<T, F> {}

impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    const_fn! {
        /// A value that `init` will make at the first use.
        pub fn new(init: F) -> LazyLock<T, F> {
            LazyLock { cell: OnceLock::new(), init: Cell::new(Some(init)) }
        }
    }

    /// The value; initialises it if this is the first use. Parks the coroutine, or blocks the plain thread,
    /// while another caller initialises it.
    ///
    /// Deadlocks if the closure uses its own value.
    ///
    /// # Panics
    ///
    /// If the closure panics, or has panicked before.
    #[inline]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        this.cell.get_or_init_for(WaitReason::LazyLock, || {
            let init = this.init.take().unwrap_or_else(|| poisoned());
            sched::masked(init)
        })
    }

    /// A mutable reference to the value; initialises it if this is the first use. Parks only if the closure
    /// does.
    ///
    /// # Panics
    ///
    /// If the closure panics, or has panicked before.
    ///
    /// ```
    /// use sward::sync::LazyLock;
    ///
    /// let mut words = LazyLock::new(|| vec!["one"]);
    /// LazyLock::force_mut(&mut words).push("two");
    /// assert_eq!(*words, ["one", "two"]);
    /// ```
    #[inline]
    pub fn force_mut(this: &mut LazyLock<T, F>) -> &mut T {
        LazyLock::force(this);
        this.cell.get_mut().expect("`force` has initialised it")
    }
}

impl<T, F> LazyLock<T, F> {
    /// The value, if it is initialised. Does not initialise it, and does not park.
    #[inline]
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        this.cell.get()
    }

    /// A mutable reference to the value, if it is initialised. Does not initialise it, and does not park.
    #[inline]
    pub fn get_mut(this: &mut LazyLock<T, F>) -> Option<&mut T> {
        this.cell.get_mut()
    }
}

#[cold]
fn poisoned() -> ! {
    panic!("sward: a LazyLock is poisoned: its closure has panicked");
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    fn deref_mut(&mut self) -> &mut T {
        LazyLock::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> Self {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("LazyLock");
        match self.cell.get() {
            Some(value) => debug.field(value),
            None => debug.field(&format_args!("<uninit>")),
        };
        debug.finish()
    }
}
