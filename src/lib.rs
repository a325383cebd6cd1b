//! Goroutines for Rust.
//!
//! [`spawn`] starts a stackful coroutine. Code in it reads top to bottom and "blocks":
//! `stream.read(&mut buf)?`, [`sleep`], [`task::JoinHandle::join`]. What would block parks the coroutine
//! and frees the thread; a work-stealing scheduler and a netpoller carry hundreds of thousands of them
//! on a few threads.
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
//! [`spawn`] is a safe function. A program that wants started coroutines to migrate says so in one
//! unsafe line, [`runtime::Builder::migrate_started`].
//!
//! # The layers
//!
//! A module uses only what stands below it: `base`, `stack`, `coroutine`, `netpoll`, `sched`, then
//! [`task`], [`time`], then [`net`] and [`io`], then `observe`. `docs/ARCHITECTURE.md` goes through the
//! house from the ground floor up.

#[cfg(not(unix))]
compile_error!("sward runs on Unix");

mod base;
mod blocking;
pub mod channel;
mod coroutine;
pub mod io;
pub mod net;
mod netpoll;
mod observe;
mod sched;
mod stack;
pub mod task;
pub mod time;

pub use sched::runtime::run;
pub use task::{spawn, yield_now};
pub use time::sleep;

pub mod runtime {
    //! Runtimes: how many workers, how they start, and how they end.
    //!
    //! [`run`](crate::run) and [`spawn`](crate::spawn) are enough for most programs. A [`Builder`] makes a
    //! runtime with other settings; several may coexist in a process.
    //!
    //! # Shutdown
    //!
    //! A runtime ends when its [`Runtime`] is dropped, and with [`run`](crate::run) when the closure
    //! returns:
    //!
    //! 1. Coroutines that are still alive are cancelled: each unwinds out of its present or next wait on
    //!    its own worker, and its destructors run. Those that never started are dropped without running.
    //!    Both end with [`JoinError::Cancelled`](crate::task::JoinError::Cancelled).
    //! 2. That may take five seconds, or the time given to [`Runtime::shutdown_timeout`].
    //! 3. What has not unwound by then (because it never waits, or waits again and again) is leaked: its
    //!    stack and what is borrowed from it stay as they are for ever. A report names it on stderr.
    //!
    //! # Environment
    //!
    //! `SWARD_WORKERS` and `SWARD_STACK_SIZE` (bytes, or with the suffix `K` or `M`) are the defaults of
    //! [`Builder::worker_threads`] and [`Builder::stack_size`]. Nonsense in them is an error that names
    //! the variable.

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
