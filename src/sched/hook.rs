//! The panic hook's first line: which coroutine it was. The hook that was there before follows.

use super::worker;
use crate::base::sys::report;
use std::panic;
use std::sync::Once;

/// Puts the line in front of the present hook, once in a process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return; // The hook cannot be changed now; the next runtime does it.
    }
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Some(header) = worker::current_coroutine() {
                // SAFETY: the coroutine that runs on this thread is alive.
                let header = unsafe { header.as_ref() };
                report(format_args!("sward: {} panics:", header.label()));
            }
            previous(info);
        }));
    });
}
