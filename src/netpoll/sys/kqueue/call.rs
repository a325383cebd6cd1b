//! The two system calls of kqueue.

use super::raw;
use super::translate::{Action, Change, Filter, Told};
use crate::base::sys::{check, timespec};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// Whether the system tells of urgent data.
pub(super) const URGENT: bool = raw::URGENT.is_some();

/// An entry of a change list or an event list.
pub(super) type Entry = raw::kevent;

/// A new queue, close-on-exec.
pub(super) fn queue() -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { raw::kqueue() })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(fd)
}

/// Makes the changes, and gives a receipt for each. Interrupted, it makes them again: a change that was
/// made already does no harm.
pub(super) fn change(queue: BorrowedFd<'_>, changes: impl Iterator<Item = Change>) -> io::Result<Vec<Told>> {
    let changes: Vec<Entry> = changes.map(|change| entry(&change)).collect();
    let mut receipts = changes.clone();
    loop {
        match kevent(queue, &changes, &mut receipts, Some(Duration::ZERO)) {
            Ok(count) => return Ok(receipts[..count].iter().filter_map(told).collect()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Waits for events; how many came.
pub(super) fn wait(
    queue: BorrowedFd<'_>,
    events: &mut [Entry],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    kevent(queue, &[], events, timeout)
}

fn kevent(
    queue: BorrowedFd<'_>,
    changes: &[Entry],
    events: &mut [Entry],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let limit = timeout.map(timespec);
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the lists are as long as said; they and the timeout live until the call ends.
    let count = unsafe {
        raw::kevent(
            queue.as_raw_fd(),
            changes.as_ptr(),
            changes.len() as _,
            events.as_mut_ptr(),
            events.len() as _,
            limit,
        )
    };
    check(count).map(|count| count as usize)
}

/// An entry of zeros, to be written over.
pub(super) fn empty() -> Entry {
    // SAFETY: integers and a pointer, for which zeros are valid.
    unsafe { mem::zeroed() }
}

fn entry(change: &Change) -> Entry {
    let flags = match change.action {
        Action::Watch => raw::EV_ADD | raw::EV_CLEAR | raw::EV_RECEIPT,
        Action::Leave => raw::EV_DELETE | raw::EV_RECEIPT,
        Action::Trigger => raw::EV_RECEIPT,
    };
    let (filter, note) = match change.filter {
        Filter::Read => (raw::EVFILT_READ as i32, 0),
        Filter::Write => (raw::EVFILT_WRITE as i32, 0),
        Filter::User => (raw::EVFILT_USER as i32, 0),
        Filter::Urgent => raw::URGENT.expect("watched only where there is one"),
    };
    let mut entry = empty();
    entry.ident = change.ident as _;
    entry.filter = filter as _;
    entry.flags = flags as _;
    entry.fflags = if change.action == Action::Trigger { raw::NOTE_TRIGGER } else { note };
    entry.udata = ptr::without_provenance_mut(change.data as usize);
    entry
}

/// What an entry of an event list says; `None` for a filter that nobody watches.
pub(super) fn told(entry: &Entry) -> Option<Told> {
    let filter = match entry.filter {
        raw::EVFILT_READ => Filter::Read,
        raw::EVFILT_WRITE => Filter::Write,
        raw::EVFILT_USER => Filter::User,
        other => raw::URGENT.filter(|(filter, _)| *filter == other as i32).map(|_| Filter::Urgent)?,
    };
    Some(Told {
        filter,
        data: entry.udata.addr() as u64,
        end: entry.flags & raw::EV_EOF != 0,
        error: (entry.flags & raw::EV_ERROR != 0).then_some(entry.data as i32),
    })
}
