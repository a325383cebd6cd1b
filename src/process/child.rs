//! A child that was started.
//!
//! Invariant: only std's handle reaps the child, so until then its process number is its own.

use super::exit::Exit;
use super::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output, orphans};
use crate::descriptor::deadline_after;
use crate::task::{as_file_operation, try_scope};
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// A child process: [`std::process::Child`] for coroutines.
///
/// Dropping it neither ends the child nor waits for it, unless [`kill_on_drop`](super::Command::kill_on_drop)
/// is set. Unlike std's, a dropped child leaves no zombie; see [the module](super).
///
/// # Cancellation
///
/// A coroutine that is cancelled while it waits unwinds. The child goes on, and can be waited for again.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use sward::process::{Command, Stdio};
///
/// sward::run(|| {
///     let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
///     child.stdin.take().unwrap().write_all(b"hello")?;
///     let mut text = String::new();
///     child.stdout.take().unwrap().read_to_string(&mut text)?;
///     assert_eq!(text, "hello");
///     assert!(child.wait()?.success());
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct Child {
    /// The pipe to the child's standard input, if it was set to [`Stdio::piped`](super::Stdio::piped).
    pub stdin: Option<ChildStdin>,
    /// The pipe from the child's standard output, if it was set to [`Stdio::piped`](super::Stdio::piped).
    pub stdout: Option<ChildStdout>,
    /// The pipe from the child's standard error stream, if it was set to
    /// [`Stdio::piped`](super::Stdio::piped).
    pub stderr: Option<ChildStderr>,
    process: Process,
}

/// The process without its streams. A type of its own, so that users can move the streams out of a [`Child`].
#[derive(Debug)]
struct Process {
    /// `None` only in the destructor.
    child: Option<std::process::Child>,
    exit: Option<Exit>,
    kill_on_drop: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.take().expect("only the destructor takes it");
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        // This fails if the child has changed its user.
        let _ = self.kill_on_drop && child.kill().is_ok();
        orphans::adopt(child, self.exit.take().and_then(Exit::into_descriptor));
    }
}

impl Process {
    fn child(&mut self) -> &mut std::process::Child {
        self.child.as_mut().expect("only the destructor takes it")
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        let child = self.child.as_mut().expect("only the destructor takes it");
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let exit = match &self.exit {
            Some(exit) => exit,
            None => self.exit.insert(Exit::of(child.id())?),
        };
        exit.wait(deadline, || child.try_wait())
    }
}

impl Child {
    pub(super) fn new(mut child: std::process::Child, kill_on_drop: bool) -> Child {
        Child {
            stdin: child.stdin.take().map(Into::into),
            stdout: child.stdout.take().map(Into::into),
            stderr: child.stderr.take().map(Into::into),
            process: Process { child: Some(child), exit: None, kill_on_drop },
        }
    }

    /// The process number: [`std::process::Child::id`]. Does not park.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.as_ref().expect("only the destructor takes it").id()
    }

    /// Sends `SIGKILL` to the child, unless it was reaped: [`std::process::Child::kill`]. Does not park.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.child().kill()
    }

    /// Closes [`stdin`](Self::stdin), if it was not taken out, and waits until the process has ended:
    /// [`std::process::Child::wait`]. Parks.
    ///
    /// A second call returns the same status.
    ///
    /// # Errors
    ///
    /// `ECHILD` if someone else has reaped the child, or the program ignores `SIGCHLD`. Also an error if
    /// neither a descriptor nor a thread to wait with is available, or the system cannot watch the
    /// descriptor.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        loop {
            if let Some(status) = self.process.wait_until(None)? {
                return Ok(status);
            }
        }
    }

    /// As [`wait`](Self::wait), for that time at most: `None` if the process has not ended by then. The
    /// child's input stays closed. Not in std.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// sward::run(|| {
    ///     let mut child = sward::process::Command::new("sleep").arg("1000").spawn()?;
    ///     assert!(child.wait_timeout(Duration::from_millis(1))?.is_none());
    ///     child.kill()?;
    ///     assert!(child.wait_timeout(Duration::from_secs(60))?.is_some());
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        self.process.wait_until(deadline_after(timeout))
    }

    /// The status if the process has ended, else `None`: [`std::process::Child::try_wait`]. Does not park,
    /// and leaves the child's input open.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.child().try_wait()
    }

    /// Closes the child's input, reads both output streams to their ends, and waits until the process has
    /// ended: [`std::process::Child::wait_with_output`]. Parks.
    ///
    /// If both streams are pipes, two coroutines read them at the same time. On a plain thread these run in
    /// the default runtime, as with [`scope`](crate::scope).
    ///
    /// # Errors
    ///
    /// Those of the reads, and of [`wait`](Self::wait).
    ///
    /// # Cancellation
    ///
    /// The child is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::process::{Command, Stdio};
    ///
    /// sward::run(|| {
    ///     let script = "echo out; echo err >&2";
    ///     let mut command = Command::new("sh");
    ///     let child = command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    ///     let output = child.wait_with_output()?;
    ///     assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn wait_with_output(self) -> io::Result<Output> {
        as_file_operation(|| self.read_and_wait())
    }

    fn read_and_wait(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        match (self.stdout.take(), self.stderr.take()) {
            (Some(mut out), Some(mut err)) => try_scope(|s| {
                s.spawn(|| out.read_to_end(&mut stdout).map(drop));
                s.spawn(|| err.read_to_end(&mut stderr).map(drop));
                Ok::<(), io::Error>(())
            })?,
            (Some(mut out), None) => drop(out.read_to_end(&mut stdout)?),
            (None, Some(mut err)) => drop(err.read_to_end(&mut stderr)?),
            (None, None) => {}
        }
        Ok(Output { status: self.wait()?, stdout, stderr })
    }
}
