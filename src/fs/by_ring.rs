//! Calls that the kernel makes by itself, in the ring of the worker.
//!
//! `ring/mod.rs` says who owns the buffer when. The part of the argument that is kept here: [`by_ring`]
//! neither returns nor unwinds before the ring has an outcome.

use crate::coroutine::{Batch, WaitReason};
use crate::ring::{Operation, Outcome};
use crate::sched::{
    self, Cancel, FileWay, Woken, checkpoint, consume_budget, count_file_call, may_switch, unwind_cancelled,
};
use std::io;

/// Has the kernel do that, and parks meanwhile. `pays` says whether that is faster than by the pool. Returns
/// what the system call would; `None` if nothing was done and the caller has to make the call in another way:
/// there is no ring, it is full, or the kernel does not do this with this file. A cancellation unwinds out of
/// this, unless the call succeeds all the same.
///
/// # Safety
///
/// What the operation points to is borrowed by the caller, exclusively if the kernel writes to it.
pub(super) unsafe fn by_ring(operation: &Operation, pays: bool) -> Option<io::Result<usize>> {
    if !may_switch() {
        return None;
    }
    // Before the ring is chosen: the coroutine may go on elsewhere.
    consume_budget();
    // A cancelled caller starts nothing: its call might succeed, and so might the next one.
    checkpoint();
    let ring = sched::ring(pays)?;
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
        error if error > 0 => Some(Err(io::Error::from_raw_os_error(error))),
        _ => {
            count_file_call(FileWay::Ring);
            Some(Ok(result as usize))
        }
    }
}
