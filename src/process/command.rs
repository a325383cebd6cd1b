//! How a child is started.

use super::{Child, CommandArgs, CommandEnvs, ExitStatus, Output, Stdio, orphans};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// How a child process is started: [`std::process::Command`] for coroutines.
///
/// Starting a child does not park: the calling thread creates the child and waits until the child runs its
/// program, which usually takes well below a millisecond. If it may take long (a program on a slow disk, a
/// process of many GiB with [`pre_exec`](Self::pre_exec)), wrap the [`spawn`](Self::spawn) in
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
    /// Which of the standard streams the user has set.
    is_set: [bool; 3],
    kill_on_drop: bool,
}

/// Methods that call std's method of that name, and return the command.
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
    /// For the program of that name, or at that path: without arguments, with this process's environment and
    /// working directory.
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
        /// Sets the working directory.
        current_dir<P: AsRef<Path>>(dir: P);
        /// Sets the user.
        uid(id: u32);
        /// Sets the group.
        gid(id: u32);
        /// Sets the name under which the program is started (`argv[0]`).
        arg0<S: AsRef<OsStr>>(arg: S);
        /// Sets the process group. Zero means a new one.
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

    /// Sets the standard input. By default the child inherits it, or it is empty for
    /// [`output`](Self::output).
    ///
    /// As [`std::process::Command::stdin`].
    pub fn stdin(&mut self, cfg: impl Into<Stdio>) -> &mut Command {
        self.is_set[0] = true;
        self.inner.stdin(cfg);
        self
    }

    /// Sets the standard output. By default the child inherits it, or it is a pipe for
    /// [`output`](Self::output).
    ///
    /// As [`std::process::Command::stdout`].
    pub fn stdout(&mut self, cfg: impl Into<Stdio>) -> &mut Command {
        self.is_set[1] = true;
        self.inner.stdout(cfg);
        self
    }

    /// Sets the standard error stream. By default the child inherits it, or it is a pipe for
    /// [`output`](Self::output).
    ///
    /// As [`std::process::Command::stderr`].
    pub fn stderr(&mut self, cfg: impl Into<Stdio>) -> &mut Command {
        self.is_set[2] = true;
        self.inner.stderr(cfg);
        self
    }

    /// Runs a closure in the child, before its program.
    ///
    /// As [`CommandExt::pre_exec`].
    ///
    /// # Safety
    ///
    /// The closure runs after `fork(2)`: it may do only what a signal handler may do, and must not use sward.
    /// See [`CommandExt::pre_exec`].
    pub unsafe fn pre_exec(
        &mut self,
        f: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Command {
        // SAFETY: passed on to the caller.
        unsafe { self.inner.pre_exec(f) };
        self
    }

    /// Sets whether dropping a [`Child`] kills it, unless it has ended. Off by default. Not in std.
    ///
    /// The drop sends `SIGKILL` and does not wait until the child has ended.
    pub fn kill_on_drop(&mut self, kill_on_drop: bool) -> &mut Command {
        self.kill_on_drop = kill_on_drop;
        self
    }

    /// Starts the child: [`std::process::Command::spawn`]. It inherits the streams that were not set. Does
    /// not park.
    ///
    /// # Errors
    ///
    /// As std's: the program does not exist or may not be run, or no process or descriptor is free.
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.spawn_with(Stdio::inherit, Stdio::inherit)
    }

    fn spawn_with(&mut self, input: fn() -> Stdio, output: fn() -> Stdio) -> io::Result<Child> {
        orphans::reap();
        let [stdin, stdout, stderr] = self.is_set;
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

    /// Starts the child and collects its output: [`std::process::Command::output`]. Parks until the child has
    /// ended and all its output is read. Output streams that were not set are pipes; an input that was not
    /// set is empty.
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

    /// Starts the child and waits for it: [`std::process::Command::status`]. Parks until the child has ended.
    /// It inherits the streams that were not set.
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

    /// Replaces this process by the program. Returns only if that fails.
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

    /// The working directory, if it was set. As [`std::process::Command::get_current_dir`].
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.inner.get_current_dir()
    }

    /// std's command, for methods that are missing here.
    pub fn as_std(&self) -> &std::process::Command {
        &self.inner
    }

    /// std's command, for methods that are missing here. Set the standard streams on this command, not on
    /// std's: they would be overwritten.
    pub fn as_std_mut(&mut self) -> &mut std::process::Command {
        &mut self.inner
    }
}

/// Set the standard streams again afterwards: std's command does not reveal how they were set.
impl From<std::process::Command> for Command {
    fn from(inner: std::process::Command) -> Command {
        Command { inner, is_set: [false; 3], kill_on_drop: false }
    }
}

/// As std's.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
