//! The future of a lock: it waits in the lock's own queue, under the rules that hold for coroutines.
//!
//! A raw lock wakes a waiter in one of two ways (`raw_mutex.rs`, `raw_rwlock.rs`): it hands the lock to the
//! waiter, or it puts the waiter *in flight*, and the waiter competes. A coroutine in flight always runs
//! again. A future need not be polled again. So its drop passes on what it has: a future that owns the lock
//! releases the lock, and a future in flight gives up its turn, so that the next waiter is woken
//! ([`FutureLock::leave`]).
//!
//! ```text
//!  state        from       cause
//!  idle                    `new`
//!  queued       idle       a poll, while the lock is held
//!               in flight  a poll, while the lock is held: it queues at the front
//!  in flight    queued     an unlock has woken it, and a poll or the drop has seen that
//!  ready        any        a poll has taken the lock, or was handed it
//! ```
//!
//! A future that is woken, and is neither polled nor dropped, keeps the other queued waiters from being
//! woken, as a coroutine does whose worker computes for long. No waiter can be passed over for it: it may be
//! polled at any moment, and then it takes the lock. In starvation mode the lock is reserved for it, so
//! even new lockers wait for that poll.
//!
//! A poll may block its worker's thread: a `block_on` in a destructor that runs while a coroutine unwinds.
//! Such a node is marked (`blocks_thread`), and the lock is handed off to it rather than to a waiter that
//! cannot run before the destructor has ended.

use super::STARVATION_THRESHOLD;
use crate::base::clock;
use crate::coroutine::{Ticket, WaitNode};
use crate::runtime::polled::{Registration, lets_others_go_first};
use crate::sched;
use std::cell::Cell;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// What a future needs of a raw lock.
pub(super) trait FutureLock: Sync {
    /// What the lock is wanted for.
    type Access: Copy + Send;
    /// The payload of a waiter's node.
    type Payload;

    /// Takes the lock if a new locker may have it now.
    fn try_lock_for(&self, access: Self::Access) -> bool;

    /// The payload of a node. `starved` says that the waiter has lost the lock, and has waited for too long.
    fn payload(starved: bool) -> Self::Payload;

    /// Takes the lock, or lists the node: true if it is listed. `lost` is `None` for a new waiter, and
    /// otherwise says of a waiter in flight, which is in flight no longer then, whether it is starved.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`](crate::coroutine::WaitList::push_back), with [`leave`](Self::leave) for
    /// `remove`.
    unsafe fn begin_wait(
        &self,
        access: Self::Access,
        node: &WaitNode<Self::Payload>,
        lost: Option<bool>,
    ) -> bool;

    /// After the list has ended the node's wait: takes the lock, if it was not handed over. If that fails,
    /// the waiter is in flight.
    fn end_wait(&self, access: Self::Access, node: &WaitNode<Self::Payload>, starved: bool) -> bool;

    /// Ends the wait of a future that is dropped, whether the list has ended it or not, and lets other
    /// waiters go on.
    fn leave(&self, access: Self::Access, node: &WaitNode<Self::Payload>);

    /// A waiter in flight goes away without the lock: another one is woken in its place.
    fn give_up_turn(&self, access: Self::Access);
}

/// A future that takes a lock.
pub(super) struct LockFuture<'a, L: FutureLock> {
    lock: &'a L,
    access: L::Access,
    registration: Registration,
    /// Its place in the queue, while there is a registration.
    node: Cell<Option<WaitNode<L::Payload>>>,
    /// When it has queued first.
    since: Option<Instant>,
    /// It is in flight, and in no list: whether it is starved.
    in_flight: Option<bool>,
    _pinned: PhantomPinned,
}

// SAFETY: other threads use a listed node only under the queue's lock, whichever thread owns it; the lock is
// `Sync`.
unsafe impl<L: FutureLock> Send for LockFuture<'_, L> {}

impl<'a, L: FutureLock> LockFuture<'a, L> {
    pub(super) fn new(lock: &'a L, access: L::Access) -> LockFuture<'a, L> {
        LockFuture {
            lock,
            access,
            registration: Registration::new(),
            node: Cell::new(None),
            since: None,
            in_flight: None,
            _pinned: PhantomPinned,
        }
    }

    /// The node of the present wait.
    fn node(&self) -> Option<&WaitNode<L::Payload>> {
        // SAFETY: `poll` alone replaces it, and has no reference from here then. Another thread may use the
        // node, by a shared reference.
        unsafe { (*self.node.as_ptr()).as_ref() }
    }

    /// Forgets the present wait, whose node is off the list.
    fn forget_wait(&mut self) {
        self.registration.end();
        self.node.set(None);
    }
}

impl<L: FutureLock> Future for LockFuture<'_, L> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the node stays where it is; nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        if lets_others_go_first(context) || this.registration.goes_on(context.waker()) {
            return Poll::Pending;
        }
        if let Some(node) = this.node() {
            let starved = this.since.is_some_and(|since| clock::since(since) > STARVATION_THRESHOLD);
            let locked = this.lock.end_wait(this.access, node, starved);
            // Before user code runs: a waker that panics as it is cloned, below, leaves a future in flight.
            this.in_flight = (!locked).then_some(starved);
            this.forget_wait();
            if locked {
                return Poll::Ready(());
            }
        } else if this.in_flight.is_none() && this.lock.try_lock_for(this.access) {
            return Poll::Ready(());
        }
        this.since.get_or_insert_with(clock::now);
        let ticket: Ticket = this.registration.begin(context.waker());
        // A `block_on` in a destructor blocks its worker as a plain `lock` does.
        let made = WaitNode::new(ticket, L::payload(this.in_flight == Some(true)))
            .blocking_thread(sched::blocks_worker());
        // SAFETY: nobody has the address of a former node: its wait has ended.
        let node = unsafe { (*this.node.as_ptr()).insert(made) };
        // SAFETY: the future is pinned, and its drop calls `leave`.
        let listed = unsafe { this.lock.begin_wait(this.access, node, this.in_flight.take()) };
        if listed {
            return Poll::Pending;
        }
        this.forget_wait();
        Poll::Ready(())
    }
}

impl<L: FutureLock> Drop for LockFuture<'_, L> {
    fn drop(&mut self) {
        if let Some(node) = self.node() {
            self.lock.leave(self.access, node);
        } else if self.in_flight.is_some() {
            self.lock.give_up_turn(self.access);
        }
        self.forget_wait();
    }
}
