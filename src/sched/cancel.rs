//! Cancellation and time limits: how a coroutine, or a section of its code, unwinds out of a wait.
//!
//! A *section* is the code of a closure with a time limit ([`limited`]) or a mask ([`masked`]). Sections
//! nest. A wait ends early if its coroutine is cancelled, or if the limit of a section around it passes,
//! unless a masked section stands between. Then its caller calls [`unwind_cancelled`], which unwinds the
//! coroutine, or the section whose limit has passed.

use super::checks;
use super::current::{cancelled, current_coroutine, limit, with_local_record};
use crate::coroutine::{Cancellation, LocalRecord};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

/// The deadline of a wait has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedOut;

/// Unwinds the cancelled coroutine, or the section whose time limit has passed. The panic hook prints
/// nothing.
#[track_caller]
pub(crate) fn unwind_cancelled() -> ! {
    if with_local_record(LocalRecord::checked)
        && let Some(header) = current_coroutine()
    {
        // SAFETY: the coroutine that runs this is alive.
        checks::raise(unsafe { header.as_ref() });
    }
    let whole = with_local_record(|own| !own.masked() && cancelled());
    unwind(!whole)
}

/// Unwinds the whole coroutine although its cancellation may not have arrived yet: its runtime shuts down.
pub(crate) fn unwind_shutdown() -> ! {
    unwind(false)
}

fn unwind(elapsed: bool) -> ! {
    debug_assert!(!std::thread::panicking(), "a thread that unwinds cannot unwind again");
    resume_unwind(Box::new(with_local_record(|own| own.cancellation(elapsed))))
}

/// Unwinds if a cancellation, or the section's time limit, would end a wait here at once.
#[cold]
pub(crate) fn checkpoint() {
    if std::thread::panicking() {
        return;
    }
    let late = || limit().is_some_and(|limit| limit <= Instant::now());
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
