//! Cancellation and time limits: how a coroutine, or a section of its code, unwinds out of a wait.
//!
//! A *section* is the code of a closure with a time limit ([`limited`]) or a mask ([`masked`],
//! [`with_errors`]). Sections nest. A wait ends early if its coroutine is cancelled, or if the limit of a
//! section around it passes, unless a masked section stands between. Then its caller calls
//! [`unwind_cancelled`], which unwinds the coroutine, or the section whose limit has passed.
//!
//! An operation on a file can fail instead. In a section of [`with_errors`], which masks all other waits, its
//! wait ends for a cancellation or a limit from outside ([`Cancel::AsError`](super::Cancel)), and the caller
//! returns the error that [`interrupted`] makes. So nothing unwinds through the frames of the section.

use super::checks;
use super::current::{cancelled, current_coroutine, limit, with_local_record, with_local_record_if_any};
use crate::base::clock;
use crate::coroutine::{Batch, Cancellation, Handle, Interruption, LocalRecord};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

/// The deadline of a wait has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedOut;

/// Unwinds the cancelled coroutine, or the section whose time limit has passed. The panic hook prints
/// nothing.
#[track_caller]
pub(crate) fn unwind_cancelled() -> ! {
    raise_refusal();
    let whole = with_local_record(|own| !own.masked() && cancelled());
    if whole { unwind(cause(), false) } else { unwind(Interruption::TimedOut, true) }
}

/// Panics if the wait that has just ended was refused.
#[track_caller]
fn raise_refusal() {
    if with_local_record(LocalRecord::checked)
        && let Some(header) = current_coroutine()
    {
        // SAFETY: the coroutine that runs this is alive.
        checks::raise(unsafe { header.as_ref() });
    }
}

/// Why the calling coroutine is cancelled.
fn cause() -> Interruption {
    // SAFETY: the coroutine that runs this is alive, and it is the caller.
    current_coroutine().map_or(Interruption::Cancelled, |header| unsafe { header.as_ref().interruption() })
}

/// The error of an operation on a file whose wait a cancellation or a time limit has ended. Unwinds instead,
/// unless that came from outside of a section of [`with_errors`].
#[track_caller]
#[cold]
pub(crate) fn interrupted() -> io::Error {
    raise_refusal();
    // The first cause counts: a cancellation may have come since the limit has ended the wait.
    let limit_was_first = with_local_record_if_any(|own| own.is_some_and(LocalRecord::limit_ended_wait));
    match if limit_was_first { outer_limit_passed().or_else(interruption) } else { interruption() } {
        Some(why) => why.into(),
        None => unwind_cancelled(),
    }
}

/// What ends an operation on a file here at once, as an error: only in a section of [`with_errors`].
#[cold]
pub(crate) fn interruption() -> Option<Interruption> {
    let fails = fails_when_cancelled();
    if fails && cancelled() { Some(cause()) } else { outer_limit_passed() }
}

/// The interruption by a limit from outside of a section of [`with_errors`], if that has passed.
fn outer_limit_passed() -> Option<Interruption> {
    let errors = with_local_record_if_any(|own| own.and_then(LocalRecord::errors))?;
    errors.limit.filter(|limit| *limit <= clock::now()).map(|_| Interruption::TimedOut)
}

/// Whether the caller is in a section of [`with_errors`] that is not masked otherwise.
pub(crate) fn fails_when_cancelled() -> bool {
    with_local_record_if_any(|own| own.and_then(LocalRecord::errors)).is_some()
}

/// Unwinds the whole coroutine although its cancellation may not have arrived yet: its runtime shuts down.
pub(crate) fn unwind_shutdown() -> ! {
    unwind(Interruption::ShutDown, false)
}

fn unwind(why: Interruption, elapsed: bool) -> ! {
    debug_assert!(!std::thread::panicking(), "a thread that unwinds cannot unwind again");
    resume_unwind(Box::new(with_local_record(|own| own.cancellation(why, elapsed))))
}

/// Unwinds if a cancellation, or the section's time limit, would end a wait here at once.
#[cold]
pub(crate) fn checkpoint() {
    if std::thread::panicking() {
        return;
    }
    let late = || limit().is_some_and(|limit| limit <= clock::now());
    if cancelled() && !with_local_record(LocalRecord::masked) || late() {
        unwind_cancelled();
    }
}

/// Runs the closure as a section with a time limit. A wait in it that the limit ends unwinds up to here,
/// and this returns [`TimedOut`]. If the caller is under an earlier limit already, that one counts, and
/// unwinds further.
pub(crate) fn limited<R>(at: Instant, f: impl FnOnce() -> R) -> Result<R, TimedOut> {
    with_local_record(|own| {
        if own.limit().is_some_and(|outer| outer <= at) {
            return Ok(f());
        }
        if let Some(header) = current_coroutine() {
            // SAFETY: the coroutine that runs this is alive.
            unsafe { header.as_ref() }.waiter.note_limit();
        }
        let section = own.enter(Some(at));
        let outcome = catch_unwind(AssertUnwindSafe(f));
        drop(section);
        match outcome {
            Ok(value) => Ok(value),
            Err(payload) if payload.downcast_ref().is_some_and(|c: &Cancellation| c.elapsed) => Err(TimedOut),
            Err(payload) => resume_unwind(payload),
        }
    })
}

/// Runs the closure as a masked section: neither the cancellation of the whole nor a limit that was set
/// outside of it ends its waits. The first wait after the section meets them.
pub(crate) fn masked<R>(f: impl FnOnce() -> R) -> R {
    with_local_record(|own| {
        let _section = own.mask();
        f()
    })
}

/// Runs the closure as a masked section in which operations on files fail where the mask holds something off.
pub(crate) fn with_errors<R>(f: impl FnOnce() -> R) -> R {
    with_local_record(|own| {
        let _section = own.mask_with_errors();
        f()
    })
}

/// Requests the cancellation of a coroutine. One that is shut down hands that on as the cause: what it
/// cancels as it unwinds ends by the shutdown, too.
pub(crate) fn cancel(handle: &Handle, batch: &mut Batch) {
    // SAFETY: the coroutine that runs this is alive.
    if current_coroutine().is_some_and(|header| unsafe { header.as_ref() }.waiter.shut_down()) {
        handle.cancel_for_shutdown(batch);
    } else {
        handle.cancel(batch);
    }
}

/// Whether the caller is in a masked section.
pub(crate) fn is_masked() -> bool {
    with_local_record_if_any(|own| own.is_some_and(LocalRecord::masked))
}

/// Unwinds a coroutine whose group was cancelled before its own cancellation has arrived. `late` says that
/// the group's time limit had passed by then.
pub(crate) fn unwind_with_group(late: bool) -> ! {
    if cancelled() {
        unwind_cancelled();
    }
    unwind(if late { Interruption::TimedOut } else { Interruption::Cancelled }, false)
}
