//! What a forked child may use of its parent's runtimes.
//!
//! A child has one thread, and shares the parent's pollers. So while a runtime lives, only fork and exec is
//! supported. A child that was forked then aborts when it uses the runtime ([`check`]), before it takes the
//! parent's events. What it drops of the runtime has no effect on the kernel's side, which belongs to the
//! parent as well.
//!
//! Once all runtimes have ended, with all their threads, a child lacks nothing: it may start runtimes of its
//! own, as a daemon does. The pool of threads for blocking calls outlives runtimes, so it registers two
//! functions ([`PoolHooks`]): one ends its idle threads with the last runtime, the other makes the child
//! forget the remaining threads. The threads that serve the whole process (signals, the reaper of children)
//! keep their state in a [`PerProcess`], so a child begins anew.

use super::sys::report;
use once_cell::sync::OnceCell;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

/// The number of [`Alive`] values.
static RUNTIMES: AtomicUsize = AtomicUsize::new(0);

static POOL: OnceCell<PoolHooks> = OnceCell::new();

/// What the pool for blocking calls does about its threads.
#[derive(Clone, Copy)]
pub(crate) struct PoolHooks {
    /// Ends the idle threads. Called when the last runtime has ended.
    pub(crate) end_idle_threads: fn(),
    /// Forgets all threads. Called in a forked child, where it may only use atomics and memory. Returns false
    /// if it cannot be done.
    pub(crate) forget_threads: fn() -> bool,
}

/// Registers the pool's functions.
pub(crate) fn register_pool(pool: PoolHooks) {
    let _ = POOL.set(pool);
}

extern "C" fn in_child() {
    let complete =
        RUNTIMES.load(Ordering::Relaxed) == 0 && POOL.get().is_none_or(|pool| (pool.forget_threads)());
    if !complete {
        FORKED.store(true, Ordering::Relaxed);
    }
}

/// From now on, marks children that are forked while a runtime lives.
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
            (pool.end_idle_threads)();
        }
    }
}

/// Whether no runtime lives. A thread of the pool reads it under the pool's lock before it waits. Either it
/// sees the end of the last runtime, or `end_idle_threads`, which takes that lock after the end, sees the
/// thread.
pub(crate) fn no_runtime_lives() -> bool {
    RUNTIMES.load(Ordering::Acquire) == 0
}

/// A static with one value for each process. A forked child makes its value anew and leaks the parent's: a
/// lock in that one may stay held for ever, since the threads of the parent do not exist in the child.
///
/// Use std's locks in it. parking_lot keeps one table of queues for the process, which would still hold the
/// parent's waiters.
pub(crate) struct PerProcess<T: 'static> {
    /// Null, or the value of the last process that has used it. Never freed.
    current: AtomicPtr<ValueOf<T>>,
    make: fn() -> T,
}

struct ValueOf<T> {
    process: u32,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// The value is the result of `make`, which is called at the first use in each process.
    pub(crate) const fn new(make: fn() -> T) -> PerProcess<T> {
        PerProcess { current: AtomicPtr::new(ptr::null_mut()), make }
    }

    /// This process's value.
    pub(crate) fn get(&self) -> &'static T {
        let process = std::process::id();
        let mut found = self.current.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or a value that was in `current` and so is never freed.
            if let Some(found) = unsafe { found.as_ref() }.filter(|it| it.process == process) {
                return &found.value;
            }
            let fresh = Box::into_raw(Box::new(ValueOf { process, value: (self.make)() }));
            match self.current.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => found = fresh,
                Err(other) => {
                    // SAFETY: it comes from the box above, and no other thread has seen it.
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

/// Aborts in such a child. Called by operations that use a runtime.
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
