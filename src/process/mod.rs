//! Child processes: [`std::process`] for coroutines.
//!
//! [`Command`] starts a child; [`Child::wait`] parks until it has ended, and its streams park as pipes do. On
//! a plain thread, the same calls block the thread.
//!
//! # How a coroutine waits for a child
//!
//! On Linux it waits for a descriptor of the process (`pidfd_open(2)`), as it waits for a socket. On other
//! systems, or if no descriptor is available, a thread for each child waits in `waitid(2)`; the thread stays
//! until the child has ended, even if the waiting coroutine is cancelled. sward installs no handler for
//! `SIGCHLD`.
//!
//! # Dropped children
//!
//! A [`Child`] that is dropped goes on running, unless [`Command::kill_on_drop`] is set. That includes a
//! child whose wait was cancelled or has exceeded a time limit. It leaves no zombie: one thread, the reaper,
//! waits for all dropped children and reaps each as soon as it has ended. The reaper exists only while such
//! children exist, and holds a descriptor for each. On systems without descriptors of processes it polls
//! them, and is at most a second late.
//!
//! # What a child inherits
//!
//! As with std: the standard streams, the working directory, the environment, an empty signal mask. sward's
//! own descriptors close on `exec`, and sward sets no processor affinity that a child would inherit. The
//! calling thread starts the child. Usually that is a worker, so a "parent-death signal" (`PR_SET_PDEATHSIG`)
//! is sent when the runtime shuts down.
//!
//! ```
//! use sward::process::Command;
//!
//! sward::run(|| {
//!     let output = Command::new("echo").arg("hello").output()?;
//!     assert!(output.status.success());
//!     assert_eq!(output.stdout, b"hello\n");
//!     Ok::<_, std::io::Error>(())
//! })
//! # .unwrap();
//! ```

// Rank 9. `command` starts a child, `child` is one that was started. `exit` waits for the end of a child,
// through a descriptor (`sys`) or a thread. `orphans` reaps the children that were dropped. `streams` has
// the ends of their pipes.

mod child;
mod command;
mod exit;
mod orphans;
mod streams;
mod sys;

pub use child::Child;
pub use command::Command;
#[doc(no_inline)]
pub use std::process::{CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, abort, exit, id};
pub use streams::{ChildStderr, ChildStdin, ChildStdout};
