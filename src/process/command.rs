//! How a child is to be started.

use super::{Child, CommandArgs, CommandEnvs, ExitStatus, Output, Stdio, orphans};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// How a child process is to be started; [`std::process::Command`] for coroutines.
///
/// Starting one does not park: the calling thread makes the child, and waits until it runs its program, which
/// takes well below a millisecond as a rule. Where that may be long (a program on a slow disk, a process of
/// many GiB with [`pre_exec`](Self::pre_exec)), wrap the [`spawn`](Self::spawn) in
/// [`blocking`](crate::blocking()).
///
/// # Examples
///
/// ```
/// use sward::process::Command;
///
/// sward::run(|| {
///     let status = Command::new("sh").args(["-c", "exit 3"]).status()?;
///     assert_eq!(status.code(), Some(3));
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
pub struct Command {
    inner: std::process::Command,
    /// Which of the standard streams the user has said something about.
    said: [bool; 3],
    kill_on_drop: bool,
}

/// Methods that std's command has under the same name, and that give the command back.
macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident $(<$generic:ident: $bound:path>)? ($($arg:ident: $type:ty),*);)*) => {$(
        $(#[$doc])*
        #[doc = concat!("\n\nAs [`std::process::Command::", stringify!($name), "`].")]
        pub fn $name $(<$generic: $bound>)? (&mut self, $($arg: $type),*) -> &mut Command {
            self.inner.$name($($arg),*);
            self
        }
    )*};
}

impl Command {
    /// The program of that name, or at that path, without arguments, with this process's environment and
    /// folder.
    ///
    /// As [`std::process::Command::new`].
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        std::process::Command::new(program).into()
    }

    forward! {
        /// Adds an argument.
        arg<S: AsRef<OsStr>>(arg: S);
        /// Removes all variables from the environment.
        env_clear();
        /// Removes a variable from the environment.
        env_remove<K: AsRef<OsStr>>(key: K);
        /// Sets the working folder.
        current_dir<P: AsRef<Path>>(dir: P);
        /// Sets the user.
        uid(id: u32);
        /// Sets the group.
        gid(id: u32);
        /// Sets what the program is told that its name is.
        arg0<S: AsRef<OsStr>>(arg: S);
        /// Sets the process group; zero is one of its own.
        process_group(pgroup: i32);
    }

    /// Adds arguments.
    ///
    /// As [`std::process::Command::args`].
    pub fn args<S: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Command {
        self.inner.args(args);
        self
    }

    /// Sets a variable of the environment.
    ///
    /// As [`std::process::Command::env`].
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env(key, value);
        self
    }

    /// Sets variables of the environment.
    ///
    /// As [`std::process::Command::envs`].
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> &mut Command {
        self.inner.envs(vars);
        self
    }

    /// Sets the standard input. Otherwise it is this process's, or empty for [`output`](Self::output).
    ///
    /// As [`std::process::Command::stdin`].
    pub fn stdin(&mut self, cfg: impl Into<Stdio>) -> &mut Command {
        self.said[0] = true;
        self.inner.stdin(cfg);
        self
    }

    /// Sets the standard output. Otherwise it is this process's, or a pipe for [`output`](Self::output).
    ///
    /// As [`std::process::Command::stdout`].
    pub fn stdout(&mut self, cfg: impl Into<Stdio>) -> &mut Command {
        self.said[1] = true;
        self.inner.stdout(cfg);
        self
    }

    /// Sets the standard error stream. Otherwise it is this process's, or a pipe for
    /// [`output`](Self::output).
    ///
    /// As [`std::process::Command::stderr`].
    pub fn stderr(&mut self, cfg: impl Into<Stdio>) -> &mut Command {
        self.said[2] = true;
        self.inner.stderr(cfg);
        self
    }

    /// Has the child run a closure before its program.
    ///
    /// As [`CommandExt::pre_exec`].
    ///
    /// # Safety
    ///
    /// The closure runs after `fork(2)`: it may do only what a signal handler may, and must not use sward;
    /// see [`CommandExt::pre_exec`].
    pub unsafe fn pre_exec(
        &mut self,
        f: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Command {
        // SAFETY: passed on to the caller.
        unsafe { self.inner.pre_exec(f) };
        self
    }

    /// Whether a [`Child`] that is dropped and has not ended is killed. It is not by default.
    ///
    /// It then has the rest of its time to die: the drop does not wait for that.
    ///
    /// # Examples
    ///
    /// ```
    /// let child = sward::process::Command::new("sleep").arg("1000").kill_on_drop(true).spawn()?;
    /// drop(child);
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Command {
        self.kill_on_drop = kill_on_drop;
        self
    }

    /// Starts the child. The streams that were not set are this process's. Does not park.
    ///
    /// # Errors
    ///
    /// The system's: the program is not there or must not be run; no more processes or descriptors.
    ///
    /// # Examples
    ///
    /// ```
    /// use sward::process::Command;
    ///
    /// sward::run(|| {
    ///     assert!(Command::new("true").spawn()?.wait()?.success());
    ///     let missing = Command::new("/nowhere/at/all").spawn().unwrap_err();
    ///     assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.spawn_with(Stdio::inherit, Stdio::inherit)
    }

    fn spawn_with(&mut self, input: fn() -> Stdio, output: fn() -> Stdio) -> io::Result<Child> {
        orphans::reap();
        let [stdin, stdout, stderr] = self.said;
        if !stdin {
            self.inner.stdin(input());
        }
        if !stdout {
            self.inner.stdout(output());
        }
        if !stderr {
            self.inner.stderr(output());
        }
        self.inner.spawn().map(|child| Child::new(child, self.kill_on_drop))
    }

    /// Starts the child, and parks until it has ended and all its output is read. The output streams that
    /// were not set are pipes, and the input is empty.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Child::wait_with_output`].
    ///
    /// # Cancellation
    ///
    /// The child is dropped: it goes on running, unless [`kill_on_drop`](Self::kill_on_drop) is set.
    ///
    /// # Examples
    ///
    /// ```
    /// let output = sward::run(|| sward::process::Command::new("pwd").current_dir("/").output())?;
    /// assert_eq!(output.stdout, b"/\n");
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn output(&mut self) -> io::Result<Output> {
        self.spawn_with(Stdio::null, Stdio::piped)?.wait_with_output()
    }

    /// Starts the child, and parks until it has ended. The streams that were not set are this process's.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Child::wait`].
    ///
    /// # Cancellation
    ///
    /// As [`output`](Self::output).
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Has the program take the place of this process. Returns only if that fails.
    ///
    /// As [`CommandExt::exec`].
    pub fn exec(&mut self) -> io::Error {
        self.inner.exec()
    }

    /// The program. As [`std::process::Command::get_program`].
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        self.inner.get_program()
    }

    /// The arguments. As [`std::process::Command::get_args`].
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.inner.get_args()
    }

    /// The variables that are set or removed. As [`std::process::Command::get_envs`].
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.inner.get_envs()
    }

    /// The working folder, if it was set. As [`std::process::Command::get_current_dir`].
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.inner.get_current_dir()
    }

    /// std's command, for what is not here. Set the standard streams here, not there.
    pub fn as_std(&self) -> &std::process::Command {
        &self.inner
    }

    /// std's command, for what is not here. Set the standard streams here, not there: those set there are
    /// overruled.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.inner
    }
}

/// The standard streams have to be set anew: std's command does not tell them.
impl From<std::process::Command> for Command {
    fn from(inner: std::process::Command) -> Command {
        Command { inner, said: [false; 3], kill_on_drop: false }
    }
}

/// As std's.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
