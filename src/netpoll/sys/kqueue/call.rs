//! The two system calls of kqueue.

use super::raw;
use super::translate::{Action, Change, Filter, QueueEvent};
use crate::base::sys::{check, timespec};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// Whether the system reports out-of-band data.
pub(super) const OUT_OF_BAND: bool = raw::OUT_OF_BAND.is_some();

/// An entry of a change list or an event list, as the calls take it.
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

/// Makes the changes, and returns a receipt for each. If a signal interrupts it, it makes all of them again:
/// to make a change twice does no harm.
pub(super) fn change(
    queue: BorrowedFd<'_>,
    changes: impl Iterator<Item = Change>,
) -> io::Result<Vec<QueueEvent>> {
    let changes: Vec<Entry> = changes.map(|change| encode(&change)).collect();
    let mut receipts = changes.clone();
    loop {
        match kevent(queue, &changes, &mut receipts, Some(Duration::ZERO)) {
            Ok(count) => return Ok(receipts[..count].iter().filter_map(decode).collect()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Waits for events, and returns how many there are.
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
    // SAFETY: the lists are as long as their counts say; they and the timeout live until the call ends.
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

/// An entry of zeros, which is overwritten later.
pub(super) fn empty() -> Entry {
    // SAFETY: integers and a pointer, for which zeros are valid.
    unsafe { mem::zeroed() }
}

fn encode(change: &Change) -> Entry {
    let flags = match change.action {
        Action::Add => raw::EV_ADD | raw::EV_CLEAR | raw::EV_RECEIPT,
        Action::Delete => raw::EV_DELETE | raw::EV_RECEIPT,
        Action::Trigger => raw::EV_RECEIPT,
    };
    let (filter, note) = match change.filter {
        Filter::Read => (raw::EVFILT_READ as i32, 0),
        Filter::Write => (raw::EVFILT_WRITE as i32, 0),
        Filter::User => (raw::EVFILT_USER as i32, 0),
        Filter::OutOfBand => raw::OUT_OF_BAND.expect("added only where the system has it"),
    };
    let mut entry = empty();
    entry.ident = change.ident as _;
    entry.filter = filter as _;
    entry.flags = flags as _;
    entry.fflags = if change.action == Action::Trigger { raw::NOTE_TRIGGER } else { note };
    entry.udata = ptr::without_provenance_mut(change.data as usize);
    entry
}

/// What an entry of an event list says; `None` for a filter that is never added.
pub(super) fn decode(entry: &Entry) -> Option<QueueEvent> {
    let filter = match entry.filter {
        raw::EVFILT_READ => Filter::Read,
        raw::EVFILT_WRITE => Filter::Write,
        raw::EVFILT_USER => Filter::User,
        other => raw::OUT_OF_BAND.filter(|(filter, _)| *filter == other as i32).map(|_| Filter::OutOfBand)?,
    };
    Some(QueueEvent {
        filter,
        data: entry.udata.addr() as u64,
        end: entry.flags & raw::EV_EOF != 0,
        error: (entry.flags & raw::EV_ERROR != 0).then_some(entry.data as i32),
    })
}
