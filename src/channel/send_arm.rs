//! Sends as alternatives of a select.

use super::arm_cell::ArmCell;
use super::arm_node::ArmNode;
use super::chan::{Chan, MessageCell, Offer, Refused, Side};
use super::error::SendError;
use super::shared::Shared;
use crate::base::large_box::{is_large, large_box};
use crate::coroutine::{Batch, Facts, Ticket};
use crate::select::{AnyArm, Arm, Select};
use std::fmt;

/// A send that is one of the alternatives of a [`Select`]. Made by
/// [`Sender::arm`](super::Sender::arm).
///
/// An arm whose message was sent is used up: if it is added to another select, that select panics.
pub struct SendArm<'a, T> {
    chan: &'a Shared<T>,
    cell: ArmCell<T>,
    node: ArmNode,
    /// Whether the arm has or had a message. If not, it never completes.
    enabled: bool,
    /// The variable to which a message that was not sent returns.
    variable: Option<&'a mut Option<T>>,
}

impl<'a, T> SendArm<'a, T> {
    pub(super) fn new(chan: &'a Shared<T>, message: Option<T>) -> SendArm<'a, T> {
        match message {
            Some(message) => SendArm::with_message(chan, message),
            None => {
                SendArm { chan, cell: ArmCell::new(), node: ArmNode::new(), enabled: false, variable: None }
            }
        }
    }

    pub(super) fn with_message(chan: &'a Shared<T>, message: T) -> SendArm<'a, T> {
        let cell = ArmCell::new();
        if const { is_large::<T>() } {
            let boxed = large_box!(message);
            // SAFETY: the cell is in no list.
            unsafe { cell.boxed().put(boxed) };
        } else {
            // SAFETY: as above.
            unsafe { cell.small().put(message) };
        }
        SendArm { chan, cell, node: ArmNode::new(), enabled: true, variable: None }
    }

    pub(super) fn from_variable(chan: &'a Shared<T>, variable: &'a mut Option<T>) -> SendArm<'a, T> {
        let mut arm = SendArm::new(chan, variable.take());
        arm.variable = Some(variable);
        arm
    }

    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm::new(self)
    }

    /// The outcome of the send. For an arm that has completed.
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

    /// The message. For an arm that has not completed.
    pub fn into_message(self) -> Option<T> {
        // SAFETY: the cell is the arm's, which is in no list: a select that borrowed it has left it.
        unsafe { self.cell.take() }
    }
}

impl<T> Drop for SendArm<'_, T> {
    fn drop(&mut self) {
        if let Some(variable) = self.variable.take() {
            // SAFETY: as in `into_message`.
            *variable = unsafe { self.cell.take() };
        }
    }
}

/// Sends the message in the cell. True if the arm has completed: the message was sent, or never can be.
///
/// # Safety
///
/// As for [`MessageCell::take`].
unsafe fn send<M>(chan: &Chan<M>, cell: &MessageCell<M>) -> bool {
    // SAFETY: as the caller says.
    let message = unsafe { cell.take() }.expect("sward: a SendArm whose message was sent is selected again");
    let mut batch = Batch::new();
    let sent = chan.try_send(message, &mut batch);
    batch.wake();
    let Err((refused, message)) = sent else { return true };
    // SAFETY: as above.
    unsafe { cell.put(message) };
    refused == Refused::Disconnected
}

impl<T> Arm for SendArm<'_, T> {
    fn facts(&self) -> Option<Facts> {
        self.enabled.then(|| self.chan.facts())
    }

    fn try_complete(&mut self) -> bool {
        if !self.enabled {
            return false;
        }
        // SAFETY: the cell is the arm's, which is in no list while it is polled.
        unsafe {
            if const { is_large::<T>() } {
                send(self.chan.large(), self.cell.boxed())
            } else {
                send(self.chan.small(), self.cell.small())
            }
        }
    }

    fn seems_blocked(&self) -> bool {
        // An arm whose message was sent does not count as blocked, so that a try of it panics.
        // SAFETY: the cell is the arm's, which is in no list while it is polled.
        !self.enabled || self.chan.seems_blocked(Side::Senders) && unsafe { self.cell.is_full() }
    }

    fn is_ready(&self) -> bool {
        self.enabled && self.chan.may_send()
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: node and cell stay until `leave`, as the caller says; the last node was left.
        !self.enabled || unsafe { self.chan.enlist_sender(self.node.make(ticket, self.cell.offer())) }
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: as in `enlist`.
        !self.enabled || unsafe { self.chan.enlist_sender(self.node.make(ticket, Offer::Nothing)) }
    }

    fn leave(&self) -> bool {
        self.node.leave(|node| self.chan.leave_senders(node))
    }
}

/// A send that is one of the alternatives of a [`Select`], and whose message is made
/// when there is room or a receiver for it. Made by [`Sender::arm_with`](super::Sender::arm_with).
///
/// The closure runs in the calling coroutine or thread, with no lock held, at most once, and its message is
/// sent at once. If another sender is faster, the arm keeps the message, and the select goes on. If another
/// arm completes then, [`into_message`](Self::into_message) returns the message.
///
/// A future that receives ([`recv_async`](super::Receiver::recv_async)) counts as a receiver for a select
/// that waits, also if there is no room: the message is made, and kept in the arm until the future takes
/// it. So does a [`Select::ready`] that waits for a receive, or a select that looks for a message at that
/// moment, although it may take none.
pub struct SendWithArm<'a, T, F> {
    arm: SendArm<'a, T>,
    make: Option<F>,
}

impl<'a, T, F: FnOnce() -> T> SendWithArm<'a, T, F> {
    pub(super) fn new(chan: &'a Shared<T>, make: F) -> SendWithArm<'a, T, F> {
        SendWithArm { arm: SendArm::new(chan, None), make: Some(make) }
    }

    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm::new(self)
    }

    /// Makes the message, which was not made before.
    fn make_message(&mut self) {
        let make = self.make.take().expect("it was there");
        self.arm.enabled = true;
        if const { is_large::<T>() } {
            let message = large_box!(make).call();
            // SAFETY: the cell is the arm's, which is in no list while it is polled.
            unsafe { self.arm.cell.boxed().put(message) };
        } else {
            let message = make();
            // SAFETY: as above.
            unsafe { self.arm.cell.small().put(message) };
        }
    }

    /// The outcome of the send. For an arm that has completed.
    ///
    /// # Errors
    ///
    /// All receivers are gone; the error holds the message.
    pub fn finish(self) -> Result<(), SendError<T>> {
        self.arm.finish()
    }

    /// The message, if it was made and not sent. For an arm that has not completed.
    pub fn into_message(self) -> Option<T> {
        self.arm.into_message()
    }
}

impl<T, F: FnOnce() -> T> Arm for SendWithArm<'_, T, F> {
    fn facts(&self) -> Option<Facts> {
        Some(self.arm.chan.facts())
    }

    fn try_complete(&mut self) -> bool {
        if self.make.is_some() && self.arm.chan.may_send() {
            self.make_message();
        }
        self.arm.try_complete()
    }

    fn prepare_to_wait(&mut self) {
        // That receiver offers nothing: one of the two has to.
        if self.make.is_some() && self.arm.chan.a_receiver_without_cell_waits() {
            self.make_message();
        }
    }

    fn is_ready(&self) -> bool {
        self.arm.chan.may_send()
    }

    fn seems_blocked(&self) -> bool {
        match self.make {
            Some(_) => self.arm.chan.seems_blocked(Side::Senders),
            None => self.arm.seems_blocked(),
        }
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        if self.make.is_none() {
            // SAFETY: as the caller says.
            return unsafe { self.arm.enlist(ticket) };
        }
        // SAFETY: node and cell stay until `leave`, as the caller says; the last node was left.
        unsafe { self.arm.chan.enlist_sender(self.arm.node.make(ticket, Offer::Later)) }
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: node and cell stay until `leave`, as the caller says; the last node was left.
        unsafe { self.arm.chan.enlist_sender(self.arm.node.make(ticket, Offer::Nothing)) }
    }

    fn leave(&self) -> bool {
        self.arm.leave()
    }
}

impl<'a> Select<'a> {
    /// Adds a send, and returns its number. Numbers count from zero, in the order of adding. If an earlier
    /// select has sent the message of the arm, this one panics when it tries the arm.
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

impl<T> fmt::Debug for SendArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendArm { .. }")
    }
}
