//! The wake-up as a pipe, for systems that may have no `EVFILT_USER`.
//!
//! A wait that reports the pipe empties it, so all bytes that were in it have ended a wait. A writer that
//! finds the pipe full need not write: its bytes have yet to end a wait.

use super::call;
use super::translate::{Action, Change, Filter, QueueEvent};
use crate::base::sys::set_nonblocking;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// No slot of a table has this number.
const DATA: u64 = u64::MAX;

/// Ends waits.
#[derive(Debug)]
pub(super) struct Wakeup {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Wakeup {
    /// A wake-up of that queue.
    pub(super) fn new(queue: BorrowedFd<'_>) -> io::Result<Wakeup> {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(reader.as_fd(), true)?;
        set_nonblocking(writer.as_fd(), true)?;
        let ident = reader.as_raw_fd() as usize;
        let change = Change { ident, filter: Filter::Read, action: Action::Add, data: DATA };
        for receipt in call::change(queue, [change].into_iter())? {
            if let Some(errno) = receipt.error.filter(|&errno| errno != 0) {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        Ok(Wakeup { reader, writer })
    }

    /// Ends a wait for that queue.
    pub(super) fn wake(&self, _queue: BorrowedFd<'_>) {
        while (&self.writer).write(&[0]).is_err_and(|e| e.kind() == io::ErrorKind::Interrupted) {}
    }

    /// Whether the event is the wake-up. If so, this also resets it.
    pub(super) fn take(&self, event: &QueueEvent) -> bool {
        let is_wakeup = event.data == DATA;
        if is_wakeup {
            while (&self.reader).read(&mut [0; 256]).is_ok_and(|n| n == 256) {}
        }
        is_wakeup
    }
}
