//! Threads for calls that can only block: name resolution.
//!
//! A coroutine that made such a call itself would hold up its worker. [`run`] hands the call to a pool
//! and parks until it has returned. The pool has a thread per call under way, at most [`MAX_THREADS`];
//! what comes beyond waits in a queue. Idle threads leave after [`KEEP_ALIVE`].
//!
//! Invariant: while a job is queued there is a living thread. A thread counts itself out only under the
//! lock and with the queue empty; a job is queued under the lock that a thread was counted or created
//! under.

use crate::base::lock::{Mutex, Rank};
use crate::coroutine::{Event, WaitReason};
use crate::sched::{may_switch, set, wait_masked};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const MAX_THREADS: usize = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    queue: VecDeque<Job>,
    threads: usize,
    /// Threads that wait for work, those included that were notified and have not got up yet.
    idle: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Rank::Blocking, Pool { queue: VecDeque::new(), threads: 0, idle: 0 });
static WORK: parking_lot::Condvar = parking_lot::Condvar::new();

/// Runs the closure on a thread of the pool and parks until it has returned. On a plain thread, which
/// may block, it runs in place.
///
/// A panic of the closure goes on in the caller. A cancellation waits until the closure has returned.
///
/// # Errors
///
/// There is no thread and none could be created; the closure has not run.
pub(crate) fn run<T: Send>(reason: WaitReason, f: impl FnOnce() -> T + Send) -> io::Result<T> {
    if !may_switch() {
        return Ok(f());
    }
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
    // - `submit` failed: it has dropped the job; or
    // - `done` was set: `f` was consumed and its result moved into this frame before. What the job
    //   still holds then, `told` and a pointer it does not follow, borrows nothing.
    // Nothing ends the frame in between: `wait_masked` obeys no cancellation and does not unwind, and
    // the pool neither drops a job it has taken nor lets one wait without a thread.
    let job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
    submit(job)?;
    wait_masked(&done, reason);
    match outcome.expect("the job stores its outcome before it sets the event") {
        Ok(value) => Ok(value),
        Err(panic) => resume_unwind(panic),
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

/// Queues a job for a thread that lives, or drops it and fails.
fn submit(job: Job) -> io::Result<()> {
    let mut pool = POOL.lock();
    if pool.idle <= pool.queue.len() && pool.threads < MAX_THREADS {
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
    pool.queue.push_back(job);
    drop(pool);
    WORK.notify_one();
    Ok(())
}

/// A thread's life.
fn serve() {
    let mut pool = POOL.lock();
    loop {
        while let Some(job) = pool.queue.pop_front() {
            drop(pool);
            job();
            pool = POOL.lock();
        }
        pool.idle += 1;
        let waited = WORK.wait_for(pool.raw(), KEEP_ALIVE);
        pool.idle -= 1;
        if waited.timed_out() && pool.queue.is_empty() {
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

    #[test]
    fn more_calls_than_threads_wait_their_turn() {
        crate::run(|| {
            let nap = || thread::sleep(Duration::from_millis(1));
            let calls: Vec<_> = (0..3 * MAX_THREADS)
                .map(|i| crate::spawn(move || run(WaitReason::Resolve, || (nap(), i).1)))
                .collect();
            for (i, call) in calls.into_iter().enumerate() {
                assert_eq!(call.join().expect("no panic").expect("a thread"), i);
            }
        });
        assert!(POOL.lock().threads <= MAX_THREADS);
    }
}
