//! What a forked child has of its parent's runtimes.
//!
//! A child has one thread. While a runtime lives, that is half a runtime, which shares the parent's pollers:
//! then only fork and exec is supported. A child that goes on using the runtime is stopped before it takes
//! the parent's events; what it drops of the runtime it leaves as it is, since the kernel's side is the
//! parent's, too.
//!
//! Once all runtimes have ended, with all their threads, a child misses nothing: it may start runtimes of its
//! own, as a daemon does. The pool of threads for blocking calls outlives runtimes; it registers two
//! functions: one has its idle threads leave with the last runtime, the other makes the child forget the
//! remaining ones. The threads that serve the whole process (signals, the reaper) keep their state in a
//! [`PerProcess`], so a child begins anew.

use super::sys::report;
use once_cell::sync::OnceCell;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

/// How many [`Alive`] there are.
static RUNTIMES: AtomicUsize = AtomicUsize::new(0);

static POOL: OnceCell<Pool> = OnceCell::new();

/// What `crate::blocking` does for its threads.
#[derive(Clone, Copy)]
pub(crate) struct Pool {
    /// Has idle threads leave; the last runtime has ended.
    pub(crate) rest: fn(),
    /// In a forked child: forgets all threads. False if that cannot be done. Allowed are atomics and memory.
    pub(crate) forget: fn() -> bool,
}

/// Registers the pool's part.
pub(crate) fn keep(pool: Pool) {
    let _ = POOL.set(pool);
}

extern "C" fn in_child() {
    let whole = RUNTIMES.load(Ordering::Relaxed) == 0 && POOL.get().is_none_or(|pool| (pool.forget)());
    if !whole {
        FORKED.store(true, Ordering::Relaxed);
    }
}

/// Has children marked from now on.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler changes static atomics and memory of the pool, which is allowed in a forked
        // child.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Marks that a runtime lives. The runtime and its threads share one.
#[derive(Debug)]
pub(crate) struct Alive(());

impl Alive {
    /// A runtime begins, before its first thread.
    pub(crate) fn new() -> Alive {
        RUNTIMES.fetch_add(1, Ordering::Relaxed);
        Alive(())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if RUNTIMES.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(pool) = POOL.get()
        {
            (pool.rest)();
        }
    }
}

/// Whether no runtime lives. A pool's thread asks under the pool's lock before it waits: either it sees the
/// last runtime's end, or `rest`, which takes that lock after the end, sees the thread.
pub(crate) fn is_quiet() -> bool {
    RUNTIMES.load(Ordering::Acquire) == 0
}

/// A static that each process has for itself. In a forked child the value is made anew, whatever its parent's
/// threads were doing with theirs at that moment: its lock may be held for ever. That value is leaked.
///
/// A lock in it is std's: parking_lot's queues are the whole process's, and would keep the parent's waiters.
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<Of<T>>,
    make: fn() -> T,
}

struct Of<T> {
    process: u32,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// What `make` makes, at its first use in each process.
    pub(crate) const fn new(make: fn() -> T) -> PerProcess<T> {
        PerProcess { current: AtomicPtr::new(ptr::null_mut()), make }
    }

    /// This process's value.
    pub(crate) fn get(&self) -> &'static T {
        let process = std::process::id();
        let mut found = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: null or a value that is never freed once it is in `current`.
            if let Some(of) = unsafe { found.as_ref() }.filter(|of| of.process == process) {
                return &of.value;
            }
            let fresh = Box::into_raw(Box::new(Of { process, value: (self.make)() }));
            match self.current.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => found = fresh,
                Err(other) => {
                    // SAFETY: it comes from the box above, and nobody else has seen it.
                    drop(unsafe { Box::from_raw(fresh) });
                    found = other;
                }
            }
        }
    }
}

/// Whether this is a child that was forked while a runtime was alive.
#[inline]
pub(crate) fn forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Aborts such a child if it uses the runtime.
#[inline]
pub(crate) fn check() {
    if forked() {
        refuse();
    }
}

#[cold]
fn refuse() -> ! {
    report(format_args!(
        "sward: a child that was forked while a runtime was alive may only exec: \
         it cannot use the runtime of its parent"
    ));
    std::process::abort();
}
