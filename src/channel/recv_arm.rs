//! A receive as an alternative of a select.

use super::arm_cell::ArmCell;
use super::arm_node::ArmNode;
use super::chan::{Chan, MessageCell, Offer, Refused, Side};
use super::error::RecvError;
use super::flavor::Flavor;
use super::timed::Timed;
use crate::base::clock;
use crate::base::large_box::is_large;
use crate::coroutine::{Batch, Facts, NodeState, Ticket};
use crate::select::{AnyArm, Arm, Select};
use std::cell::Cell;
use std::fmt;
use std::time::Instant;

/// A receive that is one of the alternatives of a [`Select`]. Made by
/// [`Receiver::arm`](super::Receiver::arm).
///
/// An arm that has completed keeps its message until [`finish`](Self::finish), and receives no other one. If
/// it is added to another select, it completes there at once.
pub struct RecvArm<'a, T> {
    flavor: &'a Flavor<T>,
    cell: ArmCell<T>,
    node: ArmNode,
    /// A future has had a turn, and has not been listed since: if the message went to another receiver it
    /// queues in front.
    woken: Cell<bool>,
}

impl<'a, T> RecvArm<'a, T> {
    pub(super) fn new(flavor: &'a Flavor<T>) -> RecvArm<'a, T> {
        RecvArm { flavor, cell: ArmCell::new(), node: ArmNode::new(), woken: Cell::new(false) }
    }

    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm::new(self)
    }

    /// What was received. For an arm that has completed.
    ///
    /// # Errors
    ///
    /// The channel is empty, and all senders are gone.
    pub fn finish(self) -> Result<T, RecvError> {
        // SAFETY: the cell is the arm's, which is in no list: a select that borrowed it has left it.
        unsafe {
            if const { is_large::<T>() } {
                let boxed = self.cell.boxed().take().ok_or(RecvError)?;
                Ok(boxed.into_inner())
            } else {
                self.cell.small().take().ok_or(RecvError)
            }
        }
    }

    /// Lists the ticket in a node with that offer; false if the arm can complete now.
    ///
    /// # Safety
    ///
    /// As for [`Arm::enlist`].
    unsafe fn enlist_as(&self, ticket: Ticket, offer: Offer) -> bool {
        // The cell must be empty: a sender that filled it would drop, under a lock, the message that it has.
        if self.has_message() {
            return false;
        }
        match &self.flavor {
            // SAFETY: node and cell stay until `leave`, as the caller says; the last node was left.
            Flavor::Chan(chan) => unsafe { chan.enlist_receiver(self.node.make(ticket, offer)) },
            // The wait ends at `due`.
            Flavor::Timed(_) | Flavor::Never => true,
        }
    }

    /// Whether it has completed, and still has its message.
    fn has_message(&self) -> bool {
        // SAFETY: the cell is the arm's. Called while it is in no list.
        unsafe { self.cell.is_full() }
    }
}

/// Receives into the cell. True if the arm has completed: by a message, or because there will be none.
///
/// # Safety
///
/// As for [`MessageCell::put`].
unsafe fn receive<M>(chan: &Chan<M>, cell: &MessageCell<M>) -> bool {
    let mut batch = Batch::new();
    let received = chan.try_recv(&mut batch);
    batch.wake();
    match received {
        Ok(message) => {
            // SAFETY: as the caller says.
            unsafe { cell.put(message) };
            true
        }
        Err(refused) => refused == Refused::Disconnected,
    }
}

/// Receives a time that is due into the cell; false if none is.
///
/// # Safety
///
/// As for [`MessageCell::put`].
unsafe fn receive_time<T>(timed: &dyn Timed<T>, cell: &ArmCell<T>) -> bool {
    match timed.try_recv(clock::now()) {
        Ok(message) => {
            // SAFETY: as the caller says.
            unsafe { cell.put(message) };
            true
        }
        Err(_) => false,
    }
}

impl<T> Arm for RecvArm<'_, T> {
    fn facts(&self) -> Option<Facts> {
        match &self.flavor {
            Flavor::Chan(chan) => Some(chan.facts()),
            Flavor::Timed(_) | Flavor::Never => None,
        }
    }

    fn try_complete(&mut self) -> bool {
        if self.has_message() {
            return true;
        }
        // SAFETY: the cell is the arm's, which is in no list while it is polled.
        unsafe {
            match &self.flavor {
                Flavor::Chan(chan) if const { is_large::<T>() } => receive(chan.large(), self.cell.boxed()),
                Flavor::Chan(chan) => receive(chan.small(), self.cell.small()),
                Flavor::Timed(timed) => receive_time(&**timed, &self.cell),
                Flavor::Never => false,
            }
        }
    }

    fn seems_blocked(&self) -> bool {
        match &self.flavor {
            Flavor::Chan(chan) => chan.seems_blocked(Side::Receivers) && !self.has_message(),
            Flavor::Timed(_) => false,
            Flavor::Never => true,
        }
    }

    fn due(&self) -> Option<Instant> {
        match &self.flavor {
            Flavor::Timed(timed) => timed.due(),
            Flavor::Chan(_) | Flavor::Never => None,
        }
    }

    fn is_ready(&self) -> bool {
        self.has_message()
            || match &self.flavor {
                Flavor::Chan(chan) => chan.may_recv(),
                Flavor::Timed(timed) => timed.due().is_some_and(|due| due <= clock::now()),
                Flavor::Never => false,
            }
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.enlist_as(ticket, self.cell.offer()) }
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.enlist_as(ticket, Offer::Nothing) }
    }

    unsafe fn wait_in_turn(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        let listed = unsafe { self.enlist_as(ticket, Offer::Turn { lost: self.woken.get() }) };
        if listed {
            // The node has the place now.
            self.woken.set(false);
        }
        listed
    }

    fn leave(&self) -> bool {
        match &self.flavor {
            Flavor::Chan(chan) => self.node.leave(|node| {
                let handed = chan.leave_receivers(node);
                if node.state() == NodeState::Woken {
                    self.woken.set(true);
                }
                handed
            }),
            Flavor::Timed(_) | Flavor::Never => false,
        }
    }

    fn abandon(&self) {
        if let Flavor::Chan(chan) = &self.flavor {
            self.node.leave(|node| {
                chan.abandon_receiver(node);
                false
            });
        }
    }
}

impl<'a> Select<'a> {
    /// Adds a receive, and returns its number. Numbers count from zero, in the order of adding.
    pub fn recv<T>(&mut self, arm: &'a mut RecvArm<'_, T>) -> usize {
        self.add(arm.any())
    }
}

impl<T> fmt::Debug for RecvArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecvArm { .. }")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::channel::unbounded;
    use crate::coroutine::testing::{ticket_of, waiter};
    use crate::select::Arm;

    /// A future that was woken and has lost its message queues in front, also if it lost another one
    /// between an attempt to list it and the next.
    #[test]
    fn a_future_keeps_its_place_though_it_loses_twice() {
        let (sender, receiver) = unbounded();
        let waiters: Vec<_> = (0..4).map(|_| waiter()).collect();
        let tickets: Vec<_> = waiters.iter().map(ticket_of).collect();
        let ended = |i: usize| waiters[i].cause(tickets[i]).is_some();
        let [mut first, second] = [receiver.arm(), receiver.arm()];
        // SAFETY: arms and waiters stay until the arms have left.
        unsafe { assert!(first.wait_in_turn(tickets[0]) && second.wait_in_turn(tickets[1])) };
        sender.send(0).expect("a receiver");
        assert!(ended(0) && !first.leave());
        assert_eq!(receiver.try_recv(), Ok(0), "another receiver is faster");
        assert!(!first.try_complete());
        sender.send(1).expect("a receiver");
        // SAFETY: as above.
        assert!(!unsafe { first.wait_in_turn(tickets[2]) }, "there is a message");
        assert!(!first.leave());
        assert_eq!(receiver.try_recv(), Ok(1));
        assert!(!first.try_complete());
        // The second future has had a turn meanwhile, and is listed no longer.
        assert!(ended(1) && !second.leave());
        // SAFETY: as above.
        unsafe { assert!(second.wait_in_turn(tickets[3])) };
        // SAFETY: as above.
        unsafe { assert!(first.wait_in_turn(tickets[2])) };
        sender.send(2).expect("a receiver");
        assert!(ended(2) && !ended(3), "it is behind");
        assert!(!first.leave() && !second.leave());
    }
}
