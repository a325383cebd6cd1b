//! Taking connections, and what a listener does when that fails: [`AcceptFault`] says whose fault an errno
//! is.
//!
//! Invariant: a listener's file is non-blocking: `accept` has no flag for it.

use super::addr::RawAddr;
use super::socket::Socket;
use super::sys::{self, AcceptFault};
use crate::base::sys::report;
use crate::coroutine::WaitReason;
use crate::descriptor::Attempt;
use crate::netpoll::Direction;
use crate::sched::{consume_budget, refusal, sleep_until};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many connections the kernel completes ahead of `accept`. It cuts this to `net.core.somaxconn`,
/// whose default it is. std's 128 overflows where thousands connect at once, and whoever does not fit
/// tries again only after a second.
pub(super) const BACKLOG: u32 = 4096;

/// The first and the longest wait of an `accept` that has failed for a reason that may pass.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// The least time between two messages about that.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// The process's last message about that.
static COMPLAINED: Mutex<Option<Instant>> = Mutex::new(None);

impl Socket {
    /// Takes a connection, and tells the peer's address. Passes over connections that have failed, and waits
    /// where the fault may pass.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, RawAddr)> {
        let (mut delay, longest) = BACKOFF;
        let mut failed = 0;
        loop {
            let error = match self.file.perform(Direction::Read, WaitReason::Accept, attempt) {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            // Without an errno it is `close`, a timeout or a shutdown. With one, its kind may be the same.
            let Some(errno) = error.raw_os_error().filter(|_| error.kind() != io::ErrorKind::WouldBlock)
            else {
                return Err(error);
            };
            match sys::accept_fault(errno, || self.listens()) {
                AcceptFault::Listener => return Err(error),
                // More in a row than were in the queue: they do not leave it.
                AcceptFault::Connection if failed < BACKLOG => {
                    failed += 1;
                    consume_budget();
                    continue;
                }
                AcceptFault::Connection | AcceptFault::Passing => {}
            }
            if self.file.is_nonblocking() {
                return Err(error);
            }
            if let Some(refused) = refusal() {
                return Err(refused);
            }
            complain(&error);
            self.back_off(Instant::now() + delay)?;
            delay = (delay * 2).min(longest);
        }
    }

    fn listens(&self) -> bool {
        self.option::<libc::c_int>(libc::SOL_SOCKET, libc::SO_ACCEPTCONN).is_ok_and(|listens| listens != 0)
    }

    /// Waits until that time; `close` ends it with an error.
    fn back_off(&self, until: Instant) -> io::Result<()> {
        // A listener never becomes writable, so this waits for nothing but the time and `close`.
        let never = |_| Ok(Attempt::<()>::WouldBlock);
        let waited = self.file.perform_until(Direction::Write, WaitReason::AcceptBackoff, Some(until), never);
        if waited.is_err_and(|error| error.kind() != io::ErrorKind::TimedOut) {
            self.file.check_open()?;
            // What is exhausted is missing for that wait, too: this one needs nothing, and is deaf.
            sleep_until(until, WaitReason::AcceptBackoff);
        }
        self.file.check_open()
    }
}

fn attempt(listener: RawFd) -> io::Result<Attempt<(OwnedFd, RawAddr)>> {
    match sys::accept(listener) {
        Ok(connection) => Ok(Attempt::Done(connection)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Attempt::WouldBlock),
        Err(error) => Err(error),
    }
}

#[cold]
fn complain(error: &io::Error) {
    let now = Instant::now();
    let mut last = COMPLAINED.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY) {
        *last = Some(now);
        drop(last);
        report(format_args!("sward: accept is backing off: {error}"));
    }
}
