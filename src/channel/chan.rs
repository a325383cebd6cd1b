//! The channel itself: a queue, and the waiters on either side. One lock.
//!
//! The problem: a message must be in exactly one place at any time, whatever ends a wait (a timeout, a
//! cancellation, another arm of a select), and no operation may wait while its other side waits.
//!
//! ```text
//!   senders that wait              queue (up to the capacity)          receivers that wait
//!   [message] [message] ... ---->  | oldest  ...  newest |  ------->   [empty] [empty] ...
//!   their cells are full           capacity 0: rendezvous              their cells are empty
//! ```
//!
//! # Terms
//!
//! - A [`MessageCell`] has room for one message. It is on the stack of a waiting sender or receiver, or in an
//!   arm of a select. Waiters *offer* it to the other side as the payload of their nodes ([`Offer`]).
//! - A *watcher* waits for the news that an operation is possible: for `Select::ready`, or to confirm that no
//!   arm of a select is possible. It offers no cell, and is nobody's other side.
//! - A *future* that receives offers no cell either: it may never be polled again, and a message must not be
//!   kept in it. When its *turn* comes it is woken, and the message stays in the channel until the future is
//!   polled. Another receiver may take the message before (barging). Futures that send offer cells.
//! - A *late sender* will make its message when it can be sent (`arm_with`). Until then it offers nothing
//!   either. It is woken by what wakes a watcher for sends, and by a receiver without a cell.
//! - A channel is *closed* once the last sender or the last receiver is gone.
//!
//! # The states of an operation
//!
//! ```text
//!  state     leaves it for   when
//!  trying    done            send: a receiver waits (the message moves into its cell), or the queue has room
//!            done            receive: the queue has a message, or a sender waits (its message is taken)
//!            done (error)    the channel is closed, and for a receive the queue is also empty
//!            waiting         otherwise: under the lock, its node is added to the list of its side
//!  waiting   done            the other side came: it moved the message, then won the ticket (`Handed`)
//!            trying          the node was woken (`Woken`): the channel was closed; or the node is that of a
//!                            watcher, and it has news; or it is that of a future, and its turn has come
//!            done (error)    the deadline has passed; the node leaves the list, with its message
//!            unwinding       it was cancelled; as above
//! ```
//!
//! # Invariants
//!
//! Whenever the lock is free:
//!
//! - A receiver waits only while each message in the queue, and each other sender that waits, is matched by a
//!   turn: by a future that was woken, and has been neither polled nor dropped since. Without such futures,
//!   only while the queue is empty and no other sender waits.
//! - A sender waits only while the queue is full and no other receiver with a cell waits.
//! - A watcher waits only while the operation that it watches is impossible, its own waiter aside. A late
//!   sender waits only while also no future and no other watcher for receives is listed.
//! - So messages are received in the order in which their sends joined the queue or the list.
//!
//! "Other": a select may wait on both sides of one channel, with two nodes of one waiter. They do not serve
//! one another; any other operation serves one of them.
//!
//! # The argument
//!
//! A message moves directly from or into the cell of the waiter. The other side uses the cell only under the
//! lock and before the ticket is won ([`WaitList::hand_to_first`]); if the ticket is lost, the message
//! returns to where it was. So a message is in exactly one place at any time, whatever ends a wait.
//!
//! Watchers have lists of their own. What makes their operation possible wakes all of them: a message that is
//! queued, room in the queue, a sender or receiver with a cell that is listed, the end of the channel. A
//! message that moves into a cell of a receiver that waits, or out of one of a sender, is no news: it makes
//! nothing possible for others. Two watchers do not serve one another; nor do a watcher for sends and a
//! future, since a `try_send` without room does not serve futures.
//!
//! To list a node may thus wake others, and among them futures, whose wakers are a user's code. It runs
//! without the lock, in the commit of the wait that lists the node. That node may be served, or its wait be
//! ended, before the commit returns, as always. What the waker itself waits for has another ticket
//! (`coroutine/thread.rs`).
//!
//! # Turns
//!
//! One message makes one turn. What makes a message available gives a turn to the first receiver, if that is
//! a future: a send that queues its message (`enqueue`), and a sender that is listed (`enlist_sender`).
//! What ends a turn either takes a message (the future is polled), or finds that none is left, or is a
//! drop, which gives the turn to the next receiver (`abandon_receiver`). So the invariant holds, and no
//! message waits while a receiver waits that nobody has woken.
//!
//! A message that is left while the queue is empty is that of a sender that waits. Then no other receiver
//! with a cell waits: by the invariants, the one would have served the other. So such a turn goes to the
//! next future, and never to a cell; least of all to one of the select that offers the message.
//!
//! *Order.* Receivers are served first come, first served. Those with cells and futures are in two lists, so
//! that no operation walks past a crowd of either kind; a node's *stamp* says how many futures were listed
//! before it, and so which of the two heads came first. A receiver with a cell that is the first gets the
//! oldest message, even if that was left to a future: the future's turn is then for a newer one. A future
//! that was woken and finds nothing queues in front again. It can lose only to a receiver that calls a
//! receive between its wake-up and its poll, and that did not have to wait: so receivers that wait, however
//! many, do not starve futures.
//!
//! *Without room.* With capacity zero, or if the queue is full of messages that are left to futures, a send
//! serves the first receiver with a cell, past futures: otherwise it would have to wait while a receiver
//! waits for it. So futures that receive from a rendezvous channel come after coroutines and threads. A late
//! sender would wait for a future, or for a watcher for receives, that waits for it: neither offers anything.
//! So if one of them waits, a late sender that is about to wait makes its message and offers that.
//!
//! *A future that is woken, and is neither polled nor dropped*, keeps one message from the receivers that
//! wait behind it, until the next send. A receiver that calls a receive later gets the message.
//!
//! # The hint
//!
//! `blocked_side` says which side would have to wait, as far as is known. The last operation that went to
//! wait writes it, and an operation that makes the other outcome possible clears it. It is written under the
//! lock and read without it: an operation that would have to wait skips the attempt, and its lock. Nothing
//! else rests on it: enlisting checks again under the lock.
//!
//! The algorithm is that of Go's `chan.go`. Its `sudog` is our node.

use super::queue::Queue;
use crate::base::list_lock::{ListGuard, ListLock};
use crate::base::sync::{AtomicU32, AtomicUsize, Ordering};
use crate::coroutine::{Batch, Facts, NodeState, Subject, WaitList, WaitNode};
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;

/// Why an operation did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It would have to wait.
    WouldBlock,
    /// The other side is gone.
    Disconnected,
}

/// What a waiter offers to the other side: the payload of its node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offer {
    /// A [`MessageCell`] for messages of the channel's type: a sender's with a message, or a receiver's
    /// without.
    Cell(NonNull<()>),
    /// Nothing: the waiter is a watcher.
    Nothing,
    /// Nothing yet: the waiter is a late sender.
    Later,
    /// Nothing: the waiter is a future, which waits for its turn to receive. `lost`: it has had a turn, and
    /// another receiver has taken the message.
    Turn { lost: bool },
}

// SAFETY: the cell holds a message of the channel's type, or none; that a message may move between threads is
// up to the channel, as for its queue.
unsafe impl Send for Offer {}

/// What is in the cell that the node's owner offers.
///
/// # Safety
///
/// The node offers a cell for messages of type `T`.
unsafe fn offered<T>(node: &WaitNode<Offer>) -> *mut Option<T> {
    match node.payload() {
        Offer::Cell(cell) => cell.as_ptr().cast(),
        Offer::Nothing | Offer::Later | Offer::Turn { .. } => unreachable!("it offers no cell"),
    }
}

/// Room for a message, on the stack of a waiting sender or receiver, or in an arm.
pub(super) struct MessageCell<T>(UnsafeCell<Option<T>>);

impl<T> MessageCell<T> {
    pub(super) fn new(message: Option<T>) -> MessageCell<T> {
        MessageCell(UnsafeCell::new(message))
    }

    /// The cell as the payload of a node.
    pub(super) fn offer(&self) -> Offer {
        Offer::Cell(NonNull::from(&self.0).cast())
    }

    /// Takes the message out.
    ///
    /// # Safety
    ///
    /// The caller owns the cell, and it is in no list.
    pub(super) unsafe fn take(&self) -> Option<T> {
        // SAFETY: nobody else has access, as the caller says.
        unsafe { (*self.0.get()).take() }
    }

    /// Puts a message in.
    ///
    /// # Safety
    ///
    /// As for [`take`](Self::take).
    pub(super) unsafe fn put(&self, message: T) {
        // SAFETY: nobody else has access, as the caller says.
        unsafe { *self.0.get() = Some(message) };
    }

    /// Whether there is a message.
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

    /// The message, where there must be one: of a sender whose message was not taken, or of a receiver that
    /// was handed one.
    pub(super) fn into_message(self) -> T {
        self.into_inner().expect("a cell is emptied or filled only by a side that has won its ticket")
    }
}

/// Under the lock.
struct State<T> {
    queue: Queue<T>,
    /// The senders that wait: they offer full cells.
    senders: WaitList<Offer>,
    /// The receivers that wait with empty cells.
    receivers: WaitList<Offer>,
    /// The futures that wait for their turn to receive.
    futures: WaitList<Offer>,
    /// The watchers for sends.
    send_watchers: WaitList<Offer>,
    /// The late senders.
    late_senders: WaitList<Offer>,
    /// The watchers for receives.
    recv_watchers: WaitList<Offer>,
    /// How many futures were listed behind others, modulo 2^32. A node's stamp is this number as it is
    /// listed, a future itself included.
    futures_listed: u32,
    /// Whether one side is gone.
    closed: bool,
}

impl<T> State<T> {
    /// The list for a node of that side.
    fn list_of(&mut self, side: Side, node: &WaitNode<Offer>) -> &mut WaitList<Offer> {
        match (side, node.payload()) {
            (Side::Senders, Offer::Cell(_)) => &mut self.senders,
            (Side::Senders, Offer::Later) => &mut self.late_senders,
            (Side::Senders, Offer::Nothing | Offer::Turn { .. }) => &mut self.send_watchers,
            (Side::Receivers, Offer::Cell(_)) => &mut self.receivers,
            (Side::Receivers, Offer::Turn { .. }) => &mut self.futures,
            (Side::Receivers, Offer::Nothing | Offer::Later) => &mut self.recv_watchers,
        }
    }

    /// Serves the first receiver that waits, if it is no future: it gets the oldest message, and this one is
    /// the newest. The error returns the message.
    #[inline]
    fn hand_to_receiver(&mut self, message: T, batch: &mut Batch) -> Result<(), T> {
        if self.queue.is_empty() {
            return self.hand_to_first(message, batch);
        }
        self.hand_oldest(message, batch, Self::hand_to_first)
    }

    /// As [`hand_to_receiver`](Self::hand_to_receiver), for a channel without room: serves the first receiver
    /// that is no future.
    #[cold]
    fn hand_past_futures(&mut self, message: T, batch: &mut Batch) -> Result<(), T> {
        let hand = |this: &mut Self, message, batch: &mut Batch| this.hand_to_cell(message, batch, |_| true);
        if self.queue.is_empty() {
            return hand(self, message, batch);
        }
        self.hand_oldest(message, batch, hand)
    }

    /// Hands out the oldest message, of a queue that is not empty, and queues this one in its place.
    #[cold]
    fn hand_oldest(
        &mut self,
        message: T,
        batch: &mut Batch,
        hand: impl FnOnce(&mut Self, T, &mut Batch) -> Result<(), T>,
    ) -> Result<(), T> {
        let oldest = self.queue.pop_front().expect("the queue is not empty");
        match hand(self, oldest, batch) {
            Ok(()) => {
                self.queue.push_back(message);
                Ok(())
            }
            Err(oldest) => {
                self.queue.push_front(oldest);
                Err(message)
            }
        }
    }

    /// Hands the message to the first receiver that waits, if it is no future. The error returns it.
    // Always: it is most of a send to a receiver that waits, and its other callers are cold.
    #[inline(always)]
    fn hand_to_first(&mut self, message: T, batch: &mut Batch) -> Result<(), T> {
        if self.futures.is_empty() {
            return self.hand_to_cell(message, batch, |_| true);
        }
        self.hand_before_futures(message, batch)
    }

    #[cold]
    fn hand_before_futures(&mut self, message: T, batch: &mut Batch) -> Result<(), T> {
        let first = self.futures.first().map(WaitNode::stamp);
        self.hand_to_cell(message, batch, |node| first.is_none_or(|first| is_before(node.stamp(), first)))
    }

    /// Hands the message to the first receiver with a cell, if it fits. The error returns it.
    #[inline(always)]
    fn hand_to_cell(
        &mut self,
        message: T,
        batch: &mut Batch,
        fits: impl Fn(&WaitNode<Offer>) -> bool,
    ) -> Result<(), T> {
        let in_hand = Cell::new(Some(message));
        // SAFETY: `hand_to_first_if` calls these while the node's owner must not use its cell.
        let give = |node: &WaitNode<Offer>| unsafe { *offered::<T>(node) = in_hand.take() };
        // SAFETY: as above.
        let undo = |node: &WaitNode<Offer>, ()| in_hand.set(unsafe { (*offered::<T>(node)).take() });
        match self.receivers.hand_to_first_if(batch, fits, give, undo) {
            Some(()) => Ok(()),
            None => Err(in_hand.take().expect("no receiver took it")),
        }
    }

    /// Takes the message of the first sender that waits.
    fn take_from_sender(&mut self, batch: &mut Batch) -> Option<T> {
        // SAFETY: `hand_to_first` calls these while the node's owner must not use its cell.
        let take = |node: &WaitNode<Offer>| unsafe { (*offered::<T>(node)).take() };
        // SAFETY: as above.
        let undo = |node: &WaitNode<Offer>, message| unsafe { *offered::<T>(node) = message };
        let message = self.senders.hand_to_first(batch, take, undo)?;
        Some(message.expect("a sender that waits has a message"))
    }

    /// Whether somebody has news if a message is there to be received.
    #[inline]
    fn has_news_of_message(&self) -> bool {
        !self.futures.is_empty() || !self.recv_watchers.is_empty()
    }

    /// A message is there to be received: of `sender`, or in the queue. It is the turn of the first future,
    /// and news for all watchers but those of the sender itself.
    #[cold]
    fn tell_of_message(&mut self, sender: Option<&WaitNode<Offer>>, batch: &mut Batch) {
        self.futures.wake_first(batch);
        self.recv_watchers.wake_those(batch, |node| sender.is_none_or(|sender| !node.same_waiter(sender)));
    }

    /// Whether somebody has news if a send may be possible.
    #[inline]
    fn has_news_of_send(&self) -> bool {
        !self.send_watchers.is_empty() || !self.late_senders.is_empty()
    }

    /// A receiver waits: news for watchers if it offers a cell, and for late senders in any case, but not for
    /// those of the receiver itself.
    #[cold]
    fn tell_of_receiver(&mut self, receiver: &WaitNode<Offer>, batch: &mut Batch) {
        if matches!(receiver.payload(), Offer::Cell(_)) {
            self.send_watchers.wake_those(batch, |node| !node.same_waiter(receiver));
        }
        self.late_senders.wake_those(batch, |node| !node.same_waiter(receiver));
    }

    /// There is room, or the channel is closed: news for all watchers for sends.
    #[cold]
    fn tell_of_room(&mut self, batch: &mut Batch) {
        self.send_watchers.wake_all(batch);
        self.late_senders.wake_all(batch);
    }

    /// Lists the node of a future.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`].
    #[cold]
    unsafe fn list_future(&mut self, node: &WaitNode<Offer>, lost: bool) {
        if lost {
            // It keeps its place, ahead of all receivers.
            node.set_stamp(self.receivers.first().map_or(self.futures_listed, WaitNode::stamp));
            // SAFETY: as the caller says.
            unsafe { self.futures.push_first(node) };
        } else {
            self.futures_listed = self.futures_listed.wrapping_add(1);
            node.set_stamp(self.futures_listed);
            // SAFETY: as the caller says.
            unsafe { self.futures.push_back(node) };
        }
    }
}

/// Whether a receiver with that stamp came before a future with the other one: fewer futures were listed
/// then. Should 2^31 futures have been listed meanwhile, they change places.
fn is_before(receiver: u32, future: u32) -> bool {
    receiver.wrapping_sub(future) > u32::MAX / 2
}

/// A side of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Side {
    Senders = 1,
    Receivers = 2,
}

/// The value of `blocked_side` if neither side is known to be blocked.
const NEITHER: u32 = 0;

/// A channel.
pub(super) struct Chan<T> {
    state: ListLock<State<T>>,
    /// The hint: a [`Side`] or [`NEITHER`]. Written under the lock.
    blocked_side: AtomicU32,
    capacity: usize,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

// SAFETY: messages move between threads and are never shared; so do those in the cells that nodes offer.
unsafe impl<T: Send> Sync for Chan<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Chan<T> {}

// SAFETY: counts, a capacity that never changes, and how many messages there are under the lock.
unsafe impl<T> Subject for Chan<T> {
    fn facts(&self) -> Facts {
        Facts::Channel {
            at: std::ptr::from_ref(self).addr(),
            len: self.len(),
            capacity: (self.capacity != usize::MAX).then_some(self.capacity),
            senders: self.senders.load(Ordering::Relaxed),
            receivers: Some(self.receivers.load(Ordering::Relaxed)),
        }
    }
}

impl<T> Chan<T> {
    /// A channel with one sender and one receiver.
    pub(super) fn new(capacity: usize) -> Chan<T> {
        Chan {
            state: ListLock::new(State {
                queue: Queue::new(),
                senders: WaitList::new(),
                receivers: WaitList::new(),
                futures: WaitList::new(),
                send_watchers: WaitList::new(),
                late_senders: WaitList::new(),
                recv_watchers: WaitList::new(),
                futures_listed: 0,
                closed: false,
            }),
            blocked_side: AtomicU32::new(NEITHER),
            capacity,
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether an operation of that side would have to wait, as far as is known without the lock.
    #[inline]
    pub(super) fn seems_blocked(&self, side: Side) -> bool {
        self.blocked_side.load(Ordering::Relaxed) == side as u32
    }

    /// Sets the hint, under the lock.
    #[inline]
    fn set_hint(&self, hint: u32) {
        // No store if nothing changes: the cache line stays with its readers.
        if self.blocked_side.load(Ordering::Relaxed) != hint {
            self.blocked_side.store(hint, Ordering::Relaxed);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Whether one side is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Sends the message if that is possible without waiting. The error returns it otherwise.
    #[inline]
    pub(super) fn try_send(&self, message: T, batch: &mut Batch) -> Result<(), (Refused, T)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((Refused::Disconnected, message));
        }
        let mut message = message;
        if !state.receivers.is_empty() {
            match state.hand_to_receiver(message, batch) {
                Ok(()) => return Ok(()),
                Err(back) => message = back,
            }
        }
        self.enqueue(&mut state, message, batch)
    }

    /// Puts the message into the queue if there is room. Without room, serves a receiver behind the futures.
    #[inline]
    fn enqueue(&self, state: &mut State<T>, message: T, batch: &mut Batch) -> Result<(), (Refused, T)> {
        if state.queue.len() < self.capacity {
            state.queue.push_back(message);
            self.set_hint(NEITHER);
            if state.has_news_of_message() {
                state.tell_of_message(None, batch);
            }
            Ok(())
        } else if state.receivers.is_empty() {
            Err((Refused::WouldBlock, message))
        } else {
            state.hand_past_futures(message, batch).map_err(|message| (Refused::WouldBlock, message))
        }
    }

    /// Receives the next message if that is possible without waiting.
    #[inline]
    pub(super) fn try_recv(&self, batch: &mut Batch) -> Result<T, Refused> {
        let mut state = self.state.lock();
        match self.take_oldest(&mut state, batch) {
            Some(message) => Ok(message),
            None if state.closed => Err(Refused::Disconnected),
            None => Err(Refused::WouldBlock),
        }
    }

    /// Takes the oldest message out of the queue, and fills the gap; or takes it from a sender.
    #[inline]
    fn take_oldest(&self, state: &mut State<T>, batch: &mut Batch) -> Option<T> {
        let Some(message) = state.queue.pop_front() else { return state.take_from_sender(batch) };
        self.fill_gap(state, batch);
        Some(message)
    }

    /// After a message has left the queue: queues that of a sender that waits. Otherwise there is room,
    /// which is news for watchers.
    #[inline]
    fn fill_gap(&self, state: &mut State<T>, batch: &mut Batch) {
        if !state.senders.is_empty()
            && let Some(next) = state.take_from_sender(batch)
        {
            state.queue.push_back(next);
            return;
        }
        self.set_hint(NEITHER);
        if state.has_news_of_send() {
            state.tell_of_room(batch);
        }
    }

    /// Whether a send seems to be possible without waiting. A receiver whose wait has just ended may still
    /// count.
    pub(super) fn may_send(&self) -> bool {
        let state = self.state.lock();
        state.closed || state.queue.len() < self.capacity || !state.receivers.is_empty()
    }

    /// Whether a receive seems to be possible without waiting. A sender whose wait has just ended may still
    /// count.
    pub(super) fn may_recv(&self) -> bool {
        let state = self.state.lock();
        state.closed || !state.queue.is_empty() || !state.senders.is_empty()
    }

    /// Whether a receiver waits that offers no cell: a future, or a watcher.
    pub(super) fn a_receiver_without_cell_waits(&self) -> bool {
        let state = self.state.lock();
        !state.futures.is_empty() || !state.recv_watchers.is_empty()
    }

    /// Lists the node of a sender, or of a watcher for sends; false if it need not wait.
    ///
    /// # Safety
    ///
    /// A cell that the node offers is a `MessageCell<T>`. The node and the cell stay, and are not used, until
    /// the node's ticket was won from the list or `leave_senders` was called for it.
    pub(super) unsafe fn enlist_sender(&self, node: &WaitNode<Offer>) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.queue.len() < self.capacity || state.receivers.has_others(node) {
            return false;
        }
        if matches!(node.payload(), Offer::Later)
            && (!state.futures.is_empty() || state.recv_watchers.has_others(node))
        {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe { state.list_of(Side::Senders, node).push_back(node) };
        self.set_hint(Side::Senders as u32);
        if matches!(node.payload(), Offer::Cell(_)) && state.has_news_of_message() {
            Self::tell(state, |state, batch| state.tell_of_message(Some(node), batch));
        }
        true
    }

    /// Wakes the waiters that have news, without the lock.
    #[cold]
    fn tell(mut state: ListGuard<'_, State<T>>, news: impl FnOnce(&mut State<T>, &mut Batch)) {
        let mut batch = Batch::new();
        news(&mut state, &mut batch);
        drop(state);
        batch.wake();
    }

    /// Lists the node of a receiver, or of a watcher for receives; false if it need not wait.
    ///
    /// # Safety
    ///
    /// As for [`enlist_sender`](Self::enlist_sender).
    // Always: the slow path of a receive is the usual one where each side waits for the other.
    #[inline(always)]
    pub(super) unsafe fn enlist_receiver(&self, node: &WaitNode<Offer>) -> bool {
        let mut state = self.state.lock();
        if state.closed || !state.queue.is_empty() || state.senders.has_others(node) {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe {
            match *node.payload() {
                Offer::Turn { lost } => state.list_future(node, lost),
                Offer::Cell(_) => {
                    node.set_stamp(state.futures_listed);
                    state.receivers.push_back(node);
                }
                Offer::Nothing | Offer::Later => state.recv_watchers.push_back(node),
            }
        }
        self.set_hint(Side::Receivers as u32);
        if state.has_news_of_send() {
            Self::tell(state, |state, batch| state.tell_of_receiver(node, batch));
        }
        true
    }

    /// Takes a sender's node off the list. Returns whether a receiver has taken its message.
    pub(super) fn leave_senders(&self, node: &WaitNode<Offer>) -> bool {
        self.state.lock().list_of(Side::Senders, node).remove(node);
        node.was_handed()
    }

    /// Takes a receiver's node off the list. Returns whether a sender has handed it a message.
    pub(super) fn leave_receivers(&self, node: &WaitNode<Offer>) -> bool {
        self.state.lock().list_of(Side::Receivers, node).remove(node);
        node.was_handed()
    }

    /// As [`leave_receivers`](Self::leave_receivers), for a future that is dropped. If it has been woken, the
    /// message is left to the next receiver.
    pub(super) fn abandon_receiver(&self, node: &WaitNode<Offer>) {
        let mut batch = Batch::new();
        let mut state = self.state.lock();
        if !state.futures.remove(node) && node.state() == NodeState::Woken {
            self.pass_turn_on(&mut state, &mut batch);
        }
        drop(state);
        batch.wake();
    }

    /// Serves the first receiver, if there is a message.
    fn pass_turn_on(&self, state: &mut State<T>, batch: &mut Batch) {
        let Some(oldest) = state.queue.pop_front() else {
            // No receiver with a cell waits but those of the sender itself, as the head of this file says.
            if !state.senders.is_empty() {
                state.futures.wake_first(batch);
            }
            return;
        };
        match state.hand_to_first(oldest, batch) {
            Ok(()) => self.fill_gap(state, batch),
            Err(oldest) => {
                // Into the gap that it has left.
                state.queue.push_front(oldest);
                state.futures.wake_first(batch);
            }
        }
    }

    pub(super) fn add_sender(&self) {
        count(&self.senders);
    }

    pub(super) fn add_receiver(&self) {
        count(&self.receivers);
    }

    /// One sender less. The last one closes the channel, and wakes the receivers that wait. Receivers still
    /// get what is queued.
    pub(super) fn drop_sender(&self, batch: &mut Batch) {
        // AcqRel: the last sender closes the channel after all that the others have sent.
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = self.state.lock();
            state.closed = true;
            self.set_hint(NEITHER);
            state.receivers.wake_all(batch);
            state.futures.wake_all(batch);
            state.recv_watchers.wake_all(batch);
        }
    }

    /// One receiver less. The last one closes the channel, and wakes the senders that wait. Returns what is
    /// queued, for the caller to drop without the lock, since destructors run.
    pub(super) fn drop_receiver(&self, batch: &mut Batch) -> Queue<T> {
        if self.receivers.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Queue::new();
        }
        let mut state = self.state.lock();
        state.closed = true;
        self.set_hint(NEITHER);
        state.senders.wake_all(batch);
        state.tell_of_room(batch);
        std::mem::replace(&mut state.queue, Queue::new())
    }
}

/// Counts one more, with the check of [`std::sync::Arc`].
fn count(of: &AtomicUsize) {
    if of.fetch_add(1, Ordering::Relaxed) > usize::MAX / 2 {
        // A program can leak handles until the count wraps.
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

    fn send(chan: &Chan<u32>, message: u32) -> bool {
        match chan.try_send(message, &mut Batch::new()) {
            Ok(()) => true,
            Err((refused, back)) => {
                assert_eq!((refused, back), (Refused::WouldBlock, message));
                false
            }
        }
    }

    /// A receiver's timeout races with a sender: the message is handed over, or stays where it was.
    #[test]
    fn a_message_is_handed_over_or_kept() {
        loom::model(|| {
            let chan = Arc::new(Chan::new(0));
            let sender = {
                let chan = chan.clone();
                thread::spawn(move || send(&chan, 7))
            };
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let cell = MessageCell::new(None);
            let node = WaitNode::new(ticket, cell.offer());
            // SAFETY: node and cell stay until the node has left.
            assert!(unsafe { chan.enlist_receiver(&node) });
            // SAFETY: the waiter is alive.
            let timed_out = unsafe { ticket.fire(Cause::Timeout, &mut Batch::new()) } != Fired::Lost;
            let handed = chan.leave_receivers(&node);
            let sent = sender.join().unwrap();
            assert_eq!(handed, sent);
            assert_eq!(handed, !timed_out);
            assert_eq!(cell.into_inner(), sent.then_some(7));
        });
    }

    /// A sender's timeout races with a receiver: the message is taken, or stays in its cell.
    #[test]
    fn a_message_is_taken_or_kept() {
        loom::model(|| {
            let chan = Arc::new(Chan::<u32>::new(0));
            let receiver = {
                let chan = chan.clone();
                thread::spawn(move || chan.try_recv(&mut Batch::new()).ok())
            };
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let cell = MessageCell::new(Some(7));
            let node = WaitNode::new(ticket, cell.offer());
            // SAFETY: node and cell stay until the node has left.
            assert!(unsafe { chan.enlist_sender(&node) });
            // SAFETY: the waiter is alive.
            let _ = unsafe { ticket.fire(Cause::Timeout, &mut Batch::new()) };
            let handed = chan.leave_senders(&node);
            let received = receiver.join().unwrap();
            assert_eq!(handed, received.is_some());
            assert_eq!(cell.into_inner().is_none(), handed);
        });
    }

    /// Two futures wait. The first one is dropped while a sender comes, which waits itself if there is no
    /// room. The second one gets the turn.
    #[test]
    fn a_dropped_future_passes_its_turn_on() {
        for capacity in [0, 1] {
            loom::model(move || {
                let chan = Arc::new(Chan::<u32>::new(capacity));
                let waiters = [waiter(), waiter()];
                let nodes =
                    [0, 1].map(|i| WaitNode::new(ticket_of(&waiters[i]), Offer::Turn { lost: false }));
                for node in &nodes {
                    // SAFETY: the nodes stay until they have left.
                    assert!(unsafe { chan.enlist_receiver(node) });
                }
                let offers = (waiter(), MessageCell::new(Some(7)));
                let offer = WaitNode::new(ticket_of(&offers.0), offers.1.offer());
                let drops = {
                    let chan = chan.clone();
                    let node = SendNode(&raw const nodes[0]);
                    thread::spawn(move || {
                        let node = node;
                        // SAFETY: the thread is joined before the node goes.
                        chan.abandon_receiver(unsafe { &*node.0 });
                    })
                };
                if !send(&chan, 7) {
                    // SAFETY: node and cell stay until the node has left.
                    assert!(unsafe { chan.enlist_sender(&offer) });
                }
                drops.join().unwrap();
                chan.leave_receivers(&nodes[1]);
                assert_eq!(nodes[1].state(), NodeState::Woken, "nobody has woken it");
                assert_eq!(chan.try_recv(&mut Batch::new()), Ok(7));
                chan.leave_senders(&offer);
            });
        }
    }

    /// A future is dropped after it was woken for the message of a select that also receives, and has waited
    /// longer than a second future. The second one gets the turn, and the select does not serve itself.
    #[test]
    fn a_turn_goes_past_the_select_whose_message_it_is_for() {
        loom::model(|| {
            let chan = Arc::new(Chan::<u32>::new(0));
            let waiters = [waiter(), waiter(), waiter()];
            let [first, second] =
                [0, 1].map(|i| WaitNode::new(ticket_of(&waiters[i]), Offer::Turn { lost: false }));
            let ticket = ticket_of(&waiters[2]);
            let cells = [MessageCell::<u32>::new(None), MessageCell::new(Some(1))];
            let own = [0, 1].map(|i| WaitNode::new(ticket, cells[i].offer()));
            // SAFETY: nodes and cells stay until the nodes have left.
            unsafe {
                assert!(chan.enlist_receiver(&first) && chan.enlist_receiver(&own[0]));
                assert!(chan.enlist_receiver(&second));
            }
            let drops = {
                let chan = chan.clone();
                let node = SendNode(&raw const first);
                thread::spawn(move || {
                    let node = node;
                    // SAFETY: the thread is joined before the node goes.
                    chan.abandon_receiver(unsafe { &*node.0 });
                })
            };
            // SAFETY: as above.
            assert!(unsafe { chan.enlist_sender(&own[1]) });
            drops.join().unwrap();
            assert_eq!((own[0].state(), own[1].state()), (NodeState::Listed, NodeState::Listed));
            assert_eq!((second.state(), chan.len()), (NodeState::Woken, 0));
            assert_eq!(chan.try_recv(&mut Batch::new()), Ok(1));
            assert!(!chan.leave_receivers(&own[0]) && chan.leave_senders(&own[1]));
            chan.leave_receivers(&second);
        });
    }

    /// The node of the thread that has spawned the one that uses it.
    struct SendNode(*const WaitNode<Offer>);
    // SAFETY: that thread uses it under the channel's lock alone.
    unsafe impl Send for SendNode {}

    /// A future waits before a receiver. It is woken for a message, and dropped while a sender comes: the
    /// receiver gets the oldest message, and none is lost.
    #[test]
    fn a_receiver_behind_a_future_gets_the_oldest_message() {
        loom::model(|| {
            let chan = Arc::new(Chan::<u32>::new(1));
            let waiters = [waiter(), waiter()];
            let future = WaitNode::new(ticket_of(&waiters[0]), Offer::Turn { lost: false });
            let cell = MessageCell::new(None);
            let node = WaitNode::new(ticket_of(&waiters[1]), cell.offer());
            // SAFETY: nodes and cell stay until the nodes have left.
            assert!(unsafe { chan.enlist_receiver(&future) && chan.enlist_receiver(&node) });
            assert!(send(&chan, 1));
            assert_eq!(future.state(), NodeState::Woken);
            let sender = {
                let chan = chan.clone();
                thread::spawn(move || send(&chan, 2))
            };
            chan.abandon_receiver(&future);
            let sent = sender.join().unwrap();
            assert!(chan.leave_receivers(&node), "the turn was not passed on");
            assert_eq!(cell.into_inner(), Some(1));
            assert!(sent, "there is room, or a receiver");
            assert_eq!(chan.try_recv(&mut Batch::new()), Ok(2));
        });
    }

    /// A late sender and a receiver come at the same time. Unless the sender finds the receiver, which has it
    /// make its message, the receiver wakes it: never does each wait for the other's offer.
    #[test]
    fn a_late_sender_and_a_receiver_do_not_wait_for_each_other() {
        for kind in 0..3 {
            loom::model(move || {
                let chan = Arc::new(Chan::<u32>::new(0));
                let waiters = [waiter(), waiter()];
                let cell = MessageCell::<u32>::new(None);
                let offer = [Offer::Turn { lost: false }, Offer::Nothing, cell.offer()][kind];
                let receiver = WaitNode::new(ticket_of(&waiters[0]), offer);
                let late = WaitNode::new(ticket_of(&waiters[1]), Offer::Later);
                let sender = {
                    let chan = chan.clone();
                    let node = SendNode(&raw const late);
                    // As `SendWithArm` waits.
                    thread::spawn(move || {
                        let node = node;
                        // SAFETY: the thread is joined before the node goes.
                        !chan.a_receiver_without_cell_waits() && unsafe { chan.enlist_sender(&*node.0) }
                    })
                };
                // SAFETY: node and cell stay until the node has left.
                assert!(unsafe { chan.enlist_receiver(&receiver) }, "nobody offers a message");
                if sender.join().unwrap() {
                    assert_eq!(late.state(), NodeState::Woken, "both wait");
                }
                chan.leave_senders(&late);
                chan.leave_receivers(&receiver);
            });
        }
    }

    /// A select waits on two channels while both are sent to: one of the two sends completes.
    #[test]
    fn one_of_two_sends_serves_a_select() {
        loom::model(|| {
            let chans = [Arc::new(Chan::new(0)), Arc::new(Chan::new(0))];
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let cells = [MessageCell::<u32>::new(None), MessageCell::new(None)];
            let nodes = [0, 1].map(|i| WaitNode::new(ticket, cells[i].offer()));
            for (chan, node) in chans.iter().zip(&nodes) {
                // SAFETY: nodes and cells stay until the nodes have left.
                assert!(unsafe { chan.enlist_receiver(node) });
            }
            let senders = [0, 1].map(|i| {
                let chan = chans[i].clone();
                thread::spawn(move || send(&chan, i as u32))
            });
            let sent = senders.map(|sender| sender.join().unwrap());
            let handed = [0, 1].map(|i| chans[i].leave_receivers(&nodes[i]));
            assert_eq!(handed, sent);
            assert!(handed[0] ^ handed[1]);
            assert!(
                cells
                    .into_iter()
                    .map(MessageCell::into_inner)
                    .eq([0, 1].map(|i| sent[i].then_some(i as u32)))
            );
        });
    }

    /// A select that offers to send and to receive on one channel, and another thread: the arms do not serve
    /// one another, and the other thread serves one of them.
    #[test]
    fn a_select_on_both_sides_is_served_by_another_thread() {
        loom::model(|| {
            let chan = Arc::new(Chan::new(0));
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let cells = [MessageCell::<u32>::new(None), MessageCell::new(Some(1))];
            let nodes = [0, 1].map(|i| WaitNode::new(ticket, cells[i].offer()));
            // SAFETY: nodes and cells stay until the nodes have left.
            assert!(unsafe { chan.enlist_receiver(&nodes[0]) && chan.enlist_sender(&nodes[1]) });
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
            let aborted = unsafe { ticket.fire(Cause::Event, &mut Batch::new()) } != Fired::Lost;
            let handed = [chan.leave_receivers(&nodes[0]), chan.leave_senders(&nodes[1])];
            let outcome = other.join().unwrap();
            assert_eq!(handed[0], outcome.is_none());
            assert_eq!(handed[1], outcome == Some(Some(1)));
            assert_eq!(aborted, !handed[0] && !handed[1]);
            let [received, kept] = cells.map(MessageCell::into_inner);
            assert_eq!((received, kept), (handed[0].then_some(2), (!handed[1]).then_some(1)));
        });
    }

    /// A select finds its second arm possible as it enlists, and aborts its wait, while the first arm is sent
    /// to.
    #[test]
    fn a_select_that_is_aborted_loses_nothing() {
        loom::model(|| {
            let (first, second) = (Arc::new(Chan::new(0)), Chan::new(1));
            assert!(send(&second, 2));
            let sender = {
                let first = first.clone();
                thread::spawn(move || send(&first, 1))
            };
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let cells = [MessageCell::<u32>::new(None), MessageCell::new(None)];
            let nodes = [0, 1].map(|i| WaitNode::new(ticket, cells[i].offer()));
            // SAFETY: nodes and cells stay until the nodes have left.
            assert!(unsafe { first.enlist_receiver(&nodes[0]) });
            // SAFETY: as above.
            assert!(!unsafe { second.enlist_receiver(&nodes[1]) });
            // SAFETY: the waiter is alive.
            let aborted = unsafe { ticket.fire(Cause::Event, &mut Batch::new()) } != Fired::Lost;
            let handed = first.leave_receivers(&nodes[0]);
            assert!(!second.leave_receivers(&nodes[1]));
            assert_eq!(handed, !aborted);
            assert_eq!(sender.join().unwrap(), handed);
            assert_eq!(second.len(), 1, "nobody has taken it");
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::channel::{bounded, broadcast, unbounded, watch};
    use crate::coroutine::{Facts, WaitReason};
    use crate::sched::testing::{Seen, on_one_worker, wait_of};

    /// The facts of a channel: length, capacity, senders and receivers.
    fn channel(facts: Option<&Facts>) -> (usize, Option<usize>, usize, Option<usize>) {
        match facts {
            Some(&Facts::Channel { len, capacity, senders, receivers, .. }) => {
                (len, capacity, senders, receivers)
            }
            other => panic!("a channel, not {other:?}"),
        }
    }

    fn parts(seen: &Seen) -> (usize, Option<usize>, usize, Option<usize>) {
        channel(seen.facts.as_ref())
    }

    #[test]
    fn a_wait_for_a_channel_says_how_full_it_is_and_who_is_left() {
        on_one_worker(|| {
            let (sender, receiver) = bounded(2);
            let theirs = sender.clone();
            let sends = crate::spawn(move || (0..3).for_each(|i| theirs.send(i).expect("a receiver")));
            let seen = wait_of(&sends.task(), WaitReason::Send);
            assert_eq!(parts(&seen), (2, Some(2), 2, Some(1)));
            assert_eq!(receiver.recv(), Ok(0));
            sends.join().expect("no panic");

            let (sender, receiver) = unbounded::<[u64; 600]>();
            let kept = receiver.clone();
            let receives = crate::spawn(move || receiver.recv().is_err());
            let seen = wait_of(&receives.task(), WaitReason::Recv);
            assert_eq!(parts(&seen), (0, None, 1, Some(2)));
            drop((sender, kept));
            assert!(receives.join().expect("no panic"));
        });
    }

    #[test]
    fn a_wait_for_a_change_says_how_many_senders_are_left() {
        on_one_worker(|| {
            let (sender, mut receiver) = watch::channel(0);
            let changes = crate::spawn(move || receiver.changed().is_err());
            let seen = wait_of(&changes.task(), WaitReason::Changed);
            assert_eq!(parts(&seen), (0, None, 1, None));
            drop(sender);
            assert!(changes.join().expect("no panic"));

            let (sender, mut receiver) = broadcast::channel::<u8>(4);
            let receives = crate::spawn(move || receiver.recv().is_err());
            let seen = wait_of(&receives.task(), WaitReason::Broadcast);
            assert_eq!(parts(&seen), (0, None, 1, None));
            drop(sender);
            assert!(receives.join().expect("no panic"));
        });
    }

    /// Each arm that waits for something is described. An arm that waits for the time is the deadline.
    #[test]
    fn a_select_says_what_its_arms_wait_for() {
        on_one_worker(|| {
            let (sender, receiver) = bounded::<u8>(0);
            let (full, _kept) = bounded::<u8>(0);
            let token = crate::task::CancelToken::new();
            let awaited = crate::spawn(crate::task::park);
            let (id, unpark) = (awaited.task().id().expect("a coroutine"), awaited.task());
            let stop = token.clone();
            let selects = crate::spawn(move || {
                crate::select! {
                    recv(receiver) -> _ => 0,
                    send(full, 1) -> _ => 1,
                    join(awaited) -> _ => 2,
                    cancelled(stop) => 3,
                    default(std::time::Duration::from_secs(3600)) => 4,
                }
            });
            let seen = wait_of(&selects.task(), WaitReason::Select);
            let Some(Facts::Any(arms)) = seen.facts else { panic!("several, not {:?}", seen.facts) };
            assert_eq!(arms.len(), 4);
            let channels = arms.iter().filter(|facts| matches!(facts, Facts::Channel { .. }));
            assert!(
                channels.map(|facts| channel(Some(facts))).all(|parts| parts == (0, Some(0), 1, Some(1)))
            );
            assert!(arms.contains(&Facts::Coroutine(id)));
            assert!(arms.iter().any(|facts| matches!(facts, Facts::Signal { .. })));
            assert!(seen.deadline.is_some());
            token.cancel();
            assert_eq!(selects.join().expect("no panic"), 3);
            unpark.unpark();
            drop(sender);
        });
    }
}
