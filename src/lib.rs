//! Goroutines for Rust.
//!
//! [`spawn`] starts a stackful coroutine. Its code reads top to bottom and "blocks": `stream.read(&mut
//! buf)?`, [`sleep`], [`task::JoinHandle::join`]. A call that would block parks the coroutine and frees the
//! thread. A work-stealing scheduler and a netpoller run hundreds of thousands of coroutines on a few
//! threads.
//!
//! ```
//! sward::run(|| {
//!     let h = sward::spawn(|| 6 * 7);
//!     println!("{}", h.join().unwrap())
//! })
//! ```
//!
//! When the closure of [`run`] returns, the coroutines that still run are cancelled. An echo server and its
//! client:
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
//! # Where to find what
//!
//! | module | what it has |
//! |---|---|
//! | [`task`] | scopes, `JoinSet`, cancellation, task locals, futures in coroutines |
//! | [`sync`], [`channel`], [`mod@select`] | locks and permits; channels; the first of several operations |
//! | [`time`] | sleeping, a limit around any code, intervals |
//! | [`net`], [`io`], [`fs`], [`process`] | sockets, pipes and standard streams, files, children, in std's shape |
//! | `signal` | Ctrl-C and other signals |
//! | [`runtime`] | settings, in the program or by environment variables; reports, shutdown, metrics |
//! | [`observe`] | what each coroutine waits for: dumps, deadlocks, leaks, traces |
//! | `sim` | tests on a virtual clock, with many schedules |
//!
//! The page of [`task`] is the one to read first: it has the rules of cancellation, of destructors and of
//! fairness, which hold everywhere. The repository's `docs/guide/` is the guide: coming from Go, from tokio
//! and from threads, a cookbook, and what to know in production.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `signal` | yes | `sward::signal` |
//! | `symbols` | yes | names of functions, files and lines in the stacks of [`observe`] |
//! | `dashboard` | no | `observe::serve`: a page that shows what the program does, live |
//! | `metrics` | no | `runtime::MetricsReporter`, for the crate `metrics` |
//! | `sim` | no | `sward::sim`, for tests, on Linux |
//!
//! # Sound by default
//!
//! Other workers may steal a coroutine until its first instruction runs. From then on it stays on its
//! worker's thread for life. So `Rc`, `RefCell`, thread-locals and lock guards may all be held across a
//! blocking call, and [`spawn`] is a safe function.
//!
//! There are two exceptions, because coroutines of one thread interleave at waits while calls of one thread
//! nest. The initializer of a `thread_local!` must not wait. And code that relies on nested calls on one
//! thread, such as dynamic scoping through a thread-local (`scoped-tls`), must not hold its scope across a
//! wait. `SWARD_CHECK=1` finds both in tests, and other state of the thread that is held across a wait: see
//! [`runtime::Builder::checks`].
//!
//! Safe is not always wise. If a coroutine holds a [`std::sync::Mutex`] across a wait, another coroutine
//! that locks it blocks its whole worker; if both live on the same worker, that is a deadlock. Release
//! std's locks before you wait. The other blocking calls of std ([`std::sync::mpsc`]'s `recv`,
//! [`std::sync::Condvar`], [`std::sync::Barrier`], [`std::thread::JoinHandle::join`],
//! [`std::thread::sleep`]) block the worker as well, with every coroutine that lives there.
//!
//! One unsafe line lets started coroutines move between workers: [`runtime::Builder::migrate_started`].
//!
//! # One version in a program
//!
//! Two versions of this crate in one program would be two runtimes that take each other's coroutines for
//! plain threads: a wait of the one would block a worker of the other. So cargo refuses such a program,
//! because the manifest has a `links` key. The message names both versions and the packages that depend on
//! them; update them to the same one. Two versions that are compatible, such as 0.1.3 and 0.1.7, are never
//! both in a program. Cargo checks this for a whole lock file: it also refuses a workspace whose programs
//! have one version each. A library that is loaded at run time is not checked.

#![cfg_attr(docsrs, feature(doc_cfg), doc(auto_cfg(hide(loom))))]

// A module imports only lower ranks: `docs/ARCHITECTURE.md` has the table, and `tests/tidy.rs` checks the
// code against it.

#[cfg(not(unix))]
compile_error!("sward runs on Unix");

mod base;
mod blocking;
pub mod channel;
mod coroutine;
mod descriptor;
pub mod fs;
mod inspect;
pub mod io;
pub mod net;
mod netpoll;
pub mod observe;
pub mod process;
mod ring;
pub mod runtime;
mod sched;
pub mod select;
#[cfg(feature = "signal")]
pub mod signal;
#[cfg(sward_sim)]
pub mod sim;
mod stack;
mod storage;
pub mod sync;
pub mod task;
pub mod time;

pub use blocking::blocking;
pub use runtime::default::run;
pub use runtime::task_handle::in_coroutine;
pub use task::{block_on, scope, spawn, try_scope, yield_now};
pub use time::sleep;

/// `spawn` refuses a closure that is not `Send` or that borrows.
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

/// The guide's snippets are tested.
#[cfg(doctest)]
mod guide {
    macro_rules! chapters {
        ($($name:ident: $file:literal,)*) => {
            $(#[doc = include_str!(concat!("../docs/guide/", $file))] struct $name;)*
        };
    }
    chapters! {
        FromGo: "from-go.md",
        FromTokio: "from-tokio.md",
        FromThreads: "from-threads.md",
        Choosing: "choosing.md",
        Cookbook: "cookbook.md",
        Simulation: "simulation.md",
        Production: "production.md",
    }
}
