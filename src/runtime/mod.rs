//! Runtimes: how many workers they have, how they start, and how they end.
//!
//! [`run`](crate::run) and [`spawn`](crate::spawn) are enough for most programs. Use a [`Builder`] for a
//! runtime with other settings; several runtimes may coexist in a process. A library that spawns from its own
//! threads should hold a [`Runtime`]: the default runtime may end with the `run` of somebody else.
//!
//! # Reports
//!
//! Reports on stderr name a coroutine as `coroutine #7 "name" (spawned at src/main.rs:10:5)`.
//!
//! The first runtime adds a line to the message that std prints of a panic: which coroutine panics. If the
//! program, or a test harness that collects output, has set a panic hook before, that hook stays as it is.
//! It may name the coroutine by [`task::current`](crate::task::current) and
//! [`Task::spawned_at`](crate::task::Task::spawned_at). The error of the join names the coroutine in any
//! case.
//!
//! A *stall* is a turn in which a coroutine keeps its worker for long while others wait for that worker. The
//! report says what the coroutine does: it computes, or it is blocked in the kernel. If the system does not
//! run the worker's thread, because other threads have the processors or a quota is used up, the report says
//! so and blames no coroutine. On Linux with glibc the coroutine's stack follows. See
//! [`Builder::stall_threshold`].
//!
//! A *deadlock* is reported once, with its members and their stacks. So is a program all of whose coroutines
//! wait for ever. See [`Builder::watch_deadlocks`].
//!
//! # Shutdown
//!
//! A runtime shuts down when its [`Runtime`] is dropped; that of [`run`](crate::run) does when the closure
//! returns:
//!
//! 1. All coroutines that are still alive are cancelled. A started coroutine unwinds out of its present or
//!    next wait, on its own worker, and its destructors run; they must not panic. It unwinds even if its
//!    calls never have to wait: see [cancellation](crate::task#cancellation). An unstarted coroutine is
//!    dropped without running. Both end with [`JoinError::ShutDown`](crate::task::JoinError::ShutDown).
//! 2. The shutdown waits up to five seconds for this, or the time given to [`Runtime::shutdown_timeout`].
//! 3. A coroutine that has not unwound by then is *leaked*: it only computes, or it waits again and again
//!    while it unwinds. Its stack, its thread, and what is borrowed from them stay for ever, and a join of
//!    it never returns. A report on stderr names the first ten leaked coroutines. If a leaked coroutine
//!    waits after all, it unwinds as far as that needs no sleep of its worker. Until then it keeps its
//!    place in wait queues and may be handed a message, a permit or a lock that it never releases.
//!
//! If panics abort (`panic = "abort"`), nothing can unwind: parked coroutines are leaked without running
//! their destructors, and without a report, as soon as no coroutine is left that can run.
//!
//! # Forking
//!
//! A child that is forked while a runtime is alive may only `exec`, as
//! [`process::Command`](crate::process::Command) does: the child has none of the runtime's threads. If the
//! child uses sward all the same, it is ended with a message. When all runtimes have ended and leaked
//! nothing, a child may start its own. So a program may become a daemon before its first
//! [`run`](crate::run), or between two. A default runtime that [`spawn`](crate::spawn) has started on a
//! plain thread never ends.
//!
//! # Environment
//!
//! | variable | value | default of |
//! |---|---|---|
//! | `SWARD_WORKERS` | from 1 to 1024 | [`Builder::worker_threads`] |
//! | `SWARD_STACK_SIZE` | bytes, or a number with `K`, `M` or `G`, up to `1G` | [`Builder::stack_size`] |
//! | `SWARD_GUARD_SIZE` | likewise, up to `64M` | [`Builder::guard_size`] |
//! | `SWARD_HOMES` | `auto`, `off`, or a number from 1 to 65536 | [`Builder::homes`] |
//! | `SWARD_CHECK` | `1` or `0` | [`Builder::checks`] |
//! | `SWARD_ACCOUNTING` | `1` or `0` | [`Builder::accounting`] |
//! | `SWARD_DEADLOCKS` | `1`, `0`, or `abort` | [`Builder::watch_deadlocks`] |
//! | `SWARD_STALL_REPORTS` | `1` or `0` | - : whether [stalls](Builder::stall_threshold) are reported on stderr |
//! | `SWARD_IO_URING` | `1` or `0` | - : whether [files](crate::fs) use io_uring, if the system allows it. Unset: for what is faster than on the pool, which is reads from the disk. `1`: for writes, syncs, lengths and names, too |
//! | `SWARD_NETPOLL` | on Linux `epoll` or `io_uring` | - : by which interface of the kernel workers wait for sockets and pipes; see below |
//! | `SWARD_DUMP_SIGNAL` | the name of a signal, such as `QUIT`, or its number | [`Builder::dump_on`] |
//! | `SWARD_DUMP_FILE` | a path | - : where such dumps go, instead of stderr |
//! | `SWARD_RECORD` | `1`, `0`, or the bytes of a ring, with `K`, `M` or `G` | [`Builder::record`] |
//! | `SWARD_RECORD_FILE` | a path | - : where [the last seconds](crate::observe#the-flight-recorder) go |
//! | `SWARD_STACK_GUARD` | `madvise` or `mprotect` | - : it forces one way to make the guards of stacks |
//!
//! An empty variable counts as unset. Any other value is an error, which names the variable and says what it
//! may be. Simulations have variables of their own, which `sward::sim` lists.
//!
//! `SWARD_NETPOLL` is `epoll` if it is unset. With `io_uring` (Linux 5.18) descriptors need not be
//! registered, and requests to wait for them go to the kernel together with the next sleep; the repository's
//! `docs/PERFORMANCE.md` compares the two. Where the system refuses io_uring (an old kernel, a sandbox, a
//! setting, no memory) epoll serves: [`Metrics::netpoll`] and [dumps](crate::observe) say what is in use. A
//! sandbox must forbid io_uring before the runtime starts, or not at all. Two things differ on io_uring. A
//! call that blocks the worker's thread is interrupted by events: the system starts it again, but a call of
//! std with a time limit fails with `Interrupted`. And a child that was forked, and calls no `exec`, keeps
//! files open that its parent closes. Other systems have one interface each, and know only its name: `kqueue`
//! or `poll`.

// Rank 7: a runtime's settings, its start, its monitor and its end. What runs coroutines is `sched`.
//
// - `handle`: the runtime as its owner holds it. `builder`, `homes`, `environment`: its settings and its
//   start.
// - `default`: the default runtime.
// - `shutdown`: the end, and the report of leaked coroutines.
// - `monitor`: what the netpoller thread does for busy workers. `blame`: what keeps a worker in one turn.
// - `spawn`, `join`, `task_handle`: spawning in a runtime, and the handles; public in `sward::task`.
// - `polled`: what the futures of this crate's waits have in common.
// - `panic_hook`: which coroutine panics. `metrics`: what a runtime has done.
//   `prometheus`: the same as text. `simulated`: the runtime of a simulation. `reporter`: for the crate
//   `metrics`.

mod blame;
mod builder;
pub(crate) mod default;
mod environment;
mod handle;
mod homes;
pub(crate) mod join;
mod metrics;
mod monitor;
mod panic_hook;
pub(crate) mod polled;
mod prometheus;
#[cfg(feature = "metrics")]
mod reporter;
mod shutdown;
#[cfg(sward_sim)]
mod simulated;
pub(crate) mod spawn;
pub(crate) mod task_handle;

#[doc(inline)]
pub use crate::blocking::set_max_blocking_threads;
pub use builder::Builder;
pub(crate) use default::{runtime_here, spawn_here};
pub use handle::Runtime;
pub use homes::{Homes, homes_supported};
#[cfg(feature = "dashboard")]
pub(crate) use metrics::metrics_of_all;
pub use metrics::{
    ActivationMetrics, HomeMetrics, IoUring, Metrics, ParkMetrics, StackMetrics, WorkerMetrics, metrics,
};
#[cfg(feature = "metrics")]
pub use reporter::MetricsReporter;
#[cfg(sward_sim)]
pub(crate) use simulated::SimulatedRuntime;
