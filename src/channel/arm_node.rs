//! The node of an arm in a channel's wait list.

use super::chan::Offer;
use crate::coroutine::{Ticket, WaitNode};
use std::cell::Cell;

/// A node that is made each time its arm is enlisted, and lasts until the arm is left.
pub(super) struct ArmNode(Cell<Option<WaitNode<Offer>>>);

impl ArmNode {
    pub(super) fn new() -> ArmNode {
        ArmNode(Cell::new(None))
    }

    /// Makes the node.
    ///
    /// # Safety
    ///
    /// The last node, if there was one, was [left](Self::leave).
    pub(super) unsafe fn make(&self, ticket: Ticket, offer: Offer) -> &WaitNode<Offer> {
        // SAFETY: nobody has a reference to what is replaced.
        unsafe { (*self.0.as_ptr()).insert(WaitNode::new(ticket, offer)) }
    }

    /// Takes the node off its list by `leave`, if there is a node, and returns what `leave` returns: whether
    /// the other side has completed the arm.
    pub(super) fn leave(&self, leave: impl FnOnce(&WaitNode<Offer>) -> bool) -> bool {
        // SAFETY: only `make` makes an exclusive reference, and it has returned.
        let completed = unsafe { (*self.0.as_ptr()).as_ref() }.is_some_and(leave);
        self.0.set(None);
        completed
    }
}
