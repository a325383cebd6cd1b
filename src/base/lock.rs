//! The mutex of the runtime's own state, with lock ranks that debug builds assert.
//!
//! A thread takes these locks only in the order of their [`Rank`]s, and holds none of them when it parks. The
//! critical sections are short, and no code of a user runs in them.

use super::local::thread_locals;
use super::sys::report;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// The order in which locks are taken: a thread that holds one takes only later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Rank {
    /// The records of a server, and their time limits: `descriptor::host`.
    Host,
    /// A worker's deques, until its thread takes them: `sched::shared`.
    Deques,
    /// Which shard a source has joined, and its close pipe: `netpoll::source`.
    Binding,
    /// A shard's table of sources: `netpoll::shard`.
    Shard,
    /// The right to push entries to a ring and to submit them: `ring::queues`.
    Submission,
    /// A ring's table of calls: `ring::queues`.
    Calls,
    /// A worker's timers: `sched::shared`.
    Timers,
    /// A home's list of live coroutines: `sched::home`.
    Live,
    /// What a dump has captured so far: `sched::capture`.
    Captured,
    /// The spawn sites that a worker has met: `sched::accounts`.
    Accounts,
    /// The vacant mobile homes: `sched::mobile`.
    Vacant,
    /// The pool's queue: `blocking`.
    Blocking,
    /// The central free lists of stacks: `stack::pool`.
    Stacks,
    /// The netpoller thread's sleep: `netpoll::thread`.
    Netpoller,
    /// A wait list: `sync`, `channel`, `task`. A `select!` holds several at once.
    List,
    /// What a plain thread blocks on, and what a future awaits: `coroutine::thread`, `coroutine::awaiter`.
    Parker,
    /// A poller's own table, in back-ends that have one: `netpoll::sys`. A thread that wakes a worker takes
    /// it, whatever other locks it holds.
    #[cfg_attr(sward_backend = "epoll", allow(dead_code))]
    Poller,
}

/// A mutex with a rank. It has no poison: no code that can panic runs under it.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    rank: Rank,
    inner: parking_lot::Mutex<T>,
}

impl<T> Mutex<T> {
    /// A mutex of that rank.
    pub(crate) const fn new(rank: Rank, value: T) -> Self {
        Mutex { rank, inner: parking_lot::Mutex::new(value) }
    }

    /// Blocks the thread until the lock is free.
    #[inline]
    #[track_caller]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let held = Held::enter(self.rank);
        Guard { inner: self.inner.lock(), _held: held }
    }
}

impl<T> Mutex<T> {
    /// Takes the lock if it is free.
    #[track_caller]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        let held = Held::enter(self.rank);
        self.inner.try_lock().map(|inner| Guard { inner, _held: held })
    }
}

/// The held lock.
#[derive(Debug)]
pub(crate) struct Guard<'a, T> {
    // In this order: the lock is released, and then it no longer counts as held.
    inner: parking_lot::MutexGuard<'a, T>,
    _held: Held,
}

impl<'a, T> Guard<'a, T> {
    /// The guard of parking_lot, for its `Condvar::wait`.
    pub(crate) fn raw(&mut self) -> &mut parking_lot::MutexGuard<'a, T> {
        &mut self.inner
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

thread_locals! {
    /// The ranks of the runtime locks that the thread holds, one bit each. Set in debug builds only.
    static HELD: Cell<u32> = Cell::new(0);

    /// The ranks that this thread holds.
    fn held_ranks() -> u32 = |held| held.get(), destroyed: 0;

    /// Records the ranks that this thread holds.
    #[cfg(debug_assertions)]
    fn set_held_ranks(ranks: u32) = |held| held.set(ranks), destroyed: ();
}

/// Counts a lock as held by the thread, in debug builds.
#[derive(Debug)]
pub(super) struct Held {
    #[cfg(debug_assertions)]
    rank: Rank,
    /// Whether the lock is the thread's first of this rank.
    #[cfg(debug_assertions)]
    outermost: bool,
}

impl Held {
    /// Asserts that the thread may take a lock of that rank, and counts it.
    #[cfg(debug_assertions)]
    #[track_caller]
    pub(super) fn enter(rank: Rank) -> Held {
        let held = held_ranks();
        let again = rank == Rank::List && held & bit(rank) != 0;
        let others = if again { held & !bit(rank) } else { held };
        assert!(others < bit(rank), "runtime lock {rank:?} taken while later ones are held: {held:#b}");
        set_held_ranks(held | bit(rank));
        Held { rank, outermost: !again }
    }

    #[cfg(not(debug_assertions))]
    #[inline]
    pub(super) fn enter(_rank: Rank) -> Held {
        Held {}
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        if self.outermost {
            set_held_ranks(held_ranks() & !bit(self.rank));
        }
    }
}

#[cfg(debug_assertions)]
const fn bit(rank: Rank) -> u32 {
    1 << rank as u8
}

/// Asserts, in debug builds, that the thread holds no runtime lock. It is called before a coroutine parks,
/// and where a frame has lent something out and so must not be unwound. Hence it aborts instead of panicking.
#[inline]
#[track_caller]
pub(crate) fn assert_none_held() {
    if cfg!(debug_assertions) && held_ranks() != 0 {
        abort_with_locks_held();
    }
}

#[cold]
#[track_caller]
fn abort_with_locks_held() -> ! {
    let caller = std::panic::Location::caller();
    report(format_args!(
        "sward: a wait at {caller} with runtime locks {:#b} held: this is an error of the runtime",
        held_ranks()
    ));
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_may_be_taken_in_order() {
        let first = Mutex::new(Rank::Deques, 1);
        let second = Mutex::new(Rank::Timers, 2);
        let a = first.lock();
        let b = second.lock();
        assert_eq!(*a + *b, 3);
        drop(a);
        drop(b);
        assert_none_held();
    }

    #[test]
    #[cfg(debug_assertions)]
    fn locks_out_of_order_are_caught() {
        let caught = std::thread::spawn(|| {
            let first = Mutex::new(Rank::Deques, ());
            let second = Mutex::new(Rank::Timers, ());
            let _second = second.lock();
            let _first = first.lock();
        })
        .join();
        assert!(caught.is_err());
    }

    #[test]
    #[cfg(all(debug_assertions, not(loom)))]
    fn a_wait_with_a_lock_held_aborts() {
        use std::os::unix::process::ExitStatusExt;
        const CHILD: &str = "SWARD_TEST_WAITS_WITH_A_LOCK";
        if std::env::var_os(CHILD).is_some() {
            let lock = Mutex::new(Rank::List, ());
            let _held = lock.lock();
            assert_none_held();
            return;
        }
        let name = "base::lock::tests::a_wait_with_a_lock_held_aborts";
        let mut child = std::process::Command::new(std::env::current_exe().expect("a path"));
        let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().expect("it runs");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("sward: a wait at src/base/lock.rs"), "{message}");
    }
}
