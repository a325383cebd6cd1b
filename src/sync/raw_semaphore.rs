//! The semaphore's word, and the queue of those who wait for permits.
//!
//! ```text
//!  63                              2        1         0
//! +---------------------------------+---------+--------+
//! |         permits at hand         | WAITERS | CLOSED |
//! +---------------------------------+---------+--------+
//!
//!  flags      moves
//!  -          acquire: permits-n     release: permits+n     one who cannot have n lists itself -> WAITERS
//!  WAITERS    release: permits+n, and the first in the queue get theirs; none left -> -
//!  CLOSED     release: permits+n     acquire is refused; nobody waits
//! ```
//!
//! - WAITERS is set if and only if the queue is not empty, and changes only under its lock. With it set all
//!   other changes are made under the lock as well, so that the permits are the queue's.
//! - While somebody waits the permits at hand are fewer than the first one wants. Who stands behind it waits
//!   too, however little it wants: a large request is not starved by small ones.
//! - One who blocks a worker's thread while it waits (in a destructor, while its coroutine unwinds) is
//!   *urgent*: what it waits for must not be a coroutine of that very worker. So it stands before all
//!   others, and takes what is at hand for itself, whoever waits.
//! - Permits are taken for one who waits before its ticket is won, and put back if it is not. So who was
//!   chosen has them, and no cancellation or timeout loses any.

use crate::base::list_lock::ListLock;
use crate::base::sync::{AtomicUsize, Ordering, const_fn};
use crate::coroutine::{Batch, WaitList, WaitNode, WaitReason};
use crate::sched::{self, Cancel, Woken};
use std::cell::Cell;
use std::time::Instant;

const CLOSED: usize = 1;
const WAITERS: usize = 1 << 1;
const ONE: usize = 1 << SHIFT;
const SHIFT: u32 = 2;

/// The most permits that a semaphore can hold.
pub(super) const MAX_PERMITS: usize = usize::MAX >> 3;

/// A semaphore without guards.
#[derive(Debug)]
pub(super) struct RawSemaphore {
    word: AtomicUsize,
    queue: ListLock<WaitList>,
}

/// Why permits were not acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are too few now.
    Short,
    /// It is closed.
    Closed,
}

impl RawSemaphore {
    const_fn! {
        /// A semaphore with that many permits, at most [`MAX_PERMITS`].
        pub(super) fn new(permits: usize) -> RawSemaphore {
            RawSemaphore { word: AtomicUsize::new(permits << SHIFT), queue: ListLock::new(WaitList::new()) }
        }
    }

    pub(super) fn available(&self) -> usize {
        self.word.load(Ordering::Acquire) >> SHIFT
    }

    pub(super) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Takes that many permits if they are at hand and nobody waits.
    pub(super) fn try_acquire(&self, permits: usize) -> Result<(), Refused> {
        self.try_acquire_unless(WAITERS, permits)
    }

    /// Takes that many permits if they are at hand and that flag is not set.
    fn try_acquire_unless(&self, flag: usize, permits: usize) -> Result<(), Refused> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            if word & flag != 0 || word >> SHIFT < permits {
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

    /// Takes that many permits, waiting for them if need be; `Short` if the deadline passes. A cancellation
    /// unwinds out of this.
    pub(super) fn acquire(&self, permits: usize, deadline: Option<Instant>) -> Result<(), Refused> {
        match self.try_acquire(permits) {
            Err(Refused::Short) => self.wait(permits, deadline),
            other => other,
        }
    }

    #[cold]
    fn wait(&self, permits: usize, deadline: Option<Instant>) -> Result<(), Refused> {
        let joined = Cell::new(Err(Refused::Short));
        let (woken, chosen) = sched::wait_in(
            &self.queue,
            WaitReason::Semaphore,
            deadline,
            Cancel::Obey,
            permits,
            |queue, place| {
                // SAFETY: `wait_in` keeps the place as `join` wants it.
                joined.set(unsafe { self.join(queue, place) });
                joined.get() == Err(Refused::Short)
            },
            |queue, place, batch| self.leave(queue, place, batch),
        );
        match woken {
            Woken::Event if chosen => Ok(()),
            // Listed, and not chosen: disturbed by `close`.
            Woken::Event => joined.get().map_err(|_| Refused::Closed),
            Woken::Timeout => Err(Refused::Short),
            Woken::Cancelled => sched::unwind_cancelled(),
        }
    }

    /// Adds permits, and gives them to those who wait.
    pub(super) fn release(&self, permits: usize) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 {
            // Releases what was done with the permits to who takes them next.
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
        self.release_slowly(permits);
    }

    #[cold]
    fn release_slowly(&self, permits: usize) {
        let mut batch = Batch::new();
        self.add(permits, &mut batch);
        batch.wake();
    }

    /// Adds permits; who is to be woken goes into the batch.
    fn add(&self, permits: usize, batch: &mut Batch) {
        let queue = &mut *self.queue.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        // WAITERS may be gone by now; then others change the word as well.
        while let Err(now) =
            self.word.compare_exchange_weak(word, more(word, permits), Ordering::Release, Ordering::Relaxed)
        {
            word = now;
        }
        self.grant(queue, batch);
    }

    /// Refuses all further requests, and those that wait.
    pub(super) fn close(&self) {
        let mut batch = Batch::new();
        let mut queue = self.queue.lock();
        self.word.fetch_or(CLOSED, Ordering::Release);
        queue.disturb_all(&mut batch);
        self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        drop(queue);
        batch.wake();
    }

    /// Takes the permits that the place wants, or lists it (`Short`), or is refused.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`], with [`leave`](Self::leave) for `remove`.
    unsafe fn join(&self, queue: &mut WaitList, place: &WaitNode) -> Result<(), Refused> {
        loop {
            let word = self.word.load(Ordering::Relaxed);
            // Under the queue's lock the permits are those who wait's, and so are an urgent one's at once.
            let flag = if place.blocks_thread() { 0 } else { WAITERS };
            match self.try_acquire_unless(flag, place.want()) {
                Err(Refused::Short) => {}
                outcome => return outcome,
            }
            // Fails if the word has changed since, so that no release is missed in between.
            let short = word & (WAITERS | CLOSED) == 0 && word >> SHIFT < place.want();
            let marked = || {
                let mark = word | WAITERS;
                self.word.compare_exchange(word, mark, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            };
            if word & WAITERS != 0 || short && marked() {
                // SAFETY: as the caller says.
                unsafe { queue.push(place) };
                return Err(Refused::Short);
            }
        }
    }

    /// Takes a place off whose wait ended otherwise, and lets those go on that waited behind it.
    fn leave(&self, queue: &mut WaitList, place: &WaitNode, batch: &mut Batch) {
        queue.remove(place);
        self.grant(queue, batch);
    }

    /// Gives the permits at hand to the first in the queue, as far as they go.
    fn grant(&self, queue: &mut WaitList, batch: &mut Batch) {
        let fits = |place: &WaitNode| place.want() <= self.word.load(Ordering::Relaxed) >> SHIFT;
        let give = |place: &WaitNode| {
            // Acquires, for the one who waits, what was done before the permits were released.
            self.word.fetch_sub(place.want() * ONE, Ordering::Acquire);
        };
        let undo = |place: &WaitNode, ()| {
            self.word.fetch_add(place.want() * ONE, Ordering::Relaxed);
        };
        while queue.choose_fitting(batch, fits, give, undo).is_some() {}
        if queue.is_empty() {
            self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        }
    }
}

fn more(word: usize, permits: usize) -> usize {
    let now = word >> SHIFT;
    assert!(permits <= MAX_PERMITS - now, "a semaphore holds at most {MAX_PERMITS} permits");
    word + permits * ONE
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::coroutine::{Cause, Sleeper};
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        semaphore: RawSemaphore,
        sleepers: [Sleeper; 3],
    }

    // SAFETY: each sleeper is one thread's.
    unsafe impl Sync for World {}
    // SAFETY: as above.
    unsafe impl Send for World {}

    impl World {
        fn new(permits: usize) -> Arc<World> {
            let sleepers = [Sleeper::new(), Sleeper::new(), Sleeper::new()];
            Arc::new(World { semaphore: RawSemaphore::new(permits), sleepers })
        }

        /// As `acquire`.
        fn acquire(&self, permits: usize, sleeper: usize) {
            let semaphore = &self.semaphore;
            if semaphore.try_acquire(permits).is_ok() {
                return;
            }
            let ticket = self.sleepers[sleeper].ticket();
            let place = WaitNode::new(ticket, permits);
            // SAFETY: the place stays until its ticket was fired from the list.
            if unsafe { semaphore.join(&mut semaphore.queue.lock(), &place) } == Err(Refused::Short) {
                assert_eq!(self.sleepers[sleeper].sleep(ticket), Cause::Event);
                assert!(place.chosen());
            }
        }
    }

    fn spawn(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || f(&world))
    }

    /// No release is missed by one who is about to wait, and permits are conserved.
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

    /// A large request gives up while a permit comes back: the small one behind it gets that permit.
    #[test]
    fn one_at_the_head_gives_up() {
        loom::model(|| {
            let world = World::new(0);
            let (semaphore, sleeper) = (&world.semaphore, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let place = WaitNode::new(ticket, 2);
            // SAFETY: the place leaves below unless its ticket was fired from the list.
            let joined = unsafe { semaphore.join(&mut semaphore.queue.lock(), &place) };
            assert_eq!(joined, Err(Refused::Short));
            let small = spawn(&world, |world| world.acquire(1, 1));
            let releases = spawn(&world, |world| world.semaphore.release(1));
            assert!(sleeper.give_up(ticket), "there is never enough for it");
            let mut batch = Batch::new();
            semaphore.leave(&mut semaphore.queue.lock(), &place, &mut batch);
            batch.wake();
            small.join().unwrap();
            releases.join().unwrap();
            assert_eq!(semaphore.word.load(Ordering::Relaxed), 0);
        });
    }

    /// One that blocks the thread which another needs who waits: it gets the first permit, and the other one
    /// runs only afterwards.
    #[test]
    fn an_urgent_one_goes_first() {
        loom::model(|| {
            let world = World::new(1);
            let semaphore = &world.semaphore;
            let tickets = [0, 1].map(|i| world.sleepers[i].ticket());
            let places = [WaitNode::new(tickets[0], 3), WaitNode::new(tickets[1], 2).blocking_thread(true)];
            let releases = spawn(&world, |world| world.semaphore.release(1));
            // SAFETY: the places stay until their tickets were fired from the list.
            let [waits, urgent] =
                [0, 1].map(|i| unsafe { semaphore.join(&mut semaphore.queue.lock(), &places[i]) });
            assert_eq!(waits, Err(Refused::Short));
            if urgent == Err(Refused::Short) {
                assert_eq!(world.sleepers[1].sleep(tickets[1]), Cause::Event);
                assert!(places[1].chosen());
            }
            releases.join().unwrap();
            semaphore.release(3);
            assert_eq!(world.sleepers[0].sleep(tickets[0]), Cause::Event);
            assert!(places[0].chosen());
            assert_eq!(semaphore.word.load(Ordering::Relaxed), 0);
        });
    }

    /// One is about to wait while the semaphore is closed.
    #[test]
    fn nobody_waits_at_a_closed_one() {
        loom::model(|| {
            let world = World::new(0);
            let closes = spawn(&world, |world| world.semaphore.close());
            let (semaphore, sleeper) = (&world.semaphore, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let place = WaitNode::new(ticket, 1);
            // SAFETY: the place stays until its ticket was fired from the list.
            if unsafe { semaphore.join(&mut semaphore.queue.lock(), &place) } == Err(Refused::Short) {
                assert_eq!(sleeper.sleep(ticket), Cause::Event);
                assert!(!place.chosen());
            }
            closes.join().unwrap();
            assert_eq!(semaphore.word.load(Ordering::Relaxed), CLOSED);
        });
    }
}
