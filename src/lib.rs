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
pub mod process;
pub mod runtime;
mod sched;
pub mod select;
#[cfg(feature = "signal")]
pub mod signal;
mod stack;
pub mod sync;
pub mod task;
pub mod time;

pub use blocking::blocking;
pub use runtime::run;
pub use task::{block_on, scope, spawn, try_scope, yield_now};
pub use time::sleep;

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
