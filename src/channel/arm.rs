//! Sends and receives as alternatives of a select.

use super::chan::{Blocked, Note, Slot};
use super::{Flavor, Receiver, RecvError, SendError, Sender};
use crate::coroutine::{Batch, Place, Ticket};
use crate::sched::select::{AnyArm, Arm};
use crate::sched::wake_all;
use std::cell::Cell;
use std::fmt;
use std::time::Instant;

/// A place that is made at each commit, and stays until it is left.
struct Spot(Cell<Option<Place>>);

impl Spot {
    fn new() -> Spot {
        Spot(Cell::new(None))
    }

    /// Makes the place.
    ///
    /// # Safety
    ///
    /// No place is there, or it is in no list.
    unsafe fn make(&self, ticket: Ticket, want: usize) -> &Place {
        // SAFETY: nobody has a reference to what is replaced.
        unsafe { (*self.0.as_ptr()).insert(Place::new(ticket, want)) }
    }

    /// Leaves the place with `leave`, if there is one; what that says.
    fn leave(&self, leave: impl FnOnce(&Place) -> bool) -> bool {
        // SAFETY: only `make` makes an exclusive reference, and it is over.
        let chosen = unsafe { (*self.0.as_ptr()).as_ref() }.is_some_and(leave);
        self.0.set(None);
        chosen
    }
}

/// A receive that is one of the alternatives of a [`Select`](super::Select). Made by [`Receiver::arm`].
///
/// One that was chosen keeps its message until [`finish`](Self::finish), and receives no other: a select
/// that it is added to again can choose it at once.
pub struct RecvArm<'a, T> {
    receiver: &'a Receiver<T>,
    slot: Slot<T>,
    spot: Spot,
}

impl<'a, T> RecvArm<'a, T> {
    pub(super) fn new(receiver: &'a Receiver<T>) -> RecvArm<'a, T> {
        RecvArm { receiver, slot: Slot::new(None), spot: Spot::new() }
    }

    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm::new(self)
    }

    /// What was received. For an arm that was chosen.
    ///
    /// # Errors
    ///
    /// The channel is empty, and all senders are gone.
    pub fn finish(self) -> Result<T, RecvError> {
        self.slot.into_inner().ok_or(RecvError)
    }

    /// Whether it was chosen before, and its message not taken out.
    fn has_message(&self) -> bool {
        // SAFETY: the slot is the arm's. Called while it is in no list.
        unsafe { self.slot.is_full() }
    }
}

impl<T> Arm for RecvArm<'_, T> {
    fn poll(&mut self) -> bool {
        if self.has_message() {
            return true;
        }
        let received = match &self.receiver.flavor {
            Flavor::Chan(chan) => {
                let mut batch = Batch::new();
                let received = chan.try_recv(&mut batch);
                wake_all(&mut batch);
                received
            }
            Flavor::Timed(timed) => timed.poll(Instant::now()).map_err(|_| Blocked::Waits),
            Flavor::Never => Err(Blocked::Waits),
        };
        match received {
            Ok(message) => {
                // SAFETY: the slot is the arm's, which is in no list while it is polled.
                unsafe { self.slot.put(message) };
                true
            }
            Err(blocked) => blocked == Blocked::Disconnected,
        }
    }

    fn looks_blocked(&self) -> bool {
        match &self.receiver.flavor {
            Flavor::Chan(chan) => chan.says(Note::Receivers) && !self.has_message(),
            Flavor::Timed(_) => false,
            Flavor::Never => true,
        }
    }

    fn until(&self) -> Option<Instant> {
        match &self.receiver.flavor {
            Flavor::Timed(timed) => timed.due(),
            Flavor::Chan(_) | Flavor::Never => None,
        }
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // Whoever puts a message into the slot would drop the one in it, a user's value, under a lock.
        if self.has_message() {
            return false;
        }
        match &self.receiver.flavor {
            // SAFETY: place and slot stay until `leave`, as the caller says; the last place was left.
            Flavor::Chan(chan) => unsafe {
                chan.enlist_receiver(self.spot.make(ticket, self.slot.address()))
            },
            // The wait ends at `until`.
            Flavor::Timed(_) | Flavor::Never => true,
        }
    }

    fn leave(&self) -> bool {
        match &self.receiver.flavor {
            Flavor::Chan(chan) => self.spot.leave(|place| chan.leave_receivers(place)),
            Flavor::Timed(_) | Flavor::Never => false,
        }
    }
}

/// A send that is one of the alternatives of a [`Select`](super::Select). Made by [`Sender::arm`].
///
/// One whose message was sent is used up: a select that it is added to again panics.
pub struct SendArm<'a, T> {
    sender: &'a Sender<T>,
    slot: Slot<T>,
    spot: Spot,
    /// Whether there was a message at all.
    on: bool,
    /// Where a message goes back to that was not sent.
    home: Option<&'a mut Option<T>>,
}

impl<'a, T> SendArm<'a, T> {
    pub(super) fn new(sender: &'a Sender<T>, message: Option<T>) -> SendArm<'a, T> {
        let on = message.is_some();
        SendArm { sender, slot: Slot::new(message), spot: Spot::new(), on, home: None }
    }

    pub(super) fn at_home(sender: &'a Sender<T>, home: &'a mut Option<T>) -> SendArm<'a, T> {
        let mut arm = SendArm::new(sender, home.take());
        arm.home = Some(home);
        arm
    }

    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm::new(self)
    }

    /// How the send went. For an arm that was chosen.
    ///
    /// # Errors
    ///
    /// All receivers are gone; the error holds the message.
    pub fn finish(self) -> Result<(), SendError<T>> {
        self.into_message().map_or(Ok(()), |message| Err(SendError(message)))
    }

    /// The message. For an arm that was not chosen.
    pub fn into_message(self) -> Option<T> {
        // SAFETY: the slot is the arm's, which is in no list: a select that borrowed it has left it.
        unsafe { self.slot.take() }
    }
}

impl<T> Drop for SendArm<'_, T> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // SAFETY: as in `into_message`.
            *home = unsafe { self.slot.take() };
        }
    }
}

impl<T> Arm for SendArm<'_, T> {
    fn poll(&mut self) -> bool {
        if !self.on {
            return false;
        }
        // SAFETY: the slot is the arm's, which is in no list while it is polled.
        let message =
            unsafe { self.slot.take() }.expect("sward: a SendArm whose message was sent is selected again");
        let mut batch = Batch::new();
        let sent = self.sender.chan.try_send(message, &mut batch);
        wake_all(&mut batch);
        let Err((blocked, message)) = sent else { return true };
        // SAFETY: as above.
        unsafe { self.slot.put(message) };
        blocked == Blocked::Disconnected
    }

    fn looks_blocked(&self) -> bool {
        // One whose message was sent is polled, which panics.
        // SAFETY: the slot is the arm's, which is in no list while it is polled.
        !self.on || self.sender.chan.says(Note::Senders) && unsafe { self.slot.is_full() }
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: place and slot stay until `leave`, as the caller says; the last place was left.
        !self.on || unsafe { self.sender.chan.enlist_sender(self.spot.make(ticket, self.slot.address())) }
    }

    fn leave(&self) -> bool {
        self.spot.leave(|place| self.sender.chan.leave_senders(place))
    }
}

impl<T> fmt::Debug for RecvArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecvArm { .. }")
    }
}

impl<T> fmt::Debug for SendArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendArm { .. }")
    }
}
