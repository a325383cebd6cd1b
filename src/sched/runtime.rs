//! Runtimes: how many workers, how they start and how they end.
//!
//! What the public documentation of [`crate::runtime`] says is kept here.

use super::config::{Config, Phase};
use super::runnable::Runnable;
use super::schedule::ToRunQueue;
use super::shared::{Remote, Shared};
use super::start::start_worker;
use super::threads::AbortOnPanic;
use super::wait::wait_masked;
use super::{checks, current, hook};
use crate::base::fork;
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::base::lock::assert_none_held;
use crate::base::sys::report;
use crate::coroutine::{self, Batch, Handle, Id, JoinError, Label, Settings, Site, WaitReason};
use crate::stack::{self, StackOverride, StackSize, overflow};
use once_cell::sync::OnceCell;
use std::fmt::Write;
use std::io;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a shutdown waits for coroutines to unwind.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// How long abandoned workers have to leave.
const GRACE: Duration = Duration::from_millis(200);
/// The time between two looks whether they do.
const GRACE_STEP: Duration = Duration::from_millis(5);
/// How many leaked coroutines the report of a shutdown names.
const NAMED_LEAKS: usize = 10;
/// How many of a runtime's threads are not workers.
const NETPOLLER: usize = 1;
const MOST_WORKERS: usize = 1024;
const MIGRATE_BY_DEFAULT: bool = cfg!(sward_migrate);

/// What the environment says.
struct Defaults {
    workers: usize,
    stack_size: StackSize,
    checks: bool,
}

impl Defaults {
    fn get() -> io::Result<&'static Defaults> {
        static DEFAULTS: OnceCell<Defaults> = OnceCell::new();
        DEFAULTS.get_or_try_init(|| {
            let workers = match variable("SWARD_WORKERS", parse_workers, WANT_WORKERS)? {
                None => std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS),
                Some(workers) => workers,
            };
            let stack_size = variable("SWARD_STACK_SIZE", parse_stack_size, WANT_SIZE)?.unwrap_or_default();
            let guard_size = variable("SWARD_GUARD_SIZE", parse_guard_size, WANT_GUARD)?.unwrap_or_default();
            let stack_size = StackSize::DEFAULT.with(stack_size).with(guard_size);
            let checks = variable("SWARD_CHECK", parse_switch, WANT_SWITCH)?.unwrap_or(false);
            Ok(Defaults { workers, stack_size, checks })
        })
    }
}

const WANT_WORKERS: &str = "a number from 1 to 1024";
const WANT_SWITCH: &str = "1 or 0";
const WANT_SIZE: &str = "bytes, or a number with K, M or G, up to 1G";
const WANT_GUARD: &str = "bytes, or a number with K or M, up to 64M";

/// The value of an environment variable. An empty one counts as unset.
fn variable<T>(name: &str, parse: fn(&str) -> Option<T>, want: &str) -> io::Result<Option<T>> {
    let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.to_str().and_then(parse) {
        Some(value) => Ok(Some(value)),
        None => {
            let message = format!("environment variable {name}={text:?}: want {want}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

fn parse_workers(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|&n| check_workers(n).is_ok())
}

fn parse_switch(text: &str) -> Option<bool> {
    match text.trim() {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

fn parse_stack_size(text: &str) -> Option<StackOverride> {
    StackOverride::new(Some(parse_bytes(text)?), None).ok()
}

fn parse_guard_size(text: &str) -> Option<StackOverride> {
    StackOverride::new(None, Some(parse_bytes(text)?)).ok()
}

fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, unit) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.trim_end().parse::<usize>().ok()?.checked_mul(unit)
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
    guard_size: Option<usize>,
    thread_name: Option<String>,
    migrate: bool,
    stall: Option<Duration>,
    checks: Option<bool>,
}

impl Builder {
    /// The default settings.
    pub fn new() -> Builder {
        Builder { migrate: MIGRATE_BY_DEFAULT, ..Builder::default() }
    }

    /// The number of threads that run coroutines; by default what `SWARD_WORKERS` says, or else as many as the
    /// machine has processors for this process. From 1 to 1024: anything else is an error of [`build`](Self::build).
    pub fn worker_threads(mut self, n: usize) -> Builder {
        self.workers = Some(n);
        self
    }

    /// The address space of each coroutine's stack in bytes; by default what `SWARD_STACK_SIZE` says, or else 256
    /// KiB. It is rounded up to a power of two of at least 64 KiB. The lowest 16 KiB of it (a page, where
    /// pages are larger) are a guard that nothing may touch ([`guard_size`](Self::guard_size) makes it
    /// larger): an overflow ends the process with a report. A page more keeps stacks apart. Memory is
    /// committed as it is touched. Zero, or more than 1 GiB, is an error of [`build`](Self::build).
    ///
    /// This and `SWARD_STACK_SIZE` alone size the stack of the closure that [`Runtime::run`] runs.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// The size of the guard below each coroutine's stack in bytes; by default what `SWARD_GUARD_SIZE` says,
    /// or else 16 KiB. It is rounded up to a power of two of at least 16 KiB (a page, where pages are
    /// larger). What it has more than that comes on top of [`stack_size`](Self::stack_size), and the stack
    /// loses nothing. Zero, or more than 64 MiB, is an error of [`build`](Self::build).
    ///
    /// Use this where coroutines call C or assembly with large frames. Rust code touches its frames page by
    /// page from the top, so it cannot miss a guard. C code does so only if it was compiled with
    /// `-fstack-clash-protection`; without, a function whose frame is larger than the guard can write below
    /// it, into another coroutine's stack, with no report. A guard that is larger than the largest frame
    /// catches this. The cost is address space, and page tables: 8 bytes for each 4 KiB of guard.
    ///
    /// ```
    /// // For a library whose functions have up to 300 KiB of local arrays.
    /// let runtime = sward::runtime::Builder::new().stack_size(1 << 20).guard_size(512 << 10).build()?;
    /// assert_eq!(runtime.run(|| 6 * 7), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn guard_size(mut self, bytes: usize) -> Builder {
        self.guard_size = Some(bytes);
        self
    }

    /// The name of the worker threads, each with its number behind; by default `sward`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Builder {
        self.thread_name = Some(name.into());
        self
    }

    /// How long a coroutine may keep its worker, be it by computing or in a call that blocks in the kernel,
    /// before others take over what waits behind it and may be taken; by default 20 ms. After ten times as
    /// long, if something waits that only this worker can run, or that nobody runs, a report on stderr says
    /// which coroutine it is and whether it computes or is blocked in the kernel, at most every ten seconds.
    /// Time for which the system did not run the worker's thread is not counted against the coroutine.
    pub fn stall_threshold(mut self, threshold: Duration) -> Builder {
        self.stall = Some(threshold);
        self
    }

    /// Whether the coroutines of this runtime are checked at each wait; by default what `SWARD_CHECK` says,
    /// or else not. Use it in tests: it finds the few kinds of code that are safe on threads and not in
    /// coroutines, which the compiler cannot see.
    ///
    /// Before a coroutine leaves its stack, the stack is walked. The wait panics, with the lines to look at,
    /// if it stands inside
    ///
    /// - the initializer of a `thread_local!`;
    /// - the initializer of a `Once`, `OnceLock` or `LazyLock` of std, or of their like in other crates;
    /// - the closure of a function known to keep its state in the thread: `scoped_tls`, `stacker`, tokio's
    ///   contexts, tracing's `in_scope`, executors of futures, and in a coroutine that may migrate
    ///   `LocalKey::with`.
    ///
    /// A guard that is a value, such as tokio's `EnterGuard`, cannot be seen. Calls that need not wait are
    /// not checked. A wait that must not unwind, such as a scope's end, is reported on stderr instead.
    ///
    /// A wait costs a microsecond more, and the first by each chain of calls about a millisecond. The first
    /// runtime of a process starts later, since it reads the program's debug information, which also takes
    /// memory. It needs the names of functions: where the compiler has inlined them, those are in the debug
    /// information, so use it in builds that have some (`debug = "line-tables-only"` is enough), and not in a
    /// program that was stripped.
    ///
    /// ```
    /// use sward::task::JoinError;
    ///
    /// thread_local!(static LATE: u32 = {
    ///     sward::sleep(std::time::Duration::from_millis(1));
    ///     1
    /// });
    ///
    /// let runtime = sward::runtime::Builder::new().checks(true).build()?;
    /// match runtime.spawn(|| LATE.with(|late| *late)).join() {
    ///     Err(JoinError::Panicked(panic)) => {
    ///         assert!(panic.message().unwrap().contains("inside the initializer of a thread_local!"));
    ///     }
    ///     other => unreachable!("{other:?}"),
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn checks(mut self, checks: bool) -> Builder {
        self.checks = Some(checks);
        self
    }

    /// Lets started coroutines move between workers, as in Go: any coroutine that is runnable may be
    /// run by whichever worker is free. [`task::Builder::pinned`](crate::task::Builder::pinned)
    /// exempts single ones.
    ///
    /// # Safety
    ///
    /// Code that runs in coroutines of this runtime holds nothing that is bound to a thread across a
    /// call that may park: no `!Send` value that shares state with something outside the coroutine, no
    /// reference into a thread-local, no lock guard of `std::sync` or `parking_lot`, no `StdoutLock`, no
    /// `crossbeam_epoch::Guard`, no `ThreadRng`. Nor does it rely on a thread-local to have the same
    /// address before and after such a call: the compiler may keep one that it has computed. This goes for
    /// all the libraries that it calls as well. The repository's `docs/SAFETY.md` says more.
    ///
    /// An `Rc` whose clones are all on the coroutine's own stack may be held: they move together. One
    /// with a clone in a thread-local may not: that clone stays behind, and two threads would then change
    /// the count at once.
    ///
    /// ```
    /// use std::rc::Rc;
    ///
    /// thread_local!(static CACHE: Rc<String> = Rc::new("cached".to_owned()));
    ///
    /// // SAFETY: what is held over the wait below shares nothing with a thread.
    /// let builder = unsafe { sward::runtime::Builder::new().migrate_started() };
    /// builder.build()?.run(|| {
    ///     let own = Rc::new(1);
    ///     let also_own = Rc::clone(&own);
    ///     sward::yield_now(); // fine: both go along
    ///     assert_eq!(*own, *also_own);
    ///
    ///     let cached = CACHE.with(Rc::clone);
    ///     // A wait here would break the contract: this clone would move, and the thread's would not.
    ///     drop(cached);
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub unsafe fn migrate_started(mut self) -> Builder {
        self.migrate = true;
        self
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for settings that make no sense, in here or in the environment; `Unsupported` for a kind of
    /// guard that the environment asks for and the system has not; otherwise what the system says: no threads (`WouldBlock`), no descriptors, no memory. Nothing is left behind.
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
            stack_size: defaults.stack_size.with(StackOverride::new(self.stack_size, self.guard_size)?),
            thread_name: self.thread_name.unwrap_or_else(|| "sward".to_owned()),
            migrate: self.migrate,
            stall: self.stall.unwrap_or(Duration::from_millis(20)),
            checks: self.checks.unwrap_or(defaults.checks),
        };
        if config.thread_name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a thread's name cannot hold a zero byte",
            ));
        }
        if config.checks {
            checks::prepare();
        }
        let runtime = Runtime { shared: Shared::new(config)? };
        *runtime.shared.threads.alive.lock() = Some(Arc::new(fork::Alive::new()));
        // On an error the runtime is dropped, which ends the threads that did start.
        runtime.shared.start_netpoller()?;
        for index in 0..runtime.shared.config().workers {
            start_worker(&runtime.shared, index)?;
        }
        Ok(runtime)
    }
}

fn describe_current(message: &mut overflow::Message) {
    let Some(header) = current::current_coroutine() else { return };
    // SAFETY: the coroutine that runs on this thread is alive.
    let header = unsafe { header.as_ref() };
    let _ = write!(message, "{}", header.label());
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
    /// this call does not return before it has ended. Coroutines that it has spawned go on until the
    /// runtime is dropped.
    ///
    /// # Panics
    ///
    /// - If the closure panics, with its payload.
    /// - If it is called on a worker, so inside a coroutine of whichever runtime.
    /// - If there is no stack for the closure.
    #[track_caller]
    pub fn run<T: Send, F: FnOnce() -> T + Send>(&self, f: F) -> T {
        if const { is_large::<F>() || is_large::<T>() } {
            let (f, mut value) = (large_box!(f), LargeBox::empty());
            self.run_small(|| f.call_into(&mut value));
            value.into_inner()
        } else {
            self.run_small(f)
        }
    }

    #[track_caller]
    fn run_small<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        refuse_inside("Runtime::run");
        assert_none_held();
        let spawn = Spawn::of(&self.shared).named("main");
        // SAFETY: the coroutine has ended, and its output is taken, before this frame does: the wait
        // is masked, and on a plain thread it does not unwind.
        let handle = unsafe { spawn.start(f) };
        wait_masked(&handle.header().done, WaitReason::Join);
        // SAFETY: it is done, `T` is its type, and the handle is not used again.
        match unsafe { handle.take::<T>() } {
            Ok(value) => value,
            Err(JoinError::Panicked(panic)) => resume_unwind(panic.into_payload()),
            Err(error) => panic!("sward: {error}"),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Shuts the runtime down, giving its coroutines that time to unwind. Blocks the thread, save when it is
    /// called by a coroutine of this very runtime: then it returns at once, and the runtime ends without it.
    /// When the time is over the workers are given a few milliseconds to leave, at most 200.
    pub fn shutdown_timeout(self, timeout: Duration) {
        self.shared.shut_down(timeout);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shared.shut_down(SHUTDOWN);
    }
}

#[track_caller]
fn refuse_inside(what: &str) {
    // Also outside of any coroutine: a worker drops closures that it cannot start.
    assert!(
        current::with(|_| ()).is_none(),
        "sward: {what} was called inside a coroutine, or in a destructor that runs on a worker; \
         spawn the closure instead, or call it directly"
    );
}

/// The runtime that `spawn` uses on plain threads.
static DEFAULT: parking_lot::Mutex<Option<Arc<Shared>>> = parking_lot::Mutex::new(None);

/// Starts a runtime with the default settings, runs the closure as its first coroutine, and shuts the
/// runtime down when the closure has returned: coroutines that are still alive are cancelled, as
/// [`runtime`](crate::runtime#shutdown) says. Join those whose work is to be completed. The closure may
/// borrow from the caller.
///
/// While it runs, this is the default runtime: [`spawn`](crate::spawn) on plain threads uses it, and those
/// coroutines end with it as well. If there is a default runtime already, that one stays the default.
/// Two calls of `run` at a time have a runtime each.
///
/// The shutdown unwinds coroutines as a panic would. Code that answers unwinding with an abort therefore ends
/// the process at the end of `run`: `catch_unwind` and then [`abort`](std::process::abort), as some programs
/// wrap the bodies of their threads, or a guard whose `Drop` aborts. In coroutines leave that out: a panic
/// ends its coroutine alone, and [`join`](crate::task::JoinHandle::join) tells it from a cancellation.
///
/// # Panics
///
/// - If the closure panics, with its payload.
/// - If it is called on a worker, so inside a coroutine of whichever runtime.
/// - If the runtime cannot be started: nonsense in the [environment](crate::runtime#environment), or no
///   threads, descriptors or memory.
/// - If there is no stack for the closure.
///
/// ```
/// let words = ["a", "b"];
/// let n = sward::run(|| words.len());
/// assert_eq!(n, 2);
/// ```
#[track_caller]
pub fn run<T: Send, F: FnOnce() -> T + Send>(f: F) -> T {
    if const { is_large::<F>() || is_large::<T>() } {
        let (f, mut value) = (large_box!(f), LargeBox::empty());
        run_small(|| f.call_into(&mut value));
        value.into_inner()
    } else {
        run_small(f)
    }
}

#[track_caller]
fn run_small<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    refuse_inside("run");
    // Not `unwrap_or_else`: a panic in a closure would not be blamed on the caller.
    let runtime = match Builder::new().build() {
        Ok(runtime) => runtime,
        Err(e) => panic!("sward: the runtime cannot start: {e}"),
    };
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
    if let Some(shared) = current::with(|worker| Arc::clone(worker.shared())) {
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
    stack: StackOverride,
    pinned: bool,
    limit: Option<Instant>,
    site: Site,
}

impl Spawn {
    /// In the runtime of the caller. Reports name the caller's line, unless [`at`](Self::at) gives another.
    #[track_caller]
    pub(crate) fn here() -> io::Result<Spawn> {
        let shared = match current::with(|_| ()) {
            Some(()) => None,
            None => Some(current_or_default()?),
        };
        let site = Location::caller();
        Ok(Spawn { shared, name: None, stack: StackOverride::default(), pinned: false, limit: None, site })
    }

    /// In that runtime; otherwise as [`here`](Self::here).
    #[track_caller]
    pub(crate) fn of(shared: &Arc<Shared>) -> Spawn {
        let (shared, site) = (Some(Arc::clone(shared)), Location::caller());
        Spawn { shared, name: None, stack: StackOverride::default(), pinned: false, limit: None, site }
    }

    /// With that line in reports.
    pub(crate) fn at(mut self, site: Site) -> Spawn {
        self.site = site;
        self
    }

    /// With a name.
    pub(crate) fn named(mut self, name: &str) -> Spawn {
        self.name = Some(name.into());
        self
    }

    /// With a stack that differs from the runtime's.
    pub(crate) fn stack(mut self, wish: StackOverride) -> Spawn {
        self.stack = wish;
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
            let stack = shared.config().stack_size.with(self.stack);
            let Spawn { name, pinned, limit, site, .. } = self;
            let checked = shared.config().checks;
            let settings = Settings { id, name, stack, pinned, limit, checked, site };
            // SAFETY: as the caller says.
            unsafe { coroutine::new::<_, _, ToRunQueue>(f, settings) }
        };
        match self.shared {
            None => current::with(|worker| {
                let (header, handle) = make(worker.shared(), worker.next_id());
                worker.push_unstarted(header);
                handle
            })
            .expect("`here` found a worker"),
            Some(shared) => {
                let (header, handle) = make(&shared, Id(Id::reserve(1)));
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

impl Shared {
    fn start_netpoller(self: &Arc<Self>) -> io::Result<()> {
        let own = Arc::clone(self);
        let name = format!("{}-netpoll", self.config().thread_name);
        self.threads.start(name, move || {
            let _bomb = AbortOnPanic;
            own.netpoller.run(&*own);
        })
    }

    fn shut_down(self: &Arc<Self>, timeout: Duration) {
        // A forked child has none of the threads.
        if fork::forked() || self.phase() != Phase::Running {
            return;
        }
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(1 << 30));
        self.enter(Phase::Closing);
        if !current::with(|worker| Arc::ptr_eq(worker.shared(), self)).unwrap_or(false) {
            return self.wait_for_the_end(timeout, deadline);
        }
        // Called on one of the runtime's own workers, which cannot wait for itself.
        let own = Arc::clone(self);
        let name = format!("{}-shutdown", self.config().thread_name);
        let helper = std::thread::Builder::new().name(name).spawn(move || {
            let _bomb = AbortOnPanic;
            own.wait_for_the_end(timeout, deadline);
        });
        // With no thread to be had the workers leave all the same; the netpoller thread sleeps on.
        drop(helper);
    }

    fn wait_for_the_end(self: &Arc<Self>, timeout: Duration, deadline: Instant) {
        let quiet = self.threads.wait_for(NETPOLLER, deadline);
        if !quiet {
            self.report_leaks(timeout);
            self.enter(Phase::Abandoned);
            self.wait_for_the_abandoned();
        }
        if self.active_remotes().iter().any(|remote| remote.live() != 0) {
            // What is left refers to the runtime for ever.
            std::mem::forget(Arc::clone(self));
        }
        self.netpoller.stop();
        if quiet {
            self.threads.wait_for(0, Instant::now() + GRACE);
        }
        self.threads.join_finished();
        let mut batch = Batch::new();
        for remote in &self.remotes {
            remote.shard.retire(&mut batch);
        }
        batch.wake();
        self.closed.store(true, Ordering::SeqCst);
        self.discard_unstarted();
        // Unless a thread is left that has it, too, this is the end of the runtime.
        drop(self.threads.alive.lock().take());
    }

    /// Gives the workers time to leave. One that stays inside of one turn is not waited for.
    fn wait_for_the_abandoned(&self) {
        let deadline = Instant::now() + GRACE;
        let turns = || self.active_remotes().iter().map(|remote| remote.turns.load(Ordering::Relaxed));
        let mut before: Vec<_> = turns().collect();
        while !self.threads.wait_for(NETPOLLER, Instant::now() + GRACE_STEP) && Instant::now() < deadline {
            let stays = |remote: &Remote, before| {
                remote.running.load(Ordering::Relaxed) != 0 && remote.turns.load(Ordering::Relaxed) == before
            };
            let mut remotes = self.active_remotes().iter().zip(before);
            if remotes.all(|(remote, before)| remote.left.load(Ordering::Acquire) || stays(remote, before)) {
                return;
            }
            before = turns().collect();
        }
    }

    fn report_leaks(&self, timeout: Duration) {
        let mut lines = String::new();
        let mut count = 0;
        let mut leak = |label: Label<'_>, reason: WaitReason| {
            count += 1;
            if count <= NAMED_LEAKS {
                let _ = write!(lines, "\n  {label}, in {}", reason.describe());
            }
        };
        for remote in self.active_remotes() {
            remote.for_each_live(|header| {
                // SAFETY: listed coroutines are alive.
                let header = unsafe { header.as_ref() };
                leak(header.label(), header.reason());
            });
            if remote.unlisted.load(Ordering::Acquire) {
                let id = Id(remote.running.load(Ordering::Relaxed));
                if let Some(site) = remote.first_site.get() {
                    leak(Label { id, name: None, site }, WaitReason::None);
                }
            }
        }
        if count > NAMED_LEAKS {
            let _ = write!(lines, "\n  and {} more", count - NAMED_LEAKS);
        }
        let what = if count == 1 {
            "1 coroutine has not unwound".to_owned()
        } else {
            format!("{count} coroutines have not unwound")
        };
        let are = if count == 1 { "is" } else { "are" };
        report(format_args!("sward: shutdown: {what} within {timeout:?} and {are} leaked:{lines}"));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A shutdown that is over drains the queues no more: the thread that pushes afterwards does.
    #[test]
    fn what_is_taken_back_after_the_end_is_discarded() {
        let runtime = Builder::new().worker_threads(1).build().expect("a runtime");
        let shared = Arc::clone(runtime.shared());
        drop(runtime);
        let settings = Settings {
            id: Id(Id::reserve(1)),
            name: None,
            stack: StackSize::DEFAULT,
            pinned: false,
            limit: None,
            checked: false,
            site: Location::caller(),
        };
        // SAFETY: nothing is borrowed.
        let (header, handle) = unsafe { coroutine::new::<_, _, ToRunQueue>(|| (), settings) };
        let remote = &shared.remotes[0];
        remote.placed.fetch_add(1, Ordering::SeqCst);
        remote.assigned.push(Runnable(header.cast()));
        shared.take_back(remote);
        assert!(handle.header().done.is_set(), "its joiner would wait for ever");
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        let bytes = |text| parse_stack_size(text).map(|wish| StackSize::DEFAULT.with(wish).bytes());
        for (text, size) in
            [("65536", 64 << 10), (" 64k ", 64 << 10), ("2M", 2 << 20), ("3 m", 4 << 20), ("1G", 1 << 30)]
        {
            assert_eq!(bytes(text), Some(size), "{text:?}");
        }
        for text in ["", " ", "k", "-1", "0", "2G", "1T", "1.5M", "99999999999999999M", "64k\u{e9}"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_of_workers_are_read() {
        assert_eq!(parse_workers(" 3 "), Some(3));
        assert_eq!(parse_workers("1024"), Some(MOST_WORKERS));
        for text in ["", "0", "1025", "abc", "-1"] {
            assert_eq!(parse_workers(text), None, "{text:?}");
        }
    }

    #[test]
    fn worker_counts_are_checked() {
        assert!(check_workers(0).is_err());
        assert!(check_workers(MOST_WORKERS + 1).is_err());
        assert_eq!(check_workers(3).expect("fine"), 3);
    }
}
