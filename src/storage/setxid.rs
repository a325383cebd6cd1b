//! Signal 33, by which `setuid` and its kin reach every thread.
//!
//! The problem: the kernel has credentials for each thread, POSIX has them for the process. So glibc's
//! `setuid` sends signal 33 to every thread, and each repeats the system call in its handler. The caller
//! counts the answers. A handler marks its answer in the block that the thread pointer names; on a worker
//! that is inside, this would be the lender's block, and the caller would wait for ever for the worker's.
//!
//! The remedy: [`on_setxid`] stands in front of glibc's handler, and calls it on the thread's own pointer.
//!
//! | signalled thread | its thread pointer | glibc's handler runs on |
//! |---|---|---|
//! | a thread outside | its own | that |
//! | a worker inside | a lender's | the own pointer, from the loan |
//! | a lender | its own, while a worker may be inside | that |
//!
//! The thread pointer does not tell the last two apart, the number of the kernel thread does.
//!
//! If a thread that is inside calls `setuid` itself, glibc takes the lender for the caller: it signals all
//! other threads, the calling worker among them, and leaves out the lender. So that worker makes its lender
//! take over the new credentials, before its handler returns ([`credentials`](super::credentials)).
//! Otherwise a process that gives up its privileges would keep them in one thread. Three points:
//!
//! - Only the caller does so. All other lenders are signalled, and a copy from a worker that is inside one of
//!   them could be late: as soon as both have answered, the next call may begin, and the copy would undo it.
//!   The caller knows itself by what the signal has interrupted: its own `tgkill` of itself.
//! - While the caller copies, its call is not over, so no other call runs.
//! - The worker makes the system call twice, once in the handler and once as the caller. The second time
//!   changes nothing and succeeds if the first has: what the first set is among what the second may choose.
//!
//! The handler calls nothing that a signal handler must not, and uses no thread-locals: in a library that was
//! loaded later, their first use allocates. It finds the loan by the thread pointer instead.
//!
//! Signal 32, which carries `pthread_cancel` (and the timers of `SIGEV_THREAD` to glibc's own thread), is
//! treated as any other: the lender blocks it, and nothing stands in front of its handler. glibc installs
//! that handler at the first `pthread_cancel`, over any other. A thread that is inside and is cancelled
//! cannot be unwound in any case: its stack has frames of Rust, which abort at it, in pinned mode as well.
//! And a lender must not handle it: it would unwind its own stack because the worker inside waits in a call
//! that can be cancelled.

use super::credentials::Credentials;
use super::loan::Loan;
use super::sys;
use std::sync::atomic::{AtomicUsize, Ordering};

type Handler = unsafe extern "C" fn(libc::c_int, *mut libc::c_void, *mut libc::c_void);

/// glibc's handler. Set before ours is installed.
static PREVIOUS: AtomicUsize = AtomicUsize::new(0);

/// The arguments of a handler.
struct Signal {
    number: libc::c_int,
    info: *mut libc::c_void,
    context: *mut libc::c_void,
}

/// Puts the handler in front of glibc's. Called once, after the process has started its first thread, at
/// which glibc installs its own. Returns false if there is none, or if the system refuses.
pub(super) fn wrap() -> bool {
    sys::wrap_setxid(on_setxid, &PREVIOUS)
}

unsafe extern "C" fn on_setxid(number: libc::c_int, info: *mut libc::c_void, context: *mut libc::c_void) {
    let mut signal = Signal { number, info, context };
    let signal = (&raw mut signal).cast();
    match Loan::of(sys::thread_pointer()) {
        Some(loan) if !loan.is_of_this_thread() => {
            // SAFETY: this thread is inside, as its pointer is the lender's and it is not the lender. The own
            // pointer is then this thread's: `enter` stored it before it changed the pointer. Nothing else
            // uses the own block meanwhile. The signal outlives the call.
            unsafe { sys::call_on(loan.own_pointer(), handle, signal) };
            // SAFETY: the context is the kernel's, of a handler with three arguments.
            if unsafe { sys::has_signalled_itself(context) } {
                let credentials = Credentials::of_this_thread();
                loan.copy(credentials);
                // SAFETY: the lender has taken them over.
                unsafe { Credentials::free(credentials) };
            }
        }
        // SAFETY: the signal is one.
        _ => unsafe { handle(signal) },
    }
}

unsafe extern "C" fn handle(signal: *mut ()) {
    // SAFETY: the caller passes a `Signal`. The previous handler is one that takes three arguments, which
    // `wrap` has checked.
    unsafe {
        let Signal { number, info, context } = *signal.cast::<Signal>();
        let previous: Handler = std::mem::transmute(PREVIOUS.load(Ordering::Relaxed));
        previous(number, info, context);
    }
}
