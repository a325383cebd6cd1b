//! Sends and receives as alternatives of a select.

use super::arm_slot::ArmSlot;
use super::chan::{Blocked, Chan, Note, Offer, Slot};
use super::timed::Timed;
use super::{Flavor, Receiver, RecvError, SendError, Sender};
use crate::base::large_box::{is_large, large_box};
use crate::coroutine::{Batch, Ticket, WaitNode};
use crate::select::{AnyArm, Arm, Select};
use std::cell::Cell;
use std::fmt;
use std::time::Instant;

/// A place that is made at each commit, and stays until it is left.
struct Spot(Cell<Option<WaitNode<Offer>>>);

impl Spot {
    fn new() -> Spot {
        Spot(Cell::new(None))
    }

    /// Makes the place.
    ///
    /// # Safety
    ///
    /// No place is there, or it is in no list.
    unsafe fn make(&self, ticket: Ticket, offer: Offer) -> &WaitNode<Offer> {
        // SAFETY: nobody has a reference to what is replaced.
        unsafe { (*self.0.as_ptr()).insert(WaitNode::new(ticket, offer)) }
    }

    /// Leaves the place with `leave`, if there is one; what that says.
    fn leave(&self, leave: impl FnOnce(&WaitNode<Offer>) -> bool) -> bool {
        // SAFETY: only `make` makes an exclusive reference, and it is over.
        let chosen = unsafe { (*self.0.as_ptr()).as_ref() }.is_some_and(leave);
        self.0.set(None);
        chosen
    }
}

/// A receive that is one of the alternatives of a [`Select`](crate::select::Select). Made by
/// [`Receiver::arm`].
///
/// One that was chosen keeps its message until [`finish`](Self::finish), and receives no other: a select
/// that it is added to again can choose it at once.
pub struct RecvArm<'a, T> {
    receiver: &'a Receiver<T>,
    slot: ArmSlot<T>,
    spot: Spot,
}

impl<'a, T> RecvArm<'a, T> {
    pub(super) fn new(receiver: &'a Receiver<T>) -> RecvArm<'a, T> {
        RecvArm { receiver, slot: ArmSlot::new(), spot: Spot::new() }
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
        // SAFETY: the slot is the arm's, which is in no list: a select that borrowed it has left it.
        unsafe {
            if const { is_large::<T>() } {
                let boxed = self.slot.boxed().take().ok_or(RecvError)?;
                Ok(boxed.into_inner())
            } else {
                self.slot.small().take().ok_or(RecvError)
            }
        }
    }

    /// Lists the ticket with a node that offers that; false if the arm could be carried out now.
    ///
    /// # Safety
    ///
    /// As for [`Arm::enlist`].
    unsafe fn enlist_as(&self, ticket: Ticket, offer: Offer) -> bool {
        // A sender that put a message into the slot would drop the one in it, a user's value, under a lock.
        if self.has_message() {
            return false;
        }
        match &self.receiver.flavor {
            // SAFETY: place and slot stay until `leave`, as the caller says; the last place was left.
            Flavor::Chan(chan) => unsafe { chan.enlist_receiver(self.spot.make(ticket, offer)) },
            // The wait ends at `due`.
            Flavor::Timed(_) | Flavor::Never => true,
        }
    }

    /// Whether it was chosen before, and its message not taken out.
    fn has_message(&self) -> bool {
        // SAFETY: the slot is the arm's. Called while it is in no list.
        unsafe { self.slot.is_full() }
    }
}

/// Receives into the slot. True if that is done, or can never be.
///
/// # Safety
///
/// As for [`Slot::put`].
unsafe fn receive<M>(chan: &Chan<M>, slot: &Slot<M>) -> bool {
    let mut batch = Batch::new();
    let received = chan.try_recv(&mut batch);
    batch.wake();
    match received {
        Ok(message) => {
            // SAFETY: as the caller says.
            unsafe { slot.put(message) };
            true
        }
        Err(blocked) => blocked == Blocked::Disconnected,
    }
}

/// Puts the time that is due into the slot; false if none is.
///
/// # Safety
///
/// As for [`Slot::put`].
unsafe fn take<T>(timed: &dyn Timed<T>, slot: &ArmSlot<T>) -> bool {
    match timed.poll(Instant::now()) {
        Ok(message) => {
            // SAFETY: as the caller says.
            unsafe { slot.put(message) };
            true
        }
        Err(_) => false,
    }
}

impl<T> Arm for RecvArm<'_, T> {
    fn try_complete(&mut self) -> bool {
        if self.has_message() {
            return true;
        }
        // SAFETY: the slot is the arm's, which is in no list while it is polled.
        unsafe {
            match &self.receiver.flavor {
                Flavor::Chan(chan) if const { is_large::<T>() } => receive(chan.large(), self.slot.boxed()),
                Flavor::Chan(chan) => receive(chan.small(), self.slot.small()),
                Flavor::Timed(timed) => take(&**timed, &self.slot),
                Flavor::Never => false,
            }
        }
    }

    fn seems_blocked(&self) -> bool {
        match &self.receiver.flavor {
            Flavor::Chan(chan) => chan.says(Note::Receivers) && !self.has_message(),
            Flavor::Timed(_) => false,
            Flavor::Never => true,
        }
    }

    fn due(&self) -> Option<Instant> {
        match &self.receiver.flavor {
            Flavor::Timed(timed) => timed.due(),
            Flavor::Chan(_) | Flavor::Never => None,
        }
    }

    fn is_ready(&self) -> bool {
        self.has_message()
            || match &self.receiver.flavor {
                Flavor::Chan(chan) => chan.may_recv(),
                Flavor::Timed(timed) => timed.due().is_some_and(|due| due <= Instant::now()),
                Flavor::Never => false,
            }
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.enlist_as(ticket, self.slot.offer()) }
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.enlist_as(ticket, Offer::Nothing) }
    }

    fn leave(&self) -> bool {
        match &self.receiver.flavor {
            Flavor::Chan(chan) => self.spot.leave(|place| chan.leave_receivers(place)),
            Flavor::Timed(_) | Flavor::Never => false,
        }
    }
}

/// A send that is one of the alternatives of a [`Select`](crate::select::Select). Made by [`Sender::arm`].
///
/// One whose message was sent is used up: a select that it is added to again panics.
pub struct SendArm<'a, T> {
    sender: &'a Sender<T>,
    slot: ArmSlot<T>,
    spot: Spot,
    /// Whether there was a message at all.
    on: bool,
    /// Where a message goes back to that was not sent.
    home: Option<&'a mut Option<T>>,
}

impl<'a, T> SendArm<'a, T> {
    pub(super) fn new(sender: &'a Sender<T>, message: Option<T>) -> SendArm<'a, T> {
        match message {
            Some(message) => SendArm::of(sender, message),
            None => SendArm { sender, slot: ArmSlot::new(), spot: Spot::new(), on: false, home: None },
        }
    }

    pub(super) fn of(sender: &'a Sender<T>, message: T) -> SendArm<'a, T> {
        let slot = ArmSlot::new();
        if const { is_large::<T>() } {
            let boxed = large_box!(message);
            // SAFETY: the slot is in no list.
            unsafe { slot.boxed().put(boxed) };
        } else {
            // SAFETY: as above.
            unsafe { slot.small().put(message) };
        }
        SendArm { sender, slot, spot: Spot::new(), on: true, home: None }
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
        match self.into_message() {
            Some(message) => Err(SendError(message)),
            None => Ok(()),
        }
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

/// Sends the message in the slot. True if that is done, or can never be.
///
/// # Safety
///
/// As for [`Slot::take`].
unsafe fn send<M>(chan: &Chan<M>, slot: &Slot<M>) -> bool {
    // SAFETY: as the caller says.
    let message = unsafe { slot.take() }.expect("sward: a SendArm whose message was sent is selected again");
    let mut batch = Batch::new();
    let sent = chan.try_send(message, &mut batch);
    batch.wake();
    let Err((blocked, message)) = sent else { return true };
    // SAFETY: as above.
    unsafe { slot.put(message) };
    blocked == Blocked::Disconnected
}

impl<T> Arm for SendArm<'_, T> {
    fn try_complete(&mut self) -> bool {
        if !self.on {
            return false;
        }
        // SAFETY: the slot is the arm's, which is in no list while it is polled.
        unsafe {
            if const { is_large::<T>() } {
                send(self.sender.chan.large(), self.slot.boxed())
            } else {
                send(self.sender.chan.small(), self.slot.small())
            }
        }
    }

    fn seems_blocked(&self) -> bool {
        // An arm whose message was sent does not look blocked, so that it is polled and panics.
        // SAFETY: the slot is the arm's, which is in no list while it is polled.
        !self.on || self.sender.chan.says(Note::Senders) && unsafe { self.slot.is_full() }
    }

    fn is_ready(&self) -> bool {
        self.on && self.sender.chan.may_send()
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: place and slot stay until `leave`, as the caller says; the last place was left.
        !self.on || unsafe { self.sender.chan.enlist_sender(self.spot.make(ticket, self.slot.offer())) }
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: as in `enlist`.
        !self.on || unsafe { self.sender.chan.enlist_sender(self.spot.make(ticket, Offer::Nothing)) }
    }

    fn leave(&self) -> bool {
        self.spot.leave(|place| self.sender.chan.leave_senders(place))
    }
}

/// A send that is one of the alternatives of a [`Select`](crate::select::Select), and whose message is made
/// when there is room or a receiver for it. Made by [`Sender::arm_with`].
///
/// The closure runs in the calling coroutine or thread, with no lock held, at most once. What it made is sent
/// at once. If another sender is faster the arm keeps the message, and the select goes on; then
/// [`into_message`](Self::into_message) has it if another arm is chosen.
pub struct SendWithArm<'a, T, F> {
    arm: SendArm<'a, T>,
    make: Option<F>,
}

impl<'a, T, F: FnOnce() -> T> SendWithArm<'a, T, F> {
    pub(super) fn new(sender: &'a Sender<T>, make: F) -> SendWithArm<'a, T, F> {
        SendWithArm { arm: SendArm::new(sender, None), make: Some(make) }
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
        self.arm.finish()
    }

    /// The message, if it was made and not sent. For an arm that was not chosen.
    pub fn into_message(self) -> Option<T> {
        self.arm.into_message()
    }
}

impl<T, F: FnOnce() -> T> Arm for SendWithArm<'_, T, F> {
    fn try_complete(&mut self) -> bool {
        if self.make.is_some() && self.arm.sender.chan.may_send() {
            let make = self.make.take().expect("it was there");
            self.arm.on = true;
            if const { is_large::<T>() } {
                let message = large_box!(make).call();
                // SAFETY: the slot is the arm's, which is in no list while it is polled.
                unsafe { self.arm.slot.boxed().put(message) };
            } else {
                let message = make();
                // SAFETY: as above.
                unsafe { self.arm.slot.small().put(message) };
            }
        }
        self.arm.try_complete()
    }

    fn is_ready(&self) -> bool {
        self.arm.sender.chan.may_send()
    }

    fn seems_blocked(&self) -> bool {
        match self.make {
            Some(_) => self.arm.sender.chan.says(Note::Senders),
            None => self.arm.seems_blocked(),
        }
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        if self.make.is_some() { unsafe { self.watch(ticket) } } else { unsafe { self.arm.enlist(ticket) } }
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: place and slot stay until `leave`, as the caller says; the last place was left.
        unsafe { self.arm.sender.chan.enlist_sender(self.arm.spot.make(ticket, Offer::Nothing)) }
    }

    fn leave(&self) -> bool {
        self.arm.leave()
    }
}

/// The arms that channels supply.
impl<'a> Select<'a> {
    /// Adds a receive, and returns its number. Numbers count from zero, in the order of adding.
    pub fn recv<T>(&mut self, arm: &'a mut RecvArm<'_, T>) -> usize {
        self.add(arm.any())
    }

    /// Adds a send, and returns its number. Numbers count from zero, in the order of adding. If the message
    /// of the arm was sent by an earlier select, this select panics when it tries the arm.
    pub fn send<T>(&mut self, arm: &'a mut SendArm<'_, T>) -> usize {
        self.add(arm.any())
    }

    /// Adds a send whose message is made when it can be sent, and returns its number. Numbers count from
    /// zero, in the order of adding.
    pub fn send_with<T, F: FnOnce() -> T>(&mut self, arm: &'a mut SendWithArm<'_, T, F>) -> usize {
        self.add(arm.any())
    }
}

impl<T, F> fmt::Debug for SendWithArm<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendWithArm { .. }")
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
