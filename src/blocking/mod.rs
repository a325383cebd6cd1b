//! Threads for calls that can only block: files, name resolution, libraries that know nothing of sward.
//!
//! *Problem.* A coroutine that makes such a call itself keeps its worker, and so every coroutine that lives
//! there. [`run`] gives the call to a thread of a pool and parks until it has returned.
//!
//! *Terms.* A *job* is one call for the pool. The pool belongs to the process. It has one thread for each
//! running job, up to a limit. Further jobs wait in a queue, in order, while their callers are parked. An
//! idle thread ends after [`KEEP_ALIVE`], and with the last runtime of the process. A job is *aside* if
//! nobody waits for it and it may block for long ([`detach_aside`]); it may use only a part of the threads.
//!
//! *A job*: queued (`submit`), then either withdrawn (its caller was cancelled, `withdraw`), or taken by a
//! thread, which runs it to its end. The lock of the pool decides between the two.
//!
//! *Invariant*: while a job is queued, at least one thread is alive. A thread subtracts itself from the count
//! only under the lock and with an empty queue. A job is queued under the lock under which a thread was
//! counted or created.
//!
//! In a simulation the jobs are coroutines (`simulated`).

mod simulated;

use crate::base::counted_threads::CountedThread;
use crate::base::fork;
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::base::lock::{Mutex, Rank, assert_none_held};
use crate::base::new_thread::new_thread;
use crate::coroutine::{Event, Facts, Holder, Site, Subject, WaitReason, Why};
use crate::sched::{
    Cancel, Woken, consume_budget, may_switch, note_call_began, note_call_ended, set, this_holder,
    unwind_cancelled, wait_for_event, wait_masked,
};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The number of threads, unless [`set_max_blocking_threads`] has set another one.
const DEFAULT_LIMIT: usize = 512;
/// At most one thread in this many runs a job of [`detach_aside`].
const ASIDE: usize = 8;
/// How long a thread waits for its next job before it ends.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long the end of the last runtime waits until the idle threads have ended.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a closure that blocks on a thread of a pool, and parks until it has returned. On a plain thread,
/// which may block, the closure runs in place. The same as tokio's `spawn_blocking`, but it waits, and so the
/// closure may borrow.
///
/// Use it for calls that block in the kernel or compute for long: they would keep the worker, and every
/// coroutine that lives on it. Such calls are those of libraries that know nothing of sward and open their
/// files and sockets themselves:
///
/// - `rusqlite` and all of SQLite: files, and a busy timeout that sleeps;
/// - `postgres`, `mysql` and diesel with libpq: a connection of their own;
/// - `lettre`, `ssh2`, any client in C;
/// - `std::fs`, hashing of passwords, compression, rayon.
///
/// The crate `sward-interpose` lets libraries that wait for sockets park without a thread, in an `unsafe`
/// call.
///
/// The closure runs in no coroutine: a call in it that would park blocks its thread. It sees the
/// thread-locals of that thread, and no task locals of the caller.
///
/// The pool has at most 512 threads, or as many as
/// [`set_max_blocking_threads`] says. Further calls wait in a
/// queue, first in, first out. A thread ends after ten idle seconds, and when the last runtime ends.
///
/// # Errors
///
/// The pool has no thread and none could be created. The closure has not run.
///
/// # Panics
///
/// With the closure's payload, if it panics.
///
/// # Cancellation
///
/// If the caller is cancelled, or its time limit passes, while the closure is in the queue, the closure is
/// dropped and the caller unwinds. A closure that has started is awaited: its value is returned, and the
/// caller unwinds at its next cancellation point. So give the library a timeout of its own, if it has one.
///
/// # Examples
///
/// The closure borrows from the caller, which does not continue before the closure has ended:
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
///
/// # What `move` is needed for
///
/// The closure runs on another thread, so what it captures must be `Send`. A reference `&connection` is
/// `Send` only if the connection is `Sync`, and connections of `rusqlite`, diesel and libpq are not. They are
/// `Send`, so capture a `&mut` reference. A method that takes `&self` captures `&` by itself; name the `&mut`
/// reference first, and `move` it in:
///
/// ```
/// # mod rusqlite {
/// #     pub struct Connection(std::cell::Cell<u32>);
/// #     impl Connection {
/// #         pub fn open(_: &str) -> std::io::Result<Connection> {
/// #             Ok(Connection(std::cell::Cell::new(0)))
/// #         }
/// #         pub fn execute(&self, _: &str) -> std::io::Result<u32> {
/// #             self.0.set(self.0.get() + 1);
/// #             Ok(self.0.get())
/// #         }
/// #     }
/// # }
/// sward::run(|| {
///     let mut database = sward::blocking(|| rusqlite::Connection::open("users.db"))??;
///     let connection = &mut database;
///     // `execute` takes `&self`. Without `move` this does not compile: `Connection` is not `Sync`.
///     let rows = sward::blocking(move || connection.execute("DELETE FROM sessions"))??;
///     assert_eq!(rows, 1);
///     // The caller still owns it.
///     drop(database);
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
///
/// What is not even `Send`, such as an `Rc`, cannot be captured: take what the call needs out of it before.
///
/// # A pool of connections
///
/// Permits of a [`Semaphore`](crate::sync::Semaphore) limit the connections, and so the threads. A coroutine
/// that gets none parks; it takes no thread while it waits.
///
/// ```
/// # mod postgres {
/// #     pub struct Client(u32);
/// #     impl Client {
/// #         pub fn connect(_: &str) -> std::io::Result<Client> { Ok(Client(0)) }
/// #         pub fn query_one(&mut self, _: &str) -> std::io::Result<u32> { self.0 += 1; Ok(self.0) }
/// #     }
/// # }
/// use postgres::Client;
/// use std::io;
/// use sward::sync::{Mutex, Semaphore};
///
/// struct Pool {
///     permits: Semaphore,
///     idle: Mutex<Vec<Client>>,
/// }
///
/// impl Pool {
///     fn with<T: Send>(&self, f: impl FnOnce(&mut Client) -> io::Result<T> + Send) -> io::Result<T> {
///         let _permit = self.permits.acquire().map_err(io::Error::other)?;
///         let idle = self.idle.lock().unwrap().pop();
///         let (client, value) = sward::blocking(move || {
///             let mut client = idle.map_or_else(|| Client::connect("host=db user=app"), Ok)?;
///             let value = f(&mut client)?;
///             Ok::<_, io::Error>((client, value))
///         })??;
///         // After an error, a panic or a cancellation the client is dropped, and the next caller connects.
///         self.idle.lock().unwrap().push(client);
///         Ok(value)
///     }
/// }
///
/// sward::run(|| {
///     let pool = Pool { permits: Semaphore::new(2), idle: Mutex::new(Vec::new()) };
///     sward::scope(|s| {
///         for _ in 0..10 {
///             s.spawn(|| pool.with(|client| client.query_one("SELECT 1")).unwrap());
///         }
///     });
///     assert!(pool.idle.lock().unwrap().len() <= 2);
/// });
/// ```
#[track_caller]
#[doc(alias("spawn_blocking", "block_in_place"))]
pub fn blocking<T: Send, F: FnOnce() -> T + Send>(f: F) -> io::Result<T> {
    if const { is_large::<F>() || is_large::<T>() } {
        let (f, mut value) = (large_box!(f), LargeBox::empty());
        let outcome = run(WaitReason::Blocking, || f.call_into(&mut value));
        value.into_inner_if(outcome)
    } else {
        run(WaitReason::Blocking, f)
    }
}

/// Sets how many threads [`blocking`] may use in this process, from now on. Threads beyond a lower limit end
/// when they have finished their job. Does not park.
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

/// How many threads and jobs the pool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) threads: usize,
    pub(crate) idle: usize,
    pub(crate) queued: usize,
}

/// How many threads and jobs the pool has now.
pub(crate) fn usage() -> Usage {
    let pool = POOL.lock();
    Usage { threads: pool.threads, idle: pool.idle, queued: pool.queue.len() }
}

/// A call that the pool makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Who waits for it; `None` if nobody does.
    pub(crate) caller: Option<Holder>,
    /// Where the call was made.
    pub(crate) site: Site,
    /// When a thread of the pool took it; before that, when it was queued.
    pub(crate) since: Instant,
}

/// The calls that run now, each with its number.
pub(crate) fn running_calls() -> Vec<(u64, Call)> {
    POOL.lock().running.iter().map(|(number, call)| (*number, *call)).collect()
}

/// What a caller of the pool waits for.
struct Awaited {
    call: u64,
}

// SAFETY: a number that never changes.
unsafe impl Subject for Awaited {
    fn facts(&self) -> Facts {
        Facts::Blocking { call: self.call }
    }
}

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    /// By number, so that the job of a cancelled caller is removed without a search.
    queue: BTreeMap<u64, (Job, Call)>,
    /// The calls that threads have taken and not finished.
    running: BTreeMap<u64, Call>,
    /// The number of the next job.
    next: u64,
    limit: usize,
    threads: usize,
    /// Jobs of `detach_aside` that were accepted and have not ended.
    aside: usize,
    /// Threads that wait for a job, including notified threads that have not woken up yet.
    idle: usize,
}

static POOL: Mutex<Pool> = Mutex::new(
    Rank::Blocking,
    Pool {
        queue: BTreeMap::new(),
        running: BTreeMap::new(),
        next: 0,
        limit: DEFAULT_LIMIT,
        threads: 0,
        aside: 0,
        idle: 0,
    },
);
static JOB_QUEUED: parking_lot::Condvar = parking_lot::Condvar::new();

/// As [`blocking`], with a wait reason of its own.
#[track_caller]
pub(crate) fn run<T: Send>(reason: WaitReason, f: impl FnOnce() -> T + Send) -> io::Result<T> {
    if !may_switch() {
        return Ok(f());
    }
    assert_none_held();
    consume_budget();
    let mut outcome: Option<thread::Result<T>> = None;
    // Shared, since `set` on the other thread may still use it when the caller has gone on.
    let done = Arc::new(Event::new());
    let store = OutcomePtr(&raw mut outcome);
    let job_done = Arc::clone(&done);
    let job: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(f));
        // SAFETY: the caller's frame stays until `done` is set, and it reads the outcome only afterwards.
        unsafe { store.write(result) };
        set(&job_done);
    });
    // SAFETY: only the lifetime of what `f` and `T` borrow changes. They are not touched once this
    // frame can end, which is after
    // - `submit` failed, or `withdraw` succeeded: they have dropped the job; or
    // - `done` was set: `f` was consumed and its result moved into this frame before. What the job
    //   still holds then, `job_done` and a pointer it does not follow, borrows nothing.
    // Nothing ends the frame in between: after the first wait, which does not unwind, it is withdrawn or
    // awaited by `wait_masked`, which obeys no cancellation; and the pool neither drops a job it has
    // taken nor lets one wait without a thread.
    let job = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Job>(job) };
    let caller = Holder::from_word(this_holder());
    let call = Call { caller, site: Location::caller(), since: Instant::now() };
    let number = submit(job, call)?;
    let awaited = Awaited { call: number };
    let why = Why::new(reason, &awaited);
    if wait_for_event(&done, why, None, Cancel::Obey) != Woken::Event {
        if let Some(job) = withdraw(number) {
            drop(job);
            unwind_cancelled();
        }
        wait_masked(&done, why);
    }
    match outcome.expect("the job stores its outcome before it sets the event") {
        Ok(value) => Ok(value),
        Err(panic) => resume_unwind(panic),
    }
}

/// Runs a closure on a thread of the pool without waiting for it. Does not park.
///
/// # Errors
///
/// The pool has no thread and none could be created. The closure was dropped.
#[track_caller]
pub(crate) fn detach(f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let call = Call { caller: None, site: Location::caller(), since: Instant::now() };
    submit(Box::new(f), call).map(drop)
}

/// As [`detach`], for a closure that may block for long. At most one thread in [`ASIDE`] runs such a job at a
/// time, so that the others stay free for callers that wait.
///
/// # Errors
///
/// Those of [`detach`], and `WouldBlock` if that many threads run such jobs already.
#[track_caller]
pub(crate) fn detach_aside(f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut pool = POOL.lock();
    if pool.aside >= pool.limit / ASIDE {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    pool.aside += 1;
    drop(pool);
    let permit = AsidePermit;
    detach(move || {
        let _permit = permit;
        f();
    })
}

/// Counted in `Pool::aside` until it is dropped.
struct AsidePermit;

impl Drop for AsidePermit {
    fn drop(&mut self) {
        POOL.lock().aside -= 1;
    }
}

/// Where the job stores its outcome, in the caller's frame.
struct OutcomePtr<T>(*mut Option<thread::Result<T>>);

// SAFETY: one thread at a time uses the pointer: the job's until `done` is set, then the caller's. The value
// moves from one to the other, and so does a panic's payload, which is `Send`.
unsafe impl<T: Send> Send for OutcomePtr<T> {}

impl<T> OutcomePtr<T> {
    /// # Safety
    ///
    /// The pointer is valid, and nobody else accesses it.
    unsafe fn write(self, outcome: thread::Result<T>) {
        // SAFETY: passed on to the caller.
        unsafe { *self.0 = Some(outcome) };
    }
}

/// Removes a job from the queue, if no thread has taken it.
fn withdraw(number: u64) -> Option<Job> {
    let queued = POOL.lock().queue.remove(&number).map(|(job, _)| job);
    queued.or_else(|| simulated::withdraw(number))
}

/// Queues a job for a living thread and returns its number; or fails and drops the job.
fn submit(job: Job, call: Call) -> io::Result<u64> {
    fork::check();
    let job = match simulated::submit(job) {
        Ok(number) => return Ok(number),
        Err(job) => job,
    };
    fork::register_pool(fork::PoolHooks { end_idle_threads, forget_threads: reset_after_fork });
    let mut pool = POOL.lock();
    if pool.idle <= pool.queue.len() && pool.threads < pool.limit {
        // Under the lock, so that each counted thread exists: a job that is queued for a thread that
        // could not be created would wait for ever.
        match new_thread("sward-blocking").and_then(|thread| thread.spawn(work)) {
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
    pool.queue.insert(number, (job, call));
    drop(pool);
    JOB_QUEUED.notify_one();
    Ok(number)
}

/// The last runtime has ended: idle threads end, so that a child that is forked now does not lack any.
/// Threads with jobs of [`detach_aside`] are not waited for.
fn end_idle_threads() {
    let deadline = Instant::now() + END_TIMEOUT;
    let mut nap = Duration::from_micros(20);
    let leaving = || {
        let pool = POOL.lock();
        pool.threads > pool.aside
    };
    while leaving() && fork::no_runtime_lives() && Instant::now() < deadline {
        JOB_QUEUED.notify_all();
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(2));
    }
}

/// Called in a forked child, which has none of the threads. An idle thread has left its entry in the queue of
/// the condition variable, and a thread that held the lock holds it for ever: in these cases the pool cannot
/// be used.
fn reset_after_fork() -> bool {
    let Some(mut pool) = POOL.try_lock() else { return false };
    pool.threads = 0;
    pool.aside = 0;
    // Their callers are gone with what the jobs borrow, so the jobs are leaked.
    std::mem::forget(std::mem::take(&mut pool.queue));
    pool.running.clear();
    pool.idle == 0
}

/// The main function of a thread of the pool.
fn work() {
    let _own = CountedThread::begin();
    let mut pool = POOL.lock();
    loop {
        while let Some((number, (job, call))) = pool.queue.pop_first() {
            pool.running.insert(number, Call { since: Instant::now(), ..call });
            drop(pool);
            note_call_began(number, call.site, call.caller);
            job();
            note_call_ended(number);
            pool = POOL.lock();
            pool.running.remove(&number);
        }
        if pool.threads > pool.limit || fork::no_runtime_lives() {
            pool.threads -= 1;
            return;
        }
        pool.idle += 1;
        let waited = JOB_QUEUED.wait_for(pool.raw(), KEEP_ALIVE);
        pool.idle -= 1;
        if (waited.timed_out() || fork::no_runtime_lives()) && pool.queue.is_empty() {
            pool.threads -= 1;
            return;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::base::sys::ThreadClock;
    use crate::sched::testing;

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
    fn a_call_that_runs_is_known_with_its_caller_and_line() {
        let line = line!() + 6;
        testing::on_one_worker(|| {
            let (begun, begins) = crate::channel::bounded(1);
            let (ends, end) = std::sync::mpsc::channel::<()>();
            let caller = crate::spawn(move || {
                // Nobody waits for the thread of the pool.
                blocking(move || {
                    begun.send(()).expect("a receiver");
                    end.recv()
                })
            });
            begins.recv().expect("it runs");
            let waits = testing::wait_of(&caller.task(), WaitReason::Blocking);
            let Some(Facts::Blocking { call }) = waits.facts else { panic!("a call, not {:?}", waits.facts) };
            let calls = running_calls();
            let (_, found) = calls.iter().find(|(number, _)| *number == call).expect("it runs");
            assert_eq!(found.caller, caller.task().id().map(Holder::Coroutine));
            assert_eq!((found.site.file(), found.site.line()), (file!(), line));
            drop(ends);
            assert!(caller.join().expect("no panic").expect("a thread").is_err());
            // The caller may go on before the thread has taken it off.
            while running_calls().iter().any(|(number, _)| *number == call) {
                crate::yield_now();
            }
        });
    }

    #[test]
    fn a_panic_goes_on_in_the_caller() {
        let caught = crate::run(|| catch_unwind(|| run(WaitReason::Resolve, || panic!("there"))));
        assert_eq!(caught.expect_err("a panic").downcast_ref(), Some(&"there"));
    }

    /// A cancelled call must not walk the queue: many of them would take quadratic time.
    #[test]
    fn a_queued_call_leaves_without_a_search() {
        const QUEUED: u64 = 20_000;
        // Time in which the system runs others does not count.
        let began = Instant::now();
        let clock = ThreadClock::of_this_thread();
        let used = || clock.and_then(ThreadClock::read).unwrap_or_else(|| began.elapsed());
        let cost = |queued: u64| {
            let gone = u64::MAX / 2; // no thread looks at these numbers
            let call = Call { caller: None, site: Location::caller(), since: Instant::now() };
            let start = used();
            let mut pool = POOL.lock();
            drop(pool.queue.split_off(&gone));
            pool.queue.extend((0..queued).map(|n| (gone + n, (Box::new(|| ()) as Job, call))));
            drop(pool);
            (0..queued).rev().step_by(2).for_each(|n| drop(withdraw(gone + n)));
            (0..queued).for_each(|n| drop(withdraw(gone + n)));
            (used() - start).as_nanos() as f64 / queued as f64
        };
        let least = |queued| (0..5).map(|_| cost(queued)).fold(f64::INFINITY, f64::min);
        // A search would cost a thousand times as much.
        let (few, many) = (least(20), least(QUEUED));
        assert!(many < 100.0 * few, "{few} ns with 20 in the queue, {many} ns with {QUEUED}");
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
