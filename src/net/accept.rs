//! Accepting connections, and how a listener recovers from errors: [`AcceptFault`] says whose fault an errno
//! is.
//!
//! Invariant: the listener's file is non-blocking, since `accept` has no flag for it.

use super::addr::{RawAddr, written_by};
use super::socket::Socket;
use super::sys::{self, AcceptFault};
use crate::base::clock;
use crate::base::sys::report;
use crate::coroutine::WaitReason;
use crate::descriptor::{Attempt, PerformError};
use crate::netpoll::Direction;
use crate::sched::{consume_budget, refusal, sleep_until};
use std::io::{self, ErrorKind};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many connections the kernel completes ahead of `accept`. The kernel cuts this to `net.core.somaxconn`,
/// whose default it is. std's 128 overflow where thousands of clients connect at once, and a client that the
/// kernel turns away tries again only after a second.
pub(super) const BACKLOG: u32 = 4096;

/// The first and the longest wait after a temporary error of `accept`.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The minimum time between two reports that `accept` backs off.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// When the process last reported that.
static LAST_REPORT: Mutex<Option<Instant>> = Mutex::new(None);

impl Socket {
    /// Accepts a connection, and returns it with the peer's address. Skips connections that have failed, and
    /// backs off while the error is temporary.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, RawAddr)> {
        let (mut delay, longest) = BACKOFF;
        let mut skipped = 0;
        loop {
            let error = match self.file.perform(Direction::Read, WaitReason::Accept, attempt) {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                // The wait has failed, and an errno says that the system refused it: there is no memory, or
                // too many files are watched. That may pass, too.
                Err(error) if error.raw_os_error().is_some() && error.kind() != ErrorKind::WouldBlock => {
                    error
                }
                Err(error) => return Err(error),
            };
            // After a `close`, the kernel's error would mislead.
            self.file.check_open()?;
            let fault = error.raw_os_error().map(|errno| sys::accept_fault(errno, || self.listens()));
            match fault {
                None | Some(AcceptFault::Listener) => return Err(error),
                // Once more were skipped in a row than fit into the queue, the errors are not the
                // connections'.
                Some(AcceptFault::Connection) if skipped < BACKLOG => {
                    skipped += 1;
                    consume_budget();
                    continue;
                }
                Some(AcceptFault::Connection | AcceptFault::Temporary) => {}
            }
            if self.file.is_nonblocking() {
                return Err(error);
            }
            if let Some(refused) = refusal() {
                return Err(refused);
            }
            report_back_off(&error);
            self.back_off(clock::now() + delay)?;
            delay = (delay * 2).min(longest);
        }
    }

    fn listens(&self) -> bool {
        self.option::<libc::c_int>(libc::SOL_SOCKET, libc::SO_ACCEPTCONN).is_ok_and(|listens| listens != 0)
    }

    /// Waits until that time. `close` ends the wait with an error.
    fn back_off(&self, until: Instant) -> io::Result<()> {
        // A listener never becomes writable, so only the deadline or `close` ends this wait.
        let never = |_| Ok(Attempt::<()>::WouldBlock);
        let waited = self.file.perform_until(Direction::Write, WaitReason::AcceptBackoff, Some(until), never);
        if let Err(PerformError::Failed(_)) = waited {
            self.file.check_open()?;
            if let Some(refused) = refusal() {
                return Err(refused);
            }
            // Waiting on the descriptor may take a descriptor as well, and none is free; sleep instead.
            // `close` cannot interrupt this sleep.
            sleep_until(until, WaitReason::AcceptBackoff);
        }
        self.file.check_open()
    }
}

/// Accepts without waiting. An error of `accept` is a result here, apart from those of the wait.
fn attempt(listener: RawFd) -> io::Result<Attempt<io::Result<(OwnedFd, RawAddr)>>> {
    // SAFETY: `written_by` passes room for an address.
    let accepted = written_by(|address, len| unsafe { sys::accept(listener, address, len) });
    Ok(match accepted {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Attempt::WouldBlock,
        accepted => Attempt::Done(accepted),
    })
}

#[cold]
fn report_back_off(error: &io::Error) {
    let now = clock::now();
    let mut last = LAST_REPORT.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL) {
        *last = Some(now);
        drop(last);
        report(format_args!("sward: accept is backing off: {error}"));
    }
}
