//! Something that comes about, and those who wait for it: one word.
//!
//! An [`Event`] is a socket's readiness in one direction, a coroutine's end, a park token. It is
//! empty, set, or holds the list of its waiters; a node of the list lives on the waiter's own stack.
//!
//! ```text
//!  word                     state       moves
//!  null                     empty       set -> set             enqueue -> waiting
//!  null | SET               set         consume -> empty       enqueue is declined
//!  null | SET | STICKY | n  set for good, with the mark n: consume leaves it, unstick(n) -> set
//!  node                     waiting     enqueue -> waiting (pushes in front)
//!                                       set -> locked -> set, all nodes fired
//!                                       remove -> locked -> waiting or empty
//!  node | LOCKED            locked      by one `set` or `remove` for a few instructions; all others spin
//! ```
//!
//! - SET implies that no node is listed. The place of the address is then the number of a mark.
//! - `mark` replaces the number. So `unstick`, which takes what a reader has found to be wrong, takes
//!   that very mark and none that was told since, whoever else reads and whatever they have taken. The
//!   number 0 is that of `set_for_good`: it is neither replaced nor taken.
//! - A node may be touched by others from its `enqueue` until it was fired or `remove` has returned.
//!   Both happen under LOCKED, so the owner of a node whose wait ended otherwise calls `remove`
//!   before its frame goes.
//! - `set` fires before it stores SET, as the nodes may be gone once it has. So one who was fired before it
//!   had parked may be up while the word is LOCKED still. It calls `remove` as well, which waits for the
//!   end of that: afterwards the event is set, unless somebody has consumed it.
//! - `set` is a read-modify-write even when the word is set already. A reader consumes readiness and
//!   then asks the kernel; a poller hears from the kernel and then sets. With a plain load in `set`
//!   the poller could see the old SET, the reader the old state of the socket, and the readiness
//!   would be lost (store buffering). As read-modify-writes of one word they are ordered: either
//!   `consume` comes second and synchronizes with `set`, or SET remains.

use super::waiter::{Batch, Cause, Ticket};
use crate::base::prefetch::prefetch;
use crate::base::sync::{AtomicPtr, AtomicUsize, Ordering, spin};
use std::ptr;

const LOCKED: usize = 1;
const SET: usize = 1 << 1;
const STICKY: usize = 1 << 2;
const FLAGS: usize = LOCKED | SET | STICKY;
/// The first bit of a mark's number.
const NUMBER: usize = FLAGS + 1;

/// What `take` has taken, or looked at: the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken(*mut Node);

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

/// A waiter's place in an event's list, on the stack of the one who waits.
#[derive(Debug)]
#[repr(align(8))]
pub(crate) struct Node {
    ticket: Ticket,
    next: AtomicPtr<Node>,
}

impl Node {
    /// A node that is in no list.
    pub(crate) fn new(ticket: Ticket) -> Self {
        Node { ticket, next: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The ticket that is fired from it.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }
}

/// One word: empty, set, or those who wait.
#[derive(Debug)]
pub(crate) struct Event {
    word: AtomicPtr<Node>,
}

fn flags(word: *mut Node) -> usize {
    word.addr() & FLAGS
}

fn list(word: *mut Node) -> *mut Node {
    word.map_addr(|addr| if addr & SET != 0 { 0 } else { addr & !FLAGS })
}

fn with(word: *mut Node, flags: usize) -> *mut Node {
    word.map_addr(|addr| addr | flags)
}

impl Event {
    /// An empty event.
    pub(crate) fn new() -> Self {
        Event { word: AtomicPtr::new(ptr::null_mut()) }
    }

    /// An event that is set.
    pub(crate) fn new_set() -> Self {
        Event { word: AtomicPtr::new(with(ptr::null_mut(), SET)) }
    }

    /// Asks for the memory of the one who came last of those who wait.
    #[inline]
    pub(crate) fn prefetch_waiter(&self) {
        prefetch(list(self.word.load(Ordering::Relaxed)).cast_const().cast(), 1);
    }

    /// Whether it is set. Pairs with the release of `set`.
    pub(crate) fn is_set(&self) -> bool {
        flags(self.word.load(Ordering::Acquire)) & SET != 0
    }

    /// Takes the event: true if it was set. One that is set for good stays.
    #[inline]
    pub(crate) fn consume(&self) -> bool {
        self.take().is_some()
    }

    /// As `consume`, and tells what was taken.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            match flags(word) {
                now if now & STICKY != 0 => return Some(Taken(word)),
                now if now & SET == 0 => return None,
                // Acquires what the setter did, and orders the caller's syscall after this.
                _ => match self.word.compare_exchange_weak(
                    word,
                    ptr::null_mut(),
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
        let set = with(ptr::null_mut(), SET);
        let numbered = flags(taken.0) & STICKY != 0 && taken.0.addr() >= NUMBER;
        numbered && self.word.compare_exchange(taken.0, set, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Lists a node, unless the event is set: then false, and the node is not listed.
    ///
    /// # Safety
    ///
    /// The node stays where it is, and its ticket's waiter alive, until the node was fired or
    /// [`remove`](Self::remove) has returned. It is in no list.
    pub(crate) unsafe fn enqueue(&self, node: &Node) -> bool {
        let mut turn = 0;
        loop {
            let word = self.word.load(Ordering::Acquire);
            if flags(word) & SET != 0 {
                return false;
            }
            if flags(word) & LOCKED == 0 {
                node.next.store(list(word), Ordering::Relaxed);
                let front = ptr::from_ref(node).cast_mut();
                // Releases the node to whoever locks the list.
                if self.word.compare_exchange_weak(word, front, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    return true;
                }
            }
            spin(turn);
            turn += 1;
        }
    }

    /// Takes a node off the list if it is still there. Afterwards nobody touches the node, and if it was
    /// fired the event is set, or was consumed since.
    pub(crate) fn remove(&self, node: &Node) {
        let Some(word) = self.lock(|word| !list(word).is_null()) else { return };
        let target = ptr::from_ref(node).cast_mut();
        let mut head = list(word);
        if head == target {
            head = node.next.load(Ordering::Relaxed);
        } else {
            let mut at = head;
            while !at.is_null() {
                // SAFETY: listed nodes are alive, and their links ours while we hold LOCKED.
                let here = unsafe { &*at };
                let next = here.next.load(Ordering::Relaxed);
                if next == target {
                    here.next.store(node.next.load(Ordering::Relaxed), Ordering::Relaxed);
                    break;
                }
                at = next;
            }
        }
        // Unlocks: pairs with the acquire of the next one to lock or enqueue.
        self.word.store(head, Ordering::Release);
    }

    /// Sets the event and fires all who wait; those to be scheduled go into the batch.
    #[inline]
    pub(crate) fn set(&self, batch: &mut Batch) {
        self.set_flags(SET, batch);
    }

    /// Sets the event for good.
    pub(crate) fn set_for_good(&self, batch: &mut Batch) {
        self.set_flags(SET | STICKY, batch);
    }

    /// Sets the event for good, as far as is known: `unstick` may take the mark.
    pub(crate) fn mark(&self, marks: &Marks, batch: &mut Batch) {
        self.set_flags(SET | STICKY | marks.next(), batch);
    }

    fn set_flags(&self, new: usize, batch: &mut Batch) {
        let mut word = self.word.load(Ordering::Relaxed);
        while list(word).is_null() && flags(word) & LOCKED == 0 {
            let keeps = new == SET || word.addr() == SET | STICKY;
            let next = with(if keeps { word } else { ptr::null_mut() }, if keeps { SET } else { new });
            match self.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        match self.lock(|word| !list(word).is_null()) {
            Some(word) => {
                let mut at = list(word);
                while !at.is_null() {
                    // SAFETY: listed nodes are alive while we hold LOCKED.
                    let (ticket, next) = unsafe { ((*at).ticket, (*at).next.load(Ordering::Relaxed)) };
                    // SAFETY: the waiter is alive for as long as its node is listed. After this the
                    // node may be gone, which is why its link was read before.
                    let _ = unsafe { ticket.fire(Cause::Event, batch) };
                    at = next;
                }
                // Unlocks and publishes: pairs with the acquire in `consume` and `is_set`.
                self.word.store(with(ptr::null_mut(), new), Ordering::Release);
            }
            None => self.set_flags(new, batch),
        }
    }

    /// Sets LOCKED once nobody else holds it and gives the word as it was; `None` as soon as the
    /// word is not `wanted`.
    fn lock(&self, wanted: impl Fn(*mut Node) -> bool) -> Option<*mut Node> {
        let mut turn = 0;
        loop {
            let word = self.word.load(Ordering::Acquire);
            if flags(word) & LOCKED == 0 {
                if !wanted(word) {
                    return None;
                }
                let locked = with(word, LOCKED);
                // Acquires every listed node; pairs with the releases of `enqueue` and of unlocking.
                if self.word.compare_exchange_weak(word, locked, Ordering::AcqRel, Ordering::Relaxed).is_ok()
                {
                    return Some(word);
                }
            }
            spin(turn);
            turn += 1;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::waiter::Park;
    use crate::coroutine::waiter::testing::{ticket_of, waiter};

    fn set(event: &Event) -> usize {
        let mut batch = Batch::new();
        event.set(&mut batch);
        batch.len()
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
        let waiters: Vec<_> = (0..3).map(|_| waiter()).collect();
        let nodes: Vec<_> = waiters.iter().map(|w| Node::new(ticket_of(w))).collect();
        for (node, waiter) in nodes.iter().zip(&waiters) {
            // SAFETY: nodes and waiters outlive the event's use of them.
            assert!(unsafe { event.enqueue(node) });
            assert_eq!(waiter.park(ticket_of(waiter), false), Park::Parked);
        }
        event.remove(&nodes[1]);
        event.remove(&nodes[1]);
        assert_eq!(set(&event), 2);
        // SAFETY: as above.
        assert!(!unsafe { event.enqueue(&nodes[0]) });
        assert!(event.consume());
    }

    #[test]
    fn removal_from_either_end_keeps_the_rest() {
        for victim in 0..3 {
            let event = Event::new();
            let waiters: Vec<_> = (0..3).map(|_| waiter()).collect();
            let nodes: Vec<_> = waiters.iter().map(|w| Node::new(ticket_of(w))).collect();
            for (node, waiter) in nodes.iter().zip(&waiters) {
                // SAFETY: nodes and waiters outlive the event's use of them.
                assert!(unsafe { event.enqueue(node) });
                assert_eq!(waiter.park(ticket_of(waiter), false), Park::Parked);
            }
            event.remove(&nodes[victim]);
            assert_eq!(set(&event), 2);
            for (i, waiter) in waiters.iter().enumerate() {
                assert_eq!(ticket_of(waiter).epoch() != 0, i != victim);
            }
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
        let node = Node::new(ticket);
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
            let node = Node::new(ticket);
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
                let node = Box::new(Node::new(ticket));
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
