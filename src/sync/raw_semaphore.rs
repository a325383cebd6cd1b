//! The semaphore without its guards: one atomic word, and a queue of waiters under a list lock.
//!
//! # The problem
//!
//! Each waiter wants a number of permits of its own. If small requests could always pass a large one, the
//! large one would starve. So the queue is strictly first in, first out, and permits that become available
//! belong to its first waiter. The uncontended case is one read-modify-write.
//!
//! # The states
//!
//! ```text
//!  63                              2        1         0
//! +---------------------------------+---------+--------+
//! |        available permits        | WAITERS | CLOSED |
//! +---------------------------------+---------+--------+
//!
//!  flags      the queue          acquire                                      release
//!  none       empty              takes the permits if there are enough        adds permits
//!  WAITERS    not empty          queues                                       adds permits, under the lock,
//!                                                                             and grants them to waiters
//!  CLOSED     empty, for good    is refused                                   adds permits
//!
//!  from       to        cause
//!  none       WAITERS   `enqueue`: too few permits, by a compare-and-swap from the word that showed this
//!  WAITERS    none      `grant`: no waiter is left
//!  any        CLOSED    `close`: all waiters are woken, without permits
//! ```
//!
//! - WAITERS is set if and only if the queue is not empty, and changes only under its lock. While it is set
//!   all other changes to the word are made under the lock, too: the available permits belong to the queue.
//! - While waiters queue, fewer permits are available than the first one wants. All others wait behind it,
//!   however few they want.
//! - A waiter that blocks its worker's thread (`blocks_thread`: a wait in a destructor while its coroutine
//!   unwinds) must not wait for a coroutine of that worker: that would be a deadlock. So it queues before all
//!   others; and when it comes it takes available permits, even though others queue.
//!
//! # Why no permit is lost
//!
//! `grant` takes the permits off the word for a waiter *before* it fires the waiter's ticket, and puts them
//! back if the ticket was lost to a timeout or a cancellation. A waiter that was granted permits has won its
//! wait, so it returns with them. A waiter whose wait ended otherwise leaves the queue (`dequeue`), which
//! grants what is available to the waiters behind it.
//!
//! A future that is dropped while it waits ends its wait in the same way (`end_wait`). If it was granted
//! permits and has not been polled since, the drop releases them.
//!
//! No release is missed: `enqueue` sets WAITERS by a compare-and-swap that fails if a release came since it
//! read the permits.
//!
//! *Orderings.* A release of permits releases what was done with them. A thread that takes permits off the
//! word acquires: for itself, or in `grant` for the waiter, which then sees it by its ticket. All changes of
//! the word are read-modify-writes, so permits of several releases come with what each of them has released.
//!
//! # What was rejected
//!
//! - *Barging, as with the mutex*: a large request could starve, as it needs many permits at the same time.
//!   So there are no two modes: the semaphore is always handed off.

use super::holder::HolderWord;
use crate::base::list_lock::ListLock;
use crate::base::sync::{AtomicUsize, Ordering, const_fn};
use crate::coroutine::{Batch, Facts, NodeState, Subject, WaitList, WaitNode, WaitReason, Why};
use crate::sched::{self, Cancel, Ended, Wait};
use std::cell::Cell;
use std::time::Instant;

/// All requests are refused.
const CLOSED: usize = 1;
/// The queue is not empty.
const WAITERS: usize = 1 << 1;
/// One permit.
const ONE: usize = 1 << SHIFT;
const SHIFT: u32 = 2;

/// The most permits that a semaphore can hold.
pub(super) const MAX_PERMITS: usize = usize::MAX >> 3;

/// A semaphore without guards.
#[derive(Debug)]
pub(super) struct RawSemaphore {
    word: AtomicUsize,
    queue: ListLock<WaitList<usize>>,
    /// How many permits there are, taken or not, for reports.
    total: std::sync::atomic::AtomicUsize,
    /// Who has taken permits last. A release clears it, so if there is one permit, and it is taken, this says
    /// who has taken it.
    taken_by: HolderWord,
}

/// Why permits were not acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too few are available.
    Short,
    /// The semaphore is closed.
    Closed,
}

// SAFETY: atomics only.
unsafe impl Subject for RawSemaphore {
    fn facts(&self) -> Facts {
        let available = self.available();
        Facts::Semaphore {
            at: std::ptr::from_ref(self).addr(),
            available,
            total: self.total.load(Ordering::Relaxed),
            taken_by: if available == 0 { self.taken_by.get() } else { None },
        }
    }
}

impl RawSemaphore {
    /// Counts permits that are new.
    pub(super) fn note_added(&self, permits: usize) {
        self.total.fetch_add(permits, Ordering::Relaxed);
    }

    /// Subtracts permits that were taken and will not be released.
    pub(super) fn note_forgotten(&self, permits: usize) {
        self.total.fetch_sub(permits, Ordering::Relaxed);
    }

    /// The caller has taken permits.
    #[inline]
    pub(super) fn note_taken(&self) {
        self.taken_by.set();
    }

    const_fn! {
        /// A semaphore with `permits` permits, at most [`MAX_PERMITS`].
        pub(super) fn new(permits: usize) -> RawSemaphore {
            RawSemaphore {
                word: AtomicUsize::new(permits << SHIFT),
                queue: ListLock::new(WaitList::new()),
                total: std::sync::atomic::AtomicUsize::new(permits),
                taken_by: HolderWord::new(),
            }
        }
    }

    pub(super) fn available(&self) -> usize {
        self.word.load(Ordering::Acquire) >> SHIFT
    }

    pub(super) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Takes the permits if they are available and nobody waits.
    pub(super) fn try_acquire(&self, permits: usize) -> Result<(), Refused> {
        self.try_acquire_unless(WAITERS, permits)
    }

    /// Takes the permits if they are available and none of the flags is set.
    fn try_acquire_unless(&self, flags: usize, permits: usize) -> Result<(), Refused> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            if word & flags != 0 || word >> SHIFT < permits {
                return Err(Refused::Short);
            }
            let next = word - permits * ONE;
            // Acquires what was done before the permits were released.
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Takes the permits, and waits for them if necessary; `Short` if the deadline passes. A cancellation
    /// unwinds out of this.
    pub(super) fn acquire(&self, permits: usize, deadline: Option<Instant>) -> Result<(), Refused> {
        match self.try_acquire(permits) {
            Err(Refused::Short) => self.wait(permits, deadline),
            other => other,
        }
    }

    #[cold]
    fn wait(&self, permits: usize, deadline: Option<Instant>) -> Result<(), Refused> {
        let enqueued = Cell::new(Err(Refused::Short));
        let ended = sched::wait_in(
            &self.queue,
            Wait {
                why: Why::new(WaitReason::Semaphore, self),
                deadline,
                cancel: Cancel::Obey,
                payload: permits,
            },
            |queue, node| {
                // SAFETY: `wait_in` keeps the node as `enqueue` requires.
                enqueued.set(unsafe { self.enqueue(queue, node) });
                enqueued.get() == Err(Refused::Short)
            },
            |queue, node, batch| self.dequeue(queue, node, batch),
        );
        match ended {
            Ended::NotListed => enqueued.get(),
            Ended::Handed => Ok(()),
            // `close` woke it.
            Ended::Woken => Err(Refused::Closed),
            Ended::Timeout => Err(Refused::Short),
            Ended::Cancelled => sched::unwind_cancelled(),
        }
    }

    /// Begins the wait of a future; otherwise as [`enqueue`](Self::enqueue), under the lock.
    ///
    /// # Safety
    ///
    /// As there, with [`end_wait`](Self::end_wait) for `remove`.
    pub(super) unsafe fn begin_wait(&self, node: &WaitNode<usize>) -> Result<(), Refused> {
        // SAFETY: as the caller says.
        unsafe { self.enqueue(&mut self.queue.lock(), node) }
    }

    /// Ends the wait of a future, which may not have ended by itself. Returns what it got: the permits; or a
    /// refusal, because the semaphore is closed; or nothing so far, and then others go on.
    pub(super) fn end_wait(&self, node: &WaitNode<usize>) -> Result<(), Refused> {
        let mut batch = Batch::new();
        let outcome = {
            let queue = &mut *self.queue.lock();
            match node.state() {
                NodeState::Handed => Ok(()),
                NodeState::Woken => Err(Refused::Closed),
                NodeState::Listed | NodeState::Unlisted => {
                    self.dequeue(queue, node, &mut batch);
                    Err(Refused::Short)
                }
            }
        };
        batch.wake();
        outcome
    }

    /// Adds permits, and grants them to waiters.
    pub(super) fn release(&self, permits: usize) {
        self.taken_by.clear();
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 {
            // Releases what was done with the permits to the next acquire.
            match self.word.compare_exchange_weak(
                word,
                more(word, permits),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        self.release_slow(permits);
    }

    #[cold]
    fn release_slow(&self, permits: usize) {
        let mut batch = Batch::new();
        self.add(permits, &mut batch);
        batch.wake();
    }

    /// Adds permits under the lock, and grants them to waiters.
    fn add(&self, permits: usize, batch: &mut Batch) {
        let queue = &mut *self.queue.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        // WAITERS may be gone by now; then other threads change the word without the lock.
        while let Err(now) =
            self.word.compare_exchange_weak(word, more(word, permits), Ordering::Release, Ordering::Relaxed)
        {
            word = now;
        }
        self.grant(queue, batch);
    }

    /// Refuses all waiting and all later requests.
    pub(super) fn close(&self) {
        let mut batch = Batch::new();
        let mut queue = self.queue.lock();
        self.word.fetch_or(CLOSED, Ordering::Release);
        queue.wake_all(&mut batch);
        self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        drop(queue);
        batch.wake();
    }

    /// Takes the permits that the node wants, or lists it (`Short`), or is refused (`Closed`).
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`], with [`dequeue`](Self::dequeue) for `remove`.
    unsafe fn enqueue(&self, queue: &mut WaitList<usize>, node: &WaitNode<usize>) -> Result<(), Refused> {
        loop {
            let word = self.word.load(Ordering::Relaxed);
            // A waiter that blocks its thread takes available permits before all waiters; the lock is held.
            let flags = if node.blocks_thread() { 0 } else { WAITERS };
            match self.try_acquire_unless(flags, *node.payload()) {
                Err(Refused::Short) => {}
                outcome => return outcome,
            }
            // The compare-and-swap fails if the word has changed since, so no release is missed.
            let short = word & (WAITERS | CLOSED) == 0 && word >> SHIFT < *node.payload();
            let set_waiters = || {
                let next = word | WAITERS;
                self.word.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            };
            if word & WAITERS != 0 || short && set_waiters() {
                // SAFETY: as the caller says.
                unsafe { queue.push(node) };
                return Err(Refused::Short);
            }
        }
    }

    /// Takes off the node of a wait that ended otherwise, and lets waiters behind it go on.
    fn dequeue(&self, queue: &mut WaitList<usize>, node: &WaitNode<usize>, batch: &mut Batch) {
        queue.remove(node);
        self.grant(queue, batch);
    }

    /// Grants the available permits to the first waiters, as far as they suffice.
    fn grant(&self, queue: &mut WaitList<usize>, batch: &mut Batch) {
        let fits = |node: &WaitNode<usize>| *node.payload() <= self.word.load(Ordering::Relaxed) >> SHIFT;
        let give = |node: &WaitNode<usize>| {
            // Acquires, for the waiter, what was done before the permits were released.
            self.word.fetch_sub(*node.payload() * ONE, Ordering::Acquire);
        };
        let undo = |node: &WaitNode<usize>, ()| {
            self.word.fetch_add(*node.payload() * ONE, Ordering::Relaxed);
        };
        while queue.hand_to_first_if(batch, fits, give, undo).is_some() {}
        if queue.is_empty() {
            self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        }
    }
}

/// The word with more permits.
///
/// # Panics
///
/// If there would be more than [`MAX_PERMITS`].
fn more(word: usize, permits: usize) -> usize {
    let now = word >> SHIFT;
    assert!(permits <= MAX_PERMITS - now, "a semaphore holds at most {MAX_PERMITS} permits");
    word + permits * ONE
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::coroutine::{Cause, Sleeper};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        semaphore: RawSemaphore,
        sleepers: [Sleeper; 3],
        data: [UnsafeCell<u32>; 2],
    }

    // SAFETY: each sleeper is one thread's; the models check that the accesses to `data` are ordered.
    unsafe impl Sync for World {}
    // SAFETY: as above.
    unsafe impl Send for World {}

    impl World {
        fn new(permits: usize) -> Arc<World> {
            let sleepers = [Sleeper::new(), Sleeper::new(), Sleeper::new()];
            let data = [UnsafeCell::new(0), UnsafeCell::new(0)];
            Arc::new(World { semaphore: RawSemaphore::new(permits), sleepers, data })
        }

        fn add(&self, index: usize) {
            // SAFETY: the caller has it for itself, which loom checks.
            self.data[index].with_mut(|data| unsafe { *data += 1 });
        }

        fn data(&self) -> [u32; 2] {
            // SAFETY: nobody changes it any more; loom checks it.
            self.data.each_ref().map(|data| data.with(|data| unsafe { *data }))
        }

        /// As `acquire`.
        fn acquire(&self, permits: usize, sleeper: usize) {
            let semaphore = &self.semaphore;
            if semaphore.try_acquire(permits).is_ok() {
                return;
            }
            let ticket = self.sleepers[sleeper].ticket();
            let node = WaitNode::new(ticket, permits);
            // SAFETY: the node stays until its ticket was fired from the list.
            if unsafe { semaphore.enqueue(&mut semaphore.queue.lock(), &node) } == Err(Refused::Short) {
                assert_eq!(self.sleepers[sleeper].sleep(ticket), Cause::Event);
                assert!(node.was_handed());
            }
        }
    }

    fn spawn(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || f(&world))
    }

    /// One permit, as a mutex: who has it sees what was done with it before.
    #[test]
    fn one_permit_excludes() {
        loom::model(|| {
            let world = World::new(1);
            let section = |world: &World, sleeper| {
                world.acquire(1, sleeper);
                world.add(0);
                world.semaphore.release(1);
            };
            let others = [0, 1].map(|sleeper| spawn(&world, move |world| section(world, sleeper)));
            section(&world, 2);
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(world.data(), [3, 0]);
        });
    }

    /// Permits of two threads: who gets both sees what each thread did before its release.
    #[test]
    fn permits_come_with_what_was_done_before() {
        loom::model(|| {
            let world = World::new(0);
            let others = [0, 1].map(|index| {
                spawn(&world, move |world| {
                    world.add(index);
                    world.semaphore.release(1);
                })
            });
            world.acquire(2, 0);
            assert_eq!(world.data(), [1, 1]);
            for other in others {
                other.join().unwrap();
            }
        });
    }

    /// A waiter that is about to queue misses no release, and permits are conserved.
    #[test]
    fn permits_come_and_go() {
        loom::model(|| {
            let world = World::new(1);
            let others = [
                spawn(&world, |world| {
                    world.acquire(1, 0);
                    world.semaphore.release(1);
                }),
                spawn(&world, |world| world.semaphore.release(1)),
            ];
            world.acquire(2, 1);
            world.semaphore.release(2);
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(world.semaphore.word.load(Ordering::Relaxed), 2 * ONE);
        });
    }

    /// A large request times out while a permit is released: the small one behind it gets that permit.
    #[test]
    fn the_first_waiter_times_out() {
        loom::model(|| {
            let world = World::new(0);
            let (semaphore, sleeper) = (&world.semaphore, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let node = WaitNode::new(ticket, 2);
            // SAFETY: the node leaves below unless its ticket was fired from the list.
            let enqueued = unsafe { semaphore.enqueue(&mut semaphore.queue.lock(), &node) };
            assert_eq!(enqueued, Err(Refused::Short));
            let small = spawn(&world, |world| world.acquire(1, 1));
            let releases = spawn(&world, |world| world.semaphore.release(1));
            assert!(sleeper.give_up(ticket), "there is never enough for it");
            let mut batch = Batch::new();
            semaphore.dequeue(&mut semaphore.queue.lock(), &node, &mut batch);
            batch.wake();
            small.join().unwrap();
            releases.join().unwrap();
            assert_eq!(semaphore.word.load(Ordering::Relaxed), 0);
        });
    }

    /// A waiter that blocks the thread which another waiter needs: it gets the first permits, and the other
    /// one runs only afterwards.
    #[test]
    fn a_waiter_that_blocks_its_thread_goes_first() {
        loom::model(|| {
            let world = World::new(1);
            let semaphore = &world.semaphore;
            let tickets = [0, 1].map(|i| world.sleepers[i].ticket());
            let nodes = [WaitNode::new(tickets[0], 3), WaitNode::new(tickets[1], 2).blocking_thread(true)];
            let releases = spawn(&world, |world| world.semaphore.release(1));
            // SAFETY: the nodes stay until their tickets were fired from the list.
            let [waits, blocks] =
                [0, 1].map(|i| unsafe { semaphore.enqueue(&mut semaphore.queue.lock(), &nodes[i]) });
            assert_eq!(waits, Err(Refused::Short));
            if blocks == Err(Refused::Short) {
                assert_eq!(world.sleepers[1].sleep(tickets[1]), Cause::Event);
                assert!(nodes[1].was_handed());
            }
            releases.join().unwrap();
            semaphore.release(3);
            assert_eq!(world.sleepers[0].sleep(tickets[0]), Cause::Event);
            assert!(nodes[0].was_handed());
            assert_eq!(semaphore.word.load(Ordering::Relaxed), 0);
        });
    }

    /// A waiter is about to queue while the semaphore is closed.
    #[test]
    fn nobody_waits_for_a_closed_semaphore() {
        loom::model(|| {
            let world = World::new(0);
            let closes = spawn(&world, |world| world.semaphore.close());
            let (semaphore, sleeper) = (&world.semaphore, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let node = WaitNode::new(ticket, 1);
            // SAFETY: the node stays until its ticket was fired from the list.
            if unsafe { semaphore.enqueue(&mut semaphore.queue.lock(), &node) } == Err(Refused::Short) {
                assert_eq!(sleeper.sleep(ticket), Cause::Event);
                assert!(!node.was_handed());
            }
            closes.join().unwrap();
            assert_eq!(semaphore.word.load(Ordering::Relaxed), CLOSED);
        });
    }
}
