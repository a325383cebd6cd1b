//! Goroutines for Rust.
//!
//! [`spawn`] starts a stackful coroutine. Code in it reads top to bottom and "blocks":
//! `stream.read(&mut buf)?`, [`sleep`], [`task::JoinHandle::join`]. What would block parks the coroutine
//! and frees the thread; a work-stealing scheduler and a netpoller carry hundreds of thousands of
//! coroutines on a few threads.
//!
//! ```
//! sward::run(|| {
//!     let h = sward::spawn(|| 6 * 7);
//!     println!("{}", h.join().unwrap())
//! })
//! ```
//!
//! When the closure of [`run`] returns, what is still running is cancelled. An echo server and its client:
//!
//! ```
//! use std::io::{Read, Write};
//! use sward::net::{TcpListener, TcpStream};
//!
//! fn main() -> std::io::Result<()> {
//!     sward::run(|| {
//!         let listener = TcpListener::bind("127.0.0.1:0")?;
//!         let address = listener.local_addr()?;
//!         sward::spawn(move || -> std::io::Result<()> {
//!             for stream in listener.incoming() {
//!                 let mut stream = stream?;
//!                 sward::spawn(move || std::io::copy(&mut stream.try_clone()?, &mut stream));
//!             }
//!             Ok(())
//!         });
//!
//!         let mut client = TcpStream::connect(address)?;
//!         client.write_all(b"hello")?;
//!         let mut echo = [0; 5];
//!         client.read_exact(&mut echo)?;
//!         assert_eq!(&echo, b"hello");
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # Sound by default
//!
//! A coroutine may be stolen until its first instruction runs, and then stays on its worker's thread
//! for life. `Rc`, `RefCell`, thread-locals, lock guards: all may be held across a blocking call, and
//! [`spawn`] is a safe function.
//!
//! Two things are excepted, since coroutines of one thread interleave in any order where calls nest: the
//! initializer of a `thread_local!` must not wait, and what relies on nested calls on one thread, such as
//! dynamic scoping through a thread-local (`scoped-tls`), must not be held across a wait. `SWARD_CHECK=1`
//! finds both in tests, and other state of the thread that is held over a wait: see
//! [`runtime::Builder::checks`].
//!
//! Held safely does not mean held wisely: a [`std::sync::Mutex`] that is locked over a wait blocks the
//! whole worker of a sibling that wants it, and deadlocks if the holder lives there. Release std's locks
//! before you wait. The rest of std's blocking calls ([`std::sync::mpsc`]'s `recv`,
//! [`std::sync::Condvar`], [`std::sync::Barrier`], [`std::thread::JoinHandle::join`],
//! [`std::thread::sleep`]) block the worker as well, with every coroutine that lives there.
//!
//! A program that wants started coroutines to migrate says so in one unsafe line,
//! [`runtime::Builder::migrate_started`].

#![cfg_attr(docsrs, feature(doc_cfg), doc(auto_cfg(hide(loom))))]

// A module uses only what stands below it; `docs/ARCHITECTURE.md` has the ranks, and `tests/tidy.rs`
// holds them against the code.

#[cfg(not(unix))]
compile_error!("sward runs on Unix");

mod base;
mod blocking;
pub mod channel;
mod coroutine;
mod descriptor;
pub mod fs;
pub mod io;
pub mod net;
mod netpoll;
mod observe;
pub mod process;
mod sched;
pub mod select;
#[cfg(feature = "signal")]
pub mod signal;
mod stack;
pub mod sync;
pub mod task;
pub mod time;

pub use blocking::blocking;
pub use sched::runtime::run;
pub use task::{block_on, scope, spawn, try_scope, yield_now};
pub use time::sleep;

pub mod runtime {
    //! Runtimes: how many workers, how they start, and how they end.
    //!
    //! [`run`](crate::run) and [`spawn`](crate::spawn) are enough for most programs. A [`Builder`] makes a
    //! runtime with other settings; several may coexist in a process. Libraries that spawn from their own
    //! threads hold a [`Runtime`], and depend on no default one that comes and goes with somebody's `run`.
    //!
    //! # Reports
    //!
    //! Reports on stderr name a coroutine as `coroutine #7 "name" (spawned at src/main.rs:10:5)`.
    //!
    //! The first runtime adds a line to the message that std prints of a panic: which coroutine it is. Where
    //! a program, or the test harness as it collects output, has set a panic hook of its own before, that one
    //! stays as it is; it may name the coroutine by [`task::current`](crate::task::current) and
    //! [`Task::spawned_at`](crate::task::Task::spawned_at). The error of the join names it in any case.
    //!
    //! A coroutine that keeps its worker for long, while others wait for that worker, is reported with what
    //! it does: it computes, or it is blocked in the kernel. If the system does not run the worker's thread,
    //! since other threads have the processors or a quota is used up, the report says that, and blames no
    //! coroutine. See [`Builder::stall_threshold`].
    //!
    //! # Shutdown
    //!
    //! A runtime ends when its [`Runtime`] is dropped, and with [`run`](crate::run) when the closure
    //! returns:
    //!
    //! 1. Coroutines that are still alive are cancelled: each unwinds out of its present or next wait on its
    //!    own worker (also where its calls never have to wait: [cancellation](crate::task#cancellation)), and
    //!    its destructors run, which must not panic. Those that never started are dropped without running.
    //!    Both end with [`JoinError::Cancelled`](crate::task::JoinError::Cancelled).
    //! 2. That may take up to five seconds, or the time given to [`Runtime::shutdown_timeout`].
    //! 3. What has not unwound by then (because it only computes, or waits again and again while it
    //!    unwinds) is leaked: its stack, its thread and what is borrowed from them stay for ever, and
    //!    whoever joins it waits for ever. A report on stderr names the first ten of these. If it comes to a wait after all, it
    //!    unwinds, as far as that needs no sleep of its worker. Until then it keeps its places in queues: a
    //!    message, a permit or a lock of which it is the next to have it goes to it, and stays there.
    //!
    //! Where panics abort, nothing can be unwound: parked coroutines are leaked without their destructors,
    //! and without a report, as soon as nothing is left that can run.
    //!
    //! # Forking
    //!
    //! A child that is forked while a runtime is alive may only `exec`, as
    //! [`process::Command`](crate::process::Command) has it: the runtime's threads are not there in the
    //! child. If it uses sward nevertheless, it is ended with a message. Once all runtimes have ended, with
    //! nothing leaked, a child may start its own; so a program may become a daemon between two
    //! [`run`](crate::run)s, or before the first. A default runtime that [`spawn`](crate::spawn) has started
    //! on a plain thread never ends.
    //!
    //! # Environment
    //!
    //! `SWARD_WORKERS` (from 1 to 1024), `SWARD_STACK_SIZE` (bytes, or a number with `K`, `M` or `G`, up
    //! to `1G`) and `SWARD_GUARD_SIZE` (likewise, up to `64M`) are the defaults of
    //! [`Builder::worker_threads`], [`Builder::stack_size`] and [`Builder::guard_size`]. `SWARD_CHECK` is `1`
    //! or `0`, the default of [`Builder::checks`]. `SWARD_STACK_GUARD`, `madvise` or `mprotect`, forces one
    //! way to make the guards of stacks. An empty variable counts as unset; nonsense in one is an error that
    //! names it and says what it wants.

    #[doc(inline)]
    pub use crate::blocking::set_max_blocking_threads;
    #[doc(inline)]
    pub use crate::observe::{Metrics, WorkerMetrics, metrics};
    #[doc(inline)]
    pub use crate::sched::runtime::{Builder, Runtime};
}

/// A closure that is not `Send` is not spawned, and neither is one that borrows.
///
/// ```compile_fail,E0277
/// let local = std::rc::Rc::new(1);
/// sward::spawn(move || drop(local));
/// ```
///
/// ```compile_fail,E0373
/// let local = 1;
/// sward::spawn(|| println!("{local}"));
/// ```
///
/// ```compile_fail,E0133
/// let builder = sward::runtime::Builder::new().migrate_started();
/// ```
#[cfg(doctest)]
struct Refused;

/// The README's examples are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
