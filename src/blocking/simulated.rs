//! The pool in a simulation: each job is a coroutine, which begins after a while that the simulation draws.
//! So a job may wait as on a thread of the pool, and it runs in an order that depends on the seed alone.

use super::Job;
use crate::base::clock;
use crate::coroutine::WaitReason;
use crate::sched::{self, Cancel, Spawn, wait};
use crate::stack::StackOverride;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Their numbers begin here, above those of jobs for threads.
const FIRST: u64 = 1 << 63;
/// The address space of a job's stack: as much as that of a thread.
const STACK: usize = 2 << 20;

/// The jobs that have not begun, of all simulations.
static JOBS: parking_lot::Mutex<BTreeMap<u64, Job>> = parking_lot::Mutex::new(BTreeMap::new());

/// Removes a job, if it has not begun.
pub(super) fn withdraw(number: u64) -> Option<Job> {
    JOBS.lock().remove(&number)
}

/// Makes a coroutine for the job, if the calling thread simulates: the job's number. Otherwise returns the
/// job.
pub(super) fn submit(job: Job) -> Result<u64, Job> {
    static NEXT: AtomicU64 = AtomicU64::new(FIRST);
    let Some(random) = sched::simulated_random() else { return Err(job) };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    JOBS.lock().insert(number, job);
    // Up to 67 milliseconds, and each magnitude is equally likely.
    let delay = Duration::from_nanos(u64::from(random >> 6) >> (random % 20));
    let stack = StackOverride::new(Some(STACK), None).expect("a size that every system has");
    let spawn = Spawn::on_this_worker().named("blocking call").stack(stack);
    sched::spawn_detached(spawn, move || {
        // Masked, as no cancellation ends a thread of the pool.
        sched::masked(|| {
            let until = Some(clock::now() + delay);
            // SAFETY: the ticket is published nowhere but in the worker's timers, from which `wait` takes it.
            unsafe { wait(WaitReason::Sleep.into(), until, Cancel::Mask, &mut |_| true) };
            if let Some(job) = withdraw(number) {
                job();
            }
        });
    });
    Ok(number)
}
