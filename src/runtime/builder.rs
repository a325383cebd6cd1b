//! The settings of a runtime, and its start.

use super::environment::{DeadlockWatch, Defaults, check_workers};
use super::handle::Runtime;
use super::homes::Homes;
use super::{monitor, panic_hook};
use crate::base::fork;
use crate::inspect::{self, OnStall, Stall};
use crate::sched::{self, Config, Shared};
use crate::stack::{self, StackOverride, overflow};
use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;
use std::time::Duration;

const MIGRATE_BY_DEFAULT: bool = cfg!(sward_migrate);

/// The settings of a new runtime.
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
    homes: Option<Homes>,
    deadlocks: Option<bool>,
    on_stall: Handler,
    accounting: Option<bool>,
    dump_signal: Option<i32>,
    record: Option<usize>,
    observer: bool,
}

/// What the program does with stalls.
#[derive(Default)]
struct Handler(Option<OnStall>);

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a closure" } else { "stderr" })
    }
}

impl Builder {
    /// The default settings.
    pub fn new() -> Builder {
        Builder { migrate: MIGRATE_BY_DEFAULT, ..Builder::default() }
    }

    /// The number of worker threads, from 1 to 1024. Any other number is an error of [`build`](Self::build).
    /// Default: `SWARD_WORKERS`, or else the number of processors that this process may use.
    #[doc(alias = "GOMAXPROCS")]
    pub fn worker_threads(mut self, n: usize) -> Builder {
        self.workers = Some(n);
        self
    }

    /// The address space of each coroutine's stack, in bytes. Default: `SWARD_STACK_SIZE`, or else 256 KiB.
    ///
    /// It is rounded up to a power of two of at least 64 KiB. The lowest 16 KiB (a page, where pages are
    /// larger) are a guard that nothing may touch: an overflow ends the process with a report.
    /// [`guard_size`](Self::guard_size) makes the guard larger. One more page keeps stacks apart. Memory is
    /// committed when it is touched. Zero, or more than 1 GiB, is an error of [`build`](Self::build).
    ///
    /// The stack of the closure that [`Runtime::run`] runs has this size, too; nothing else can set it.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// The size of the guard below each coroutine's stack, in bytes. Default: `SWARD_GUARD_SIZE`, or else
    /// 16 KiB.
    ///
    /// It is rounded up to a power of two of at least 16 KiB (a page, where pages are larger). What exceeds
    /// this minimum comes on top of [`stack_size`](Self::stack_size), so the stack stays as large as it is.
    /// Zero, or more than 64 MiB, is an error of [`build`](Self::build).
    ///
    /// Use this if coroutines call C or assembly with large frames. Rust code touches its frames page by
    /// page from the top, so it always hits the guard. C code does so only if it was compiled with
    /// `-fstack-clash-protection`. Without that, a function whose frame is larger than the guard can write
    /// below the guard, into another coroutine's stack, with no report. A guard that is larger than the
    /// largest frame catches this. It costs address space, and page tables: 8 bytes for each 4 KiB of
    /// guard.
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

    /// The name of the worker threads; the number of the worker is appended. Default: `sward`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Builder {
        self.thread_name = Some(name.into());
        self
    }

    /// The length of a turn from which on a coroutine counts as stalling its worker, whether it computes or
    /// is blocked in a call to the kernel. Default: 20 ms. From then on other workers take what waits
    /// behind the coroutine and may be taken.
    ///
    /// While the turn lasts, a report on stderr names the coroutine, and says whether it computes or is
    /// blocked in the kernel, how many wait for the worker, and on Linux with glibc where the coroutine is.
    /// That report comes only if something waits that only this worker can run, or that no worker runs, and
    /// at most every ten seconds. `SWARD_STALL_REPORTS=0` in the environment switches it off: in a program
    /// with debug information, finding the names of the stack takes tens of megabytes, of which the
    /// allocator may keep a part. [`WorkerMetrics::stalls`](super::WorkerMetrics::stalls) counts all stalls.
    ///
    /// Time in which the system did not run the worker's thread does not count against the coroutine. A stall
    /// is reported only after ten times the threshold if [waits are checked](Self::checks), since
    /// that takes time, and for blocked coroutines where the system does not say how long the thread has
    /// waited for a processor. Linux says it.
    pub fn stall_threshold(mut self, threshold: Duration) -> Builder {
        self.stall = Some(threshold);
        self
    }

    /// Calls the closure with each stall that would be reported on stderr, instead of that report: for
    /// programs that log it their own way. A thread of its own calls it while the turn lasts, or shortly
    /// after, with the coroutine's stack if that is known.
    ///
    /// ```
    /// let builder = sward::runtime::Builder::new().on_stall(|stall| {
    ///     eprintln!("{stall}");
    ///     for frame in stall.stack.iter().flat_map(|stack| &stack.frames) {
    ///         eprintln!("    {frame}");
    ///     }
    /// });
    /// assert_eq!(builder.build()?.run(|| 6 * 7), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_stall(mut self, f: impl Fn(&Stall) + Send + Sync + 'static) -> Builder {
        self.on_stall = Handler(Some(Arc::new(f)));
        self
    }

    /// Whether the process looks for deadlocks. Default: `SWARD_DEADLOCKS`, or else it does. It looks as soon
    /// as one of its runtimes wants it, at the waits of all runtimes and of plain threads.
    ///
    /// A deadlock is reported on stderr within about a second, once: each member with its name, the call that
    /// spawned it, what it waits for, and its stack. The program goes on; with `SWARD_DEADLOCKS=abort` it
    /// aborts, which is meant for tests. [`observe::deadlocks`] says which waits count, and returns what is
    /// found at any time.
    ///
    /// A *global* deadlock is reported as well: all coroutines wait, and no timer, socket, blocking call,
    /// signal or child process is left that could wake one, nor a thread of the program, except threads that
    /// wait in sward themselves. A thread of the program that does anything else might still send, so then
    /// there is no report. This is known on Linux only.
    ///
    /// A thread looks at waits for locks and for the ends of coroutines that have lasted for a quarter of a
    /// second. It uses one percent of a processor at most, and nothing while no such wait begins and no
    /// runtime comes to rest.
    ///
    /// [`observe::deadlocks`]: crate::observe::deadlocks
    pub fn watch_deadlocks(mut self, watch: bool) -> Builder {
        self.deadlocks = Some(watch);
        self
    }

    /// Whether waits of this runtime's coroutines are checked. Default: `SWARD_CHECK`, or else not. Use
    /// this in tests: it finds the few kinds of code that are safe on threads but not in coroutines, which
    /// the compiler cannot see.
    ///
    /// Before a coroutine leaves its stack, the runtime walks the stack. The wait panics, and the message
    /// says which lines to look at, if it stands inside
    ///
    /// - the initializer of a `thread_local!`;
    /// - the initializer of a `Once`, `OnceLock` or `LazyLock` of std, or of a similar type of another crate;
    /// - the closure of a function that is known to keep its state in the thread: `scoped_tls`, `stacker`,
    ///   tokio's contexts, tracing's `in_scope`, executors of futures; `LocalKey::with`, if the coroutine
    ///   may migrate.
    ///
    /// A guard that is a value, such as tokio's `EnterGuard`, cannot be seen. A call that does not have to
    /// wait is not checked. A wait that must not unwind, such as the end of a scope, is reported on stderr
    /// instead.
    ///
    /// A wait costs about a microsecond more, and the first wait of each chain of calls about a
    /// millisecond. The first runtime of a process starts later and takes more memory, as it reads the
    /// program's debug information. The checks need the names of functions; those of inlined functions are
    /// in the debug information only. So use this in builds that have some (`debug = "line-tables-only"` is
    /// enough) and are not stripped.
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

    /// Whether this runtime's coroutines live in mobile homes. Default: `SWARD_HOMES` (`auto`, `off` or a
    /// number), or else [`Homes::Off`].
    ///
    /// A started coroutine stays on its worker, since it may use thread-locals and hold values that are not
    /// `Send`. So it waits while a sibling there computes, though other workers are idle. A *mobile home* is
    /// a small group of coroutines with thread-locals of its own. Any worker may run a home, one at a time,
    /// and to the coroutines in it their home is their thread. A coroutine that computes for long then
    /// delays its few siblings, and nobody else. This needs no `unsafe`: what a coroutine may hold over a
    /// wait is the same as without homes.
    ///
    /// Not the same is what belongs to the thread in the kernel's eyes: its number (`gettid`), affinity,
    /// signal mask, credentials. A coroutine that changes these, or counts on them after a wait, wants a
    /// runtime without mobile homes. The repository's `docs/SAFETY.md` has the list.
    ///
    /// Each home costs a thread that does nothing. Where the platform cannot do this, the runtime has no
    /// mobile homes: [`Metrics::homes`](super::Metrics::homes) says what is in force, and
    /// [`homes_supported`](super::homes_supported) why. In a
    /// [migrating](Self::migrate_started) runtime the setting has no effect.
    ///
    /// Zero, or more than 65536 homes, is an error of [`build`](Self::build).
    ///
    /// ```
    /// use sward::runtime::{Builder, Homes};
    ///
    /// let runtime = Builder::new().homes(Homes::Auto).build()?;
    /// assert_eq!(runtime.run(|| 6 * 7), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn homes(mut self, homes: Homes) -> Builder {
        self.homes = Some(homes);
        self
    }

    /// Whether accounting is switched on, for all runtimes of the process: [`observe::sites`] then says where
    /// time and memory go. Default: `SWARD_ACCOUNTING`, or else not. `false` does not switch it off if it is
    /// on already.
    ///
    /// It costs about a tenth of a microsecond for each turn of a coroutine. [`observe::set_accounting`]
    /// switches it at any time.
    ///
    /// [`observe::sites`]: crate::observe::sites
    /// [`observe::set_accounting`]: crate::observe::set_accounting
    pub fn accounting(mut self, accounting: bool) -> Builder {
        self.accounting = Some(accounting);
        self
    }

    /// The runtime is for a server that shows the other ones: dumps and all else leave it out.
    #[cfg(feature = "dashboard")]
    pub(crate) fn observer(mut self) -> Builder {
        self.observer = true;
        self
    }

    /// Lets a signal make a [dump](crate::observe::dump) of the whole process. Default: `SWARD_DUMP_SIGNAL`,
    /// or else no signal does. Use this in servers: it costs nothing until the signal comes.
    ///
    /// The dump goes to stderr, or to the file that `SWARD_DUMP_FILE` names: appended, and as JSON if its
    /// name ends in `.json`. The program goes on. The signal loses its default action (for `SIGQUIT`: to end
    /// the process) for good, also after the runtime has ended. Handlers that were installed before are still
    /// called. A thread makes the dump, so this works also while all workers are stuck. Several runtimes may
    /// name several signals.
    ///
    /// `signal` is the number: `libc::SIGQUIT`, or `signal::SignalKind::QUIT.as_raw()`. A signal that cannot
    /// be handled, or that says that the program cannot go on (such as `SIGSEGV`), is an error of
    /// [`build`](Self::build).
    ///
    /// ```no_run
    /// const SIGQUIT: i32 = 3;
    /// let runtime = sward::runtime::Builder::new().dump_on(SIGQUIT).build()?;
    /// runtime.run(|| {
    ///     // Ctrl-\ now says what each coroutine waits for.
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn dump_on(mut self, signal: i32) -> Builder {
        self.dump_signal = Some(signal);
        self
    }

    /// Switches the [flight recorder](crate::observe#the-flight-recorder) on, for the whole process, before
    /// the runtime starts: each worker keeps its last events in a ring of that many bytes. Default:
    /// `SWARD_RECORD` (`1`: 1 MiB; or bytes), or else it is off.
    ///
    /// This is [`observe::recorder_on`](crate::observe::recorder_on).
    ///
    /// ```
    /// let runtime = sward::runtime::Builder::new().record(1 << 20).build()?;
    /// runtime.run(|| sward::spawn(|| ()).join()).unwrap();
    /// let trace = sward::observe::recorded(std::time::Duration::from_secs(10));
    /// assert!(!trace.events.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn record(mut self, bytes: usize) -> Builder {
        self.record = Some(bytes);
        self
    }

    /// Lets started coroutines move between workers, as in Go: any free worker may run a runnable coroutine.
    /// [`task::Builder::pinned`](crate::task::Builder::pinned) exempts single coroutines.
    ///
    /// # Safety
    ///
    /// Code that runs in coroutines of this runtime, including all libraries that it calls, must not hold
    /// anything that is bound to a thread across a call that may park:
    ///
    /// - no `!Send` value that shares state with something outside of the coroutine;
    /// - no reference into a thread-local;
    /// - no lock guard of `std::sync` or `parking_lot`, no `StdoutLock`, no `crossbeam_epoch::Guard`, no
    ///   `ThreadRng`.
    ///
    /// Nor may it rely on a thread-local having the same address before and after such a call: the compiler
    /// may keep an address that it has computed. The repository's `docs/SAFETY.md` says more.
    ///
    /// An `Rc` may be held if all its clones are on the coroutine's own stack: they move together. If one
    /// clone is in a thread-local, it may not: that clone stays behind, and two threads would change the
    /// count at the same time.
    ///
    /// ```
    /// use std::rc::Rc;
    ///
    /// thread_local!(static CACHE: Rc<String> = Rc::new("cached".to_owned()));
    ///
    /// // SAFETY: what is held across the wait below shares nothing with a thread.
    /// let builder = unsafe { sward::runtime::Builder::new().migrate_started() };
    /// builder.build()?.run(|| {
    ///     let own = Rc::new(1);
    ///     let also_own = Rc::clone(&own);
    ///     sward::yield_now(); // fine: both clones move along
    ///     assert_eq!(*own, *also_own);
    ///
    ///     let cached = CACHE.with(Rc::clone);
    ///     // A wait here would break the contract: this clone would move, the thread's clone would not.
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
    /// - `InvalidInput`: a setting is not valid, here or in the environment.
    /// - `Unsupported`: the environment asks for a kind of guard that the system does not have.
    /// - Otherwise the system's error: no threads (`WouldBlock`), no descriptors, no memory.
    ///
    /// Nothing is left behind after an error.
    pub fn build(self) -> io::Result<Runtime> {
        let defaults = prepare_process()?;
        let config = Config {
            workers: self.workers.map_or(Ok(defaults.workers), check_workers)?,
            stack_size: defaults.stack_size.with(StackOverride::new(self.stack_size, self.guard_size)?),
            thread_name: self.thread_name.unwrap_or_else(|| "sward".to_owned()),
            migrate: self.migrate,
            stall: self.stall.unwrap_or(Duration::from_millis(20)),
            io_uring: defaults.io_uring,
            netpoll: defaults.netpoll,
            checks: self.checks.unwrap_or(defaults.checks),
            homes: self.homes.unwrap_or(defaults.homes).limit()?,
            observer: self.observer,
        };
        if config.thread_name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a thread's name cannot hold a zero byte",
            ));
        }
        if config.checks {
            sched::prepare_checks();
        }
        if let Some(path) = &defaults.record_file {
            inspect::set_trace_file(path);
        }
        if let Some(bytes) = self.record.map(Some).or(defaults.record) {
            inspect::recorder_on(bytes);
        }
        let runtime = Runtime { shared: Shared::new(config)? };
        *runtime.shared.threads.alive.lock() = Some(Arc::new(fork::Alive::new()));
        // On an error the runtime is dropped, which ends the threads that did start.
        monitor::start(&runtime.shared, self.on_stall.0, defaults.stall_reports)?;
        for index in 0..runtime.shared.config().workers {
            sched::start_worker(&runtime.shared, index)?;
        }
        sched::register(&runtime.shared);
        if self.accounting.unwrap_or(defaults.accounting) {
            inspect::set_accounting(true);
        }
        if let Some(signal) = self.dump_signal.or(defaults.dump_signal) {
            inspect::dump_on(signal, defaults.dump_file.as_deref())?;
        }
        if self.deadlocks.unwrap_or(defaults.deadlocks != DeadlockWatch::Off) {
            inspect::watch_deadlocks(defaults.deadlocks == DeadlockWatch::Aborts);
        }
        Ok(runtime)
    }
}

/// Prepares the process for its first runtime, and returns the settings of the environment.
pub(super) fn prepare_process() -> io::Result<&'static Defaults> {
    fork::watch();
    fork::check();
    stack::check_environment()?;
    overflow::install()?;
    overflow::set_describe(describe_current);
    panic_hook::install();
    Defaults::get()
}

fn describe_current(message: &mut overflow::Message) {
    let Some(header) = sched::current_coroutine() else { return };
    // SAFETY: the coroutine that runs on this thread is alive.
    let header = unsafe { header.as_ref() };
    let _ = write!(message, "{}", header.label());
}
