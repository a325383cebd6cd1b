//! The deadline of a wait, and the time limit of the section of code in which it stands: the earlier one ends
//! the wait.

use super::current::{current_coroutine, with_local_record, with_local_record_if_any};
use crate::coroutine::LocalRecord;
use std::time::Instant;

/// The earlier one of the deadline of a wait that blocks the calling thread and the limit of its section; and
/// whether that is the limit, so that the caller unwinds when it has passed.
pub(super) fn deadline_on_thread(deadline: Option<Instant>) -> (Option<Instant>, bool) {
    // A coroutine blocks its thread only while that unwinds, and a thread that unwinds cannot unwind again.
    if current_coroutine().is_some() || std::thread::panicking() {
        return (deadline, false);
    }
    with_local_record(|own| earlier(deadline, Some(own)))
}

/// As `deadline_on_thread` for an operation on a file, which can fail where it cannot unwind.
pub(crate) fn deadline_of_file(deadline: Option<Instant>) -> (Option<Instant>, bool) {
    with_local_record_if_any(|own| earlier_of(deadline, own.and_then(LocalRecord::limit_of_file)))
}

/// The earlier one of the deadline of a wait and the limit of its section; and whether that is the limit.
#[inline]
pub(super) fn earlier(deadline: Option<Instant>, own: Option<&LocalRecord>) -> (Option<Instant>, bool) {
    earlier_of(deadline, own.and_then(LocalRecord::limit))
}

/// The earlier one of a deadline and a limit; and whether that is the limit.
#[inline]
pub(super) fn earlier_of(deadline: Option<Instant>, limit: Option<Instant>) -> (Option<Instant>, bool) {
    match (deadline, limit) {
        (deadline, None) => (deadline, false),
        (Some(deadline), Some(limit)) if deadline < limit => (Some(deadline), false),
        (_, Some(limit)) => (Some(limit), true),
    }
}
