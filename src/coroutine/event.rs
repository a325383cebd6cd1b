//! A flag with its waiters, in one word.
//!
//! # The problem
//!
//! The readiness of a socket in one direction, the end of a coroutine, a park token and a cancellation token
//! are the same thing: a flag that some parties set and others wait for. One flag may have thousands of
//! waiters, each of which may leave at any time, as a timeout, a cancellation or another arm of its `select!`
//! may end its wait first. Therefore:
//!
//! - the usual case, one waiter or none, is one compare-and-swap;
//! - listing a waiter and removing it costs the same however many others wait;
//! - one `set` wakes one waiter, not all of them (the thundering herd).
//!
//! # Terms
//!
//! - *Node*: an [`EventNode`] on the stack of a waiter, with the [`Ticket`] of its wait. The nodes of an
//!   event form a *ring* in FIFO order; the word points to the first one. A node is *listed* while it is in
//!   the ring.
//! - *Fire*: to end a wait with its ticket, by the compare-and-swap of `waiter.rs`. It fails if the wait has
//!   ended otherwise, by a timeout or a cancellation; the node may still be listed then.
//! - *Take*: to consume the flag. *Sticky*: take leaves the flag set. Each sticky flag has a number. If a
//!   reader took a sticky flag and then found nothing, it turns the flag with that number into an ordinary
//!   one (`unstick`). A flag with number 0 is *set for good*: it never changes.
//!
//! # The states
//!
//! ```text
//!  word                  state         a new waiter   take
//!  null                  empty         is listed      fails
//!  SET                   set           is refused     -> empty
//!  node                  waiting       is listed      fails
//!  node | SET            contended     is refused     -> waiting
//!  SET | STICKY | n      sticky, n     is refused     leaves it
//!  any | LOCKED          a thread uses the ring; an operation that has to change the word spins. `take`
//!                        without SET fails at once
//!
//!  from         to          cause
//!  empty        set         `set`, `set_all`: nobody waits
//!  empty        waiting     `enqueue`: the first waiter, by one compare-and-swap, without LOCKED
//!  waiting      waiting     `enqueue`, `enqueue_first`: a further waiter; `remove`: others are left
//!  waiting      empty       `remove`: the last waiter leaves
//!  waiting      contended   `set`: fires the first waiter that can be fired, and unlists it; others are left
//!  waiting      set         `set`: likewise, and no other is left; `set_all`: fires and unlists all waiters
//!  contended    waiting     `take`: a party consumes the flag before the other waiters are woken
//!  contended    contended   `set`: fires the next waiter; `remove`
//!  contended    set         `set`, `set_all`, `remove`: the last waiter is unlisted
//!  set          set         `set`, `set_all`
//!  set          empty       `take`
//!  not sticky   sticky, n   `set_sticky` (n > 0), `set_for_good` (n = 0): fires and unlists all waiters
//!  sticky, n    sticky, m   `set_sticky` unless n = 0; `set_for_good`
//!  sticky, n    sticky, n   `set`, `set_all`
//!  sticky, n    set         `unstick` of just this n, unless n = 0
//! ```
//!
//! # Access
//!
//! - *The word.* A thread that finds LOCKED in it does not change it. So the thread that set LOCKED unlocks
//!   by a plain store.
//! - *The links of listed nodes*: only under LOCKED, except that the first node gets into an empty word by a
//!   compare-and-swap. A node is listed exactly if its `next` is not null; this, too, is read under LOCKED.
//! - *A node as a whole*: other threads may touch it from its `enqueue` until it was fired or `remove` has
//!   returned. Both happen under LOCKED. A firing thread reads the links before it fires the ticket, and does
//!   not touch the node afterwards, as the waiter may be gone by then.
//!
//! # Why nothing dangles
//!
//! The owner of a node calls `remove` before its frame ends, whatever ended its wait. `remove` needs LOCKED
//! while the ring is not empty, so it waits for a `set` that is about to fire the node. If the wait has ended
//! otherwise, the fire fails, `set` has unlisted the node, and goes on to the next one.
//!
//! `set` stores SET after it has fired the node. One store sets SET and unlocks, and once the word is
//! unlocked a node may be gone, so it could not be fired any more. A parked waiter is scheduled only after
//! that store. A waiter that was fired before it had parked is not scheduled: it goes on by itself, perhaps
//! before SET is stored. It calls `remove` as well, which waits until the word is unlocked; then it finds the
//! event set, unless another party has consumed it.
//!
//! # Why no wake-up is lost
//!
//! Claim: while an event is contended (set, and nodes are listed), the waiter that the last `set` fired has
//! not called `take` yet.
//!
//! Each `set` fires a node, in the critical section in which it stores SET. If no node can be fired, `set`
//! unlists them all, so the event is not contended. No further node enters the ring while SET is set. And
//! once the fired waiter, or another party before it, has called `take`, SET is gone.
//!
//! A fired waiter has won its wait, which ends with [`Cause::Event`] and not with a timeout or a
//! cancellation. It *must call `take`*; and if it gets the flag it must consume what the flag stands for, or
//! set the flag again, which fires the next waiter. The flag is not reserved for a fired waiter: another
//! party may take it first (barging), and then has the same duty. The fired waiter queues again, at the front
//! (`enqueue_first`), since it has waited longest. The duty matters for readiness alone
//! (`descriptor/readiness.rs`): the other events are set for good, or have one waiter at a time.
//!
//! *`set` is a read-modify-write even when the event is set already.* A reader consumes readiness and then
//! asks the kernel; a poller hears from the kernel and then sets. With a plain load in `set` the poller could
//! see the old SET, the reader the old state of the socket, and the readiness would be lost (store
//! buffering). As read-modify-writes of one word they are ordered: either `take` comes second and
//! synchronizes with `set`, or SET remains. A sticky flag needs no such order: its `take` only reads, and
//! `unstick` is a compare-and-swap from the word that was read, so it fails if a later `set_sticky` came in
//! between.
//!
//! *Sticky flags.* STICKY implies that no node is listed; the number is where the address would be. Each
//! `set_sticky` stores a new number, so `unstick(n)`, a compare-and-swap from n, does not undo a later one,
//! whatever other readers do meanwhile. An ordinary `set` leaves a sticky flag as it is. `unstick` does not
//! lose that `set` either, since it leaves the event set.
//!
//! # What it costs
//!
//! LOCKED is held for a few instructions: an operation touches a node and its two neighbours. If its holder
//! is preempted, the others spin: they pause, then yield, then sleep for moments. There are two
//! exceptions. `set_all`, `set_for_good` and `set_sticky` fire all nodes under LOCKED: a compare-and-swap for
//! each, a few milliseconds for 50,000, during which a waiter that leaves spins (it yields its processor
//! soon, then sleeps for moments). Scheduling the fired waiters, which takes longer, comes after LOCKED. And
//! `set` passes over the nodes whose waits have ended otherwise, at the same cost for each. It unlists them,
//! so no later `set` meets them again.
//!
//! # What was rejected
//!
//! - *A lock-free stack of singly linked nodes*: to remove a node, one has to walk the stack.
//! - *Reserving the flag for the fired waiter, so that nobody barges*: two readers of a busy socket would
//!   switch contexts, or wake each other's worker, for each datagram, while one of them could go on reading.
//! - *At most one fired waiter at a time*: the worker that has to run it may compute for long, while the
//!   others could read. So a second `set` fires a second waiter, even if the first has not run yet.
//! - *Detaching the ring before all of it is fired*: a waiter that leaves early would have to find out where
//!   in the detached ring the firing thread is, and wait for it.

use super::waiter::{Batch, Cause, Fired, Ticket};
use crate::base::sync::{AtomicPtr, AtomicUsize, Ordering, spin};
use crate::base::sys::prefetch;
use std::ptr;

/// A thread uses the ring.
const LOCKED: usize = 1;
/// The flag is set.
const SET: usize = 1 << 1;
/// `take` does not clear SET.
const STICKY: usize = 1 << 2;
const FLAGS: usize = LOCKED | SET | STICKY;
/// The lowest bit of a sticky flag's number.
const NUMBER: usize = FLAGS + 1;

/// The word of an event as `take` found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(*mut EventNode);

/// The numbers of an event's sticky flags; one counter for each event.
#[derive(Debug)]
pub(crate) struct StickyNumbers(AtomicUsize);

impl StickyNumbers {
    /// Starts at one.
    pub(crate) fn new() -> Self {
        StickyNumbers(AtomicUsize::new(1))
    }

    /// A number that no present reader of the event has in a [`Snapshot`].
    fn next(&self) -> usize {
        loop {
            let number = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(NUMBER);
            if number != 0 {
                return number;
            }
        }
    }
}

/// A waiter in the ring of an event, on the waiter's own stack.
#[derive(Debug)]
#[repr(align(8))]
pub(crate) struct EventNode {
    ticket: Ticket,
    /// Null if the node is not listed. Both links belong to the ring, under LOCKED.
    next: AtomicPtr<EventNode>,
    previous: AtomicPtr<EventNode>,
}

impl EventNode {
    /// A node that is in no ring.
    pub(crate) fn new(ticket: Ticket) -> Self {
        let unlinked = || AtomicPtr::new(ptr::null_mut());
        EventNode { ticket, next: unlinked(), previous: unlinked() }
    }

    /// The ticket of its wait.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    fn next(&self) -> *mut EventNode {
        self.next.load(Ordering::Relaxed)
    }

    fn previous(&self) -> *mut EventNode {
        self.previous.load(Ordering::Relaxed)
    }

    fn link(&self, previous: *mut EventNode, next: *mut EventNode) {
        self.previous.store(previous, Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
    }

    /// Puts the node between the last and the first one of a ring.
    ///
    /// # Safety
    ///
    /// `first` is in a ring whose lock the caller holds, and this node in none.
    unsafe fn link_before(&self, first: *mut EventNode) {
        let this = ptr::from_ref(self).cast_mut();
        // SAFETY: listed nodes are alive; no reference to them is exclusive.
        unsafe {
            let last = (*first).previous();
            self.link(last, first);
            (*last).next.store(this, Ordering::Relaxed);
            (*first).previous.store(this, Ordering::Relaxed);
        }
    }

    /// Takes the node out of its ring, and returns the next one; null if it was the only one.
    ///
    /// # Safety
    ///
    /// The node is in a ring whose lock the caller holds.
    unsafe fn unlink(&self) -> *mut EventNode {
        let (previous, next) = (self.previous(), self.next());
        self.next.store(ptr::null_mut(), Ordering::Relaxed);
        if ptr::eq(next, self) {
            return ptr::null_mut();
        }
        // SAFETY: listed nodes are alive; no reference to them is exclusive.
        unsafe {
            (*previous).next.store(next, Ordering::Relaxed);
            (*next).previous.store(previous, Ordering::Relaxed);
        }
        next
    }
}

/// A flag with its waiters.
#[derive(Debug)]
pub(crate) struct Event {
    word: AtomicPtr<EventNode>,
}

fn flags(word: *mut EventNode) -> usize {
    word.addr() & FLAGS
}

/// The first node. With STICKY there is none: a number is in its place.
fn first(word: *mut EventNode) -> *mut EventNode {
    word.map_addr(|addr| if addr & STICKY != 0 { 0 } else { addr & !FLAGS })
}

fn with_flags(word: *mut EventNode, flags: usize) -> *mut EventNode {
    word.map_addr(|addr| addr | flags)
}

fn without_nodes(flags: usize) -> *mut EventNode {
    with_flags(ptr::null_mut(), flags)
}

impl Event {
    /// An event that is not set.
    pub(crate) fn new() -> Self {
        Event { word: AtomicPtr::new(ptr::null_mut()) }
    }

    /// An event that is set.
    pub(crate) fn new_set() -> Self {
        Event { word: AtomicPtr::new(without_nodes(SET)) }
    }

    /// Prefetches the memory of the waiter that the next `set` fires.
    #[inline]
    pub(crate) fn prefetch_waiter(&self) {
        prefetch(first(self.word.load(Ordering::Relaxed)).cast_const().cast(), 1);
    }

    /// Whether it is set. Acquires what was done before `set`.
    pub(crate) fn is_set(&self) -> bool {
        flags(self.word.load(Ordering::Acquire)) & SET != 0
    }

    /// Whether waiters are listed.
    pub(crate) fn has_waiters(&self) -> bool {
        !first(self.word.load(Ordering::Acquire)).is_null()
    }

    /// Consumes the flag: true if it was set. A sticky flag stays set.
    #[inline]
    pub(crate) fn consume(&self) -> bool {
        self.take().is_some()
    }

    /// As `consume`, and returns the word as it was, for [`unstick`](Self::unstick).
    pub(crate) fn take(&self) -> Option<Snapshot> {
        let mut word = self.word.load(Ordering::Acquire);
        let mut turn = 0;
        loop {
            match flags(word) {
                now if now & STICKY != 0 => return Some(Snapshot(word)),
                now if now & SET == 0 => return None,
                now if now & LOCKED != 0 => {
                    spin(turn);
                    turn += 1;
                    word = self.word.load(Ordering::Acquire);
                }
                // Acquires what the setter did, and orders the caller's syscall after this.
                _ => match self.word.compare_exchange_weak(
                    word,
                    first(word),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                ) {
                    Ok(_) => return Some(Snapshot(word)),
                    Err(now) => word = now,
                },
            }
        }
    }

    /// Makes a sticky flag that turned out to be wrong an ordinary one, which is set. False if the flag was
    /// not sticky, was set for good, or has another number by now.
    pub(crate) fn unstick(&self, seen: Snapshot) -> bool {
        let numbered = flags(seen.0) & STICKY != 0 && seen.0.addr() >= NUMBER;
        numbered
            && self
                .word
                .compare_exchange(seen.0, without_nodes(SET), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Lists a node behind all others. If the event is set, returns false and does not list it.
    ///
    /// # Safety
    ///
    /// The node stays where it is, and its ticket's waiter alive, until the node was fired or
    /// [`remove`](Self::remove) has returned. It is in no ring.
    pub(crate) unsafe fn enqueue(&self, node: &EventNode) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.insert(node, false) }
    }

    /// As [`enqueue`](Self::enqueue), but before all others: for a fired waiter that lost the flag to another
    /// party.
    ///
    /// # Safety
    ///
    /// As for `enqueue`.
    pub(crate) unsafe fn enqueue_first(&self, node: &EventNode) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.insert(node, true) }
    }

    /// # Safety
    ///
    /// As for `enqueue`.
    #[inline]
    unsafe fn insert(&self, node: &EventNode, at_front: bool) -> bool {
        let this = ptr::from_ref(node).cast_mut();
        let mut turn = 0;
        loop {
            let word = self.word.load(Ordering::Acquire);
            if flags(word) & SET != 0 {
                return false;
            }
            if word.is_null() {
                node.link(this, this);
                // Releases the node to the next thread that locks the ring.
                if self.word.compare_exchange(word, this, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    return true;
                }
                node.link(ptr::null_mut(), ptr::null_mut());
            } else if flags(word) == 0 && self.try_lock(word) {
                // SAFETY: the first node is listed, the lock is ours, and this node is in no ring.
                unsafe { node.link_before(word) };
                self.unlock(if at_front { this } else { word });
                return true;
            }
            spin(turn);
            turn += 1;
        }
    }

    /// Unlists a node if it is still listed. Afterwards no other thread touches the node, and if it was fired
    /// the event is set, or was consumed since.
    pub(crate) fn remove(&self, node: &EventNode) {
        let Some(word) = self.lock(|word| !first(word).is_null()) else { return };
        let mut head = first(word);
        if !node.next().is_null() {
            // SAFETY: it is listed, and the lock is ours.
            let behind = unsafe { node.unlink() };
            if ptr::eq(head, node) {
                head = behind;
            }
        }
        self.unlock(with_flags(head, flags(word)));
    }

    /// Sets the event and fires the first waiter. If that waiter is in the batch afterwards, the caller
    /// schedules it. The fired waiter takes the flag, and sets it again unless it consumes what it stands
    /// for.
    #[inline]
    pub(crate) fn set(&self, batch: &mut Batch) {
        let word = self.word.load(Ordering::Relaxed);
        let (empty, set) = (ptr::null_mut(), without_nodes(SET));
        // Without a call if nobody waits. Releases what the caller did to `take` and `is_set`.
        if word != empty && word != set
            || self.word.compare_exchange(word, set, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            self.fire_first(batch);
        }
    }

    // Not inlined, nor is `fire_all`: the loops of workers and pollers keep their registers.
    #[inline(never)]
    fn fire_first(&self, batch: &mut Batch) {
        let Some(word) = self.set_if_no_waiters(SET) else { return };
        let mut head = first(word);
        while !head.is_null() {
            // SAFETY: listed nodes are alive while we hold LOCKED. Once it was fired the node may be gone.
            let (ticket, behind) = unsafe { ((*head).ticket, (*head).unlink()) };
            head = behind;
            // SAFETY: the waiter is alive until its owner has called `remove`, which waits for LOCKED.
            if unsafe { ticket.fire(Cause::Event, batch) } != Fired::Lost {
                break;
            }
        }
        self.unlock(with_flags(head, SET));
    }

    /// Sets the event and fires all waiters. The caller schedules the batch.
    pub(crate) fn set_all(&self, batch: &mut Batch) {
        self.fire_all(SET, batch);
    }

    /// Sets the event for good: it stays set. Fires all waiters, as `set_all`.
    pub(crate) fn set_for_good(&self, batch: &mut Batch) {
        self.fire_all(SET | STICKY, batch);
    }

    /// Sets the event, and keeps it set until a reader calls [`unstick`](Self::unstick). Fires all waiters,
    /// as `set_all`.
    pub(crate) fn set_sticky(&self, numbers: &StickyNumbers, batch: &mut Batch) {
        self.fire_all(SET | STICKY | numbers.next(), batch);
    }

    #[inline(never)]
    fn fire_all(&self, new: usize, batch: &mut Batch) {
        let Some(word) = self.set_if_no_waiters(new) else { return };
        let head = first(word);
        let mut at = head;
        loop {
            // SAFETY: listed nodes are alive while we hold LOCKED.
            let (ticket, next) =
                unsafe { ((*at).ticket, (*at).next.swap(ptr::null_mut(), Ordering::Relaxed)) };
            // SAFETY: the waiter is alive until its owner has called `remove`, which waits for LOCKED. After
            // this the node may be gone, which is why its link was read before.
            let _ = unsafe { ticket.fire(Cause::Event, batch) };
            if next == head {
                break;
            }
            at = next;
        }
        self.unlock(without_nodes(new));
    }

    /// Sets the word to `new`, flags and number, if nobody waits. Otherwise locks it, and returns it as it
    /// was.
    #[inline]
    fn set_if_no_waiters(&self, new: usize) -> Option<*mut EventNode> {
        let mut word = self.word.load(Ordering::Relaxed);
        let mut turn = 0;
        loop {
            if flags(word) & LOCKED != 0 {
                spin(turn);
                turn += 1;
                word = self.word.load(Ordering::Relaxed);
                continue;
            }
            let has_waiters = !first(word).is_null();
            let next = if has_waiters {
                with_flags(word, LOCKED)
            } else {
                // A sticky flag stays sticky; `set_sticky` replaces its number, but not number 0.
                let keeps = flags(word) & STICKY != 0 && (new == SET || word.addr() == SET | STICKY);
                if keeps { word } else { without_nodes(new) }
            };
            // Acquires every listed node, and releases what the caller did to `take` and `is_set`.
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if has_waiters => return Some(word),
                Ok(_) => return None,
                Err(now) => word = now,
            }
        }
    }

    /// Spins until it has set LOCKED, and returns the word as it was; `None` as soon as the unlocked word is
    /// not `wanted`.
    fn lock(&self, wanted: impl Fn(*mut EventNode) -> bool) -> Option<*mut EventNode> {
        let mut turn = 0;
        loop {
            let word = self.word.load(Ordering::Acquire);
            if flags(word) & LOCKED == 0 {
                if !wanted(word) {
                    return None;
                }
                if self.try_lock(word) {
                    return Some(word);
                }
            }
            spin(turn);
            turn += 1;
        }
    }

    /// Sets LOCKED if the word is still `word`, which is not locked.
    fn try_lock(&self, word: *mut EventNode) -> bool {
        // Acquires every listed node; pairs with the releases of `insert` and `unlock`.
        self.word
            .compare_exchange_weak(word, with_flags(word, LOCKED), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Unlocks, by storing `word`. Pairs with the acquire of the next thread that locks, takes or reads.
    fn unlock(&self, word: *mut EventNode) {
        self.word.store(word, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::base::sys::ThreadClock;
    use crate::coroutine::waiter::testing::{ticket_of, waiter};
    use crate::coroutine::waiter::{Park, Waiter};

    fn set(event: &Event) -> usize {
        let mut batch = Batch::new();
        event.set(&mut batch);
        batch.len()
    }

    fn set_all(event: &Event) -> usize {
        let mut batch = Batch::new();
        event.set_all(&mut batch);
        batch.len()
    }

    /// Parked waiters, and their nodes, which are listed.
    fn listed(event: &Event, count: usize) -> (Vec<Waiter>, Vec<EventNode>) {
        let waiters: Vec<_> = (0..count).map(|_| waiter()).collect();
        let nodes: Vec<_> = waiters.iter().map(|w| EventNode::new(ticket_of(w))).collect();
        for (node, waiter) in nodes.iter().zip(&waiters) {
            // SAFETY: nodes and waiters outlive the event's use of them.
            assert!(unsafe { event.enqueue(node) });
            assert_eq!(waiter.park(ticket_of(waiter), false), Park::Parked);
        }
        (waiters, nodes)
    }

    /// The waiters that were fired.
    fn fired(waiters: &[Waiter]) -> Vec<usize> {
        (0..waiters.len()).filter(|&i| ticket_of(&waiters[i]).epoch() != 0).collect()
    }

    #[test]
    fn set_is_kept_until_consumed() {
        let event = Event::new();
        assert!(!event.consume());
        assert_eq!(set(&event), 0);
        assert!(event.is_set());
        assert!(event.consume());
        assert!(!event.consume());
        event.set_for_good(&mut Batch::new());
        assert!(event.consume());
        assert!(event.consume());
    }

    #[test]
    fn only_the_sticky_flag_that_was_seen_is_unstuck() {
        let (event, numbers) = (Event::new(), StickyNumbers::new());
        let set_sticky = || event.set_sticky(&numbers, &mut Batch::new());
        set(&event);
        let plain = event.take().expect("set");
        set_sticky();
        assert!(!event.unstick(plain));
        let first = event.take().expect("sticky");
        set_sticky();
        assert!(!event.unstick(first));
        set(&event);
        let second = event.take().expect("sticky");
        assert!(event.unstick(second) && !event.unstick(second));
        assert!(event.consume() && !event.consume());
        event.set_for_good(&mut Batch::new());
        set_sticky();
        let for_good = event.take().expect("set for good");
        assert!(!event.unstick(for_good));
    }

    #[test]
    fn all_waiters_are_fired_but_the_removed_one() {
        let event = Event::new();
        let (waiters, nodes) = listed(&event, 3);
        event.remove(&nodes[1]);
        event.remove(&nodes[1]);
        assert_eq!(set_all(&event), 2);
        // SAFETY: the node outlives the event's use of it.
        assert!(!unsafe { event.enqueue(&nodes[0]) });
        assert!(event.consume() && !event.consume());
        assert_eq!(fired(&waiters), [0, 2]);
    }

    #[test]
    fn each_set_fires_the_oldest_waiter() {
        let event = Event::new();
        let (waiters, nodes) = listed(&event, 4);
        assert_eq!(set(&event), 1);
        assert!(event.is_set() && event.has_waiters());
        assert_eq!(fired(&waiters), [0]);
        // SAFETY: the node outlives the event's use of it.
        assert!(!unsafe { event.enqueue(&nodes[0]) }, "no wait for what is set");
        assert!(event.consume() && !event.consume());
        // Set twice before anybody takes it: two are fired, and it can be taken once.
        assert_eq!(set(&event) + set(&event), 2);
        assert!(event.consume() && !event.consume());
        assert_eq!(fired(&waiters), [0, 1, 2]);
        event.set_for_good(&mut Batch::new());
        assert_eq!(fired(&waiters), [0, 1, 2, 3]);
        assert!(event.consume() && event.consume() && !event.has_waiters());
    }

    #[test]
    fn a_set_passes_over_waits_that_have_ended() {
        let event = Event::new();
        let (waiters, nodes) = listed(&event, 4);
        for i in [0, 1, 3] {
            // SAFETY: the waiters are alive.
            assert_ne!(unsafe { nodes[i].ticket().fire(Cause::Timeout, &mut Batch::new()) }, Fired::Lost);
        }
        assert_eq!(set(&event), 1);
        let cause = |i: usize| waiters[i].cause(nodes[i].ticket());
        assert_eq!(cause(2), Some(Cause::Event));
        for node in &nodes {
            event.remove(node);
        }
        assert!(event.is_set() && !event.has_waiters());
    }

    #[test]
    fn a_fired_waiter_that_lost_queues_at_the_front() {
        let event = Event::new();
        let (waiters, nodes) = listed(&event, 3);
        assert_eq!(set(&event), 1);
        assert!(event.consume(), "another party takes it");
        event.remove(&nodes[0]);
        let again = EventNode::new(ticket_of(&waiters[0]));
        // SAFETY: the node outlives the event's use of it.
        assert!(unsafe { event.enqueue_first(&again) });
        assert_eq!(set(&event), 0, "its waiter does not park, so it is not scheduled");
        assert!(waiters[0].cause(again.ticket()).is_some());
        assert_eq!(fired(&waiters), [0]);
        event.remove(&nodes[1]);
        event.remove(&nodes[2]);
    }

    /// Removing a node is not linear in the number of waiters: in FIFO order, in LIFO order, from within.
    #[test]
    fn leaving_does_not_depend_on_how_many_wait() {
        // Time in which the system runs others does not count.
        let began = std::time::Instant::now();
        let clock = ThreadClock::of_this_thread();
        let used = || clock.and_then(ThreadClock::read).unwrap_or_else(|| began.elapsed());
        let cost = |count: usize, order: fn(usize, usize) -> usize| {
            let event = Event::new();
            let (_waiters, nodes) = listed(&event, count);
            let start = used();
            for i in 0..count {
                event.remove(&nodes[order(i, count)]);
            }
            assert!(!event.has_waiters());
            (used() - start).as_nanos() as f64 / count as f64
        };
        // A step that is coprime to the count leaves from all over the ring.
        for order in [|i, _| i, |i, n| n - 1 - i, |i, n| i * 7_919 % n] {
            let least = |count| (0..5).map(|_| cost(count, order)).fold(f64::INFINITY, f64::min);
            // A walk over the waiters would cost five hundred times as much.
            let (few, many) = (least(100), least(50_000));
            assert!(many < 100.0 * few.max(5.0), "{few} ns with 100 waiters, {many} ns with 50,000");
        }
    }

    /// Three threads list, remove and fire waiters; each set is taken at most once, and no node stays listed.
    #[test]
    fn stress() {
        use std::sync::atomic::AtomicU32;
        const SETS: u32 = 20_000;
        let event = Event::new();
        let taken = AtomicU32::new(0);
        let sets = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for seed in 1..=3_u32 {
                let (event, taken, sets) = (&event, &taken, &sets);
                scope.spawn(move || {
                    let waiters: Vec<_> = (0..8).map(|_| waiter()).collect();
                    let mut x = seed;
                    while sets.load(Ordering::Relaxed) < SETS {
                        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let count = (x >> 16) as usize % 8;
                        let nodes: Vec<_> = waiters.iter().map(|w| EventNode::new(ticket_of(w))).collect();
                        for node in &nodes[..count] {
                            // SAFETY: each node is removed below.
                            unsafe {
                                if x & 1 << 12 == 0 { event.enqueue(node) } else { event.enqueue_first(node) }
                            };
                        }
                        if x & 1 << 13 == 0 {
                            if sets.fetch_add(1, Ordering::Relaxed) < SETS {
                                event.set(&mut Batch::new());
                            }
                        } else if event.consume() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                        for i in 0..count {
                            event.remove(&nodes[if x & 1 << 14 == 0 { i } else { count - 1 - i }]);
                        }
                    }
                });
            }
        });
        assert!(!event.has_waiters() && taken.into_inner() <= SETS);
    }

    #[test]
    fn removal_from_either_end_keeps_the_rest() {
        for victim in 0..3 {
            let event = Event::new();
            let (waiters, nodes) = listed(&event, 3);
            event.remove(&nodes[victim]);
            assert_eq!(set_all(&event), 2);
            assert_eq!(fired(&waiters), (0..3).filter(|&i| i != victim).collect::<Vec<_>>());
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::base::sys::ThreadClock;
    use crate::coroutine::waiter::testing::{ticket_of, waiter};
    use crate::coroutine::waiter::{Fired, Park, Sleeper, Waiter};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        event: Event,
        data: UnsafeCell<u32>,
    }

    // SAFETY: the model checks that the accesses to `data` are ordered.
    unsafe impl Sync for World {}
    // SAFETY: as above.
    unsafe impl Send for World {}

    /// As `sched::wait_for_event`.
    fn wait_for(event: &Event, sleeper: &Sleeper) {
        let ticket = sleeper.ticket();
        let node = EventNode::new(ticket);
        // SAFETY: the node stays until it is removed, and the sleeper for longer.
        if unsafe { event.enqueue(&node) } {
            assert_eq!(sleeper.sleep(ticket), Cause::Event);
        }
        event.remove(&node);
    }

    fn set_and_wake(set: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new();
        set(&mut batch);
        while let Some(waiter) = batch.pop() {
            // SAFETY: it was fired with the verdict `Schedule`, once.
            unsafe { Waiter::schedule(waiter) };
        }
    }

    /// A woken waiter finds the event set, whether it was fired before or after it parked.
    #[test]
    fn a_woken_waiter_finds_it_set() {
        loom::model(|| {
            let world = Arc::new((Event::new(), Sleeper::new()));
            let theirs = world.clone();
            let setter = thread::spawn(move || set_and_wake(|batch| theirs.0.set_for_good(batch)));
            wait_for(&world.0, &world.1);
            assert!(world.0.is_set(), "woken by the event, which is not set");
            setter.join().unwrap();
        });
    }

    /// A token that ends one wait does not end the next one too, if it is consumed in between.
    #[test]
    fn a_token_ends_one_wait() {
        loom::model(|| {
            let world = Arc::new((Event::new(), Sleeper::new()));
            let theirs = world.clone();
            let setter = thread::spawn(move || set_and_wake(|batch| theirs.0.set(batch)));
            wait_for(&world.0, &world.1);
            assert!(world.0.consume(), "woken by the event, which is not set");
            setter.join().unwrap();
            assert!(!world.0.is_set(), "one token for two waits");
        });
    }

    /// No set is lost: either the waiter is fired, or it is not listed; and it sees what the setter wrote.
    #[test]
    fn a_set_reaches_the_waiter() {
        loom::model(|| {
            let world = Arc::new(World { event: Event::new(), data: UnsafeCell::new(0) });
            let setter = {
                let world = world.clone();
                thread::spawn(move || {
                    // SAFETY: the reader looks only after the event.
                    world.data.with_mut(|data| unsafe { *data = 7 });
                    world.event.set(&mut Batch::new());
                })
            };
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let node = EventNode::new(ticket);
            // SAFETY: node and waiter stay until the thread was joined.
            let listed = unsafe { world.event.enqueue(&node) };
            if listed && waiter.park(ticket, false) == Park::Parked {
                setter.join().unwrap();
                assert!(waiter.cause(ticket).is_some(), "the set was lost");
                return;
            }
            // SAFETY: the event is set, so the setter's write is done.
            world.data.with(|data| assert_eq!(unsafe { *data }, 7));
        });
    }

    /// A setter races with `remove`: once that has returned no other thread touches the node.
    #[test]
    fn a_removed_node_is_left_alone() {
        loom::model(|| {
            let event = Arc::new(Event::new());
            let waiter = Arc::new(waiter());
            let ticket = ticket_of(&waiter);
            let setter = {
                let (event, waiter) = (event.clone(), waiter.clone());
                thread::spawn(move || {
                    event.set(&mut Batch::new());
                    drop(waiter);
                })
            };
            {
                let node = Box::new(EventNode::new(ticket));
                // SAFETY: the node is removed before it is dropped.
                if unsafe { event.enqueue(&node) } {
                    // SAFETY: the Arc keeps the waiter alive.
                    let own = unsafe { ticket.fire(Cause::Timeout, &mut Batch::new()) };
                    event.remove(&node);
                    assert!(own != Fired::Schedule);
                }
            }
            setter.join().unwrap();
            assert!(event.is_set());
        });
    }

    /// A socket as its readers see it: a queue of datagrams, an edge of readiness for each arrival, and its
    /// end.
    struct Socket {
        event: Event,
        datagrams: AtomicUsize,
    }

    impl Socket {
        fn new() -> Arc<Socket> {
            Arc::new(Socket { event: Event::new(), datagrams: AtomicUsize::new(0) })
        }

        /// That many arrive, as one edge.
        fn arrive(&self, count: usize) {
            self.datagrams.fetch_add(count, Ordering::Relaxed);
            set_and_wake(|batch| self.event.set(batch));
        }

        /// As `descriptor::readiness::perform`, with a timeout that may pass before the wait. `None` after
        /// that, or after the end.
        fn receive(&self, sleeper: &Sleeper, times_out: bool) -> Option<()> {
            let mut woken = false;
            loop {
                if let Some(seen) = self.event.take() {
                    let one_less = |n: usize| n.checked_sub(1);
                    if self.datagrams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                        set_and_wake(|batch| self.event.set(batch));
                        return Some(());
                    }
                    if flags(seen.0) & STICKY != 0 {
                        return None;
                    }
                }
                let ticket = sleeper.ticket();
                let node = EventNode::new(ticket);
                // SAFETY: the node stays until it is removed, and the sleeper for longer.
                let listed = unsafe {
                    if woken { self.event.enqueue_first(&node) } else { self.event.enqueue(&node) }
                };
                let timed_out = listed && times_out && sleeper.give_up(ticket);
                let cause = (listed && !timed_out).then(|| sleeper.sleep(ticket));
                self.event.remove(&node);
                if timed_out {
                    return None;
                }
                woken |= cause == Some(Cause::Event);
            }
        }
    }

    /// As `loom::model`, for three threads that wait for one another in loops: bounds the preemptions, and
    /// allows longer runs.
    fn explore(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.max_branches = 20_000;
        model.check(f);
    }

    /// Two readers wait, and two datagrams arrive as one edge: the reader that is woken wakes the other one.
    #[test]
    fn a_reader_that_took_one_wakes_the_next() {
        explore(2, || {
            let (socket, sleepers) = (Socket::new(), Arc::new([Sleeper::new(), Sleeper::new()]));
            let other = {
                let (socket, sleepers) = (socket.clone(), sleepers.clone());
                thread::spawn(move || socket.receive(&sleepers[1], false))
            };
            let wire = {
                let socket = socket.clone();
                thread::spawn(move || socket.arrive(2))
            };
            assert!(socket.receive(&sleepers[0], false).is_some());
            assert!(other.join().unwrap().is_some());
            wire.join().unwrap();
            assert_eq!(socket.datagrams.load(Ordering::Relaxed), 0);
        });
    }

    /// One of two readers times out while a datagram arrives: it takes the datagram, or the other reader gets
    /// it. If the wake-up were lost the other one would sleep for ever, which loom reports.
    #[test]
    fn a_timeout_does_not_take_the_wake_up_with_it() {
        explore(2, || {
            let (socket, sleepers) = (Socket::new(), Arc::new([Sleeper::new(), Sleeper::new()]));
            let timed = {
                let (socket, sleepers) = (socket.clone(), sleepers.clone());
                thread::spawn(move || {
                    if socket.receive(&sleepers[1], true).is_some() {
                        socket.arrive(1);
                    }
                })
            };
            let wire = {
                let socket = socket.clone();
                thread::spawn(move || socket.arrive(1))
            };
            assert!(socket.receive(&sleepers[0], false).is_some());
            timed.join().unwrap();
            wire.join().unwrap();
            assert_eq!(socket.datagrams.load(Ordering::Relaxed), 0);
        });
    }

    /// The socket ends while a datagram arrives: both readers wake, whichever of them takes the datagram.
    #[test]
    fn the_end_wakes_every_reader() {
        explore(1, || {
            let (socket, sleepers) = (Socket::new(), Arc::new([Sleeper::new(), Sleeper::new()]));
            let other = {
                let (socket, sleepers) = (socket.clone(), sleepers.clone());
                thread::spawn(move || while socket.receive(&sleepers[1], false).is_some() {})
            };
            let wire = {
                let socket = socket.clone();
                thread::spawn(move || {
                    socket.arrive(1);
                    set_and_wake(|batch| socket.event.set_for_good(batch));
                })
            };
            while socket.receive(&sleepers[0], false).is_some() {}
            other.join().unwrap();
            wire.join().unwrap();
            assert_eq!(socket.datagrams.load(Ordering::Relaxed), 0);
        });
    }

    /// Three nodes, one of which is removed while `set` fires the first: the ring stays whole, and no thread
    /// touches the removed node.
    #[test]
    fn a_node_leaves_while_another_is_fired() {
        for leaver in 0..3 {
            loom::model(move || {
                let event = Arc::new(Event::new());
                let waiters: Arc<Vec<_>> = Arc::new((0..3).map(|_| waiter()).collect());
                let mut nodes: Vec<_> =
                    waiters.iter().map(|waiter| Box::new(EventNode::new(ticket_of(waiter)))).collect();
                for node in &nodes {
                    // SAFETY: each node is removed before it is dropped.
                    assert!(unsafe { event.enqueue(node) });
                }
                let setter = {
                    let (event, waiters) = (event.clone(), waiters.clone());
                    thread::spawn(move || {
                        event.set(&mut Batch::new());
                        drop(waiters);
                    })
                };
                let node = nodes.remove(leaver);
                // SAFETY: the waiter is alive.
                let fired = unsafe { node.ticket().fire(Cause::Timeout, &mut Batch::new()) };
                event.remove(&node);
                drop(node);
                setter.join().unwrap();
                assert!(event.consume() && event.has_waiters());
                // SAFETY: the waiters are alive.
                let cause =
                    |node: &EventNode| unsafe { node.ticket().fire(Cause::Timeout, &mut Batch::new()) };
                let lost = nodes.iter().filter(|node| cause(node) == Fired::Lost).count();
                assert_eq!(lost + usize::from(fired == Fired::Lost), 1, "one set fires one node");
                nodes.iter().for_each(|node| event.remove(node));
                assert!(!event.has_waiters());
            });
        }
    }

    /// Two consumers, one set: exactly one gets it.
    #[test]
    fn readiness_is_consumed_once() {
        loom::model(|| {
            let event = Arc::new(Event::new_set());
            let other = {
                let event = event.clone();
                thread::spawn(move || event.consume())
            };
            let mine = event.consume();
            assert!(mine ^ other.join().unwrap());
        });
    }

    /// A reader finds the sticky flag to be wrong and unsticks it, while the poller reports the end and
    /// another reader drains the source: the sticky flag of the end stays.
    #[test]
    fn a_later_sticky_flag_is_not_undone() {
        loom::model(|| {
            let world = Arc::new((Event::new(), StickyNumbers::new(), AtomicUsize::new(0)));
            world.0.set_sticky(&world.1, &mut Batch::new());
            let poller = {
                let world = world.clone();
                thread::spawn(move || {
                    world.2.store(1, Ordering::Relaxed);
                    world.0.set_sticky(&world.1, &mut Batch::new());
                })
            };
            let drainer = {
                let world = world.clone();
                thread::spawn(move || world.0.consume())
            };
            let seen = world.0.take().expect("sticky from the start");
            if world.2.load(Ordering::Relaxed) == 0 {
                world.0.unstick(seen);
            }
            drainer.join().unwrap();
            poller.join().unwrap();
            assert!(world.0.consume() && world.0.consume(), "the end is lost");
        });
    }
}
