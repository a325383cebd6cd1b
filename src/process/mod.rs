//! Child processes, with the surface of [`std::process`]: what blocks there parks here.
//!
//! [`Command`] starts one; [`Child::wait`] parks until it has ended, and its streams park as pipes do. On a
//! plain thread, the same calls block the thread.
//!
//! # How the end of a child is waited for
//!
//! On Linux by a descriptor of the process (`pidfd_open(2)`), in the shard, as a socket is. Elsewhere, or
//! where no descriptor is available, by a thread for each child that is waited for, which stays with the
//! child although its caller may be cancelled. No handler for `SIGCHLD` is installed.
//!
//! # Children that nobody waits for
//!
//! A [`Child`] that is dropped goes on running, unless [`Command::kill_on_drop`] says otherwise. So does one
//! whose wait was cancelled or has met a time limit, once it is dropped. Either way it leaves no zombie: a
//! thread waits for such children and reaps each as soon as it has ended. The thread is there while there are
//! any, and holds a descriptor for each. Without descriptors of processes it asks each of them from time to
//! time, and is at most a second late.
//!
//! # What a child inherits
//!
//! As with std: the standard streams, the working folder, the environment, an empty signal mask. sward's own
//! descriptors close on `exec`, and it sets no processor affinity that a child would inherit. A child is
//! started by the calling thread, which is a worker as a rule: a "parent-death signal" (`PR_SET_PDEATHSIG`)
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

// Rank 7. `exit` waits for an end, by means of `pidfd` or of a thread; `orphans` keeps those whose handle is
// gone, and reaps them.

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
