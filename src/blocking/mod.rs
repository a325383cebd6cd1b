//! Threads for calls that can only block: files, name resolution, libraries that know nothing of sward.
//!
//! A coroutine that made such a call itself would hold up its worker. [`run`] hands the call to a pool
//! and parks until it has returned. The pool is the process's: it has a thread per call under way, up to a
//! limit; what comes beyond waits in a queue, and its callers are parked. Idle threads leave after
//! [`KEEP_ALIVE`], and with the last runtime of the process.
//!
//! Invariant: while a job is queued there is a living thread. A thread counts itself out only under the
//! lock and with the queue empty; a job is queued under the lock that a thread was counted or created
//! under.

use crate::base::fork;
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::base::lock::{Mutex, Rank, assert_none_held};
use crate::coroutine::{Event, WaitReason};
use crate::sched::{
    Cancel, Woken, consume_budget, may_switch, set, unwind_cancelled, wait_for_event, wait_masked,
};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const DEFAULT_LIMIT: usize = 512;
/// One in so many threads may run a job of [`detach_aside`].
const ASIDE: usize = 8;
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long the end of the last runtime waits for idle threads to leave.
const GRACE: Duration = Duration::from_secs(1);

/// Runs a closure that blocks on a thread of a pool, and parks until it has returned. On a plain thread,
/// which may block, it runs in place.
///
/// For calls that block in the kernel or compute for long: they would keep the worker, and every
/// coroutine that lives on it. The closure may borrow from the caller, which cannot go on before it has
/// ended. Inside of it there is no coroutine: what parks elsewhere blocks its thread.
///
/// The pool has at most 512 threads, or as many as
/// [`set_max_blocking_threads`](crate::runtime::set_max_blocking_threads) says; further calls wait in a queue, in
/// the order in which they came. Threads leave when they have been idle for ten seconds, and when the last
/// runtime ends.
///
/// # Errors
///
/// There is no thread and none could be created; the closure has not run.
///
/// # Panics
///
/// With the closure's payload, if it panics.
///
/// # Cancellation
///
/// A cancelled caller unwinds out of it while the closure is in the queue, and the closure is dropped. One
/// that has been started is awaited: its value is returned, and the cancellation is met at the next wait.
///
/// ```
/// sward::run(|| {
///     let path = String::from("Cargo.toml");
///     let text = sward::blocking(|| std::fs::read_to_string(&path))??;
///     assert!(text.contains("[package]"));
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub fn blocking<T: Send, F: FnOnce() -> T + Send>(f: F) -> io::Result<T> {
    if const { is_large::<F>() || is_large::<T>() } {
        let (f, mut value) = (large_box!(f), LargeBox::empty());
        let outcome = run(WaitReason::Blocking, || f.call_into(&mut value));
        value.into_inner_if(outcome)
    } else {
        run(WaitReason::Blocking, f)
    }
}

/// Sets how many threads [`blocking`] may use in this process, from now on. Those that are too many leave
/// when they have nothing to do.
///
/// # Errors
///
/// `InvalidInput` for zero.
///
/// ```
/// assert!(sward::runtime::set_max_blocking_threads(0).is_err());
/// sward::runtime::set_max_blocking_threads(64).unwrap();
/// ```
pub fn set_max_blocking_threads(threads: usize) -> io::Result<()> {
    if threads == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a pool has at least one thread, not 0"));
    }
    POOL.lock().limit = threads;
    Ok(())
}

/// What the pool does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) threads: usize,
    pub(crate) idle: usize,
    pub(crate) queued: usize,
}

/// What the pool does now.
pub(crate) fn usage() -> Usage {
    let pool = POOL.lock();
    Usage { threads: pool.threads, idle: pool.idle, queued: pool.queue.len() }
}

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    /// By their numbers, so that a job of a cancelled caller leaves from anywhere without a search.
    queue: BTreeMap<u64, Job>,
    /// The number of the next job.
    next: u64,
    limit: usize,
    threads: usize,
    /// Jobs of `detach_aside`.
    aside: usize,
    /// Threads that wait for work, those included that were notified and have not got up yet.
    idle: usize,
}

static POOL: Mutex<Pool> = Mutex::new(
    Rank::Blocking,
    Pool { queue: BTreeMap::new(), next: 0, limit: DEFAULT_LIMIT, threads: 0, aside: 0, idle: 0 },
);
static WORK: parking_lot::Condvar = parking_lot::Condvar::new();

/// As [`blocking`], with a reason of its own.
pub(crate) fn run<T: Send>(reason: WaitReason, f: impl FnOnce() -> T + Send) -> io::Result<T> {
    if !may_switch() {
        return Ok(f());
    }
    assert_none_held();
    consume_budget();
    let mut outcome: Option<thread::Result<T>> = None;
    // Shared, so that it outlives the end of `set` on the other thread, which the caller does not await.
    let done = Arc::new(Event::new());
    let slot = Slot(&raw mut outcome);
    let told = Arc::clone(&done);
    let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(f));
        // SAFETY: the caller's frame stays until `done` is set, and does not look before.
        unsafe { slot.write(result) };
        set(&told);
    });
    // SAFETY: only the lifetime of what `f` and `T` borrow changes. They are not touched once this
    // frame can end, which is after
    // - `submit` failed, or `withdraw` succeeded: they have dropped the job; or
    // - `done` was set: `f` was consumed and its result moved into this frame before. What the job
    //   still holds then, `told` and a pointer it does not follow, borrows nothing.
    // Nothing ends the frame in between: after the first wait, which does not unwind, it is withdrawn or
    // awaited by `wait_masked`, which obeys no cancellation; and the pool neither drops a job it has
    // taken nor lets one wait without a thread.
    let job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
    let number = submit(job)?;
    if wait_for_event(&done, reason, None, Cancel::Obey) != Woken::Event {
        if let Some(job) = withdraw(number) {
            drop(job);
            unwind_cancelled();
        }
        wait_masked(&done, reason);
    }
    match outcome.expect("the job stores its outcome before it sets the event") {
        Ok(value) => Ok(value),
        Err(panic) => resume_unwind(panic),
    }
}

/// Runs a closure on a thread of the pool, and does not wait for it. Does not park.
///
/// # Errors
///
/// There is no thread and none could be created; the closure was dropped.
pub(crate) fn detach(f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    submit(Box::new(f)).map(drop)
}

/// As [`detach`], for a closure that may block for long and that nobody waits for. At most one thread in
/// [`ASIDE`] runs such a job at a time, so the others stay free for callers that wait.
///
/// # Errors
///
/// Those of [`detach`], and `WouldBlock` if that many threads run such jobs already.
pub(crate) fn detach_aside(f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut pool = POOL.lock();
    if pool.aside >= pool.limit / ASIDE {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    pool.aside += 1;
    drop(pool);
    let place = Aside;
    detach(move || {
        let _place = place;
        f();
    })
}

/// One of the places of `detach_aside`.
struct Aside;

impl Drop for Aside {
    fn drop(&mut self) {
        POOL.lock().aside -= 1;
    }
}

/// Where the job puts its outcome.
struct Slot<T>(*mut Option<thread::Result<T>>);

// SAFETY: the pointer is one thread's at a time: the job's until `done` is set, then the caller's. The
// value goes from one to the other, and so does a panic's payload, which is `Send`.
unsafe impl<T: Send> Send for Slot<T> {}

impl<T> Slot<T> {
    /// # Safety
    ///
    /// The slot is alive, and nobody else looks at it.
    unsafe fn write(self, outcome: thread::Result<T>) {
        // SAFETY: passed on to the caller.
        unsafe { *self.0 = Some(outcome) };
    }
}

/// Takes a job back that no thread has taken.
fn withdraw(number: u64) -> Option<Job> {
    POOL.lock().queue.remove(&number)
}

/// Queues a job for a thread that lives, and gives its number; or drops it and fails.
fn submit(job: Job) -> io::Result<u64> {
    fork::check();
    fork::keep(fork::Pool { rest, forget });
    let mut pool = POOL.lock();
    if pool.idle <= pool.queue.len() && pool.threads < pool.limit {
        // Under the lock, so that the count is never ahead of the threads: a job queued for a thread
        // that failed to come about would wait for ever.
        match thread::Builder::new().name("sward-blocking".into()).spawn(serve) {
            Ok(_) => pool.threads += 1,
            Err(error) if pool.threads == 0 => {
                drop(pool);
                return Err(error);
            }
            Err(_) => {}
        }
    }
    let number = pool.next;
    pool.next += 1;
    pool.queue.insert(number, job);
    drop(pool);
    WORK.notify_one();
    Ok(number)
}

/// The last runtime has ended: the threads leave, so that a child that is forked now misses nothing. Threads
/// in jobs of [`detach_aside`] are not waited for.
fn rest() {
    let deadline = Instant::now() + GRACE;
    let mut nap = Duration::from_micros(20);
    let leaving = || {
        let pool = POOL.lock();
        pool.threads > pool.aside
    };
    while leaving() && fork::is_quiet() && Instant::now() < deadline {
        WORK.notify_all();
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(2));
    }
}

/// In a forked child, which has none of the threads. One that was idle has left its place in the queue of the
/// condition variable, and one that held the lock holds it for ever: then the pool cannot be used.
fn forget() -> bool {
    let Some(mut pool) = POOL.try_lock() else { return false };
    pool.threads = 0;
    pool.aside = 0;
    // What they borrow is gone with their callers, so they are not dropped either.
    std::mem::forget(std::mem::take(&mut pool.queue));
    pool.idle == 0
}

/// A thread's life.
fn serve() {
    let mut pool = POOL.lock();
    loop {
        while let Some((_, job)) = pool.queue.pop_first() {
            drop(pool);
            job();
            pool = POOL.lock();
        }
        if pool.threads > pool.limit || fork::is_quiet() {
            pool.threads -= 1;
            return;
        }
        pool.idle += 1;
        let waited = WORK.wait_for(pool.raw(), KEEP_ALIVE);
        pool.idle -= 1;
        if (waited.timed_out() || fork::is_quiet()) && pool.queue.is_empty() {
            pool.threads -= 1;
            return;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_call_borrows_and_runs_elsewhere() {
        let (mut seen, here) = (None, thread::current().id());
        let value = crate::run(|| {
            run(WaitReason::Resolve, || {
                seen = Some(thread::current());
                7
            })
        });
        assert_eq!(value.expect("a thread"), 7);
        let there = seen.expect("it ran");
        assert_ne!(there.id(), here);
        assert_eq!(there.name(), Some("sward-blocking"));
    }

    #[test]
    fn a_panic_goes_on_in_the_caller() {
        let caught = crate::run(|| catch_unwind(|| run(WaitReason::Resolve, || panic!("there"))));
        assert_eq!(caught.expect_err("a panic").downcast_ref(), Some(&"there"));
    }

    /// What was quadratic: each cancelled call walked the queue.
    #[test]
    fn a_queued_call_leaves_without_a_search() {
        const QUEUED: u64 = 20_000;
        let cost = |queued: u64| {
            let gone = u64::MAX / 2; // no thread looks at these numbers
            let start = std::time::Instant::now();
            let mut pool = POOL.lock();
            drop(pool.queue.split_off(&gone));
            pool.queue.extend((0..queued).map(|n| (gone + n, Box::new(|| ()) as Job)));
            drop(pool);
            (0..queued).rev().step_by(2).for_each(|n| drop(withdraw(gone + n)));
            (0..queued).for_each(|n| drop(withdraw(gone + n)));
            start.elapsed().as_nanos() as f64 / queued as f64
        };
        let least = |queued| (0..5).map(|_| cost(queued)).fold(f64::INFINITY, f64::min);
        let (few, many) = (least(20), least(QUEUED));
        assert!(many < 20.0 * few, "{few} ns with 20 in the queue, {many} ns with {QUEUED}");
    }

    #[test]
    fn more_calls_than_threads_wait_their_turn() {
        crate::run(|| {
            let nap = || thread::sleep(Duration::from_millis(1));
            let calls: Vec<_> = (0..2 * DEFAULT_LIMIT)
                .map(|i| crate::spawn(move || run(WaitReason::Resolve, || (nap(), i).1)))
                .collect();
            for (i, call) in calls.into_iter().enumerate() {
                assert_eq!(call.join().expect("no panic").expect("a thread"), i);
            }
        });
        assert!(usage().threads <= DEFAULT_LIMIT);
    }
}
