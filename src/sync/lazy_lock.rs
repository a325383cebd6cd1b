//! A value that is made at its first use.

use super::OnceLock;
use crate::base::sync::const_fn;
use crate::coroutine::WaitReason;
use crate::sched;
use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A value that is made at its first use, as [`std::sync::LazyLock`]. What makes it may wait for anything:
/// others that come meanwhile park, and a cancelled one of them unwinds out of that wait.
///
/// # Poisoning and cancellation
///
/// If the closure panics there will never be a value: each use panics from then on, as in std. The closure
/// runs with cancellation and time limits masked: it can be called only once, so a caller that was
/// cancelled in the middle of it would take the value from all others.
///
/// ```
/// use sward::sync::LazyLock;
///
/// static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| (0..10).map(|n| n * n).collect());
/// assert_eq!(TABLE[3], 9);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    cell: OnceLock<T>,
    /// Touched only by the closure of `cell`'s initialisation, so by one at a time.
    init: Cell<Option<F>>,
}

// SAFETY: `cell` takes care of itself. `init` is taken by one caller at a time, whichever comes first, so
// it is as if it were sent to that one.
unsafe impl<T: Sync + Send, F: Send> Sync for LazyLock<T, F> {}

impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    const_fn! {
        /// The value that the closure will make.
        pub fn new(init: F) -> LazyLock<T, F> {
            LazyLock { cell: OnceLock::new(), init: Cell::new(Some(init)) }
        }
    }

    /// The value, made now if this is its first use. If another's use makes it, waits for that, parking the
    /// coroutine or blocking the thread.
    ///
    /// A closure that uses its own value waits for itself, for ever.
    ///
    /// # Panics
    ///
    /// If the closure does, or has done so before.
    #[inline]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        this.cell.get_or_init_for(WaitReason::LazyLock, || {
            let init = this.init.take().unwrap_or_else(|| poisoned());
            sched::masked(init)
        })
    }

    /// The value of a cell that is borrowed exclusively, made now if it was not used before. Nobody else can
    /// be making it, so this waits for nothing but the closure.
    ///
    /// # Panics
    ///
    /// If the closure does, or has done so before.
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
        this.cell.get_mut().expect("`force` has made it")
    }
}

impl<T, F> LazyLock<T, F> {
    /// The value, if it has been made. Does not make it, and does not park.
    #[inline]
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        this.cell.get()
    }

    /// The value of a cell that is borrowed exclusively, if it has been made. Does not make it, and does not
    /// park.
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
