//! A cell that is written once: a value under a [`Once`].

use super::Once;
use crate::base::sync::const_fn;
use crate::coroutine::WaitReason;
use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// [`std::sync::OnceLock`], whose initialising closure may wait for anything: callers that come meanwhile
/// park.
///
/// A closure that panics or is cancelled leaves the cell empty: the next caller's closure is called.
///
/// ```
/// static NAME: sward::sync::OnceLock<String> = sward::sync::OnceLock::new();
///
/// assert_eq!(NAME.get(), None);
/// assert_eq!(NAME.get_or_init(|| "first".into()), "first");
/// assert_eq!(NAME.set("second".into()), Err("second".into()));
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// Written under `once`, which one caller runs; shared after that.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by one thread, and then shared; another thread may drop it.
unsafe impl<T: Sync + Send> Sync for OnceLock<T> {}

impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    const_fn! {
        /// An empty cell.
        pub fn new() -> OnceLock<T> {
            OnceLock { once: Once::new(), value: UnsafeCell::new(None) }
        }
    }

    /// The value, if it is initialised. Does not park.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: it is completed, so the value is not written any more.
        unsafe { (*self.value.get()).as_ref() }
    }

    /// A mutable reference to the value, if it is initialised. Does not park.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// The value; parks the coroutine, or blocks the plain thread, until it is initialised. A cancelled
    /// coroutine unwinds out of the wait.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// sward::run(|| {
    ///     let cell = Arc::new(sward::sync::OnceLock::new());
    ///     let theirs = cell.clone();
    ///     sward::spawn(move || theirs.set(7));
    ///     assert_eq!(*cell.wait(), 7);
    /// });
    /// ```
    pub fn wait(&self) -> &T {
        self.once.wait_completed(WaitReason::OnceLockWait, true);
        self.get().expect("completed")
    }

    /// Initialises the cell with `value`. While another caller's closure runs, waits for it as
    /// [`get_or_init`](Self::get_or_init) does.
    ///
    /// # Errors
    ///
    /// The cell is initialised already; the error holds `value`.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("called once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; initialises the cell with the result of `f` if it is empty. Parks the coroutine, or blocks
    /// the plain thread, while another caller's closure runs. A cancelled coroutine unwinds out of this wait.
    ///
    /// Deadlocks if `f` initialises the same cell.
    ///
    /// # Panics
    ///
    /// If `f` panics. The cell stays empty.
    pub fn get_or_init<F: FnOnce() -> T>(&self, f: F) -> &T {
        self.get_or_init_for(WaitReason::OnceLock, f)
    }

    #[inline]
    pub(super) fn get_or_init_for(&self, reason: WaitReason, f: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        self.once.call(reason, true, |_| {
            let value = f();
            // SAFETY: one closure at a time runs, none after one has returned, and nobody reads before that.
            unsafe { *self.value.get() = Some(value) };
        });
        self.get().expect("completed")
    }

    /// Takes the value out, which leaves the cell empty. Does not park.
    pub fn take(&mut self) -> Option<T> {
        self.once = Once::new();
        self.value.get_mut().take()
    }

    /// The value, if it is initialised. Does not park.
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        let cell = OnceLock::new();
        match cell.set(value) {
            Ok(()) => cell,
            Err(_) => unreachable!("it was empty"),
        }
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> Self {
        self.get().map_or_else(OnceLock::new, |value| OnceLock::from(value.clone()))
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => debug.field(value),
            None => debug.field(&format_args!("<uninit>")),
        };
        debug.finish()
    }
}
