//! Waits of a thread that unwinds: in a destructor that a panic, a cancellation or a time limit runs.
//!
//! Nothing may switch then: std counts panics in a thread-local, and another coroutine on the thread would
//! find itself panicking. So a wait blocks the thread, and with it a worker and all coroutines that live
//! there. If only one of these can end the wait, the worker is deadlocked. What each kind of wait does:
//!
//! | wait | a cancellation or a time limit unwinds | an ordinary panic unwinds |
//! |---|---|---|
//! | sockets, pipes, children, file locks | fails at once ([`refusal`]), unless masked since | blocks in `poll(2)`; fails at the time limit, or if cancelled |
//! | join of a coroutine that lives on the blocked worker | fails ([`can_never_end`]) | likewise |
//! | anything else: locks, channels, permits, joins, sleeps | blocks the thread | likewise |
//!
//! A wait that blocks a worker is noted in its `Remote` ([`Blocks`]), so that the stall report names the
//! destructor. Each wait that blocks a thread is listed, for reports (`blocked_threads.rs`).

use super::blocked_threads::{Listed, list};
use super::cancel::interruption;
use super::current::{cancelled, may_switch, with, with_local_record_if_any};
use crate::base::clock;
use crate::coroutine::{Header, LocalRecord, Unwinding, WaitReason, Waiter, Why};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The error for an operation on a file that would have to wait here; `None` if it may wait. Also outside of
/// an unwinding, if a section makes errors of what is pending ([`interruption`]).
#[cold]
pub(crate) fn refusal() -> Option<io::Error> {
    if let Some(why) = interruption() {
        return Some(why.into());
    }
    if !std::thread::panicking() {
        return None;
    }
    let why = with_local_record_if_any(|own| match own.map_or(Unwinding::Panic, LocalRecord::unwinding) {
        // An error can end the operation where an unwinding cannot.
        Unwinding::Panic if own.is_some_and(LocalRecord::masked) => Unwinding::Masked,
        Unwinding::Panic if cancelled() => Unwinding::Cancelled,
        Unwinding::Panic if own.and_then(LocalRecord::limit).is_some_and(|limit| limit <= clock::now()) => {
            Unwinding::Elapsed
        }
        why => why,
    });
    match why {
        Unwinding::Panic | Unwinding::Masked => None,
        Unwinding::Elapsed => Some(elapsed()),
        Unwinding::Cancelled => Some(io::Error::other(
            "the coroutine is cancelled: while it unwinds, an operation that would wait fails (see sward::task::mask)",
        )),
    }
}

/// The error for an operation that the time limit ends while its thread unwinds and cannot unwind again.
pub(crate) fn elapsed() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "a time limit has passed: while it unwinds, an operation that would wait fails (see sward::task::mask)",
    )
}

/// Whether a join of that coroutine here is a deadlock: only the calling thread can run it, and it would
/// block.
pub(crate) fn can_never_end(header: &Header) -> bool {
    !may_switch() && with(|worker| worker.alone_runs(header)) == Some(true)
}

/// While it lives, the thread is blocked in such a wait. It matters if the thread is a worker.
pub(crate) struct Blocks {
    _listed: Listed,
}

impl Blocks {
    /// Notes the wait, and lets other workers take what this one may not get to. `waiter` is what the thread
    /// parks on, if a ticket ends the wait.
    ///
    /// # Safety
    ///
    /// The subject is alive until the result was dropped, and the result is dropped.
    #[cold]
    pub(crate) unsafe fn here(
        why: Why<'_>,
        deadline: Option<Instant>,
        waiter: Option<&'static Waiter>,
    ) -> Blocks {
        with(|worker| {
            worker.share_before_it_blocks();
            worker.remote().blocked_in.store(why.reason as u8, Ordering::Relaxed);
        });
        // SAFETY: as the caller says.
        Blocks { _listed: unsafe { list(why, deadline, waiter) } }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        with(|worker| worker.remote().blocked_in.store(WaitReason::None as u8, Ordering::Relaxed));
    }
}
