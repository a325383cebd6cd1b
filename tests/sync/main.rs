//! The primitives of `sward::sync`: in coroutines, on plain threads, and between the two.

#[path = "../checked/mod.rs"]
mod checked;
#[path = "../common/mod.rs"]
mod common;

mod auto_traits;
mod barrier;
mod condvar;
mod futures;
mod mutex;
mod notify;
mod once;
mod rwlock;
mod semaphore;
mod stress;
mod unwinding;
mod wait_group;

/// A lock that threads may borrow for as long as they like. `ci/leaks.txt` names this function.
#[inline(never)]
fn leaked_lock<T>(lock: T) -> &'static T {
    Box::leak(Box::new(lock))
}
