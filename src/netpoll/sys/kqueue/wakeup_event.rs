//! The bell as a `User` event.

use super::call;
use super::translate::{Action, Change, Filter, Told};
use std::io;
use std::os::fd::BorrowedFd;

/// Ends waits.
#[derive(Debug)]
pub(super) struct Bell;

const BELL: Change = Change { ident: 0, filter: Filter::User, action: Action::Watch, data: 0 };

impl Bell {
    pub(super) fn new(queue: BorrowedFd<'_>) -> io::Result<Bell> {
        for receipt in call::change(queue, [BELL].into_iter())? {
            if let Some(errno) = receipt.error.filter(|&errno| errno != 0) {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        Ok(Bell)
    }

    pub(super) fn ring(&self, queue: BorrowedFd<'_>) {
        // It fails for an event that is not watched, and it is.
        let _ = call::change(queue, [Change { action: Action::Trigger, ..BELL }].into_iter());
    }

    /// Whether the event is the bell. Then it is silent again.
    pub(super) fn heard(&self, told: &Told) -> bool {
        told.filter == Filter::User
    }
}
