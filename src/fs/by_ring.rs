//! Calls that the kernel makes by itself, in the ring of the worker.
//!
//! `ring/mod.rs` says who owns the buffer when. The part of the argument that is kept here: [`by_ring`]
//! neither returns nor unwinds before the ring has an outcome.

use super::call::{call, needs_no_pool};
use crate::coroutine::{Batch, WaitReason};
use crate::ring::{Operation, Outcome};
use crate::sched::{
    self, Cancel, FileWay, Woken, checkpoint, consume_budget, count_file_call, unwind_cancelled,
};
use std::ffi::{CString, c_char};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// Whether a call on a file goes to a ring, if there is one. `pays` says whether it is faster there than on
/// the pool.
pub(super) fn may_use_ring(pays: bool) -> bool {
    needs_no_pool() && sched::wants_ring(pays)
}

/// Has the kernel do what a call that takes paths does; makes the call on the pool if there is no ring for
/// it.
pub(super) fn call_by_paths<const N: usize>(
    paths: [&Path; N],
    operation: impl FnOnce([*const c_char; N]) -> Operation,
    f: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<()> {
    if may_use_ring(false) {
        // One with a zero in it is an error, which the call returns.
        let texts = paths.map(|path| CString::new(path.as_os_str().as_bytes()).ok());
        if texts.iter().all(Option::is_some) {
            let starts = texts.each_ref().map(|text| text.as_ref().map_or(ptr::null(), |text| text.as_ptr()));
            // SAFETY: the texts live until `by_ring` has ended, and the kernel only reads them.
            if let Some(done) = unsafe { by_ring(&operation(starts)) } {
                return done.map(drop);
            }
        }
    }
    call(f)
}

/// Has the kernel do that, and parks meanwhile. The caller has asked [`may_use_ring`]. Returns what the
/// system call would; `None` if nothing was done and the caller has to make the call in another way: there is
/// no ring, it is full, or the kernel does not do this, or not with this file. A cancellation unwinds out of
/// this, unless the call succeeds all the same.
///
/// # Safety
///
/// What the operation points to is borrowed by the caller, exclusively if the kernel writes to it.
pub(super) unsafe fn by_ring(operation: &Operation) -> Option<io::Result<usize>> {
    debug_assert!(needs_no_pool());
    // Before the ring is chosen: the coroutine may go on elsewhere.
    consume_budget();
    // A cancelled caller starts nothing: its call might succeed, and so might the next one.
    checkpoint();
    let ring = sched::ring().filter(|ring| ring.knows(operation))?;
    let mut call = None;
    let mut start = |ticket| {
        let mut batch = Batch::new();
        // SAFETY: what the operation points to is borrowed until this function ends, which is after `finish`
        // has returned an outcome. Before that it takes the ticket back.
        call = unsafe { ring.start(operation, ticket, &mut batch) };
        batch.wake();
        call.is_some()
    };
    // SAFETY: `finish` takes the ticket back.
    let woken = unsafe { sched::wait(WaitReason::File.into(), None, Cancel::Obey, &mut start) };
    let call = call?;
    let mut outcome = ring.finish(call);
    let interrupted = outcome.is_none() && woken != Woken::Event;
    if interrupted {
        ring.cancel(call);
    }
    let outcome = loop {
        match outcome {
            Some(outcome) => break outcome,
            None => {
                // SAFETY: as above; the waiter is this coroutine.
                let mut again = |ticket| unsafe { ring.wait_again(call, ticket) };
                // SAFETY: `finish` takes the ticket back.
                unsafe { sched::wait(WaitReason::File.into(), None, Cancel::Mask, &mut again) };
                outcome = ring.finish(call);
            }
        }
    };
    let result = match outcome {
        Outcome::Done(result) => result,
        Outcome::NotTaken => -libc::ECANCELED,
    };
    match -result {
        // It has done nothing.
        libc::ECANCELED | libc::EINTR if interrupted => unwind_cancelled(),
        // Nor here: the kernel has dropped it by itself, or this file needs another way.
        libc::ECANCELED | libc::EINTR | libc::EAGAIN | libc::EOPNOTSUPP | libc::EINVAL => None,
        error => {
            count_file_call(FileWay::Ring);
            Some(if error > 0 { Err(io::Error::from_raw_os_error(error)) } else { Ok(result as usize) })
        }
    }
}
