//! A pool of connections and a pool of workers, each right and with bugs planted: a permit that a failure
//! loses, a connection that goes back broken, a wake-up that is lost, a shutdown that forgets jobs, a join
//! under a lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use sward::sim::{Check, Failed, Sim};
use sward::sync::{Condvar, Mutex, Semaphore};
use sward::{channel, sleep, spawn, task};

/// The bugs of the pool of connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PoolBug {
    None,
    /// A use that fails leaves without giving its permit back.
    PermitLost,
    /// A connection that has failed goes back to the idle ones.
    BrokenGoesBack,
    /// The number of connections is read and written in two steps.
    CountedTwice,
}

struct Connection {
    broken: bool,
}

struct Pool {
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
    open: Mutex<usize>,
    bug: PoolBug,
}

impl Pool {
    fn new(bug: PoolBug) -> Pool {
        Pool { permits: Semaphore::new(2), idle: Mutex::new(Vec::new()), open: Mutex::new(0), bug }
    }

    fn use_one(&self, fails: bool) {
        let permit = self.permits.acquire().unwrap();
        let idle = self.idle.lock().unwrap().pop();
        let mut connection = idle.unwrap_or_else(|| self.connect());
        assert!(!connection.broken, "a broken connection is handed out");
        task::yield_now();
        connection.broken = fails;
        if fails && self.bug == PoolBug::PermitLost {
            permit.forget();
            *self.open.lock().unwrap() -= 1;
            return;
        }
        if fails && self.bug != PoolBug::BrokenGoesBack {
            *self.open.lock().unwrap() -= 1;
        } else {
            self.idle.lock().unwrap().push(connection);
        }
    }

    fn connect(&self) -> Connection {
        if self.bug == PoolBug::CountedTwice {
            let open = *self.open.lock().unwrap();
            *self.open.lock().unwrap() = open + 1;
        } else {
            *self.open.lock().unwrap() += 1;
        }
        sleep(Duration::from_millis(1));
        Connection { broken: false }
    }
}

fn pool(bug: PoolBug) -> impl Fn(&Sim) + Sync {
    move |sim| {
        let pool = Arc::new(Pool::new(bug));
        let users: Vec<_> = (0..4)
            .map(|_| {
                let (pool, fails) = (Arc::clone(&pool), sim.random() % 4 == 0);
                spawn(move || pool.use_one(fails))
            })
            .collect();
        users.into_iter().for_each(|user| user.join().unwrap());
        assert_eq!(pool.permits.available_permits(), 2, "a permit is lost");
        assert_eq!(*pool.open.lock().unwrap(), pool.idle.lock().unwrap().len(), "connections are miscounted");
    }
}

/// The bugs of the pool of workers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WorkersBug {
    None,
    /// A worker looks at the queue, and waits without looking again under the lock.
    LostWakeUp,
    /// A shutdown wakes one worker instead of all.
    ForgottenNotify,
    /// A worker that is told to end leaves what is queued.
    JobsForgotten,
    /// A job is taken out only after it has run, so two workers may run it.
    TakenTwice,
    /// The shutdown joins the workers while it holds the lock that they need.
    JoinedUnderLock,
}

struct Jobs {
    queue: VecDeque<u32>,
    closed: bool,
}

struct Workers {
    jobs: Mutex<Jobs>,
    changed: Condvar,
    done: Mutex<Vec<u32>>,
    bug: WorkersBug,
}

impl Workers {
    fn work(&self) {
        loop {
            let mut jobs = self.jobs.lock().unwrap();
            if self.bug == WorkersBug::LostWakeUp {
                let empty = jobs.queue.is_empty() && !jobs.closed;
                drop(jobs);
                jobs = self.jobs.lock().unwrap();
                if empty {
                    jobs = self.changed.wait(jobs).unwrap();
                }
            } else {
                while jobs.queue.is_empty() && !jobs.closed {
                    jobs = self.changed.wait(jobs).unwrap();
                }
            }
            if jobs.closed && (jobs.queue.is_empty() || self.bug == WorkersBug::JobsForgotten) {
                return;
            }
            if self.bug == WorkersBug::TakenTwice {
                let Some(job) = jobs.queue.front().copied() else { continue };
                drop(jobs);
                self.run(job);
                self.jobs.lock().unwrap().queue.pop_front();
            } else if let Some(job) = jobs.queue.pop_front() {
                drop(jobs);
                self.run(job);
            }
        }
    }

    fn run(&self, job: u32) {
        sleep(Duration::from_micros(u64::from(job)));
        self.done.lock().unwrap().push(job);
    }
}

fn workers(bug: WorkersBug) -> impl Fn(&Sim) + Sync {
    move |sim| {
        let shared = Arc::new(Workers {
            jobs: Mutex::new(Jobs { queue: VecDeque::new(), closed: false }),
            changed: Condvar::new(),
            done: Mutex::new(Vec::new()),
            bug,
        });
        let all: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                spawn(move || shared.work())
            })
            .collect();
        for job in 0..4 {
            shared.jobs.lock().unwrap().queue.push_back(job);
            shared.changed.notify_one();
        }
        if sim.random() % 2 == 0 {
            sleep(Duration::from_millis(1));
        }
        let mut jobs = shared.jobs.lock().unwrap();
        jobs.closed = true;
        if bug == WorkersBug::ForgottenNotify {
            shared.changed.notify_one();
        } else {
            shared.changed.notify_all();
        }
        if bug == WorkersBug::JoinedUnderLock {
            all.into_iter().for_each(|worker| worker.join().unwrap());
            drop(jobs);
        } else {
            drop(jobs);
            all.into_iter().for_each(|worker| worker.join().unwrap());
        }
        let mut done = std::mem::take(&mut *shared.done.lock().unwrap());
        done.sort_unstable();
        assert_eq!(done, [0, 1, 2, 3], "jobs were lost or run twice");
    }
}

/// It is found within a thousand seeds, and its seed fails again.
fn found(program: impl Fn(&Sim) + Sync, what: &str) {
    let check = Check::new().runs(1000);
    let run = |check: &Check| -> Box<Failed> { check.try_run(&program).expect_err("nothing is found") };
    let failed = run(&check);
    assert!(failed.what().contains(what), "{failed}");
    assert_eq!(run(&check.seed(failed.seed()).runs(1)).what(), failed.what());
}

#[test]
fn a_pool_of_connections() {
    Check::new().runs(200).run(pool(PoolBug::None));
}

#[test]
fn a_pool_that_loses_a_permit_when_a_use_fails() {
    found(pool(PoolBug::PermitLost), "");
}

#[test]
fn a_pool_that_hands_out_broken_connections() {
    found(pool(PoolBug::BrokenGoesBack), "a broken connection is handed out");
}

#[test]
fn a_pool_that_miscounts_its_connections() {
    found(pool(PoolBug::CountedTwice), "connections are miscounted");
}

#[test]
fn a_pool_of_workers() {
    Check::new().runs(200).run(workers(WorkersBug::None));
}

#[test]
fn workers_that_lose_a_wake_up() {
    found(workers(WorkersBug::LostWakeUp), "Condvar::wait");
}

#[test]
fn workers_of_which_one_is_not_woken_at_the_end() {
    found(workers(WorkersBug::ForgottenNotify), "Condvar::wait");
}

#[test]
fn workers_that_forget_jobs_at_the_end() {
    found(workers(WorkersBug::JobsForgotten), "jobs were lost or run twice");
}

#[test]
fn workers_that_run_a_job_twice() {
    found(workers(WorkersBug::TakenTwice), "");
}

#[test]
fn workers_that_are_joined_under_their_lock() {
    found(workers(WorkersBug::JoinedUnderLock), "deadlock");
}

/// Two requests that each wait for the other's answer: channels of no capacity, and nobody receives.
#[test]
fn two_that_send_to_each_other_before_they_receive() {
    let program = |_: &Sim| {
        let (to_a, from_b) = channel::bounded(0);
        let (to_b, from_a) = channel::bounded(0);
        let a = spawn(move || {
            to_b.send(1).unwrap();
            from_b.recv().unwrap()
        });
        to_a.send(2).unwrap();
        assert_eq!(from_a.recv().unwrap() + a.join().unwrap(), 3);
    };
    found(program, "deadlock");
}
