//! The standard streams. `inherited` uses them without blocking a worker.
//!
//! The buffers and locks are separate from std's. A process may write through both: each line appears whole,
//! in either order. It must not read through both.

use super::inherited;
use crate::coroutine::WaitReason;
use crate::sync::{LockResult, Mutex, MutexGuard, PoisonError, TryLockError};
use once_cell::sync::OnceCell;
use std::fmt;
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, IsTerminal, LineWriter, Lines, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set when the process exits. From then on, writes block the thread instead of parking.
static EXITING: AtomicBool = AtomicBool::new(false);

/// A standard stream without a buffer. A closed stream reads as empty and discards what is written, as std's.
#[derive(Debug)]
struct Raw {
    fd: RawFd,
    reason: WaitReason,
}

const STDIN: Raw = Raw { fd: libc::STDIN_FILENO, reason: WaitReason::Stdin };
const STDOUT: Raw = Raw { fd: libc::STDOUT_FILENO, reason: WaitReason::Stdout };
const STDERR: Raw = Raw { fd: libc::STDERR_FILENO, reason: WaitReason::Stderr };

impl Read for Raw {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        unless_closed(inherited::read(self.fd, self.reason, buf), 0)
    }
}

impl Write for Raw {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let result = match EXITING.load(Ordering::Relaxed) {
            true => inherited::write_now(self.fd, buf),
            false => inherited::write(self.fd, self.reason, buf),
        };
        unless_closed(result, buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unless_closed(result: io::Result<usize>, closed: usize) -> io::Result<usize> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(closed),
        result => result,
    }
}

/// Ignores poison: a panic under the lock leaves the state of a stream consistent.
fn ignore_poison<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

/// The standard input: [`std::io::stdin`] for coroutines. All handles share its buffer. Does not park.
///
/// # Examples
///
/// ```no_run
/// sward::run(|| {
///     for line in sward::io::stdin().lines() {
///         println!("{}", line?.to_uppercase());
///     }
///     Ok::<_, std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use]
pub fn stdin() -> Stdin {
    static SHARED: OnceCell<Mutex<BufReader<Raw>>> = OnceCell::new();
    Stdin { shared: SHARED.get_or_init(|| Mutex::new(BufReader::new(STDIN))) }
}

/// The standard output: [`std::io::stdout`] for coroutines. All handles share its buffer. Does not park.
///
/// Output is written when a line is complete or the buffer is full. [`flush`](Write::flush) writes the rest,
/// and so does the exit of the process, unless the stream is locked then.
///
/// `println!` writes to std's stream, which has a buffer of its own, and blocks the worker while the output
/// has no room.
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// sward::run(|| {
///     let mut out = sward::io::stdout().lock();
///     writeln!(out, "two lines,")?;
///     writeln!(out, "with nobody else's in between")
/// })
/// # .unwrap();
/// ```
#[must_use]
pub fn stdout() -> Stdout {
    Stdout { shared: OUTPUT.get_or_init(output) }
}

static OUTPUT: OnceCell<Mutex<LineWriter<Raw>>> = OnceCell::new();

fn output() -> Mutex<LineWriter<Raw>> {
    // SAFETY: the function may be called at any time, on any thread. If registering it fails, output that was
    // not flushed is lost.
    unsafe { libc::atexit(flush_output) };
    Mutex::new(LineWriter::new(STDOUT))
}

/// Writes what is in the buffer, as the process exits, unless the stream is locked.
extern "C" fn flush_output() {
    EXITING.store(true, Ordering::Relaxed);
    let writer = OUTPUT.get().map(Mutex::try_lock);
    if let Some(Ok(mut writer)) = writer {
        let _ = writer.flush();
    } else if let Some(Err(TryLockError::Poisoned(writer))) = writer {
        let _ = writer.into_inner().flush();
    }
}

/// The standard error stream: [`std::io::stderr`] for coroutines. It has no buffer. Does not park.
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// sward::run(|| writeln!(sward::io::stderr(), "nothing is wrong")).unwrap();
/// ```
#[must_use]
pub fn stderr() -> Stderr {
    static SHARED: OnceCell<Mutex<Raw>> = OnceCell::new();
    Stderr { shared: SHARED.get_or_init(|| Mutex::new(STDERR)) }
}

macro_rules! stream {
    ($ours:ident, $lock:ident, $state:ty, $fd:expr, $(#[$doc:meta])*) => {
        $(#[$doc])*
        ///
        /// A call that would block parks the calling coroutine, whatever the stream is; on a plain thread it
        /// blocks the thread. The mode of the open file, which the shell shares, stays as it is: on Linux,
        /// each call on a pipe or socket says itself that it must not block. Files, terminals, and pipes on
        /// other systems cost a hand-over to the pool of [`blocking`](crate::blocking()) once the stream is
        /// ready. A closed stream reads as empty and discards what is written, as std's.
        ///
        /// Locking the stream parks as well. Deadlocks if the caller already holds the lock, also by a use of
        /// the handle; std's output locks are reentrant.
        ///
        /// # Errors
        ///
        /// As std's. Also an error if no descriptor is free to wait with.
        ///
        /// # Cancellation
        ///
        /// A coroutine that is cancelled while it waits for the lock, for input or for room unwinds. Part of
        /// what it was writing may have been written. A line that [`read_line`](BufRead::read_line) has begun
        /// to read is lost. A call that was handed to the pool is awaited first.
        #[derive(Clone, Copy)]
        pub struct $ours {
            shared: &'static Mutex<$state>,
        }

        /// A lock on the stream, released when it is dropped. A coroutine may wait while it holds the lock.
        pub struct $lock<'a> {
            state: MutexGuard<'a, $state>,
        }

        impl $ours {
            /// Locks the stream until the guard is dropped. Parks while another coroutine or thread holds the
            /// lock.
            #[must_use]
            pub fn lock(&self) -> $lock<'static> {
                $lock { state: ignore_poison(self.shared.lock()) }
            }

            /// Whether the stream is a terminal. Does not park.
            #[must_use]
            pub fn is_terminal(&self) -> bool {
                self.as_fd().is_terminal()
            }
        }

        stream!(@descriptor $ours, $fd);
        stream!(@descriptor $lock<'_>, $fd);

        impl fmt::Debug for $ours {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($ours)).finish_non_exhaustive()
            }
        }

        impl fmt::Debug for $lock<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($lock)).finish_non_exhaustive()
            }
        }
    };
    (@descriptor $ours:ty, $fd:expr) => {
        impl AsFd for $ours {
            fn as_fd(&self) -> BorrowedFd<'_> {
                // SAFETY: as in std: well-behaved code never closes the standard streams.
                unsafe { BorrowedFd::borrow_raw($fd) }
            }
        }

        impl AsRawFd for $ours {
            fn as_raw_fd(&self) -> RawFd {
                $fd
            }
        }
    };
}

stream! {
    Stdin, StdinLock, BufReader<Raw>, libc::STDIN_FILENO,
    /// The standard input: see [`stdin`].
}

stream! {
    Stdout, StdoutLock, LineWriter<Raw>, libc::STDOUT_FILENO,
    /// The standard output: see [`stdout`].
}

stream! {
    Stderr, StderrLock, Raw, libc::STDERR_FILENO,
    /// The standard error stream: see [`stderr`].
}

impl Stdin {
    /// Locks the stream, and appends a line with its line ending to the string:
    /// [`std::io::Stdin::read_line`]. Returns the number of bytes, which is zero at the end of the input.
    /// `InvalidData` if the line is not UTF-8. Parks.
    pub fn read_line(&self, buf: &mut String) -> io::Result<usize> {
        self.lock().read_line(buf)
    }

    /// Locks the stream, and returns an iterator over its lines: [`std::io::Stdin::lines`]. Parks, and so
    /// does the iterator.
    pub fn lines(self) -> Lines<StdinLock<'static>> {
        self.lock().lines()
    }
}

impl BufRead for StdinLock<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.state.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.state.consume(count);
    }
}

macro_rules! reads {
    ($ours:ty, $self:ident => $state:expr) => {
        impl Read for $ours {
            fn read(&mut $self, buf: &mut [u8]) -> io::Result<usize> {
                $state.read(buf)
            }

            fn read_vectored(&mut $self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                $state.read_vectored(bufs)
            }

            fn read_to_end(&mut $self, buf: &mut Vec<u8>) -> io::Result<usize> {
                $state.read_to_end(buf)
            }

            fn read_to_string(&mut $self, buf: &mut String) -> io::Result<usize> {
                $state.read_to_string(buf)
            }

            fn read_exact(&mut $self, buf: &mut [u8]) -> io::Result<()> {
                $state.read_exact(buf)
            }
        }
    };
}

reads! { StdinLock<'_>, self => self.state }
reads! { Stdin, self => self.lock().state }
reads! { &Stdin, self => self.lock().state }

macro_rules! writes {
    ($ours:ty, $self:ident => $state:expr) => {
        impl Write for $ours {
            fn write(&mut $self, buf: &[u8]) -> io::Result<usize> {
                $state.write(buf)
            }

            fn write_vectored(&mut $self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                $state.write_vectored(bufs)
            }

            fn write_all(&mut $self, buf: &[u8]) -> io::Result<()> {
                $state.write_all(buf)
            }

            fn write_fmt(&mut $self, args: fmt::Arguments<'_>) -> io::Result<()> {
                $state.write_fmt(args)
            }

            fn flush(&mut $self) -> io::Result<()> {
                $state.flush()
            }
        }
    };
}

writes! { StdoutLock<'_>, self => self.state }
writes! { Stdout, self => self.lock().state }
writes! { &Stdout, self => self.lock().state }
writes! { StderrLock<'_>, self => self.state }
writes! { Stderr, self => self.lock().state }
writes! { &Stderr, self => self.lock().state }
