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
//! - Permits are taken for one who waits before its ticket is won, and put back if it is not. So who was
//!   chosen has them, and no cancellation or timeout loses any.

use crate::base::sync::{AtomicUsize, ListLock, Ordering, const_fn};
use crate::coroutine::{Batch, Place, WaitList, WaitReason};
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
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            if word & WAITERS != 0 || word >> SHIFT < permits {
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
            Woken::Cancelled => sched::raise(),
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
        sched::wake_all(&mut batch);
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
        sched::wake_all(&mut batch);
    }

    /// Takes the permits that the place wants, or lists it (`Short`), or is refused.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`], with [`leave`](Self::leave) for `remove`.
    unsafe fn join(&self, queue: &mut WaitList, place: &Place) -> Result<(), Refused> {
        loop {
            let word = self.word.load(Ordering::Relaxed);
            match self.try_acquire(place.want()) {
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
                unsafe { queue.push_back(place) };
                return Err(Refused::Short);
            }
        }
    }

    /// Takes a place off whose wait ended otherwise, and lets those go on that waited behind it.
    fn leave(&self, queue: &mut WaitList, place: &Place, batch: &mut Batch) {
        queue.remove(place);
        self.grant(queue, batch);
    }

    /// Gives the permits at hand to the first in the queue, as far as they go.
    fn grant(&self, queue: &mut WaitList, batch: &mut Batch) {
        let fits = |place: &Place| place.want() <= self.word.load(Ordering::Relaxed) >> SHIFT;
        let give = |place: &Place| {
            // Acquires, for the one who waits, what was done before the permits were released.
            self.word.fetch_sub(place.want() * ONE, Ordering::Acquire);
        };
        let undo = |place: &Place, ()| {
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
    use crate::coroutine::testing::{ticket_of, waiter};
    use crate::coroutine::{Cause, Fired, Park};
    use loom::sync::Arc;
    use loom::thread;

    /// As `acquire`, on a waiter that spins.
    fn acquire(semaphore: &RawSemaphore, permits: usize) {
        if semaphore.try_acquire(permits).is_ok() {
            return;
        }
        let waiter = waiter();
        let ticket = ticket_of(&waiter);
        let place = Place::new(ticket, permits);
        // SAFETY: the place stays until its ticket is fired.
        if unsafe { semaphore.join(&mut semaphore.queue.lock(), &place) } == Err(Refused::Short) {
            let _: Park = waiter.park(ticket, false);
            while waiter.cause(ticket).is_none() {
                thread::yield_now();
            }
            assert!(place.chosen());
        }
    }

    /// As `release`, without scheduling anybody.
    fn release(semaphore: &RawSemaphore, permits: usize) {
        let word = semaphore.word.load(Ordering::Relaxed);
        let quick = word & WAITERS == 0
            && semaphore
                .word
                .compare_exchange(word, more(word, permits), Ordering::Release, Ordering::Relaxed)
                .is_ok();
        if !quick {
            semaphore.add(permits, &mut Batch::new());
        }
    }

    /// No release is missed by one who is about to wait, and permits are conserved.
    #[test]
    fn permits_come_and_go() {
        loom::model(|| {
            let semaphore = Arc::new(RawSemaphore::new(1));
            let others = [1, 1].map(|permits| {
                let semaphore = semaphore.clone();
                thread::spawn(move || {
                    acquire(&semaphore, permits);
                    release(&semaphore, permits);
                })
            });
            semaphore.add(1, &mut Batch::new());
            acquire(&semaphore, 2);
            release(&semaphore, 2);
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(semaphore.word.load(Ordering::Relaxed), 2 * ONE);
        });
    }

    /// A large request gives up while a permit comes back: the small one behind it gets that permit.
    #[test]
    fn one_at_the_head_gives_up() {
        loom::model(|| {
            let semaphore = Arc::new(RawSemaphore::new(0));
            let waiter = waiter();
            let ticket = ticket_of(&waiter);
            let place = Place::new(ticket, 2);
            // SAFETY: the place leaves below unless its ticket was fired from the list.
            let joined = unsafe { semaphore.join(&mut semaphore.queue.lock(), &place) };
            assert_eq!(joined, Err(Refused::Short));
            let small = {
                let semaphore = semaphore.clone();
                thread::spawn(move || acquire(&semaphore, 1))
            };
            let releases = {
                let semaphore = semaphore.clone();
                thread::spawn(move || release(&semaphore, 1))
            };
            // SAFETY: the waiter is alive; the batch is thrown away.
            assert_ne!(unsafe { ticket.fire(Cause::Timeout, &mut Batch::new()) }, Fired::Lost);
            semaphore.leave(&mut semaphore.queue.lock(), &place, &mut Batch::new());
            small.join().unwrap();
            releases.join().unwrap();
            assert_eq!(semaphore.word.load(Ordering::Relaxed), 0);
        });
    }
}
