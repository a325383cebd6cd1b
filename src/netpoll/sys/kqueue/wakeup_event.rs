//! The wake-up as a user event (`EVFILT_USER`).

use super::call;
use super::translate::{Action, Change, Filter, QueueEvent};
use std::io;
use std::os::fd::BorrowedFd;

/// Ends waits.
#[derive(Debug)]
pub(super) struct Wakeup;

const ADD: Change = Change { ident: 0, filter: Filter::User, action: Action::Add, data: 0 };

impl Wakeup {
    /// A wake-up of that queue.
    pub(super) fn new(queue: BorrowedFd<'_>) -> io::Result<Wakeup> {
        for receipt in call::change(queue, [ADD].into_iter())? {
            if let Some(errno) = receipt.error.filter(|&errno| errno != 0) {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        Ok(Wakeup)
    }

    /// Ends a wait for that queue.
    pub(super) fn wake(&self, queue: BorrowedFd<'_>) {
        // It fails only for an event that was not added, and `new` has added it.
        let _ = call::change(queue, [Change { action: Action::Trigger, ..ADD }].into_iter());
    }

    /// Whether the event is the wake-up. The kernel has reset it then.
    pub(super) fn take(&self, event: &QueueEvent) -> bool {
        event.filter == Filter::User
    }
}
