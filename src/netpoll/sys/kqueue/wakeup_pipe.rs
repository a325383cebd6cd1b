//! The bell as a pipe, for systems that may have no `User` events.
//!
//! It is emptied within the wait that it ends, so what was written before then has ended a wait. A write
//! that finds it full is not needed: what fills it is still to end a wait.

use super::call;
use super::translate::{Action, Change, Filter, Told};
use crate::base::sys::set_nonblocking;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// No slot of a table gets this far.
const DATA: u64 = u64::MAX;

/// Ends waits.
#[derive(Debug)]
pub(super) struct Bell {
    heard: PipeReader,
    bell: PipeWriter,
}

impl Bell {
    pub(super) fn new(queue: BorrowedFd<'_>) -> io::Result<Bell> {
        let (heard, bell) = io::pipe()?;
        set_nonblocking(heard.as_fd(), true)?;
        set_nonblocking(bell.as_fd(), true)?;
        let ident = heard.as_raw_fd() as usize;
        let change = Change { ident, filter: Filter::Read, action: Action::Watch, data: DATA };
        for receipt in call::change(queue, [change].into_iter())? {
            if let Some(errno) = receipt.error.filter(|&errno| errno != 0) {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        Ok(Bell { heard, bell })
    }

    pub(super) fn ring(&self, _queue: BorrowedFd<'_>) {
        while (&self.bell).write(&[0]).is_err_and(|e| e.kind() == io::ErrorKind::Interrupted) {}
    }

    /// Whether the event is the bell. Then it is silent again.
    pub(super) fn heard(&self, told: &Told) -> bool {
        let heard = told.data == DATA;
        if heard {
            while (&self.heard).read(&mut [0; 256]).is_ok_and(|n| n == 256) {}
        }
        heard
    }
}
