//! Locks, permits and meeting points that park: std's names, signatures and rules of poisoning.
//!
//! | | |
//! |---|---|
//! | [`Mutex`], [`RwLock`], [`Condvar`] | shared data, one at a time or many readers |
//! | [`Once`], [`OnceLock`], [`LazyLock`] | what is made once |
//! | [`Barrier`], [`WaitGroup`] | waiting for one another, and for many to finish |
//! | [`Semaphore`] | a number of permits |
//! | [`Notify`] | a wake-up that is not lost |
//!
//! # Where they work
//!
//! In coroutines, on plain threads, and between the two: a call that has to wait parks the coroutine, or
//! blocks the thread where there is none. All constructors are `const`, so all of these may be statics,
//! and they belong to no runtime.
//!
//! # In destructors, while a coroutine unwinds
//!
//! A coroutine that waits while its thread unwinds from a panic or a cancellation (in a destructor) blocks
//! its worker, since nothing may switch then ([destructors](crate::task#destructors)): if it waits for
//! something that another coroutine of the same worker has to do, it waits for ever. It may wait for a lock
//! or a permit that a thread or a coroutine of another worker holds and gives back: [`Mutex`], [`RwLock`] and
//! [`Semaphore`] serve it before all other waiters. It cannot get what another coroutine of the same worker
//! *holds*. For an `RwLock` and for permits that includes what such a coroutine was handed while it was
//! parked: a lock or permit that becomes free goes to the first waiter at once, and a destructor that comes
//! later does not get it back. A `Mutex` that nobody holds can always be locked.
//!
//! The holder must not depend on the worker either. If it waits for a lock behind another coroutine of that
//! worker, it waits until that one has had its turn, also at a `Mutex` that is free by then: those who wait
//! are woken one after the other.
//!
//! A call that could have waited and did not counts against the coroutine's budget. When the budget is spent
//! the coroutine lets others go first, before the call takes anything; this is a cancellation point. The
//! `try_` calls, and looking at a value that has been made, do not count, and never switch.
//!
//! # Cancellation
//!
//! A coroutine that is cancelled while it waits here, or whose time limit passes, unwinds out of the call
//! and leaves no trace: its place in the queue is given up, and whoever can go on because of that does.
//! What has been given to it before (a lock, a permit, a notification) it keeps: the call then returns
//! as if nothing had happened, and the next wait is the one that unwinds. Nothing is ever lost in
//! between.
//!
//! # Poisoning
//!
//! As in std: a guard that is dropped by a panic which began while it was held poisons its lock. A
//! cancellation, and a time limit that passes, unwind too, but they come at known points, the waits, and are
//! no sign of broken data: they do not poison. std's own locks, and its `Once` and `LazyLock`, cannot tell
//! the difference: an unwinding through them poisons them, whatever its cause.
//!
//! # Guards and threads
//!
//! Guards are not `Send`, as std's. The locks have no notion of the thread that holds them, so in a runtime
//! whose coroutines migrate a guard may move to another thread together with the coroutine that holds it.

mod barrier;
mod condvar;
mod lazy_lock;
mod mutex;
mod notify;
mod once;
mod once_lock;
mod poison;
mod raw_mutex;
mod raw_rwlock;
mod raw_semaphore;
mod rwlock;
mod semaphore;
mod wait_group;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use lazy_lock::LazyLock;
pub use mutex::{Mutex, MutexGuard};
pub use notify::Notify;
pub use once::{Once, OnceState};
pub use once_lock::OnceLock;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{
    AcquireError, AcquireTimeoutError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError,
};
pub use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;
pub use wait_group::WaitGroup;

/// How often a lock that is taken is looked at before the caller waits in its queue. A holder that is in the
/// middle of a short section on another processor is done by the end of them. More would be lost where the
/// holder waits: the processor's pause between two turns may take as long as a switch of coroutines.
const SPINS: u32 = if cfg!(loom) { 0 } else { 4 };

/// How long one waits for a lock and is overtaken before the lock is handed over.
const STARVATION_THRESHOLD: Duration = Duration::from_millis(1);

/// Tries for a moment. `None` from the attempt means that another turn may help.
fn spin_for(mut attempt: impl FnMut() -> Option<bool>) -> bool {
    for _ in 0..SPINS {
        if let Some(outcome) = attempt() {
            return outcome;
        }
        std::hint::spin_loop();
    }
    false
}

/// A guard stays on its thread, and what is not for several threads is not let through by a lock.
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<sward::sync::MutexGuard<'static, u8>>();
/// ```
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<sward::sync::RwLockReadGuard<'static, u8>>();
/// ```
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<sward::sync::RwLockWriteGuard<'static, u8>>();
/// ```
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<sward::sync::MutexGuard<'static, std::cell::Cell<u8>>>();
/// ```
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<sward::sync::Mutex<std::rc::Rc<u8>>>();
/// ```
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<sward::sync::RwLock<std::cell::Cell<u8>>>();
/// ```
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<sward::sync::OnceLock<std::cell::Cell<u8>>>();
/// ```
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<sward::sync::LazyLock<u8, Box<dyn FnOnce() -> u8>>>();
/// ```
///
/// A reference does not outlive its guard.
///
/// ```compile_fail,E0505
/// let mutex = sward::sync::Mutex::new(1);
/// let mut guard = mutex.lock().unwrap();
/// let data: &mut u8 = &mut guard;
/// drop(guard);
/// *data = 2;
/// ```
#[cfg(doctest)]
struct Refused;
