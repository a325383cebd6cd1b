//! An arm: what an operation implements, so that a select can wait for it.
//!
//! The select of `engine` drives an arm through these calls:
//!
//! ```text
//!                 +-----> try_complete: true ---> the select is done
//!                 |            | false
//!                 |            v
//!                 |       enlist: false (the arm can complete now) -----+
//!                 |            | true                                   |
//!                 |            v                                        |
//!                 |       the select parks                              |
//!                 |            | the ticket is fired                    |
//!                 |            v                                        |
//!                 +-- false -- leave <----------------------------------+
//!                              | true: the other side has completed the arm
//!                              v
//!                         the select is done
//! ```
//!
//! A select that must not wait calls `watch` in place of `enlist`, and fires its own ticket in place of
//! parking.

use crate::coroutine::{Facts, Ticket};
use std::time::Instant;

/// One alternative of a select.
pub(crate) trait Arm {
    /// Completes the operation if that is possible now. Called while the arm is in no list.
    fn try_complete(&mut self) -> bool;

    /// Whether the operation can complete now. Another thread may complete it first.
    fn is_ready(&self) -> bool;

    /// Whether the operation seems to be impossible now. A hint, read without a lock: it may be wrong either
    /// way.
    fn seems_blocked(&self) -> bool {
        false
    }

    /// When the operation becomes possible by the passing of time alone. It only ever moves to later times.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Describes what it waits for; `None` for an arm that waits for the time alone, or for nothing. Between
    /// `enlist` and `leave` any thread may call this: it uses only what is atomic or under locks, and what
    /// does not change meanwhile.
    fn facts(&self) -> Option<Facts> {
        None
    }

    /// Called before each wait of the select but the first. An arm whose other side waits and offers
    /// nothing can make an offer of its own here: unlike `enlist`, this may run a user's code.
    fn prepare_to_wait(&mut self) {}

    /// Puts the ticket into the list from which it is fired; false if the operation can complete now. Runs in
    /// a commit. From here to `leave`, the other side of the operation may complete it.
    ///
    /// # Safety
    ///
    /// The arm stays where it is, and the ticket's waiter alive, until [`leave`](Self::leave) has returned.
    unsafe fn enlist(&self, ticket: Ticket) -> bool;

    /// As [`enlist`](Self::enlist), for a *watcher*: its ticket is fired when the operation may have become
    /// possible, but nobody completes the operation for it.
    ///
    /// # Safety
    ///
    /// As for `enlist`.
    unsafe fn watch(&self, ticket: Ticket) -> bool;

    /// As [`watch`](Self::watch), for a future: where waiters are served one after the other, its ticket is
    /// fired when it is its turn.
    ///
    /// # Safety
    ///
    /// As for `enlist`.
    unsafe fn wait_in_turn(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.watch(ticket) }
    }

    /// As [`leave`](Self::leave), for a future that is dropped: passes its turn on. The other side has not
    /// completed the operation.
    fn abandon(&self) {
        self.leave();
    }

    /// Takes the ticket off the list, and returns whether the other side has completed the operation. Allowed
    /// where nothing was listed.
    fn leave(&self) -> bool;
}

/// An arm of any type, and its number in the select.
pub struct AnyArm<'a> {
    pub(super) arm: &'a mut dyn Arm,
    pub(super) number: usize,
}

impl<'a> AnyArm<'a> {
    pub(crate) fn new(arm: &'a mut dyn Arm) -> AnyArm<'a> {
        AnyArm { arm, number: 0 }
    }

    /// The same arm with that number.
    #[doc(hidden)]
    pub fn numbered(self, number: usize) -> AnyArm<'a> {
        AnyArm { number, ..self }
    }
}
