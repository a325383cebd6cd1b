//! Waits of a thread that unwinds: in a destructor, while a panic, a cancellation or a time limit goes
//! through.
//!
//! Nothing may switch then: std counts panics in a thread-local, and another coroutine on the thread would
//! find itself panicking. So a wait blocks the thread, and with it a worker and all coroutines that live
//! there. If only one of these can end the wait, it never ends. What is done about it, by kind of wait:
//!
//! | wait | a cancellation or a time limit unwinds | an ordinary panic unwinds |
//! |---|---|---|
//! | sockets, pipes, children, file locks | fails at once ([`refusal`]), unless masked since | blocks in `poll(2)`; fails at the time limit, or if cancelled |
//! | join of a coroutine that lives on the blocked worker | fails ([`can_never_end`]) | likewise |
//! | anything else: locks, channels, permits, joins, sleeps | blocks the thread | likewise |
//!
//! What blocks a worker is noted in its `Remote` ([`Blocks`]), so that the stall report names the destructor.

use super::current::{cancelled, may_switch, with, with_local_record_if_any};
use crate::coroutine::{Header, LocalRecord, Unwinding, WaitReason};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The error of an operation on a file that would have to wait here; `None` if it may.
#[cold]
pub(crate) fn refusal() -> Option<io::Error> {
    if !std::thread::panicking() {
        return None;
    }
    let why = with_local_record_if_any(|own| match own.map_or(Unwinding::Panic, LocalRecord::unwinding) {
        // It can be ended by an error where it cannot be by an unwinding.
        Unwinding::Panic if own.is_some_and(LocalRecord::masked) => Unwinding::Masked,
        Unwinding::Panic if cancelled() => Unwinding::Cancelled,
        Unwinding::Panic if own.and_then(LocalRecord::limit).is_some_and(|limit| limit <= Instant::now()) => {
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

/// The error of an operation that the time limit ends while its thread unwinds, and so cannot unwind once
/// more.
pub(crate) fn elapsed() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "a time limit has passed: while it unwinds, an operation that would wait fails (see sward::task::mask)",
    )
}

/// Whether the calling thread alone can run that coroutine, and does not if it waits here for its end.
pub(crate) fn can_never_end(header: &Header) -> bool {
    !may_switch() && with(|worker| worker.alone_runs(header)) == Some(true)
}

/// Says, while it lives, that the thread is blocked in such a wait, if it is a worker's.
pub(crate) struct Blocks(());

impl Blocks {
    /// Notes the reason, and lets other workers have what this one was to run next, where they may.
    #[cold]
    pub(crate) fn here(reason: WaitReason) -> Blocks {
        with(|worker| {
            worker.share_lifo();
            worker.remote().blocked_in.store(reason as u8, Ordering::Relaxed);
        });
        Blocks(())
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        with(|worker| worker.remote().blocked_in.store(WaitReason::None as u8, Ordering::Relaxed));
    }
}
