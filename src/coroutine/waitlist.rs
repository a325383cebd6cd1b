//! Waiters in a queue under a lock: for a mutex, a permit, a message. First come, first served.
//!
//! The problem: the holder of the lock gives something (ownership, a permit, a message) to the first waiter,
//! and at the same time that waiter's wait may end for another reason: a timeout, a cancellation, another arm
//! of a select. The thing must be neither lost nor given twice, and a waiter's frame must not be touched once
//! it may be gone.
//!
//! # Terms
//!
//! - A [`WaitList`] is a list of waiters, under the lock of what they wait for: *the lock* below.
//! - A [`WaitNode`] is one wait in a list. It lives on the waiter's own stack, so waiting allocates nothing.
//!   Its *owner* is the coroutine or thread that waits. Its *payload* says what the owner waits for, in the
//!   terms of the list's user: a number of permits, a message to send.
//! - To *hand* something to a waiter is to give it to the node and then to win the node's ticket. To *wake* a
//!   waiter is to win its ticket and give nothing: the owner checks by itself what it waits for.
//!
//! # The states of a node
//!
//! ```text
//!  state      entered by                                              who may use the node
//!  Unlisted   `new`                                                   its owner
//!  Listed     `push_back`, `push_first`, `push`, from the commit      the holder of the lock
//!             of the owner's wait
//!  Handed     from Listed: `hand_to_first` took it off and won        its owner, once the ticket is won
//!             its ticket
//!  Woken      from Listed: `wake_first` or the like took it off       its owner, once the ticket is won
//!             and won its ticket
//!  Unlisted   from Listed: one of these took it off, but lost the     the holder of the lock, until the
//!             ticket: the wait had ended otherwise                    owner has called `remove`
//!             from Listed: the owner, whose wait ended otherwise,     its owner
//!             called `remove`
//! ```
//!
//! The state is written before the ticket is fired: the winner's frame may be gone right after.
//!
//! # The argument
//!
//! - *Handed once or not at all.* `hand_to_first` takes the node off, gives, and then fires the ticket, all
//!   under the lock. If it wins, nobody else ends this wait. If it loses, it takes back what it gave. The
//!   owner cannot see the node in between, because an owner whose wait ended otherwise takes the lock before
//!   it reads the node.
//! - *The frame stays as long as it is used.* An owner whose wait ended otherwise calls `remove` under the
//!   lock before its frame ends. An owner whose ticket was won from the list need not: the list does not
//!   touch a node after it has won its ticket.
//! - *Nothing is passed on.* A waiter to which something was handed takes it: its wait cannot end otherwise
//!   any more. So no code has to find another taker for what a cancelled waiter was given.
//!
//! # Rejected
//!
//! Firing the ticket first and giving afterwards, as the winner runs: the winner may then have to wait for
//! the giver, or be cancelled before it has taken what was given, and must pass it on.

use super::waiter::{Batch, Cause, Fired, Ticket};
use std::cell::Cell;
use std::ptr::NonNull;

/// The state of a node. The head of this file has the transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// In no list, and its ticket was not won from one.
    Unlisted,
    /// In a list.
    Listed,
    /// Its owner was handed what it waited for.
    Handed,
    /// Its owner was woken, and was handed nothing.
    Woken,
}

/// One wait in a list, with what its owner waits for.
#[derive(Debug)]
pub(crate) struct WaitNode<P = ()> {
    ticket: Ticket,
    previous: Cell<Option<NonNull<WaitNode<P>>>>,
    next: Cell<Option<NonNull<WaitNode<P>>>>,
    state: Cell<NodeState>,
    blocks_thread: bool,
    /// For the list's user, which may keep its waiters in several lists: which of two nodes came first.
    stamp: Cell<u32>,
    payload: P,
}

impl<P> WaitNode<P> {
    /// A node in no list.
    #[inline]
    pub(crate) fn new(ticket: Ticket, payload: P) -> WaitNode<P> {
        WaitNode {
            ticket,
            previous: Cell::new(None),
            next: Cell::new(None),
            state: Cell::new(NodeState::Unlisted),
            blocks_thread: false,
            stamp: Cell::new(0),
            payload,
        }
    }

    /// The same node, marked if the wait blocks the thread of a worker: nothing else runs on that thread
    /// before the wait has ended.
    #[inline]
    pub(crate) fn blocking_thread(self, blocks_thread: bool) -> WaitNode<P> {
        WaitNode { blocks_thread, ..self }
    }

    /// Whether the wait blocks the thread of a worker.
    pub(crate) fn blocks_thread(&self) -> bool {
        self.blocks_thread
    }

    /// What the owner waits for.
    pub(crate) fn payload(&self) -> &P {
        &self.payload
    }

    /// The stamp. Called under the lock.
    #[inline]
    pub(crate) fn stamp(&self) -> u32 {
        self.stamp.get()
    }

    /// Sets the stamp. Called under the lock, before the node is listed.
    #[inline]
    pub(crate) fn set_stamp(&self, stamp: u32) {
        self.stamp.set(stamp);
    }

    /// Whether both are nodes of one waiter.
    #[inline]
    pub(crate) fn same_waiter(&self, other: &WaitNode<P>) -> bool {
        self.ticket.same_waiter(other.ticket)
    }

    /// The state. Called by the owner under the lock, or after its ticket was fired by the only list that it
    /// was in.
    #[inline]
    pub(crate) fn state(&self) -> NodeState {
        self.state.get()
    }

    /// Whether the owner was handed what it waited for. As for [`state`](Self::state).
    #[inline]
    pub(crate) fn was_handed(&self) -> bool {
        self.state.get() == NodeState::Handed
    }
}

/// Waiters, in the order in which they are served.
#[derive(Debug)]
pub(crate) struct WaitList<P = ()> {
    head: Option<NonNull<WaitNode<P>>>,
    tail: Option<NonNull<WaitNode<P>>>,
}

// SAFETY: listed nodes belong to the holder of the list's lock; what they hold may move between threads.
unsafe impl<P: Send> Send for WaitList<P> {}

impl<P> WaitList<P> {
    /// An empty list.
    pub(crate) const fn new() -> WaitList<P> {
        WaitList { head: None, tail: None }
    }

    /// Whether nobody waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// The first node, until the list is changed.
    #[inline]
    pub(crate) fn first(&self) -> Option<&WaitNode<P>> {
        // SAFETY: listed nodes are alive, and ours under the lock.
        self.head.map(|head| unsafe { head.as_ref() })
    }

    /// Whether the list has a node that is not of the same waiter as `than`. A select may have several
    /// nodes in one list.
    #[inline]
    pub(crate) fn has_others(&self, than: &WaitNode<P>) -> bool {
        let mut at = self.head;
        while let Some(node) = at {
            // SAFETY: listed nodes are alive, and ours under the lock.
            let node = unsafe { node.as_ref() };
            if !node.same_waiter(than) {
                return true;
            }
            at = node.next.get();
        }
        false
    }

    /// Adds a node at the end.
    ///
    /// # Safety
    ///
    /// The node is in no list. It stays where it is, and its ticket's waiter alive, until the ticket was won
    /// from this list or [`remove`](Self::remove) was called for the node, under the list's lock.
    pub(crate) unsafe fn push_back(&mut self, node: &WaitNode<P>) {
        node.state.set(NodeState::Listed);
        node.next.set(None);
        node.previous.set(self.tail);
        let this = NonNull::from(node);
        match self.tail.replace(this) {
            // SAFETY: listed nodes are alive, and ours under the lock.
            Some(tail) => unsafe { tail.as_ref() }.next.set(Some(this)),
            None => self.head = Some(this),
        }
    }

    /// Adds a node before all others, except nodes that [block their threads](WaitNode::blocks_thread).
    ///
    /// # Safety
    ///
    /// As for [`push_back`](Self::push_back).
    pub(crate) unsafe fn push_first(&mut self, node: &WaitNode<P>) {
        let (mut previous, mut next) = (None, self.head);
        // SAFETY: listed nodes are alive, and ours under the lock.
        while let Some(blocking) = next.filter(|at| unsafe { at.as_ref() }.blocks_thread) {
            previous = next;
            // SAFETY: as above.
            next = unsafe { blocking.as_ref() }.next.get();
        }
        node.state.set(NodeState::Listed);
        node.previous.set(previous);
        node.next.set(next);
        let this = Some(NonNull::from(node));
        match previous {
            // SAFETY: as above.
            Some(previous) => unsafe { previous.as_ref() }.next.set(this),
            None => self.head = this,
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { next.as_ref() }.previous.set(this),
            None => self.tail = this,
        }
    }

    /// Adds the node of a new waiter: at the end; or, if it blocks its thread, before all nodes that do not.
    ///
    /// # Safety
    ///
    /// As for [`push_back`](Self::push_back).
    pub(crate) unsafe fn push(&mut self, node: &WaitNode<P>) {
        if node.blocks_thread {
            // SAFETY: as the caller says.
            unsafe { self.push_first(node) };
        } else {
            // SAFETY: as the caller says.
            unsafe { self.push_back(node) };
        }
    }

    /// Takes a node off if it is in the list, and returns whether it was.
    pub(crate) fn remove(&mut self, node: &WaitNode<P>) -> bool {
        if node.state.get() != NodeState::Listed {
            return false;
        }
        node.state.set(NodeState::Unlisted);
        self.unlink(node);
        true
    }

    /// Takes a listed node out of the links.
    fn unlink(&mut self, node: &WaitNode<P>) {
        let (previous, next) = (node.previous.take(), node.next.take());
        match previous {
            // SAFETY: listed nodes are alive, and ours under the lock.
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None => self.head = next,
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { next.as_ref() }.previous.set(previous),
            None => self.tail = previous,
        }
    }

    /// Hands something to the first waiter whose wait has not ended. `give` gives it to each candidate; if
    /// the candidate's wait had ended, `undo` takes it back, and the next one is the candidate. Waiters to be
    /// scheduled go into the batch. `None` if nobody waits.
    pub(crate) fn hand_to_first<R>(
        &mut self,
        batch: &mut Batch,
        give: impl FnMut(&WaitNode<P>) -> R,
        undo: impl FnMut(&WaitNode<P>, R),
    ) -> Option<R> {
        self.hand_to_first_if(batch, |_| true, give, undo)
    }

    /// As [`hand_to_first`](Self::hand_to_first), but stops at a candidate for which `fits` is false: that
    /// one stays the first. `fits` is called anew for each candidate, as `undo` may have brought something
    /// back.
    // Always: it is most of a send to a receiver that waits. The callers that are not hot are cold.
    #[inline(always)]
    pub(crate) fn hand_to_first_if<R>(
        &mut self,
        batch: &mut Batch,
        mut fits: impl FnMut(&WaitNode<P>) -> bool,
        mut give: impl FnMut(&WaitNode<P>) -> R,
        mut undo: impl FnMut(&WaitNode<P>, R),
    ) -> Option<R> {
        while let Some(head) = self.head {
            // SAFETY: a listed node is alive while we hold the lock, until its ticket is won.
            let node = unsafe { head.as_ref() };
            if !fits(node) {
                return None;
            }
            self.unlink(node);
            let given = give(node);
            // SAFETY: the node was listed, and is off the list.
            if unsafe { end_wait(node, NodeState::Handed, batch) } {
                return Some(given);
            }
            undo(node, given);
        }
        None
    }

    /// As [`hand_to_first`](Self::hand_to_first), but only to a waiter that blocks its thread.
    pub(crate) fn hand_to_first_blocking<R>(
        &mut self,
        batch: &mut Batch,
        give: impl FnMut(&WaitNode<P>) -> R,
        undo: impl FnMut(&WaitNode<P>, R),
    ) -> Option<R> {
        self.hand_to_first_if(batch, WaitNode::blocks_thread, give, undo)
    }

    /// Hands over what needs no code, such as a turn. Returns whether anybody waited.
    pub(crate) fn hand_turn_to_first(&mut self, batch: &mut Batch) -> bool {
        self.hand_to_first(batch, |_| (), |_, ()| ()).is_some()
    }

    /// Wakes the first waiter whose wait has not ended. Returns whether anybody waited.
    pub(crate) fn wake_first(&mut self, batch: &mut Batch) -> bool {
        while let Some(head) = self.head {
            // SAFETY: as in `hand_to_first_if`.
            let node = unsafe { head.as_ref() };
            self.unlink(node);
            // SAFETY: as in `hand_to_first_if`.
            if unsafe { end_wait(node, NodeState::Woken, batch) } {
                return true;
            }
        }
        false
    }

    /// Wakes the waiters that fit, wherever they are.
    pub(crate) fn wake_those(&mut self, batch: &mut Batch, fits: impl Fn(&WaitNode<P>) -> bool) {
        let mut at = self.head;
        while let Some(node) = at {
            // SAFETY: as in `hand_to_first_if`.
            let node = unsafe { node.as_ref() };
            // Now: once its ticket is won the node is gone.
            at = node.next.get();
            if fits(node) {
                self.unlink(node);
                // SAFETY: as in `hand_to_first_if`.
                unsafe { end_wait(node, NodeState::Woken, batch) };
            }
        }
    }

    /// Wakes all waiters. Returns how many there were whose waits had not ended.
    pub(crate) fn wake_all(&mut self, batch: &mut Batch) -> usize {
        let mut woken = 0;
        while self.wake_first(batch) {
            woken += 1;
        }
        woken
    }
}

/// Ends the wait of a node that was just taken off the list, unless it has ended. Returns whether it did so:
/// then neither the node nor its waiter may be touched any more.
///
/// # Safety
///
/// The caller has held the list's lock since the node was listed.
#[inline]
unsafe fn end_wait<P>(node: &WaitNode<P>, state: NodeState, batch: &mut Batch) -> bool {
    // Before the ticket is fired: the owner reads it as soon as the ticket is won.
    node.state.set(state);
    let ticket = node.ticket;
    // SAFETY: the owner cannot go before its ticket was won from here or it has taken the list's lock, so its
    // waiter is alive.
    if unsafe { ticket.fire(Cause::Event, batch) } != Fired::Lost {
        return true;
    }
    // Lost: the owner takes the list's lock before it goes, so the node is alive still.
    node.state.set(NodeState::Unlisted);
    false
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::waiter::Park;
    use crate::coroutine::waiter::testing::{ticket_of, waiter};

    /// Four waiters in the list, with the payloads 0 to 3.
    macro_rules! four {
        ($list:ident, $waiters:ident, $nodes:ident) => {
            let mut $list = WaitList::new();
            let $waiters: Vec<_> = (0..4).map(|_| waiter()).collect();
            let $nodes: Vec<_> =
                $waiters.iter().enumerate().map(|(i, w)| WaitNode::new(ticket_of(w), i)).collect();
            for (node, waiter) in $nodes.iter().zip(&$waiters) {
                // SAFETY: nodes and waiters outlive the list's use of them.
                unsafe { $list.push_back(node) };
                assert_eq!(waiter.park(node.ticket, false), Park::Parked);
            }
        };
    }

    /// The payload of the first node.
    fn first(list: &WaitList<usize>) -> Option<usize> {
        list.first().map(|node| *node.payload())
    }

    fn lose(node: &WaitNode<usize>) {
        // SAFETY: the tests' waiters are alive; the batch is thrown away.
        assert_eq!(unsafe { node.ticket.fire(Cause::Timeout, &mut Batch::new()) }, Fired::Schedule);
    }

    #[test]
    fn something_is_handed_to_the_first_whose_wait_has_not_ended() {
        four!(list, waiters, nodes);
        lose(&nodes[0]);
        let mut undone = Vec::new();
        let handed = list.hand_to_first(&mut Batch::new(), |node| *node.payload(), |_, i| undone.push(i));
        assert_eq!((handed, undone), (Some(1), vec![0]));
        assert_eq!((nodes[0].state(), nodes[1].state()), (NodeState::Unlisted, NodeState::Handed));
        assert!(!list.remove(&nodes[0]) && !list.remove(&nodes[1]));
        assert_eq!(first(&list), Some(2));
    }

    #[test]
    fn a_waiter_that_does_not_fit_stays_the_first() {
        four!(list, waiters, nodes);
        lose(&nodes[0]);
        let fits = |node: &WaitNode<usize>| *node.payload() < 1;
        let handed = list.hand_to_first_if(&mut Batch::new(), fits, |_| (), |_, ()| ());
        assert_eq!(handed, None);
        assert_eq!(nodes[1].state(), NodeState::Listed);
        assert_eq!(first(&list), Some(1));
    }

    #[test]
    fn waiters_that_fit_are_woken_wherever_they_are() {
        four!(list, waiters, nodes);
        lose(&nodes[1]);
        let mut batch = Batch::new();
        list.wake_those(&mut batch, |node| node.payload() % 2 == 1);
        assert_eq!(batch.len(), 1);
        let states = [0, 1, 2, 3].map(|i| nodes[i].state());
        assert_eq!(states, [NodeState::Listed, NodeState::Unlisted, NodeState::Listed, NodeState::Woken]);
        let mut left = Vec::new();
        while let Some(i) = list.hand_to_first(&mut batch, |node| *node.payload(), |_, _| ()) {
            left.push(i);
        }
        assert_eq!(left, [0, 2]);
    }

    #[test]
    fn nodes_leave_from_anywhere_and_come_back_to_the_front() {
        for victim in 0..4 {
            four!(list, waiters, nodes);
            assert!(list.remove(&nodes[victim]));
            // SAFETY: as above.
            unsafe { list.push_first(&nodes[victim]) };
            let mut order = Vec::new();
            while let Some(i) = list.hand_to_first(&mut Batch::new(), |node| *node.payload(), |_, _| ()) {
                order.push(i);
            }
            let mut expected: Vec<_> = (0..4).filter(|&i| i != victim).collect();
            expected.insert(0, victim);
            assert_eq!(order, expected);
        }
    }

    #[test]
    fn waiters_that_block_their_threads_go_before_others() {
        let waiters: Vec<_> = (0..6).map(|_| waiter()).collect();
        let tickets: Vec<_> = waiters.iter().map(ticket_of).collect();
        let nodes: Vec<_> =
            (0..6).map(|i| WaitNode::new(tickets[i], i).blocking_thread(i % 2 == 1)).collect();
        let mut list = WaitList::new();
        for node in &nodes[..5] {
            // SAFETY: nodes and waiters outlive the list's use of them.
            unsafe { list.push(node) };
        }
        assert!(list.remove(&nodes[4]));
        // SAFETY: as above.
        unsafe { list.push_first(&nodes[4]) };
        // SAFETY: as above.
        unsafe { list.push(&nodes[5]) };
        let mut order = Vec::new();
        while let Some(i) = list.hand_to_first(&mut Batch::new(), |node| *node.payload(), |_, _| ()) {
            order.push(i);
        }
        assert_eq!(order, [1, 3, 5, 4, 0, 2]);
        assert!(list.is_empty() && list.tail.is_none());
    }

    #[test]
    fn a_waiters_own_nodes_are_not_others() {
        let (one, other) = (waiter(), waiter());
        let nodes = [&one, &one, &other].map(|waiter| WaitNode::new(ticket_of(waiter), ()));
        let mut list = WaitList::new();
        assert!(!list.has_others(&nodes[0]));
        // SAFETY: nodes and waiters outlive the list's use of them.
        unsafe { list.push_back(&nodes[0]) };
        assert!(!list.has_others(&nodes[1]) && list.has_others(&nodes[2]));
        // SAFETY: as above.
        unsafe { list.push_back(&nodes[2]) };
        assert!(list.has_others(&nodes[1]) && list.has_others(&nodes[2]));
    }

    #[test]
    fn the_woken_are_handed_nothing() {
        four!(list, waiters, nodes);
        lose(&nodes[0]);
        let mut batch = Batch::new();
        assert!(list.wake_first(&mut batch));
        assert_eq!(first(&list), Some(2));
        assert_eq!(list.wake_all(&mut batch), 2);
        assert_eq!(batch.len(), 3);
        assert!(!list.wake_first(&mut batch) && list.wake_all(&mut batch) == 0);
        assert!(list.is_empty());
        assert_eq!(nodes[0].state(), NodeState::Unlisted);
        assert!(nodes[1..].iter().all(|node| node.state() == NodeState::Woken));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::base::list_lock::ListLock;
    use crate::coroutine::{Sleeper, Waiter};
    use loom::sync::Arc;
    use loom::thread;

    struct Shop {
        counter: ListLock<(WaitList, u32)>,
        sleeper: Sleeper,
    }

    // SAFETY: what is not Sync is the node in the list, which belongs to the holder of the lock.
    unsafe impl Sync for Shop {}
    // SAFETY: as above.
    unsafe impl Send for Shop {}

    fn schedule(batch: &mut Batch) {
        while let Some(waiter) = batch.pop() {
            // SAFETY: it was fired with the verdict `Schedule`, once.
            unsafe { Waiter::schedule(waiter) };
        }
    }

    /// One item, one waiter for it, and a timeout: either the item was handed to the waiter, or the waiter
    /// has timed out and the item is where it was. The waiter's frame goes right after.
    #[test]
    fn a_hand_over_against_a_timeout() {
        loom::model(|| {
            let shop =
                Arc::new(Shop { counter: ListLock::new((WaitList::new(), 1)), sleeper: Sleeper::new() });
            let ticket = shop.sleeper.ticket();
            let node = Box::new(WaitNode::new(ticket, ()));
            // SAFETY: the node is taken off below unless it was handed the item.
            unsafe { shop.counter.lock().0.push_back(&node) };
            let keeper = {
                let shop = shop.clone();
                thread::spawn(move || {
                    let mut batch = Batch::new();
                    let mut counter = shop.counter.lock();
                    let (list, items) = &mut *counter;
                    let items = Cell::from_mut(items);
                    let give = |_: &WaitNode| items.set(items.get() - 1);
                    let handed = list.hand_to_first(&mut batch, give, |_, ()| items.set(items.get() + 1));
                    drop(counter);
                    schedule(&mut batch);
                    handed.is_some()
                })
            };
            let timer = {
                let shop = shop.clone();
                thread::spawn(move || {
                    let mut batch = Batch::new();
                    // SAFETY: the sleeper is alive.
                    let fired = unsafe { ticket.fire(Cause::Timeout, &mut batch) };
                    schedule(&mut batch);
                    drop(shop);
                    fired != Fired::Lost
                })
            };
            let handed = match shop.sleeper.sleep(ticket) {
                Cause::Event => node.was_handed(),
                _ => {
                    shop.counter.lock().0.remove(&node);
                    assert!(!node.was_handed());
                    false
                }
            };
            drop(node);
            assert_eq!(keeper.join().unwrap(), handed);
            assert_eq!(timer.join().unwrap(), !handed);
            assert_eq!(shop.counter.lock().1, u32::from(!handed));
        });
    }
}
