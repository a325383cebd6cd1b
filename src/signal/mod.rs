//! Waiting for signals: for Ctrl-C, and for the others by which a server is controlled.
//!
//! [`ctrl_c`] waits for one Ctrl-C. [`signal`] returns a stream of arrivals, which can be an arm of a
//! [`select!`](crate::select!). Needs the feature `signal`, which is on by default.
//!
//! The signal handler only writes the signal's number to a pipe. In a forked child that has not run its
//! program yet it does nothing, so the parent does not receive the child's signals. One thread of the
//! process, started with the first stream, reads the pipe and passes the arrivals on to the streams. A signal
//! that arrives again before the stream's owner has received it counts once, as in the kernel.
//!
//! Create the streams before the program serves. Until the first stream for a signal exists, the signal has
//! its default action, and a signal that arrives while that stream is being created may be lost.
//!
//! The first stream for a signal removes the signal's default action (for `SIGINT`: to end the process) for
//! good, even after all its streams were dropped. Handlers that were installed before are still called.
//!
//! ```no_run
//! use sward::net::TcpListener;
//!
//! fn main() -> std::io::Result<()> {
//!     sward::run(|| {
//!         let listener = TcpListener::bind("127.0.0.1:7000")?;
//!         let server = sward::spawn(move || {
//!             for stream in listener.incoming() {
//!                 // ...
//!                 # drop(stream);
//!             }
//!         });
//!         let terminate = sward::signal::signal(sward::signal::SignalKind::TERMINATE)?;
//!         let interrupt = sward::signal::signal(sward::signal::SignalKind::INTERRUPT)?;
//!         sward::select! {
//!             recv(terminate) -> _ => {}
//!             recv(interrupt) -> _ => {}
//!         }
//!         server.cancel();
//!         Ok(())
//!     })
//! }
//! ```

use crate::base::fork::PerProcess;
use crate::base::new_thread::new_thread;
use crate::channel::{Receiver, RecvArm, Sender, TrySendError, bounded};
use signal_hook_registry::FORBIDDEN;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A kind of signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalKind(libc::c_int);

impl SignalKind {
    /// `SIGALRM`.
    pub const ALARM: SignalKind = SignalKind(libc::SIGALRM);
    /// `SIGCHLD`: a child process has ended or stopped.
    pub const CHILD: SignalKind = SignalKind(libc::SIGCHLD);
    /// `SIGHUP`: the terminal is gone. Many servers reload their settings on it.
    pub const HANGUP: SignalKind = SignalKind(libc::SIGHUP);
    /// `SIGINT`: Ctrl-C.
    pub const INTERRUPT: SignalKind = SignalKind(libc::SIGINT);
    /// `SIGPIPE`.
    pub const PIPE: SignalKind = SignalKind(libc::SIGPIPE);
    /// `SIGQUIT`: Ctrl-\.
    pub const QUIT: SignalKind = SignalKind(libc::SIGQUIT);
    /// `SIGTERM`: a request to end.
    pub const TERMINATE: SignalKind = SignalKind(libc::SIGTERM);
    /// `SIGUSR1`.
    pub const USER_DEFINED1: SignalKind = SignalKind(libc::SIGUSR1);
    /// `SIGUSR2`.
    pub const USER_DEFINED2: SignalKind = SignalKind(libc::SIGUSR2);
    /// `SIGWINCH`: the size of the terminal has changed.
    pub const WINDOW_CHANGE: SignalKind = SignalKind(libc::SIGWINCH);

    /// The signal with that number.
    pub const fn from_raw(number: i32) -> SignalKind {
        SignalKind(number)
    }

    /// The signal's number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

/// A stream of the arrivals of one signal.
#[derive(Debug)]
pub struct Signals {
    kind: SignalKind,
    received: Receiver<()>,
}

impl Signals {
    /// Waits until the signal has arrived since the last receive, or since the stream was created. Parks. A
    /// cancellation loses no arrival.
    pub fn recv(&self) {
        // `STREAMS` keeps the sender for as long as the receiver exists.
        let _ = self.received.recv();
    }

    /// As [`recv`](Self::recv), for that time at most. Returns whether the signal has arrived.
    pub fn recv_timeout(&self, timeout: Duration) -> bool {
        self.received.recv_timeout(timeout).is_ok()
    }

    /// Receives an arrival if there is one, and returns whether there was. Does not park.
    pub fn try_recv(&self) -> bool {
        self.received.try_recv().is_ok()
    }

    /// The kind of signal.
    pub fn kind(&self) -> SignalKind {
        self.kind
    }

    /// The next arrival as an arm of a [`select!`](crate::select!): `recv(signals)`.
    pub fn arm(&self) -> RecvArm<'_, ()> {
        self.received.arm()
    }
}

/// Waits for Ctrl-C (`SIGINT`). Parks. The errors are those of [`signal`].
pub fn ctrl_c() -> io::Result<()> {
    signal(SignalKind::INTERRUPT)?.recv();
    Ok(())
}

/// A stream of the arrivals of a signal from now on. Each of several streams for one signal receives each
/// arrival. Does not park.
///
/// # Errors
///
/// `InvalidInput` if the number is no signal, or is a signal that cannot or must not be handled (`SIGKILL`,
/// `SIGSTOP`, `SIGSEGV`, `SIGILL`, `SIGFPE`). Also an error if the thread or its pipe cannot be created.
///
/// # Examples
///
/// ```
/// use sward::signal::{SignalKind, signal};
///
/// assert!(signal(SignalKind::from_raw(9)).is_err());
/// let reload = signal(SignalKind::HANGUP)?;
/// assert!(!reload.try_recv());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn signal(kind: SignalKind) -> io::Result<Signals> {
    if FORBIDDEN.contains(&kind.0) || kind.0 <= 0 {
        let text = format!("signal {} cannot be waited for", kind.0);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let (sender, received) = bounded(1);
    let mut streams = streams();
    if OWNER.load(Ordering::Relaxed) != own_pid() {
        start()?;
    }
    let mut hooked = HOOKED.lock();
    if !hooked.contains(&kind) {
        let number = [u8::try_from(kind.0).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?];
        let handler = move || {
            // Between `fork` and `exec`, a child has its parent's handlers and pipe, after `vfork` even its
            // memory. So ask the kernel which process this is.
            if OWNER.load(Ordering::Acquire) != own_pid() {
                return;
            }
            let pipe = PIPE.load(Ordering::Relaxed);
            // A full pipe holds this signal already, or so many that one more makes no difference.
            // SAFETY: `send` may be called in a signal handler; the byte lives as long as the handler.
            unsafe { libc::send(pipe, number.as_ptr().cast(), 1, libc::MSG_DONTWAIT) };
        };
        // SAFETY: the handler loads atomics and calls `getpid` and `send`, which signal handlers may do. The
        // registry saves and restores `errno`.
        unsafe { signal_hook_registry::register(kind.0, handler) }?;
        hooked.push(kind);
    }
    streams.push((kind, sender));
    Ok(Signals { kind, received })
}

type Streams = Mutex<Vec<(SignalKind, Sender<()>)>>;

/// One list for each process: in a forked child, the parent's streams receive nothing, as it has no thread
/// for them.
static STREAMS: PerProcess<Streams> = PerProcess::new(Mutex::default);
/// The signals that have the handler. A forked child inherits the handlers, and so keeps this list.
static HOOKED: parking_lot::Mutex<Vec<SignalKind>> = parking_lot::Mutex::new(Vec::new());

fn streams() -> MutexGuard<'static, Vec<(SignalKind, Sender<()>)>> {
    STREAMS.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing end of the pipe, for the handlers. It is never closed.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// The process whose thread reads the pipe; zero before the first stream.
static OWNER: AtomicI32 = AtomicI32::new(0);

fn own_pid() -> libc::pid_t {
    // SAFETY: the call takes no pointers.
    unsafe { libc::getpid() }
}

/// Starts the thread that passes arrivals on. The caller holds the lock of `STREAMS`.
fn start() -> io::Result<()> {
    let (write, read) = UnixStream::pair()?;
    new_thread("sward-signal")?.spawn(move || pass_on(read))?;
    PIPE.store(write.as_raw_fd(), Ordering::Relaxed);
    let _ = write.into_raw_fd();
    // `Release`, for the `Acquire` in the handler: a handler that reads this process here also reads its
    // pipe, not that of a parent.
    OWNER.store(own_pid(), Ordering::Release);
    Ok(())
}

fn pass_on(mut pipe: UnixStream) {
    let mut numbers = [0; 64];
    loop {
        let count = match pipe.read(&mut numbers) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let arrived = |kind: SignalKind| numbers[..count].iter().any(|&number| i32::from(number) == kind.0);
        streams().retain(|(kind, sender)| {
            if arrived(*kind) {
                !matches!(sender.try_send(()), Err(TrySendError::Disconnected(())))
            } else {
                !sender.is_closed()
            }
        });
    }
}
