//! Runtimes: how many workers, how they start and how they end.
//!
//! What the public documentation of [`crate::runtime`] says is kept here.

use super::fork;
use super::hook;
use super::shared::{Config, Phase, Runnable, Shared};
use super::wait::{wait_masked, wake_all};
use super::worker::{self, Home, Worker};
use crate::base::clock::ThreadClock;
use crate::coroutine::{self, Batch, Handle, Header, Id, JoinError, Settings, WaitReason};
use crate::stack::{self, StackSize, overflow};
use once_cell::sync::OnceCell;
use std::fmt::Write;
use std::io;
use std::panic::resume_unwind;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a shutdown waits for coroutines to unwind.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// How long abandoned workers have to leave.
const GRACE: Duration = Duration::from_millis(200);
const MOST_WORKERS: usize = 1024;
const MIGRATE_BY_DEFAULT: bool = cfg!(sward_migrate);

/// What the environment says.
struct Defaults {
    workers: usize,
    stack_size: StackSize,
}

impl Defaults {
    fn get() -> io::Result<&'static Defaults> {
        static DEFAULTS: OnceCell<Defaults> = OnceCell::new();
        DEFAULTS.get_or_try_init(|| {
            let workers = match variable("SWARD_WORKERS")? {
                None => std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS),
                Some(text) => text
                    .parse()
                    .map_err(|e: std::num::ParseIntError| e.to_string())
                    .and_then(|n| check_workers(n).map_err(|e| e.to_string()))
                    .map_err(|e| nonsense("SWARD_WORKERS", &text, &e))?,
            };
            let stack_size = match variable("SWARD_STACK_SIZE")? {
                None => StackSize::DEFAULT,
                Some(text) => parse_size(&text)
                    .and_then(|bytes| StackSize::new(bytes).map_err(|e| e.to_string()))
                    .map_err(|e| nonsense("SWARD_STACK_SIZE", &text, &e))?,
            };
            Ok(Defaults { workers, stack_size })
        })
    }
}

fn variable(name: &str) -> io::Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(e) => Err(nonsense(name, "", &e.to_string())),
    }
}

fn nonsense(name: &str, text: &str, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("environment variable {name}={text:?}: {why}"))
}

fn parse_size(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.trim().to_ascii_uppercase() {
        t if t.ends_with('K') => (t[..t.len() - 1].to_owned(), 1 << 10),
        t if t.ends_with('M') => (t[..t.len() - 1].to_owned(), 1 << 20),
        t => (t, 1),
    };
    let number: usize = digits.trim().parse().map_err(|e: std::num::ParseIntError| e.to_string())?;
    number.checked_mul(unit).ok_or_else(|| "number too large".to_owned())
}

fn check_workers(n: usize) -> io::Result<usize> {
    if (1..=MOST_WORKERS).contains(&n) {
        Ok(n)
    } else {
        let text = format!("a runtime has from 1 to {MOST_WORKERS} worker threads, not {n}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

/// Settings of a runtime that is to be started.
///
/// ```
/// let runtime = sward::runtime::Builder::new().worker_threads(2).thread_name("server").build()?;
/// let sum = runtime.run(|| {
///     let other = sward::spawn(|| 40);
///     other.join().unwrap() + 2
/// });
/// assert_eq!(sum, 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    workers: Option<usize>,
    stack_size: Option<usize>,
    thread_name: Option<String>,
    migrate: bool,
    stall: Option<Duration>,
}

impl Builder {
    /// The default settings.
    pub fn new() -> Builder {
        Builder { migrate: MIGRATE_BY_DEFAULT, ..Builder::default() }
    }

    /// The number of threads that run coroutines; by default as many as the machine has processors
    /// for this process. From 1 to 1024: anything else is an error of [`build`](Self::build).
    pub fn worker_threads(mut self, n: usize) -> Builder {
        self.workers = Some(n);
        self
    }

    /// The address space of each coroutine's stack in bytes, guard included, rounded up to a power of
    /// two; by default 256 KiB. Memory is committed as it is touched. Zero, or more than 1 GiB, is an
    /// error of [`build`](Self::build).
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// The name of the worker threads, each with its number behind; by default `sward`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Builder {
        self.thread_name = Some(name.into());
        self
    }

    /// How long a coroutine may keep its worker before others take over what waits behind it and may be
    /// taken; by default 20 ms. After ten times as long, if something waits that only this worker can
    /// run, the coroutine is reported on stderr, at most every ten seconds.
    pub fn stall_threshold(mut self, threshold: Duration) -> Builder {
        self.stall = Some(threshold);
        self
    }

    /// Lets started coroutines move between workers, as in Go: any coroutine that is runnable may be
    /// run by whichever worker is free. [`task::Builder::pinned`](crate::task::Builder::pinned)
    /// exempts single ones.
    ///
    /// # Safety
    ///
    /// Code that runs in coroutines of this runtime holds nothing that is bound to a thread across a
    /// call that may park: no `!Send` value whose other half is elsewhere, no reference into a
    /// thread-local, no lock guard of `std::sync` or `parking_lot`, no `StdoutLock`, no
    /// `crossbeam_epoch::Guard`, no `ThreadRng`. This goes for all the libraries it calls as well.
    /// `docs/SAFETY.md` has the whole contract.
    pub unsafe fn migrate_started(mut self) -> Builder {
        self.migrate = true;
        self
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for settings that make no sense, in here or in the environment; otherwise what
    /// the system says: no threads (`WouldBlock`), no descriptors, no memory. Nothing is left behind.
    pub fn build(self) -> io::Result<Runtime> {
        fork::watch();
        fork::check();
        stack::check_environment()?;
        overflow::install()?;
        overflow::set_describe(describe_current);
        hook::install();
        let defaults = Defaults::get()?;
        let config = Config {
            workers: self.workers.map_or(Ok(defaults.workers), check_workers)?,
            stack_size: self.stack_size.map_or(Ok(defaults.stack_size), StackSize::new)?,
            thread_name: self.thread_name.unwrap_or_else(|| "sward".to_owned()),
            migrate: self.migrate,
            stall: self.stall.unwrap_or(Duration::from_millis(20)),
        };
        if config.thread_name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a thread's name cannot hold a zero byte",
            ));
        }
        let runtime = Runtime { shared: Shared::new(config)? };
        // On an error the runtime is dropped, which ends the threads that did start.
        runtime.shared.start_netpoller()?;
        for index in 0..runtime.shared.config().workers {
            start_worker(&runtime.shared, index)?;
        }
        Ok(runtime)
    }
}

fn describe_current(message: &mut overflow::Message) {
    let Some(header) = worker::current_coroutine() else { return };
    // SAFETY: the coroutine that runs on this thread is alive.
    let header = unsafe { header.as_ref() };
    let _ = match header.name() {
        Some(name) => write!(message, "coroutine '{name}' (id {})", header.id()),
        None => write!(message, "coroutine {}", header.id()),
    };
}

/// A set of workers with their coroutines. Dropping it shuts it down, as [`runtime`](crate::runtime) says.
#[must_use = "dropping a runtime shuts it down"]
pub struct Runtime {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("workers", &self.shared.config().workers).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Runs the closure as a coroutine and blocks the thread until it returns. The closure may borrow:
    /// this call does not return before it has ended. Coroutines that it has spawned go on.
    ///
    /// # Panics
    ///
    /// If the closure panics, with its payload; inside a coroutine; if there is no stack to be had.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        refuse_inside("Runtime::run");
        let spawn = Spawn::of(&self.shared).named("main");
        // SAFETY: the coroutine has ended, and its output is taken, before this frame does: the wait
        // is masked, and on a plain thread it does not unwind.
        let handle = unsafe { spawn.start(f) };
        wait_masked(&handle.header().done, WaitReason::Join);
        // SAFETY: it is done, `T` is its type, and the handle is not used again.
        match unsafe { handle.take::<T>() } {
            Ok(value) => value,
            Err(JoinError::Panicked(payload)) => resume_unwind(payload),
            Err(error) => panic!("sward: {error}"),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Shuts the runtime down, giving its coroutines that time to unwind. Blocks the thread.
    pub fn shutdown_timeout(self, timeout: Duration) {
        self.shared.shut_down(timeout);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shared.shut_down(SHUTDOWN);
    }
}

fn refuse_inside(what: &str) {
    assert!(
        worker::current_coroutine().is_none(),
        "sward: {what} was called inside a coroutine; spawn the closure instead, or call it directly"
    );
}

/// The runtime that `spawn` uses on plain threads.
static DEFAULT: parking_lot::Mutex<Option<Arc<Shared>>> = parking_lot::Mutex::new(None);

/// Starts a runtime with the default settings, runs the closure as its first coroutine, and shuts the
/// runtime down when the closure has returned (see [`runtime`](crate::runtime) for what that means
/// for coroutines that are still alive). The closure may borrow from the caller.
///
/// While it runs, [`spawn`](crate::spawn) on plain threads uses this runtime, so those coroutines end with
/// it as well; unless there was a default runtime before, which then stays the default. Two calls of
/// `run` at a time have a runtime each.
///
/// # Panics
///
/// If the closure panics, with its payload; inside a coroutine; if the runtime cannot be started.
///
/// ```
/// let words = ["a", "b"];
/// let n = sward::run(|| words.len());
/// assert_eq!(n, 2);
/// ```
pub fn run<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    refuse_inside("run");
    let runtime = Builder::new().build().unwrap_or_else(|e| panic!("sward: the runtime cannot start: {e}"));
    let _default = AsDefault::claim(&runtime.shared);
    runtime.run(f)
}

/// Holds the place of the default runtime, if it was free.
struct AsDefault(Option<Arc<Shared>>);

impl AsDefault {
    fn claim(shared: &Arc<Shared>) -> AsDefault {
        let mut default = DEFAULT.lock();
        let free = default.is_none();
        if free {
            *default = Some(Arc::clone(shared));
        }
        AsDefault(free.then(|| Arc::clone(shared)))
    }
}

impl Drop for AsDefault {
    fn drop(&mut self) {
        if let Some(mine) = &self.0 {
            let mut default = DEFAULT.lock();
            if default.as_ref().is_some_and(|present| Arc::ptr_eq(present, mine)) {
                *default = None;
            }
        }
    }
}

/// The runtime of the calling coroutine, else the default one, which is started if there is none.
fn current_or_default() -> io::Result<Arc<Shared>> {
    if let Some(shared) = worker::with(|worker| Arc::clone(worker.shared())) {
        return Ok(shared);
    }
    let mut default = DEFAULT.lock();
    if let Some(shared) = &*default {
        return Ok(Arc::clone(shared));
    }
    // It has no end: like Go's, it goes with the process.
    let runtime = std::mem::ManuallyDrop::new(Builder::new().build()?);
    *default = Some(Arc::clone(&runtime.shared));
    Ok(Arc::clone(&runtime.shared))
}

/// What a coroutine is spawned with.
pub(crate) struct Spawn {
    shared: Option<Arc<Shared>>,
    name: Option<Box<str>>,
    stack_size: Option<StackSize>,
    pinned: bool,
    limit: Option<Instant>,
}

impl Spawn {
    /// In the runtime of the caller.
    pub(crate) fn here() -> io::Result<Spawn> {
        let shared = match worker::with(|_| ()) {
            Some(()) => None,
            None => Some(current_or_default()?),
        };
        Ok(Spawn { shared, name: None, stack_size: None, pinned: false, limit: None })
    }

    /// In that runtime.
    pub(crate) fn of(shared: &Arc<Shared>) -> Spawn {
        Spawn { shared: Some(Arc::clone(shared)), name: None, stack_size: None, pinned: false, limit: None }
    }

    /// With a name.
    pub(crate) fn named(mut self, name: &str) -> Spawn {
        self.name = Some(name.into());
        self
    }

    /// With a stack of that size.
    pub(crate) fn stack_size(mut self, size: StackSize) -> Spawn {
        self.stack_size = Some(size);
        self
    }

    /// Staying on its worker.
    pub(crate) fn pinned(mut self, pinned: bool) -> Spawn {
        self.pinned = pinned;
        self
    }

    /// Under that time limit from the start.
    pub(crate) fn limit(mut self, limit: Option<Instant>) -> Spawn {
        self.limit = limit;
        self
    }

    /// Queues the coroutine.
    ///
    /// # Safety
    ///
    /// What `F` and `T` borrow lasts until the coroutine has ended and its output was taken.
    pub(crate) unsafe fn start<T: Send, F: FnOnce() -> T + Send>(self, f: F) -> Handle {
        fork::check();
        let make = |shared: &Shared, id: Id| {
            let stack = self.stack_size.unwrap_or(shared.config().stack_size);
            let settings = Settings { id, name: self.name, stack, pinned: self.pinned, limit: self.limit };
            // SAFETY: as the caller says.
            unsafe { coroutine::new::<_, _, Home>(f, settings) }
        };
        match self.shared {
            None => worker::with(|worker| {
                let (header, handle) = make(worker.shared(), worker.next_id());
                worker.push_fresh(Runnable(header.cast()));
                handle
            })
            .expect("`here` found a worker"),
            Some(shared) => {
                let (header, handle) = make(&shared, Id(shared.next_id()));
                shared.inject_from_outside(Runnable(header.cast()));
                handle
            }
        }
    }
}

/// Spawns a coroutine.
pub(crate) fn spawn<T, F>(spawn: Spawn, f: F) -> Handle
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: nothing is borrowed.
    unsafe { spawn.start(f) }
}

fn start_worker(shared: &Arc<Shared>, index: usize) -> io::Result<()> {
    let name = format!("{}-{index}", shared.config().thread_name);
    let own = Arc::clone(shared);
    shared.threads.start(name, move || {
        let _bomb = AbortOnPanic;
        let queues = own.cores[index].queues.lock().take().expect("a core has one thread");
        if let Some(clock) = ThreadClock::of_this_thread() {
            let _ = own.cores[index].clock.set(clock);
        }
        let _stack = overflow::AltStack::install();
        let worker = Worker::new(own, index, queues);
        worker.run();
    })
}

/// Adds a worker where all are stuck, in migrating mode; the netpoller thread does it.
pub(super) fn add_spare_worker(shared: &Shared) {
    let index = shared.active.load(Ordering::Relaxed);
    let Some(core) = shared.cores.get(index) else { return };
    let shared = core.shared.upgrade().expect("the netpoller thread keeps the runtime");
    // With no thread to be had the work goes on waiting, as it would have.
    if start_worker(&shared, index).is_ok() {
        shared.active.store(index + 1, Ordering::Release);
    }
}

/// A worker runs users' code inside `catch_unwind` only: a panic that reaches its thread is the
/// runtime's own, and its coroutines would hang.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("sward: a worker has panicked: this is an error of the runtime");
            std::process::abort();
        }
    }
}

/// The threads of one runtime.
#[derive(Default)]
pub(super) struct Threads {
    handles: parking_lot::Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    fn start(&self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let handle = std::thread::Builder::new().name(name).spawn(body)?;
        self.handles.lock().push(handle);
        Ok(())
    }

    /// Waits until that many at most are left; false once the deadline has passed.
    fn wait_for(&self, most: usize, deadline: Instant) -> bool {
        let mut nap = Duration::from_micros(20);
        loop {
            let left = self.handles.lock().iter().filter(|handle| !handle.is_finished()).count();
            if left <= most {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(2));
        }
    }

    fn join_finished(&self) {
        for handle in self.handles.lock().drain(..).filter(JoinHandle::is_finished) {
            let _ = handle.join();
        }
    }
}

impl Shared {
    fn start_netpoller(self: &Arc<Self>) -> io::Result<()> {
        let own = Arc::clone(self);
        let name = format!("{}-netpoll", self.config().thread_name);
        self.threads.start(name, move || own.netpoller.run(&*own))
    }

    fn inject_from_outside(&self, task: Runnable) {
        self.inject(task);
        // Pairs with the shutdown, which closes and then drains: one of the two sees the other.
        if self.closed.load(Ordering::SeqCst) {
            self.discard_injected();
        }
    }

    fn discard_injected(&self) {
        while let Some(task) = self.take_one_injected() {
            discard(task);
        }
    }

    fn shut_down(self: &Arc<Self>, timeout: Duration) {
        if self.phase() != Phase::Running {
            return;
        }
        self.enter(Phase::Closing);
        if worker::with(|worker| Arc::ptr_eq(worker.shared(), self)).unwrap_or(false) {
            // Called by a coroutine of this very runtime: its worker cannot wait for itself.
            return;
        }
        let netpoller = 1;
        let quiet = self.threads.wait_for(netpoller, Instant::now() + timeout);
        if !quiet {
            self.report_leaks(timeout);
            self.enter(Phase::Abandoned);
            self.threads.wait_for(netpoller, Instant::now() + GRACE);
            // What is left refers to the runtime for ever.
            std::mem::forget(Arc::clone(self));
        }
        self.netpoller.stop();
        self.threads.wait_for(if quiet { 0 } else { usize::MAX }, Instant::now() + GRACE);
        self.threads.join_finished();
        let mut batch = Batch::new();
        for core in &self.cores {
            core.shard.retire(&mut batch);
        }
        wake_all(&mut batch);
        self.closed.store(true, Ordering::SeqCst);
        self.discard_injected();
    }

    fn report_leaks(&self, timeout: Duration) {
        let mut lines = String::new();
        let mut count = 0;
        for core in self.active_cores() {
            core.for_each_live(|header| {
                // SAFETY: listed coroutines are alive.
                let header = unsafe { header.as_ref() };
                count += 1;
                if count <= 10 {
                    let name = header.name().map_or(String::new(), |name| format!("'{name}' "));
                    let _ =
                        write!(lines, "\n  {name}(id {}), in {}", header.id(), header.reason().describe());
                }
            });
        }
        eprintln!(
            "sward: shutdown: {count} coroutines have not unwound within {timeout:?} and are leaked:{lines}"
        );
    }
}

/// Ends a coroutine that will not be run. One that was started is leaked.
pub(super) fn discard(task: Runnable) {
    let this: NonNull<Header> = task.0.cast();
    // SAFETY: whoever takes a coroutine from a queue owns it, and it is alive.
    if unsafe { this.as_ref().started() } {
        return;
    }
    // SAFETY: we own it, and it has not been started.
    unsafe { Header::fail(this, JoinError::Cancelled) };
    worker::conclude(this);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_size("65536"), Ok(65_536));
        assert_eq!(parse_size(" 64k "), Ok(65_536));
        assert_eq!(parse_size("2M"), Ok(2 << 20));
        assert!(parse_size("").is_err());
        assert!(parse_size("-1").is_err());
        assert!(parse_size("99999999999999999M").is_err());
    }

    #[test]
    fn worker_counts_are_checked() {
        assert!(check_workers(0).is_err());
        assert!(check_workers(MOST_WORKERS + 1).is_err());
        assert_eq!(check_workers(3).expect("fine"), 3);
    }
}
