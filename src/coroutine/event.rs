//! Something that happens, and the waiters for it: one word.
//!
//! # The problem
//!
//! A socket's readiness in one direction, a coroutine's end, a park token and a cancellation are the same
//! thing: a flag that some set and others wait for. Thousands may wait for one of them, and each waiter may
//! leave at any time, since a timeout, a cancellation or another arm of its `select!` may end its wait first.
//! So listing a waiter and taking it off must not depend on how many others wait; the usual case, one waiter
//! or none, is one compare-and-swap; and a socket's readiness wakes one waiter, not all of them (the
//! thundering herd).
//!
//! # The states
//!
//! An [`Event`] is a word. Its [`EventNode`]s form a ring in the order in which they came, the word points to the
//! first one; each node lives on the stack of its waiter.
//!
//! ```text
//!  word                     state         moves
//!  null                     empty         set -> set                enqueue -> waiting
//!  SET                      set           take -> empty             enqueue is declined
//!  node                     waiting       enqueue -> waiting        remove -> waiting or empty
//!                                         set -> contended or set; fires the first node that still waits
//!                                         set_all, set_for_good, mark -> set, for good; fires all nodes
//!  node | SET               contended     take -> waiting           enqueue is declined
//!                                         set, set_all, set_for_good, mark, remove: as waiting; SET stays
//!  SET | STICKY | n         set for good, with the mark n: take leaves it, unstick(n) -> set
//!  ... | LOCKED             the ring is in use, by one thread for a few instructions; all others spin
//! ```
//!
//! # The argument
//!
//! *The ring.* The ring and its links change only under LOCKED, except that the first node gets into an empty
//! word by a compare-and-swap. A node is listed exactly if its `next` is not null, which is looked at under
//! LOCKED too. Nobody but the holder of LOCKED changes a word that has it, so the holder unlocks by a store.
//! Each operation touches a node and its two neighbours; only `set_all`, `set_for_good` and `mark` go through
//! all of them, and `set` past the nodes whose wait has ended otherwise, which it takes off, so that their
//! owners need not.
//!
//! *Life.* Others may touch a node from its `enqueue` until it was fired or `remove` has returned. Both
//! happen under LOCKED, so the owner of a node whose wait ended otherwise calls `remove` before its frame
//! goes. `remove` locks while the ring is not empty, so it waits for a `set` that is about to fire the node.
//! A firer reads a node's links before it fires it, and does not touch it afterwards.
//!
//! *SET is stored after the firing*, as nodes may be gone once it is. A waiter that was fired before it had
//! parked may run while the word is still LOCKED. It calls `remove` as well, which waits until that is over:
//! then the event is set, unless somebody has consumed it.
//!
//! *No wake-up is lost.* Claim: while the event is set and nodes are listed, a waiter that `set` has fired is
//! on its way, or the last `set` found no node that it could fire. Each `set` fires a node if it finds one
//! that can be fired, in the critical section in which it stores SET; and a node is not listed while SET is
//! up. A fired waiter has *won* its wait: its wait ends with [`Cause::Event`], neither with a timeout nor
//! with a cancellation, and where those were faster `set` goes on to the next node. What the fired waiter
//! owes is to look: it calls `take`, and if it gets the event it uses it up or sets it again, which fires the
//! next waiter. Nobody owes the event to a fired waiter: another one may take it first (barging). Then that
//! one owes the same. The fired waiter lists itself again, in front (`enqueue_first`), since it has waited
//! longest.
//!
//! *`set` is a read-modify-write even when the word is set already.* A reader consumes readiness and
//! then asks the kernel; a poller hears from the kernel and then sets. With a plain load in `set`
//! the poller could see the old SET, the reader the old state of the socket, and the readiness
//! would be lost (store buffering). As read-modify-writes of one word they are ordered: either
//! `take` comes second and synchronizes with `set`, or SET remains.
//!
//! *Marks.* STICKY implies that no node is listed; the place of the address is then the number of a mark.
//! `mark` replaces the number. So `unstick(n)` takes only the mark that its reader has found to be wrong, and
//! no later one, whatever other readers do meanwhile. The number 0 is that of `set_for_good`: it is neither
//! replaced nor taken.
//!
//! # What was rejected
//!
//! - *A stack that is pushed by compare-and-swap, each node linked one way*: taking one off means walking.
//! - *Handing the event to the fired waiter, so that nobody barges*: two readers of a busy socket would
//!   switch contexts, or wake each other's worker, for each datagram, while one of them could go on reading.
//! - *At most one fired waiter under way*: it may be at home on a worker that computes for long. A second
//!   datagram then wakes a second waiter.
//! - *Detaching the ring before all of it is fired*: a waiter that leaves early would have to find out where
//!   in the detached ring the firer is, and wait for it. Firing is a compare-and-swap a node, a few
//!   milliseconds for 50,000; scheduling them, which takes longer, comes after LOCKED.

use super::waiter::{Batch, Cause, Fired, Ticket};
use crate::base::sync::{AtomicPtr, AtomicUsize, Ordering, spin};
use crate::base::sys::prefetch;
use std::ptr;

const LOCKED: usize = 1;
const SET: usize = 1 << 1;
const STICKY: usize = 1 << 2;
const FLAGS: usize = LOCKED | SET | STICKY;
/// The first bit of a mark's number.
const NUMBER: usize = FLAGS + 1;

/// What `take` has taken, or looked at: the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken(*mut EventNode);

/// Numbers for the marks of an event; one source of them for each event.
#[derive(Debug)]
pub(crate) struct Marks(AtomicUsize);

impl Marks {
    /// From one on.
    pub(crate) fn new() -> Self {
        Marks(AtomicUsize::new(1))
    }

    /// One that no present reader of the event knows.
    fn next(&self) -> usize {
        loop {
            let number = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(NUMBER);
            if number != 0 {
                return number;
            }
        }
    }
}

/// A waiter's place in an event's ring, on the waiter's own stack.
#[derive(Debug)]
#[repr(align(8))]
pub(crate) struct EventNode {
    ticket: Ticket,
    /// Null if the node is not listed. This and the next are the ring's, under LOCKED.
    next: AtomicPtr<EventNode>,
    previous: AtomicPtr<EventNode>,
}

impl EventNode {
    /// A node that is in no ring.
    pub(crate) fn new(ticket: Ticket) -> Self {
        let nowhere = || AtomicPtr::new(ptr::null_mut());
        EventNode { ticket, next: nowhere(), previous: nowhere() }
    }

    /// The ticket that is fired from it.
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

    /// Takes the node out of its ring, and gives the one behind it; null if it was the only one.
    ///
    /// # Safety
    ///
    /// It is in a ring whose lock the caller holds.
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

/// One word: empty, set, or its waiters.
#[derive(Debug)]
pub(crate) struct Event {
    word: AtomicPtr<EventNode>,
}

fn flags(word: *mut EventNode) -> usize {
    word.addr() & FLAGS
}

/// The first node. Behind STICKY there is a number in its place.
fn first(word: *mut EventNode) -> *mut EventNode {
    word.map_addr(|addr| if addr & STICKY != 0 { 0 } else { addr & !FLAGS })
}

fn with(word: *mut EventNode, flags: usize) -> *mut EventNode {
    word.map_addr(|addr| addr | flags)
}

fn bare(flags: usize) -> *mut EventNode {
    with(ptr::null_mut(), flags)
}

impl Event {
    /// An empty event.
    pub(crate) fn new() -> Self {
        Event { word: AtomicPtr::new(ptr::null_mut()) }
    }

    /// An event that is set.
    pub(crate) fn new_set() -> Self {
        Event { word: AtomicPtr::new(bare(SET)) }
    }

    /// Asks for the memory of the waiter that is fired next.
    #[inline]
    pub(crate) fn prefetch_waiter(&self) {
        prefetch(first(self.word.load(Ordering::Relaxed)).cast_const().cast(), 1);
    }

    /// Whether it is set. Pairs with the release of `set`.
    pub(crate) fn is_set(&self) -> bool {
        flags(self.word.load(Ordering::Acquire)) & SET != 0
    }

    /// Whether anybody waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        !first(self.word.load(Ordering::Acquire)).is_null()
    }

    /// Takes the event: true if it was set. One that is set for good stays.
    #[inline]
    pub(crate) fn consume(&self) -> bool {
        self.take().is_some()
    }

    /// As `consume`, and tells what was taken.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut word = self.word.load(Ordering::Acquire);
        let mut turn = 0;
        loop {
            match flags(word) {
                now if now & STICKY != 0 => return Some(Taken(word)),
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
                    Ok(_) => return Some(Taken(word)),
                    Err(now) => word = now,
                },
            }
        }
    }

    /// Takes a mark that has turned out to be wrong, so that the event is merely set; false if there is no
    /// such mark, or another one by now.
    pub(crate) fn unstick(&self, taken: Taken) -> bool {
        let numbered = flags(taken.0) & STICKY != 0 && taken.0.addr() >= NUMBER;
        numbered
            && self.word.compare_exchange(taken.0, bare(SET), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Lists a node behind all others, unless the event is set: then false, and the node is not listed.
    ///
    /// # Safety
    ///
    /// The node stays where it is, and its ticket's waiter alive, until the node was fired or
    /// [`remove`](Self::remove) has returned. It is in no ring.
    pub(crate) unsafe fn enqueue(&self, node: &EventNode) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.list(node, false) }
    }

    /// As [`enqueue`](Self::enqueue), but before all others: for a waiter that was fired, and found that
    /// another one had been faster.
    ///
    /// # Safety
    ///
    /// As for `enqueue`.
    pub(crate) unsafe fn enqueue_first(&self, node: &EventNode) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.list(node, true) }
    }

    /// # Safety
    ///
    /// As for `enqueue`.
    #[inline]
    unsafe fn list(&self, node: &EventNode, ahead: bool) -> bool {
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
                self.unlock(if ahead { this } else { word });
                return true;
            }
            spin(turn);
            turn += 1;
        }
    }

    /// Takes a node off the ring if it is still there. Afterwards nobody touches the node, and if it was
    /// fired the event is set, or was consumed since.
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
        self.unlock(with(head, flags(word)));
    }

    /// Sets the event and fires the first waiter. If the waiter is in the batch then, the caller schedules
    /// it. That waiter looks whether the event is still there, and sets it again unless it uses it up.
    #[inline]
    pub(crate) fn set(&self, batch: &mut Batch) {
        let word = self.word.load(Ordering::Relaxed);
        let (empty, set) = (ptr::null_mut(), bare(SET));
        // Nobody waits: without a call. Releases what the caller did to `take` and `is_set`.
        if word != empty && word != set
            || self.word.compare_exchange(word, set, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            self.fire_first(batch);
        }
    }

    // Not inlined, nor is `fire_all`: the loops of workers and pollers keep their registers.
    #[inline(never)]
    fn fire_first(&self, batch: &mut Batch) {
        let Some(word) = self.set_unless_waited_for(SET) else { return };
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
        self.unlock(with(head, SET));
    }

    /// Sets the event and fires all waiters. The caller schedules the ones in the batch.
    pub(crate) fn set_all(&self, batch: &mut Batch) {
        self.fire_all(SET, batch);
    }

    /// Sets the event for good, and fires all waiters.
    pub(crate) fn set_for_good(&self, batch: &mut Batch) {
        self.fire_all(SET | STICKY, batch);
    }

    /// Sets the event for good, as far as is known, and fires all waiters: `unstick` may take the mark.
    pub(crate) fn mark(&self, marks: &Marks, batch: &mut Batch) {
        self.fire_all(SET | STICKY | marks.next(), batch);
    }

    #[inline(never)]
    fn fire_all(&self, new: usize, batch: &mut Batch) {
        let Some(word) = self.set_unless_waited_for(new) else { return };
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
        self.unlock(bare(new));
    }

    /// Sets the event to those flags and that number, unless somebody waits: then it locks the word and gives
    /// it as it was.
    #[inline]
    fn set_unless_waited_for(&self, new: usize) -> Option<*mut EventNode> {
        let mut word = self.word.load(Ordering::Relaxed);
        let mut turn = 0;
        loop {
            if flags(word) & LOCKED != 0 {
                spin(turn);
                turn += 1;
                word = self.word.load(Ordering::Relaxed);
                continue;
            }
            let waited_for = !first(word).is_null();
            let next = if waited_for {
                with(word, LOCKED)
            } else {
                // What is set for good stays so, with its mark unless this is a new one.
                let keeps = flags(word) & STICKY != 0 && (new == SET || word.addr() == SET | STICKY);
                if keeps { word } else { bare(new) }
            };
            // Acquires every listed node, and releases what the caller did to `take` and `is_set`.
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if waited_for => return Some(word),
                Ok(_) => return None,
                Err(now) => word = now,
            }
        }
    }

    /// Sets LOCKED once nobody else holds it and gives the word as it was; `None` as soon as the
    /// word is not `wanted`.
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

    /// Sets LOCKED if the word is still that one, which is not locked.
    fn try_lock(&self, word: *mut EventNode) -> bool {
        // Acquires every listed node; pairs with the releases of `list` and of unlocking.
        self.word.compare_exchange_weak(word, with(word, LOCKED), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Unlocks by storing that word. Pairs with the acquire of the next thread that locks, takes or looks.
    fn unlock(&self, word: *mut EventNode) {
        self.word.store(word, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
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

    /// Who has been fired.
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
    fn only_the_mark_that_was_seen_is_taken() {
        let (event, marks) = (Event::new(), Marks::new());
        let mark = || event.mark(&marks, &mut Batch::new());
        set(&event);
        let plain = event.take().expect("set");
        mark();
        assert!(!event.unstick(plain));
        let first = event.take().expect("marked");
        mark();
        assert!(!event.unstick(first));
        set(&event);
        let second = event.take().expect("marked");
        assert!(event.unstick(second) && !event.unstick(second));
        assert!(event.consume() && !event.consume());
        event.set_for_good(&mut Batch::new());
        mark();
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
    fn each_set_fires_the_waiter_that_came_first() {
        let event = Event::new();
        let (waiters, nodes) = listed(&event, 4);
        assert_eq!(set(&event), 1);
        assert!(event.is_set() && event.is_waited_for());
        assert_eq!(fired(&waiters), [0]);
        // SAFETY: the node outlives the event's use of it.
        assert!(!unsafe { event.enqueue(&nodes[0]) }, "one does not wait for what is set");
        assert!(event.consume() && !event.consume());
        // Set twice before anybody takes it: two are fired, and it can be taken once.
        assert_eq!(set(&event) + set(&event), 2);
        assert!(event.consume() && !event.consume());
        assert_eq!(fired(&waiters), [0, 1, 2]);
        event.set_for_good(&mut Batch::new());
        assert_eq!(fired(&waiters), [0, 1, 2, 3]);
        assert!(event.consume() && event.consume() && !event.is_waited_for());
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
        assert!(event.is_set() && !event.is_waited_for());
    }

    #[test]
    fn who_was_too_late_goes_first_next_time() {
        let event = Event::new();
        let (waiters, nodes) = listed(&event, 3);
        assert_eq!(set(&event), 1);
        assert!(event.consume(), "another one takes it");
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

    /// What was linear: listing and leaving, in the order in which they came, from either end and from
    /// within.
    #[test]
    fn leaving_does_not_depend_on_how_many_wait() {
        let cost = |count: usize, order: fn(usize, usize) -> usize| {
            let event = Event::new();
            let (_waiters, nodes) = listed(&event, count);
            let start = std::time::Instant::now();
            for i in 0..count {
                event.remove(&nodes[order(i, count)]);
            }
            assert!(!event.is_waited_for());
            start.elapsed().as_nanos() as f64 / count as f64
        };
        // A step that is coprime to the count leaves from all over the ring.
        for order in [|i, _| i, |i, n| n - 1 - i, |i, n| i * 7_919 % n] {
            let least = |count| (0..5).map(|_| cost(count, order)).fold(f64::INFINITY, f64::min);
            let (few, many) = (least(100), least(50_000));
            assert!(many < 20.0 * few.max(5.0), "{few} ns with 100 waiters, {many} ns with 50,000");
        }
    }

    /// Waiters come, are taken off and are fired on three threads; each set is taken once, and nobody is left
    /// behind.
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
        assert!(!event.is_waited_for() && taken.into_inner() <= SETS);
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

    /// One who was woken finds the event set, be it fired before it has parked or afterwards.
    #[test]
    fn who_was_woken_finds_it_set() {
        loom::model(|| {
            let world = Arc::new((Event::new(), Sleeper::new()));
            let theirs = world.clone();
            let setter = thread::spawn(move || set_and_wake(|batch| theirs.0.set_for_good(batch)));
            wait_for(&world.0, &world.1);
            assert!(world.0.is_set(), "woken by the event, which is not set");
            setter.join().unwrap();
        });
    }

    /// A token that ends one wait does not end the next one too, when it is consumed in between.
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

    /// A set is never lost: either the waiter is fired, or its enqueue is declined; and what the
    /// setter wrote is seen.
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
            // SAFETY: the event came, so the setter's write is done.
            world.data.with(|data| assert_eq!(unsafe { *data }, 7));
        });
    }

    /// After `remove` returns nobody touches the node, while a setter races with it.
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

    /// A socket as its readers see it: a queue of datagrams, and readiness that is told with each of them, as
    /// an edge; or its end.
    struct Socket {
        event: Event,
        datagrams: AtomicUsize,
    }

    impl Socket {
        fn new() -> Arc<Socket> {
            Arc::new(Socket { event: Event::new(), datagrams: AtomicUsize::new(0) })
        }

        /// That many arrive, and are told as one.
        fn arrive(&self, count: usize) {
            self.datagrams.fetch_add(count, Ordering::Relaxed);
            set_and_wake(|batch| self.event.set(batch));
        }

        /// As `descriptor::readiness::perform`, with a timeout that may pass before the wait. `None` after that,
        /// or after the end.
        fn receive(&self, sleeper: &Sleeper, times_out: bool) -> Option<()> {
            let mut woken = false;
            loop {
                if let Some(taken) = self.event.take() {
                    let one_less = |n: usize| n.checked_sub(1);
                    if self.datagrams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                        set_and_wake(|batch| self.event.set(batch));
                        return Some(());
                    }
                    if flags(taken.0) & STICKY != 0 {
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

    /// As `loom::model`, for three threads that wait for one another in loops: with so many preemptions at most,
    /// and longer runs.
    fn explore(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.max_branches = 20_000;
        model.check(f);
    }

    /// Two readers wait, and two datagrams are told as one: the reader that is woken wakes the other one.
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

    /// One of two readers times out while a datagram arrives: it takes it, or the other reader gets it.
    /// Without the wake-up the other one would sleep for ever, which loom reports.
    #[test]
    fn a_timeout_does_not_take_the_wake_up_with_it() {
        explore(2, || {
            let (socket, sleepers) = (Socket::new(), Arc::new([Sleeper::new(), Sleeper::new()]));
            let impatient = {
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
            impatient.join().unwrap();
            wire.join().unwrap();
            assert_eq!(socket.datagrams.load(Ordering::Relaxed), 0);
        });
    }

    /// The end comes while a datagram arrives: it wakes both readers, whichever of them takes the datagram.
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

    /// Three nodes, one of which leaves while a set fires the first: the ring stays whole, and nobody touches
    /// what has left.
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
                assert!(event.consume() && event.is_waited_for());
                // SAFETY: the waiters are alive.
                let cause =
                    |node: &EventNode| unsafe { node.ticket().fire(Cause::Timeout, &mut Batch::new()) };
                let lost = nodes.iter().filter(|node| cause(node) == Fired::Lost).count();
                assert_eq!(lost + usize::from(fired == Fired::Lost), 1, "one set fires one node");
                nodes.iter().for_each(|node| event.remove(node));
                assert!(!event.is_waited_for());
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

    /// A reader finds the present mark to be wrong and takes it, while the poller tells the end and another
    /// reader takes what is left and drains the source: the end's mark stays.
    #[test]
    fn a_mark_told_meanwhile_is_not_taken() {
        loom::model(|| {
            let world = Arc::new((Event::new(), Marks::new(), AtomicUsize::new(0)));
            world.0.mark(&world.1, &mut Batch::new());
            let poller = {
                let world = world.clone();
                thread::spawn(move || {
                    world.2.store(1, Ordering::Relaxed);
                    world.0.mark(&world.1, &mut Batch::new());
                })
            };
            let drainer = {
                let world = world.clone();
                thread::spawn(move || world.0.consume())
            };
            let taken = world.0.take().expect("marked from the start");
            if world.2.load(Ordering::Relaxed) == 0 {
                world.0.unstick(taken);
            }
            drainer.join().unwrap();
            poller.join().unwrap();
            assert!(world.0.consume() && world.0.consume(), "the end is told no more");
        });
    }
}
