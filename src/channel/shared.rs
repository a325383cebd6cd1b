//! What the ends of a channel share: the channel itself, whose messages are boxed if they are large.

use super::chan::{Chan, Note, Offer};
use crate::base::large_box::{LargeBox, is_large};
use crate::coroutine::{Batch, WaitNode, drop_each};
use std::sync::Arc;

/// A channel of messages of type `T`. Invariant: it is `Large` if and only if `T` [is large](is_large).
pub(super) enum Shared<T> {
    Small(Arc<Chan<T>>),
    Large(Arc<Chan<LargeBox<T>>>),
}

/// What both kinds have in common.
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

    /// A further reference, which counts as no further end.
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

    pub(super) fn is(&self, other: &Shared<T>) -> bool {
        match (self, other) {
            (Shared::Small(one), Shared::Small(other)) => Arc::ptr_eq(one, other),
            (Shared::Large(one), Shared::Large(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// How many messages there is room for; `None` for no limit.
    pub(super) fn limit(&self) -> Option<usize> {
        let capacity = self.capacity();
        (capacity != usize::MAX).then_some(capacity)
    }

    pub(super) fn capacity(&self) -> usize {
        either!(self, chan => chan.capacity())
    }

    /// As [`Chan::says`].
    pub(super) fn says(&self, note: Note) -> bool {
        either!(self, chan => chan.says(note))
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

    /// One receiver less. After the last one, calls `tell`, which tells the senders, and then drops what is
    /// queued.
    pub(super) fn drop_receiver(&self, tell: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new();
        either!(self, chan => {
            let mut queued = chan.drop_receiver(&mut batch);
            // The senders first: a destructor of a message may take its time, or panic.
            tell(&mut batch);
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

    /// As [`Chan::enlist_sender`].
    ///
    /// # Safety
    ///
    /// As there. The slot holds the message, or a [`LargeBox`] with it if messages are boxed.
    pub(super) unsafe fn enlist_sender(&self, place: &WaitNode<Offer>) -> bool {
        // SAFETY: as the caller says.
        either!(self, chan => unsafe { chan.enlist_sender(place) })
    }

    /// As [`Chan::enlist_receiver`].
    ///
    /// # Safety
    ///
    /// As for [`enlist_sender`](Self::enlist_sender).
    pub(super) unsafe fn enlist_receiver(&self, place: &WaitNode<Offer>) -> bool {
        // SAFETY: as the caller says.
        either!(self, chan => unsafe { chan.enlist_receiver(place) })
    }

    pub(super) fn leave_senders(&self, place: &WaitNode<Offer>) -> bool {
        either!(self, chan => chan.leave_senders(place))
    }

    pub(super) fn leave_receivers(&self, place: &WaitNode<Offer>) -> bool {
        either!(self, chan => chan.leave_receivers(place))
    }
}
