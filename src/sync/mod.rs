//! Locks, permits and barriers that park the coroutine: std's names, signatures and rules of poisoning.
//!
//! | | |
//! |---|---|
//! | [`Mutex`], [`RwLock`], [`Condvar`] | protect shared data, and wait for a change of it |
//! | [`Once`], [`OnceLock`], [`LazyLock`] | initialise something once |
//! | [`Barrier`], [`WaitGroup`] | wait for one another, or for many to finish |
//! | [`Semaphore`] | limit how many do something at a time |
//! | [`Notify`] | wake a waiter, or the next one to come |
//!
//! # Where they work
//!
//! In coroutines, on plain threads, and between the two: a call that has to wait parks the coroutine, or
//! blocks the plain thread. All constructors are `const`, so all of these may be statics, and they belong to
//! no runtime.
//!
//! # Budget
//!
//! A call that might have had to wait, but did not, counts against the coroutine's budget. When the budget is
//! used up the coroutine yields before the call takes anything; this is a cancellation point. The `try_`
//! calls, and reading a value that is initialised, do not count and never switch.
//!
//! # Cancellation
//!
//! A coroutine that is cancelled while it waits here, or whose time limit expires, unwinds out of the call.
//! It leaves the wait queue, and waiters that can go on because of that do. If it was given the lock, the
//! permits or the notification before, it keeps them: the call returns normally, and the coroutine unwinds at
//! its next wait. Nothing is lost in between.
//!
//! # Poisoning
//!
//! As in std: a guard that is dropped by a panic which began while the guard was held poisons its lock. The
//! unwinding of a cancellation or of a time limit does not poison: it starts at a known point, a wait, so it
//! is no sign of inconsistent data. std's own locks, and its `Once` and `LazyLock`, cannot tell the
//! difference: any unwinding through them poisons them.
//!
//! # In futures
//!
//! [`Mutex::lock_async`], [`RwLock::read_async`] and [`RwLock::write_async`] are for code on any executor.
//! The futures are `Send`, but their guards are not, as those of std. So a future that has to be `Send`, as
//! for `tokio::spawn`, drops the guard before its next `await`: this is checked by the compiler. To hold
//! something exclusively over an `await` there, take the one permit of a [`Semaphore`] with
//! [`acquire_owned_async`](Semaphore::acquire_owned_async). In [`block_on`](crate::block_on) a guard may be
//! held over an `await`.
//!
//! # In destructors, while a coroutine unwinds
//!
//! While the thread unwinds from a panic or a cancellation nothing may switch, so a wait in a destructor
//! blocks the coroutine's worker ([destructors](crate::task#destructors)). It deadlocks if it needs another
//! coroutine of the same worker to do something.
//!
//! It may wait for a lock or a permit that a thread, or a coroutine of another worker, holds and will
//! release: [`Mutex`], [`RwLock`] and [`Semaphore`] serve such a waiter before all others. It must not wait
//! for a lock or a permit that another coroutine of the same worker *holds*. This includes an `RwLock` or
//! permits that such a coroutine was handed while it was parked: they are handed to the first waiter when
//! they become free, and a destructor that comes later does not get them back. A `Mutex` that nobody holds
//! can always be locked.
//!
//! The holder must not depend on that worker either. If the holder waits for a lock behind another coroutine
//! of that worker, it waits until that coroutine has had its turn, even if the lock is a `Mutex` that is free
//! by then: waiters are woken one after the other.
//!
//! # Guards and threads
//!
//! Guards are not `Send`, like std's. The locks do not record which thread holds them, so in a runtime whose
//! coroutines migrate a guard may move to another thread together with the coroutine that holds it.

// Rank 8. A lock is made of layers, from the bottom:
//
// - `raw_mutex`, `raw_rwlock`, `raw_semaphore`: the word and the wait list, without the data. The protocols
//   are at their heads. `holder`: who holds a lock, for reports. `lock_future`: the future of a lock.
// - `poison`, `protected`: the data, and the mark that a panic leaves.
// - `mutex`, `rwlock`, `semaphore`: what users see, with guards. `condvar` waits beside a mutex.
//
// `once` is a protocol of its own; `once_lock` and `lazy_lock` are values under it. `barrier`, `notify` and
// `wait_group` are a state and a wait list each.

mod barrier;
mod condvar;
mod holder;
mod lazy_lock;
mod lock_future;
mod mutex;
mod notify;
mod once;
mod once_lock;
mod poison;
mod protected;
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

/// How often a locker reads the word of a held lock before it queues. A holder in a short section on another
/// processor is done by then. More would be wasted where the holder itself waits: the processor's pause
/// between two attempts may take as long as a switch of coroutines.
const SPINS: u32 = if cfg!(loom) { 0 } else { 4 };

/// A waiter that loses a lock after it has waited for longer than this switches the lock to starvation mode.
const STARVATION_THRESHOLD: Duration = Duration::from_millis(1);

/// Spins. `None` from the attempt means that a further attempt may help.
fn spin_for(mut attempt: impl FnMut() -> Option<bool>) -> bool {
    for _ in 0..SPINS {
        if let Some(outcome) = attempt() {
            return outcome;
        }
        std::hint::spin_loop();
    }
    false
}

/// Guards are not `Send`, and a lock makes nothing `Sync` that is not.
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
/// No reference outlives its guard.
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
