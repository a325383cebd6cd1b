//! A forked child has one thread, half a runtime, and shares the parent's pollers: only fork and exec
//! is supported. A child that goes on using the runtime is stopped before it takes the parent's
//! events; what it drops of the runtime it leaves as it is, since the kernel's side is the parent's, too.

use super::sys::report;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Has children marked from now on.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler stores to a static atomic, which is allowed in a forked child.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Whether this is a forked child.
#[inline]
pub(crate) fn forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Aborts a forked child that uses the runtime.
#[inline]
pub(crate) fn check() {
    if forked() {
        refuse();
    }
}

#[cold]
fn refuse() -> ! {
    report(format_args!("sward: a forked child may only exec: it cannot use the runtime of its parent"));
    std::process::abort();
}
