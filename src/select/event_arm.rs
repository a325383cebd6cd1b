//! The end of a coroutine, or a cancellation, as an alternative of a select.

use super::arm::{AnyArm, Arm};
use crate::coroutine::{Event, EventNode, Facts, Subject, SubjectRef, Ticket};
use std::cell::Cell;

/// The end of a coroutine, or a cancellation, as one of the alternatives of a [`Select`](super::Select). Made
/// by [`JoinHandle::arm`](crate::task::JoinHandle::arm),
/// [`ScopedJoinHandle::arm`](crate::task::ScopedJoinHandle::arm) and
/// [`CancelToken::arm`](crate::task::CancelToken::arm).
// Once the arm can complete, it still can when the select tries it again. Completing it consumes nothing, and
// nothing else consumes its event meanwhile: the ends of coroutines and cancellations are set for good. The
// event of a `JoinSet` is consumed by the set alone, which the select's caller has borrowed exclusively.
pub struct EventArm<'a> {
    event: &'a Event,
    /// What the event is of.
    subject: Option<SubjectRef<'a>>,
    node: Cell<Option<EventNode>>,
}

impl<'a> EventArm<'a> {
    pub(crate) fn new(event: &'a Event) -> EventArm<'a> {
        EventArm { event, subject: None, node: Cell::new(None) }
    }

    /// The same arm, for an event of that subject.
    pub(crate) fn of<S: Subject>(self, subject: &'a S) -> EventArm<'a> {
        EventArm { subject: Some(SubjectRef::new(subject)), ..self }
    }

    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm::new(self)
    }

    #[doc(hidden)]
    pub fn finish(self) {}
}

impl Arm for EventArm<'_> {
    fn facts(&self) -> Option<Facts> {
        self.subject.map(SubjectRef::facts)
    }

    fn try_complete(&mut self) -> bool {
        self.event.is_set()
    }

    fn is_ready(&self) -> bool {
        self.event.is_set()
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.enlist(ticket) }
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: nobody has the node's address: `leave` took it off the event.
        let node = unsafe { (*self.node.as_ptr()).insert(EventNode::new(ticket)) };
        // SAFETY: the arm stays until it is left, as the caller says.
        unsafe { self.event.enqueue(node) }
    }

    fn leave(&self) -> bool {
        // SAFETY: only `enlist` makes an exclusive reference, and it has returned.
        if let Some(node) = unsafe { (*self.node.as_ptr()).as_ref() } {
            self.event.remove(node);
            self.node.set(None);
        }
        // The event completes nothing for the arm. An event that has fired the node stays set until the
        // select is over, so the next `try_complete` finds it.
        false
    }
}
