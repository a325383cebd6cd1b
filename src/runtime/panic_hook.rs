//! The panic hook: std's message of a panic in a coroutine gets a line that says which coroutine panics.
//!
//! The line goes with std's message: both are printed, or neither. Whether a hook prints anything cannot be
//! seen from outside, so only std's own hook is extended, which does print. It is recognised by being what
//! `take_hook` returns where no hook was set. A hook that a program, or a test harness that collects the
//! output, has set before the first runtime starts stays as it is. It may call
//! [`task::current`](crate::task::current) to name the coroutine, and [`Panic`](crate::task::Panic) names it
//! in any case. A hook that is set later replaces this one, or calls it.
//!
//! Rejected: a line before whatever hook is set. The line appears where a hook keeps silent on purpose, and
//! apart from the message where a hook writes elsewhere.

use crate::base::sys::report;
use crate::sched;
use std::panic;
use std::ptr;
use std::sync::Once;

/// Puts the line in front of std's message, once in a process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return; // The hook cannot be changed now; the next runtime does it.
    }
    ONCE.call_once(|| {
        let present = panic::take_hook();
        // After `take_hook` none is set.
        let default = panic::take_hook();
        // A function without data of its own is recognised by its table.
        if !ptr::eq(&raw const *present, &raw const *default) {
            return panic::set_hook(present);
        }
        panic::set_hook(Box::new(move |info| {
            if let Some(header) = sched::current_coroutine() {
                // SAFETY: the coroutine that runs on this thread is alive.
                let header = unsafe { header.as_ref() };
                // Not `eprintln!`: another thread may hold the lock of stderr and wait for this coroutine.
                report(format_args!("sward: {} panics:", header.label()));
            }
            default(info);
        }));
    });
}
