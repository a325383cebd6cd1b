//! What senders and receivers share: the channel itself, which holds large messages in boxes.

use super::chan::{Chan, Offer, Side};
use crate::base::large_box::{LargeBox, is_large};
use crate::coroutine::{Batch, Facts, Subject, WaitNode, drop_each};
use std::sync::Arc;

/// A channel of messages of type `T`. Invariant: it is `Large` if and only if `T` [is large](is_large).
pub(super) enum Shared<T> {
    Small(Arc<Chan<T>>),
    Large(Arc<Chan<LargeBox<T>>>),
}

/// Does the same for both kinds.
macro_rules! either {
    ($shared:expr, $chan:ident => $do:expr) => {
        match $shared {
            Shared::Small($chan) => $do,
            Shared::Large($chan) => $do,
        }
    };
}

impl<T> Shared<T> {
    /// A channel with one sender and one receiver.
    pub(super) fn new(capacity: usize) -> Shared<T> {
        if const { is_large::<T>() } {
            Shared::Large(Arc::new(Chan::new(capacity)))
        } else {
            Shared::Small(Arc::new(Chan::new(capacity)))
        }
    }

    /// Another reference. It does not count as a sender or receiver.
    pub(super) fn share(&self) -> Shared<T> {
        match self {
            Shared::Small(chan) => Shared::Small(Arc::clone(chan)),
            Shared::Large(chan) => Shared::Large(Arc::clone(chan)),
        }
    }

    /// The channel, if its messages are not boxed.
    #[inline]
    pub(super) fn small(&self) -> &Chan<T> {
        match self {
            Shared::Small(chan) => chan,
            Shared::Large(_) => unreachable!("`new` decides by the size"),
        }
    }

    /// The channel, if its messages are boxed.
    #[inline]
    pub(super) fn large(&self) -> &Chan<LargeBox<T>> {
        match self {
            Shared::Large(chan) => chan,
            Shared::Small(_) => unreachable!("`new` decides by the size"),
        }
    }

    /// Describes the channel.
    pub(super) fn facts(&self) -> Facts {
        either!(self, chan => chan.facts())
    }

    pub(super) fn is_same(&self, other: &Shared<T>) -> bool {
        match (self, other) {
            (Shared::Small(one), Shared::Small(other)) => Arc::ptr_eq(one, other),
            (Shared::Large(one), Shared::Large(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// How many messages the channel has room for; `None` for no limit.
    pub(super) fn capacity_limit(&self) -> Option<usize> {
        let capacity = self.capacity();
        (capacity != usize::MAX).then_some(capacity)
    }

    pub(super) fn capacity(&self) -> usize {
        either!(self, chan => chan.capacity())
    }

    /// As [`Chan::seems_blocked`].
    pub(super) fn seems_blocked(&self, side: Side) -> bool {
        either!(self, chan => chan.seems_blocked(side))
    }

    pub(super) fn len(&self) -> usize {
        either!(self, chan => chan.len())
    }

    pub(super) fn is_closed(&self) -> bool {
        either!(self, chan => chan.is_closed())
    }

    pub(super) fn add_sender(&self) {
        either!(self, chan => chan.add_sender());
    }

    pub(super) fn add_receiver(&self) {
        either!(self, chan => chan.add_receiver());
    }

    pub(super) fn drop_sender(&self, batch: &mut Batch) {
        either!(self, chan => chan.drop_sender(batch));
    }

    /// One receiver less. After the last one, calls `wake` for the senders that wait, and then drops what is
    /// queued.
    pub(super) fn drop_receiver(&self, wake: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new();
        either!(self, chan => {
            let mut queued = chan.drop_receiver(&mut batch);
            // The senders first: the destructor of a message may take long, or panic.
            wake(&mut batch);
            drop_each(|| queued.pop_front());
        });
    }

    /// As [`Chan::may_send`].
    pub(super) fn may_send(&self) -> bool {
        either!(self, chan => chan.may_send())
    }

    /// As [`Chan::may_recv`].
    pub(super) fn may_recv(&self) -> bool {
        either!(self, chan => chan.may_recv())
    }

    /// As [`Chan::a_receiver_without_cell_waits`].
    pub(super) fn a_receiver_without_cell_waits(&self) -> bool {
        either!(self, chan => chan.a_receiver_without_cell_waits())
    }

    /// As [`Chan::enlist_sender`].
    ///
    /// # Safety
    ///
    /// As there. The cell holds the message, or a [`LargeBox`] with it if messages are boxed.
    pub(super) unsafe fn enlist_sender(&self, node: &WaitNode<Offer>) -> bool {
        // SAFETY: as the caller says.
        either!(self, chan => unsafe { chan.enlist_sender(node) })
    }

    /// As [`Chan::enlist_receiver`].
    ///
    /// # Safety
    ///
    /// As for [`enlist_sender`](Self::enlist_sender).
    pub(super) unsafe fn enlist_receiver(&self, node: &WaitNode<Offer>) -> bool {
        // SAFETY: as the caller says.
        either!(self, chan => unsafe { chan.enlist_receiver(node) })
    }

    pub(super) fn leave_senders(&self, node: &WaitNode<Offer>) -> bool {
        either!(self, chan => chan.leave_senders(node))
    }

    /// As [`Chan::abandon_receiver`].
    pub(super) fn abandon_receiver(&self, node: &WaitNode<Offer>) {
        either!(self, chan => chan.abandon_receiver(node));
    }

    pub(super) fn leave_receivers(&self, node: &WaitNode<Offer>) -> bool {
        either!(self, chan => chan.leave_receivers(node))
    }
}
