//! The channel itself: a queue, and those who wait on either side. One lock.
//!
//! ```text
//!   senders that wait              queue (up to the capacity)          receivers that wait
//!   [value] [value] ...  ------->  | oldest  ...  newest |  ------->   [slot] [slot] ...
//!   their slots are full           0 places: rendezvous                their slots are empty
//! ```
//!
//! Invariants, whenever the lock is free:
//! - A receiver waits only while the queue is empty and no sender waits, but for itself.
//! - A sender waits only while the queue is full and no receiver waits, but for itself.
//! - So values leave in the order in which their sends began to be carried out.
//!
//! "But for itself": a select may wait on both sides of one channel, with two places of one waiter. They do
//! not meet one another; whoever else comes meets one of them.
//!
//! A value moves straight from or into the *slot* of the one who waits, which is on the waiting stack. The
//! slot is touched by the other side only under the lock and before the ticket is won, by
//! [`WaitList::hand_to_first`]; if the ticket is lost the value goes back to where it was. So a value is in
//! exactly one place at any time, whatever ends a wait. The algorithm is that of Go's `chan.go`, whose sudogs
//! are our places.
//!
//! A *watcher* waits in a list as well, with a place that has no slot, for the news that an operation need
//! not wait. It is nobody's other side: an operation that comes to it fires it and goes on to the next place,
//! and two watchers do not meet. A sender or receiver that is about to wait fires the watchers of the other
//! side first, since its waiting is their news.
//!
//! The last one who went to wait leaves a *note* that this side waits, which holds until something comes
//! that need not be waited for. It is written under the lock and read without it: one who is ready to wait
//! need not take the lock in vain first. Nothing rests on it, as whoever goes to wait looks again under the
//! lock.

use super::queue::Queue;
use crate::base::list_lock::ListLock;
use crate::base::sync::{AtomicU32, AtomicUsize, Ordering};
use crate::coroutine::{Batch, WaitList, WaitNode};
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;

/// What keeps an operation from being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// It would have to wait.
    Waits,
    /// The other side is gone.
    Disconnected,
}

/// What a waiter offers to the other side: the payload of its node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offer {
    /// A [`Slot`] for messages of the channel's type: a sender's with a message, or a receiver's without.
    Slot(NonNull<()>),
    /// Nothing: the waiter is a watcher.
    Nothing,
}

// SAFETY: the slot holds a message of the channel's type, or none; that a message may move between threads is
// up to the channel, as for its queue.
unsafe impl Send for Offer {}

/// The slot that the node's owner offers.
///
/// # Safety
///
/// The node offers a slot for messages of type `T`.
unsafe fn slot<T>(node: &WaitNode<Offer>) -> *mut Option<T> {
    match node.payload() {
        Offer::Slot(slot) => slot.as_ptr().cast(),
        Offer::Nothing => unreachable!("a watcher has no slot"),
    }
}

fn has_slot(node: &WaitNode<Offer>) -> bool {
    matches!(node.payload(), Offer::Slot(_))
}

/// Fires the watchers at the head of the list; whether a place with a slot is the first then.
#[inline]
fn pass_watchers(list: &mut WaitList<Offer>, batch: &mut Batch) -> bool {
    list.wake_until(batch, has_slot)
}

/// Whether there is anybody in the list whom the owner of that place must not leave unnoticed.
fn has_others(list: &WaitList<Offer>, place: &WaitNode<Offer>) -> bool {
    list.has_others(place, |other| has_slot(place) || has_slot(other))
}

/// A value on its way, on the stack of a sender or receiver.
pub(super) struct Slot<T>(UnsafeCell<Option<T>>);

impl<T> Slot<T> {
    pub(super) fn new(value: Option<T>) -> Slot<T> {
        Slot(UnsafeCell::new(value))
    }

    /// The slot as the payload of a node.
    pub(super) fn offer(&self) -> Offer {
        Offer::Slot(NonNull::from(&self.0).cast())
    }

    /// Takes the value out.
    ///
    /// # Safety
    ///
    /// The caller owns the slot, and it is in no list.
    pub(super) unsafe fn take(&self) -> Option<T> {
        // SAFETY: nobody else has access, as the caller says.
        unsafe { (*self.0.get()).take() }
    }

    /// Puts a value in.
    ///
    /// # Safety
    ///
    /// As for [`take`](Self::take).
    pub(super) unsafe fn put(&self, value: T) {
        // SAFETY: nobody else has access, as the caller says.
        unsafe { *self.0.get() = Some(value) };
    }

    /// Whether there is a value.
    ///
    /// # Safety
    ///
    /// As for [`take`](Self::take).
    pub(super) unsafe fn is_full(&self) -> bool {
        // SAFETY: nobody else has access, as the caller says.
        unsafe { (*self.0.get()).is_some() }
    }

    pub(super) fn into_inner(self) -> Option<T> {
        self.0.into_inner()
    }

    /// The value, where there has to be one: a sender's that was not chosen, a receiver's that was.
    pub(super) fn into_message(self) -> T {
        self.into_inner()
            .expect("whoever takes a value from a slot has won its ticket, and so has who gives one")
    }
}

/// Under the lock.
struct State<T> {
    queue: Queue<T>,
    senders: WaitList<Offer>,
    receivers: WaitList<Offer>,
    /// Whether one side is gone.
    closed: bool,
}

impl<T> State<T> {
    /// Gives the value to the first receiver that waits, or back if none does.
    fn give_to_receiver(&mut self, value: T, batch: &mut Batch) -> Result<(), T> {
        let hand = Cell::new(Some(value));
        // SAFETY: `choose` calls these while the place's owner cannot look at its slot.
        let give = |place: &WaitNode<Offer>| unsafe { *slot::<T>(place) = hand.take() };
        // SAFETY: as above.
        let undo = |place: &WaitNode<Offer>, ()| hand.set(unsafe { (*slot::<T>(place)).take() });
        while pass_watchers(&mut self.receivers, batch) {
            if self.receivers.hand_to_first_if(batch, has_slot, give, undo).is_some() {
                return Ok(());
            }
        }
        Err(hand.take().expect("nobody took it"))
    }

    /// Takes the value of the first sender that waits.
    fn take_from_sender(&mut self, batch: &mut Batch) -> Option<T> {
        // SAFETY: `choose` calls these while the place's owner cannot look at its slot.
        let take = |place: &WaitNode<Offer>| unsafe { (*slot::<T>(place)).take() };
        // SAFETY: as above.
        let undo = |place: &WaitNode<Offer>, value| unsafe { *slot::<T>(place) = value };
        while pass_watchers(&mut self.senders, batch) {
            if let Some(value) = self.senders.hand_to_first_if(batch, has_slot, take, undo) {
                return Some(value.expect("a sender that waits has a value"));
            }
        }
        None
    }
}

/// Who would have to wait, as far as can be told without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Note {
    /// Nobody, or that is not known.
    Nobody,
    /// One more sender.
    Senders,
    /// One more receiver.
    Receivers,
}

/// A channel.
pub(super) struct Chan<T> {
    state: ListLock<State<T>>,
    /// A [`Note`]. Written under the lock.
    note: AtomicU32,
    capacity: usize,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

// SAFETY: values are moved from thread to thread, never shared; the places' slots hold such values.
unsafe impl<T: Send> Sync for Chan<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Chan<T> {}

impl<T> Chan<T> {
    /// A channel with one sender and one receiver.
    pub(super) fn new(capacity: usize) -> Chan<T> {
        Chan {
            state: ListLock::new(State {
                queue: Queue::new(),
                senders: WaitList::new(),
                receivers: WaitList::new(),
                closed: false,
            }),
            note: AtomicU32::new(Note::Nobody as u32),
            capacity,
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether one more of that side would have to wait, as far as can be told without the lock.
    #[inline]
    pub(super) fn says(&self, note: Note) -> bool {
        self.note.load(Ordering::Relaxed) == note as u32
    }

    /// Leaves a note, under the lock.
    #[inline]
    fn leave_note(&self, note: Note) {
        // No store where there is nothing to change: the memory stays with those who read it.
        if !self.says(note) {
            self.note.store(note as u32, Ordering::Relaxed);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Whether one side is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Sends the value if that need not wait, else gives it back.
    #[inline]
    pub(super) fn try_send(&self, value: T, batch: &mut Batch) -> Result<(), (Blocked, T)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((Blocked::Disconnected, value));
        }
        if !state.receivers.is_empty() {
            return match state.give_to_receiver(value, batch) {
                Ok(()) => Ok(()),
                Err(value) => self.queue_up(&mut state, value),
            };
        }
        self.queue_up(&mut state, value)
    }

    /// Puts the value into the queue if there is room.
    #[inline]
    fn queue_up(&self, state: &mut State<T>, value: T) -> Result<(), (Blocked, T)> {
        if state.queue.len() < self.capacity {
            state.queue.push_back(value);
            self.leave_note(Note::Nobody);
            Ok(())
        } else {
            Err((Blocked::Waits, value))
        }
    }

    /// Takes the next value, if there is one.
    #[inline]
    pub(super) fn try_recv(&self, batch: &mut Batch) -> Result<T, Blocked> {
        let mut state = self.state.lock();
        if let Some(value) = state.queue.pop_front() {
            if !state.senders.is_empty()
                && let Some(next) = state.take_from_sender(batch)
            {
                state.queue.push_back(next);
            } else {
                self.leave_note(Note::Nobody);
            }
            return Ok(value);
        }
        match state.take_from_sender(batch) {
            Some(value) => Ok(value),
            None if state.closed => Err(Blocked::Disconnected),
            None => Err(Blocked::Waits),
        }
    }

    /// Whether a send looks as if it need not wait. A receiver that has just stopped waiting may count still.
    pub(super) fn may_send(&self) -> bool {
        let state = self.state.lock();
        state.closed || state.queue.len() < self.capacity || state.receivers.any(has_slot)
    }

    /// Whether a receive looks as if it need not wait. A sender that has just stopped waiting may count
    /// still.
    pub(super) fn may_recv(&self) -> bool {
        let state = self.state.lock();
        state.closed || !state.queue.is_empty() || state.senders.any(has_slot)
    }

    /// Lists a sender whose slot the place names, or a watcher; false if it need not wait.
    ///
    /// # Safety
    ///
    /// The slot and the place stay, and are left alone, until the place was chosen or `leave_senders` was
    /// called for it.
    pub(super) unsafe fn enlist_sender(&self, place: &WaitNode<Offer>) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.queue.len() < self.capacity || has_others(&state.receivers, place) {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe { state.senders.push_back(place) };
        self.leave_note(Note::Senders);
        true
    }

    /// Lists a receiver whose slot the place names, or a watcher; false if it need not wait.
    ///
    /// # Safety
    ///
    /// As for [`enlist_sender`](Self::enlist_sender).
    pub(super) unsafe fn enlist_receiver(&self, place: &WaitNode<Offer>) -> bool {
        let mut state = self.state.lock();
        if state.closed || !state.queue.is_empty() || has_others(&state.senders, place) {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe { state.receivers.push_back(place) };
        self.leave_note(Note::Receivers);
        true
    }

    /// Takes a sender's place off; whether it was chosen before.
    pub(super) fn leave_senders(&self, place: &WaitNode<Offer>) -> bool {
        self.state.lock().senders.remove(place);
        place.was_handed()
    }

    /// Takes a receiver's place off; whether it was chosen before.
    pub(super) fn leave_receivers(&self, place: &WaitNode<Offer>) -> bool {
        self.state.lock().receivers.remove(place);
        place.was_handed()
    }

    pub(super) fn add_sender(&self) {
        count(&self.senders);
    }

    pub(super) fn add_receiver(&self) {
        count(&self.receivers);
    }

    /// One sender less. After the last one, receivers get what is queued, and then the news.
    pub(super) fn drop_sender(&self, batch: &mut Batch) {
        // AcqRel: the last one's news come after all that the others have sent.
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = self.state.lock();
            state.closed = true;
            self.leave_note(Note::Nobody);
            state.receivers.wake_all(batch);
        }
    }

    /// One receiver less. After the last one, senders get the news; gives what is queued, for the caller to
    /// drop, since destructors run.
    pub(super) fn drop_receiver(&self, batch: &mut Batch) -> Queue<T> {
        if self.receivers.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Queue::new();
        }
        let mut state = self.state.lock();
        state.closed = true;
        self.leave_note(Note::Nobody);
        state.senders.wake_all(batch);
        std::mem::replace(&mut state.queue, Queue::new())
    }
}

/// One more, as [`std::sync::Arc`] counts.
fn count(of: &AtomicUsize) {
    if of.fetch_add(1, Ordering::Relaxed) > usize::MAX / 2 {
        // So many handles were forgotten that the count would wrap.
        std::process::abort();
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::coroutine::testing::{ticket_of, waiter};
    use crate::coroutine::{Cause, Fired};
    use loom::sync::Arc;
    use loom::thread;

    fn send(chan: &Chan<u32>, value: u32) -> bool {
        match chan.try_send(value, &mut Batch::new()) {
            Ok(()) => true,
            Err((blocked, back)) => {
                assert_eq!((blocked, back), (Blocked::Waits, value));
                false
            }
        }
    }

    /// A receiver's timeout races with a sender: the value is handed over, or stays where it was.
    #[test]
    fn a_value_is_handed_over_or_kept() {
        loom::model(|| {
            let chan = Arc::new(Chan::new(0));
            let sender = {
                let chan = chan.clone();
                thread::spawn(move || send(&chan, 7))
            };
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let slot = Slot::new(None);
            let place = WaitNode::new(ticket, slot.offer());
            // SAFETY: place and slot stay until the place has left.
            assert!(unsafe { chan.enlist_receiver(&place) });
            // SAFETY: the waiter is alive.
            let timed_out = unsafe { ticket.fire(Cause::Timeout, &mut Batch::new()) } != Fired::Lost;
            let chosen = chan.leave_receivers(&place);
            let sent = sender.join().unwrap();
            assert_eq!(chosen, sent);
            assert_eq!(chosen, !timed_out);
            assert_eq!(slot.into_inner(), sent.then_some(7));
        });
    }

    /// A sender's cancellation races with a receiver: the value is taken, or stays in its slot.
    #[test]
    fn a_value_is_taken_or_kept() {
        loom::model(|| {
            let chan = Arc::new(Chan::<u32>::new(0));
            let receiver = {
                let chan = chan.clone();
                thread::spawn(move || chan.try_recv(&mut Batch::new()).ok())
            };
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let slot = Slot::new(Some(7));
            let place = WaitNode::new(ticket, slot.offer());
            // SAFETY: place and slot stay until the place has left.
            assert!(unsafe { chan.enlist_sender(&place) });
            // SAFETY: the waiter is alive.
            let _ = unsafe { ticket.fire(Cause::Timeout, &mut Batch::new()) };
            let chosen = chan.leave_senders(&place);
            let received = receiver.join().unwrap();
            assert_eq!(chosen, received.is_some());
            assert_eq!(slot.into_inner().is_none(), chosen);
        });
    }

    /// A select that waits on two channels while both are sent to: one of the two sends meets it.
    #[test]
    fn a_select_is_met_by_one_of_two() {
        loom::model(|| {
            let chans = [Arc::new(Chan::new(0)), Arc::new(Chan::new(0))];
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let slots = [Slot::<u32>::new(None), Slot::new(None)];
            let places = [0, 1].map(|i| WaitNode::new(ticket, slots[i].offer()));
            for (chan, place) in chans.iter().zip(&places) {
                // SAFETY: places and slots stay until the places have left.
                assert!(unsafe { chan.enlist_receiver(place) });
            }
            let senders = [0, 1].map(|i| {
                let chan = chans[i].clone();
                thread::spawn(move || send(&chan, i as u32))
            });
            let sent = senders.map(|sender| sender.join().unwrap());
            let chosen = [0, 1].map(|i| chans[i].leave_receivers(&places[i]));
            assert_eq!(chosen, sent);
            assert!(chosen[0] ^ chosen[1]);
            assert!(slots.into_iter().map(Slot::into_inner).eq([0, 1].map(|i| sent[i].then_some(i as u32))));
        });
    }

    /// A select that would send or receive on one channel, and another: its own arms do not meet, and the
    /// other one meets one of them.
    #[test]
    fn a_select_on_both_sides_meets_another() {
        loom::model(|| {
            let chan = Arc::new(Chan::new(0));
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let slots = [Slot::<u32>::new(None), Slot::new(Some(1))];
            let places = [0, 1].map(|i| WaitNode::new(ticket, slots[i].offer()));
            // SAFETY: places and slots stay until the places have left.
            assert!(unsafe { chan.enlist_receiver(&places[0]) && chan.enlist_sender(&places[1]) });
            let other = {
                let chan = chan.clone();
                thread::spawn(move || {
                    if send(&chan, 2) {
                        return None;
                    }
                    Some(chan.try_recv(&mut Batch::new()).ok())
                })
            };
            // SAFETY: the waiter is alive.
            let called_off = unsafe { ticket.fire(Cause::Event, &mut Batch::new()) } != Fired::Lost;
            let chosen = [chan.leave_receivers(&places[0]), chan.leave_senders(&places[1])];
            let outcome = other.join().unwrap();
            assert_eq!(chosen[0], outcome.is_none());
            assert_eq!(chosen[1], outcome == Some(Some(1)));
            assert_eq!(called_off, !chosen[0] && !chosen[1]);
            let [received, kept] = slots.map(Slot::into_inner);
            assert_eq!((received, kept), (chosen[0].then_some(2), (!chosen[1]).then_some(1)));
        });
    }

    /// A select finds its second arm possible while it puts itself on the lists, and calls the wait off,
    /// while the first arm is sent to.
    #[test]
    fn a_select_that_is_called_off_loses_nothing() {
        loom::model(|| {
            let (first, second) = (Arc::new(Chan::new(0)), Chan::new(1));
            assert!(send(&second, 2));
            let sender = {
                let first = first.clone();
                thread::spawn(move || send(&first, 1))
            };
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let slots = [Slot::<u32>::new(None), Slot::new(None)];
            let places = [0, 1].map(|i| WaitNode::new(ticket, slots[i].offer()));
            // SAFETY: places and slots stay until the places have left.
            assert!(unsafe { first.enlist_receiver(&places[0]) });
            // SAFETY: as above.
            assert!(!unsafe { second.enlist_receiver(&places[1]) });
            // SAFETY: the waiter is alive.
            let called_off = unsafe { ticket.fire(Cause::Event, &mut Batch::new()) } != Fired::Lost;
            let chosen = first.leave_receivers(&places[0]);
            assert!(!second.leave_receivers(&places[1]));
            assert_eq!(chosen, !called_off);
            assert_eq!(sender.join().unwrap(), chosen);
            assert_eq!(second.len(), 1, "nobody took it");
        });
    }
}
