//! Rank 5: calls that block their thread and cannot be made to park, on a pool of threads.
//!
//! The pool is bounded and elastic: a thread is started when there is a job and nobody idle, up to
//! [`MOST`]; one that has been idle for [`IDLE`] leaves. Beyond that jobs queue.

use crate::base::lock::{Mutex, Rank};
use crate::coroutine::{Event, WaitReason};
use crate::sched::{set, wait_masked};
use parking_lot::Condvar;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

const MOST: usize = 64;
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    state: Mutex<State>,
    bell: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static POOL: Pool = Pool {
    state: Mutex::new(Rank::Blocking, State { jobs: VecDeque::new(), threads: 0, idle: 0 }),
    bell: Condvar::new(),
};

/// Runs the closure on a thread of the pool while the caller parks, and gives what it returns. A panic
/// in it goes on in the caller. Not interrupted by cancellation: a started closure is never left
/// alone, so it may borrow from the caller.
///
/// # Errors
///
/// No thread could be started and the pool has none; then the closure has not run.
pub(crate) fn run<T: Send>(reason: WaitReason, f: impl FnOnce() -> T + Send) -> io::Result<T> {
    let mut result = None;
    let done = Arc::new(Event::new());
    let theirs = Arc::clone(&done);
    let slot = &mut result;
    let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
        *slot = Some(catch_unwind(AssertUnwindSafe(f)));
        set(&theirs);
    });
    // SAFETY: what the job borrows outlives it: this frame stays until `done` is set, which is the
    // last thing that the job does, or the job was refused and has been dropped. The wait is masked
    // and does not unwind. The event is not on this frame, since `set` uses it for some time after
    // the waiter may have gone on.
    let job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
    POOL.submit(job)?;
    wait_masked(&done, reason);
    match result.expect("the job has set it before the event") {
        Ok(value) => Ok(value),
        Err(payload) => resume_unwind(payload),
    }
}

impl Pool {
    fn submit(&'static self, job: Job) -> io::Result<()> {
        let mut state = self.state.lock();
        state.jobs.push_back(job);
        if state.jobs.len() > state.idle && state.threads < MOST {
            let started =
                std::thread::Builder::new().name("sward-blocking".to_owned()).spawn(|| self.serve());
            match started {
                Ok(_) => state.threads += 1,
                // Those that are there will come to it.
                Err(_) if state.threads > 0 => {}
                Err(e) => {
                    let job = state.jobs.pop_back();
                    drop(state);
                    drop(job);
                    return Err(e);
                }
            }
        }
        self.bell.notify_one();
        Ok(())
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            let late = self.bell.wait_for(state.raw(), IDLE).timed_out();
            state.idle -= 1;
            if late && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn borrows_and_returns() {
        let mut local = 1;
        let there = run(WaitReason::Resolve, || {
            local += 1;
            std::thread::current().id()
        });
        assert_ne!(there.expect("a thread"), std::thread::current().id());
        assert_eq!(local, 2);
    }

    #[test]
    fn more_jobs_than_threads_all_run() {
        std::thread::scope(|s| {
            let callers: Vec<_> =
                (0..4 * MOST).map(|i| s.spawn(move || run(WaitReason::Resolve, || i))).collect();
            for (i, caller) in callers.into_iter().enumerate() {
                assert_eq!(caller.join().expect("no panic").expect("a thread"), i);
            }
        });
    }

    #[test]
    fn a_panic_goes_on_in_the_caller() {
        let caught = catch_unwind(|| run(WaitReason::Resolve, || panic!("in the pool")));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"in the pool"));
    }
}
