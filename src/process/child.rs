//! A child that was started.
//!
//! Invariant: std's handle is the only one that reaps it, so its number is its own until then.

use super::exit::Exit;
use super::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output, orphans};
use crate::descriptor::deadline_after;
use crate::task::try_scope;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// A child process; [`std::process::Child`] for coroutines.
///
/// Dropping it neither ends the child nor waits for it, unless
/// [`kill_on_drop`](super::Command::kill_on_drop) was asked for. It leaves no zombie for long: see
/// [the module](super).
///
/// # Cancellation
///
/// A coroutine that is cancelled while it waits unwinds, and the child can be waited for again.
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
    /// The end of the pipe that the child reads, if one was asked for.
    pub stdin: Option<ChildStdin>,
    /// The end of the pipe that the child writes to as its output, if one was asked for.
    pub stdout: Option<ChildStdout>,
    /// The end of the pipe that the child writes its errors to, if one was asked for.
    pub stderr: Option<ChildStderr>,
    process: Process,
}

/// The process without its streams, which its owner may take out.
#[derive(Debug)]
struct Process {
    /// `None` in the destructor only.
    child: Option<std::process::Child>,
    exit: Option<Exit>,
    kill_on_drop: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child.take().expect("nobody else takes it");
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        // It fails for a child that has become another user.
        let _ = self.kill_on_drop && child.kill().is_ok();
        orphans::adopt(child, self.exit.take().and_then(Exit::into_descriptor));
    }
}

impl Process {
    fn child(&mut self) -> &mut std::process::Child {
        self.child.as_mut().expect("there until the destructor")
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
        let child = self.child.as_mut().expect("there until the destructor");
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

    /// The number of the process. Does not park.
    ///
    /// # Examples
    ///
    /// ```
    /// let child = sward::process::Command::new("true").spawn()?;
    /// assert_ne!(child.id(), std::process::id());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.as_ref().expect("there until the destructor").id()
    }

    /// Ends the process by `SIGKILL`; nothing if it was waited for already. Does not park.
    ///
    /// # Errors
    ///
    /// Those of `kill(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// sward::run(|| {
    ///     let mut child = sward::process::Command::new("sleep").arg("1000").spawn()?;
    ///     child.kill()?;
    ///     assert_eq!(child.wait()?.signal(), Some(9));
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.child().kill()
    }

    /// Closes the child's input if it is in [`stdin`](Self::stdin), and waits for the end of the process.
    /// Parks.
    ///
    /// Another call gives the same status again.
    ///
    /// # Errors
    ///
    /// Those of `waitpid(2)`: `ECHILD` if others have reaped it, or the program ignores `SIGCHLD`. Also if
    /// neither a descriptor nor a thread to wait with is to be had.
    ///
    /// # Cancellation
    ///
    /// See the type.
    ///
    /// # Examples
    ///
    /// ```
    /// sward::run(|| {
    ///     let mut child = sward::process::Command::new("false").spawn()?;
    ///     assert_eq!(child.wait()?.code(), Some(1));
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        loop {
            if let Some(status) = self.process.wait_until(None)? {
                return Ok(status);
            }
        }
    }

    /// As [`wait`](Self::wait), for that time at most; `None` if the process goes on. The child's input is
    /// closed as well.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Cancellation
    ///
    /// See the type.
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

    /// The status, if the process has ended. Does not park, and leaves the child's input open.
    ///
    /// # Errors
    ///
    /// Those of `waitpid(2)`.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut child = sward::process::Command::new("cat").stdin(sward::process::Stdio::piped()).spawn()?;
    /// assert!(child.try_wait()?.is_none());
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.child().try_wait()
    }

    /// Closes the child's input, reads its output and its errors to their ends, both at once, and waits for
    /// the end of the process. Parks.
    ///
    /// Where both streams are pipes, they are read by two coroutines; on a plain thread, by those of the
    /// default runtime, as with [`scope`](crate::scope).
    ///
    /// # Errors
    ///
    /// As those of the reads, and of [`wait`](Self::wait).
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
    pub fn wait_with_output(mut self) -> io::Result<Output> {
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
