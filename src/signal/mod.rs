//! Signals: waiting for Ctrl-C, and for the others that a server is told by.
//!
//! [`ctrl_c`] waits for one; [`signal`] gives a stream, which is also an arm of a
//! [`select!`](crate::select!). Needs the feature `signal`, which is on by default.
//!
//! The handler does no more than write the signal's number to a pipe; in a forked child that has not run its
//! program yet it does nothing, so that a signal for the child is not heard here. One thread of the process,
//! started with the first stream, sleeps on the other end and passes it on. A signal that arrives again
//! before it was received counts once, as it does in the kernel.
//!
//! Make the streams before the program serves: what arrives before the first one for a signal has its default
//! action, and what arrives in the moment in which it is made may be lost.
//!
//! From the first stream for a signal on, its default action (for `SIGINT`: to end the process) is gone,
//! also when all its streams are. Handlers that were there before are called as well.
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
use crate::channel::{Receiver, RecvArm, Sender, TrySendError, bounded};
use signal_hook_registry::FORBIDDEN;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignalKind(libc::c_int);

impl SignalKind {
    /// `SIGALRM`.
    pub const ALARM: SignalKind = SignalKind(libc::SIGALRM);
    /// `SIGCHLD`: a child process has ended.
    pub const CHILD: SignalKind = SignalKind(libc::SIGCHLD);
    /// `SIGHUP`: the terminal is gone; servers read their settings again.
    pub const HANGUP: SignalKind = SignalKind(libc::SIGHUP);
    /// `SIGINT`: Ctrl-C.
    pub const INTERRUPT: SignalKind = SignalKind(libc::SIGINT);
    /// `SIGPIPE`.
    pub const PIPE: SignalKind = SignalKind(libc::SIGPIPE);
    /// `SIGQUIT`: Ctrl-\.
    pub const QUIT: SignalKind = SignalKind(libc::SIGQUIT);
    /// `SIGTERM`: the polite request to end.
    pub const TERMINATE: SignalKind = SignalKind(libc::SIGTERM);
    /// `SIGUSR1`.
    pub const USER_DEFINED1: SignalKind = SignalKind(libc::SIGUSR1);
    /// `SIGUSR2`.
    pub const USER_DEFINED2: SignalKind = SignalKind(libc::SIGUSR2);
    /// `SIGWINCH`: the terminal has another size.
    pub const WINDOW_CHANGE: SignalKind = SignalKind(libc::SIGWINCH);

    /// The signal of that number.
    pub const fn from_raw(number: i32) -> SignalKind {
        SignalKind(number)
    }

    /// The signal's number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

/// A stream of one signal's arrivals.
#[derive(Debug)]
pub struct Signals {
    kind: SignalKind,
    arrivals: Receiver<()>,
}

impl Signals {
    /// Waits until the signal has arrived since the last call, or since the stream was made. Parks.
    pub fn recv(&self) {
        // The list keeps the sender for as long as there is a receiver.
        let _ = self.arrivals.recv();
    }

    /// As [`recv`](Self::recv), for that long at most; whether it has arrived.
    pub fn recv_timeout(&self, timeout: Duration) -> bool {
        self.arrivals.recv_timeout(timeout).is_ok()
    }

    /// Whether the signal has arrived since the last call. Does not park.
    pub fn try_recv(&self) -> bool {
        self.arrivals.try_recv().is_ok()
    }

    /// The signal.
    pub fn kind(&self) -> SignalKind {
        self.kind
    }

    /// The arrival as one of the alternatives of a [`select!`](crate::select!): `recv(signals)`.
    pub fn arm(&self) -> RecvArm<'_, ()> {
        self.arrivals.arm()
    }
}

/// Waits for Ctrl-C (`SIGINT`). Parks.
///
/// # Errors
///
/// As for [`signal`].
pub fn ctrl_c() -> io::Result<()> {
    signal(SignalKind::INTERRUPT)?.recv();
    Ok(())
}

/// The arrivals of a signal from now on. Several streams for one signal get each of them.
///
/// # Errors
///
/// `InvalidInput` for a number that is no signal, or one that cannot be handled or must not be (`SIGKILL`,
/// `SIGSTOP`, `SIGSEGV`, `SIGILL`, `SIGFPE`); otherwise what keeps the thread or its pipe from being made.
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
    let (sender, arrivals) = bounded(1);
    let mut streams = streams();
    if OWNER.load(Ordering::Relaxed) != own_pid() {
        start()?;
    }
    let mut hooked = HOOKED.lock();
    if !hooked.contains(&kind) {
        let number = [u8::try_from(kind.0).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?];
        let tell = move || {
            // A child between `fork` and `exec` has its parent's handlers and the parent's pipe; after
            // `vfork` even its memory. So the kernel is asked who this is.
            if OWNER.load(Ordering::Acquire) != own_pid() {
                return;
            }
            let pipe = PIPE.load(Ordering::Relaxed);
            // A full pipe holds this signal already, or so many that one more says nothing.
            // SAFETY: `send` may be called in a signal handler; the byte lives as long as the handler.
            unsafe { libc::send(pipe, number.as_ptr().cast(), 1, libc::MSG_DONTWAIT) };
        };
        // SAFETY: the action loads atomics and calls `getpid` and `send`, all allowed in a handler; the
        // registry saves `errno` and restores it.
        unsafe { signal_hook_registry::register(kind.0, tell) }?;
        hooked.push(kind);
    }
    streams.push((kind, sender));
    Ok(Signals { kind, arrivals })
}

type Streams = Mutex<Vec<(SignalKind, Sender<()>)>>;

/// A forked child's streams: those of its parent are deaf there, since the thread is the parent's.
static STREAMS: PerProcess<Streams> = PerProcess::new(Mutex::default);
/// The signals that have the handler, in forked children too.
static HOOKED: parking_lot::Mutex<Vec<SignalKind>> = parking_lot::Mutex::new(Vec::new());

fn streams() -> MutexGuard<'static, Vec<(SignalKind, Sender<()>)>> {
    STREAMS.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of the pipe that handlers write to; it is never closed.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// The process whose thread reads the pipe; zero if there is none.
static OWNER: AtomicI32 = AtomicI32::new(0);

fn own_pid() -> libc::pid_t {
    // SAFETY: the call takes no pointers.
    unsafe { libc::getpid() }
}

/// Starts the thread that passes signals on. Called under the streams' lock.
fn start() -> io::Result<()> {
    let (write, read) = UnixStream::pair()?;
    std::thread::Builder::new().name("sward-signal".into()).spawn(move || pass_on(read))?;
    PIPE.store(write.as_raw_fd(), Ordering::Relaxed);
    let _ = write.into_raw_fd();
    // A handler that finds this process here finds its pipe above, not that of a parent.
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
