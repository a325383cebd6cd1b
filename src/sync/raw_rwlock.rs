//! The readers-writer lock without its data: one word, and the queues of those who wait.
//!
//! ```text
//!  63                              2        1         0
//! +---------------------------------+---------+--------+
//! |             readers             | WAITERS | WRITER |
//! +---------------------------------+---------+--------+
//!
//!  word        state               moves
//!  0           free                read -> r=1      write -> WRITER
//!  r           read by r           read -> r+1      unlock -> r-1    a writer lists itself -> r WAITERS
//!  WRITER      written             unlock -> 0      anybody lists itself -> WRITER WAITERS
//!  r WAITERS   read; some wait     unlock -> r-1 WAITERS, and the last one settles
//!  WRITER      written; some       unlock settles
//!    WAITERS     wait
//!  WAITERS     free for a moment   whoever made it so settles, under the queues' lock
//! ```
//!
//! - Without WAITERS each taking and each release is one read-modify-write and nothing else.
//! - WAITERS is set if and only if a queue is not empty, and changes only under the queues' lock. With it
//!   set nobody takes the lock by itself: it is handed over (`settle`), or an urgent reader takes it
//!   (`join`), under the queues' lock. So the only changes from outside are readers that leave, and a word
//!   without holders is stable.
//! - Readers wait only while the lock is written or a writer waits.
//!
//! # Fairness
//!
//! The lock is handed over in turns: a writer that leaves hands it to *all* readers that wait by then; the
//! last reader that leaves hands it to the first writer. A reader that comes while a writer waits joins the
//! queue. So neither side starves: a reader waits for the readers who have the lock and for one writer; a
//! writer for the holders, and for each writer before it together with one turn of readers. (Phase-fair
//! locks, Brandenburg and Anderson 2010; Go's `RWMutex` takes the same turns.)
//!
//! One who blocks a worker's thread while it waits (in a destructor, while its coroutine unwinds) is
//! *urgent*: what it waits for must not be a coroutine of that very worker. It waits before all others, the
//! lock is handed to urgent ones first, whoever's turn it is, and an urgent reader does not wait for
//! writers that wait.
//!
//! One who is handed the lock has it: it was chosen, its ticket won under the queues' lock, so no
//! cancellation or timeout gives the lock to somebody who is gone.

use super::spin_for;
use crate::base::sync::{AtomicUsize, ListLock, Ordering, const_fn};
use crate::coroutine::{Batch, Place, WaitList, WaitReason};
use crate::sched::{self, Cancel, Woken};

const WRITER: usize = 1;
const WAITERS: usize = 1 << 1;
const READER: usize = 1 << 2;
const READERS: usize = !(WRITER | WAITERS);
const MAX: usize = usize::MAX / 2;

/// A readers-writer lock without data.
#[derive(Debug)]
pub(super) struct RawRwLock {
    word: AtomicUsize,
    queues: ListLock<Queues>,
}

/// Those who wait.
#[derive(Debug)]
pub(super) struct Queues {
    readers: WaitList,
    writers: WaitList,
}

/// What one wants the lock for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl Access {
    /// The word once this was added to it; `None` if it has to wait.
    #[inline]
    fn added(self, word: usize) -> Option<usize> {
        match self {
            Access::Read if word & (WRITER | WAITERS) == 0 => {
                assert!(word < MAX, "too many readers");
                Some(word + READER)
            }
            Access::Write if word == 0 => Some(WRITER),
            _ => None,
        }
    }

    fn queue(self, queues: &mut Queues) -> &mut WaitList {
        match self {
            Access::Read => &mut queues.readers,
            Access::Write => &mut queues.writers,
        }
    }
}

impl RawRwLock {
    const_fn! {
        /// A free lock.
        pub(super) fn new() -> RawRwLock {
            RawRwLock {
                word: AtomicUsize::new(0),
                queues: ListLock::new(Queues { readers: WaitList::new(), writers: WaitList::new() }),
            }
        }
    }

    /// Takes the lock if that needs no wait.
    #[inline]
    pub(super) fn try_lock(&self, access: Access) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while let Some(next) = access.added(word) {
            // Acquires what earlier holders did: pairs with the releases of `unlock` and `downgrade`.
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Takes the lock, waiting for it if need be. A cancellation unwinds out of this.
    #[inline]
    pub(super) fn lock(&self, access: Access) {
        if !self.try_lock(access) {
            self.lock_slowly(access);
        }
    }

    #[cold]
    fn lock_slowly(&self, access: Access) {
        let free = || match self.word.load(Ordering::Relaxed) {
            word if word & WAITERS != 0 => Some(false),
            word => access.added(word).and_then(|_| self.try_lock(access).then_some(true)),
        };
        if spin_for(free) {
            return;
        }
        let reason = match access {
            Access::Read => WaitReason::RwLockRead,
            Access::Write => WaitReason::RwLockWrite,
        };
        let (woken, _) = sched::wait_in(
            &self.queues,
            reason,
            None,
            Cancel::Obey,
            0,
            // SAFETY: `wait_in` keeps the place as `join` wants it.
            |queues, place| unsafe { self.join(access, queues, place) },
            |queues, place, batch| self.leave(access, queues, place, batch),
        );
        if woken != Woken::Event {
            sched::raise();
        }
    }

    /// Releases the lock.
    #[inline]
    pub(super) fn unlock(&self, access: Access) {
        let settle = match access {
            // Releases what the holder did, here and below, to those who take the lock later.
            Access::Read => self.word.fetch_sub(READER, Ordering::Release) == READER | WAITERS,
            Access::Write => {
                self.word.compare_exchange(WRITER, 0, Ordering::Release, Ordering::Relaxed).is_err()
            }
        };
        if settle {
            self.unlock_slowly(access);
        }
    }

    #[cold]
    fn unlock_slowly(&self, access: Access) {
        let mut batch = Batch::new();
        self.pass_on(access, &mut batch);
        sched::wake_all(&mut batch);
    }

    /// Hands the lock over that was released under WAITERS; who is to be woken goes into the batch.
    fn pass_on(&self, access: Access, batch: &mut Batch) {
        let queues = &mut *self.queues.lock();
        match access {
            Access::Read => self.settle(Access::Write, queues, batch),
            Access::Write => {
                self.word.fetch_and(!WRITER, Ordering::Release);
                self.settle(Access::Read, queues, batch);
            }
        }
    }

    /// Turns the writer's hold into a reader's.
    pub(super) fn downgrade(&self) {
        if self.word.compare_exchange(WRITER, READER, Ordering::Release, Ordering::Relaxed).is_ok() {
            return;
        }
        let mut batch = Batch::new();
        let mut queues = self.queues.lock();
        self.word.fetch_add(READER - WRITER, Ordering::Release);
        self.settle(Access::Read, &mut queues, &mut batch);
        drop(queues);
        sched::wake_all(&mut batch);
    }

    /// Takes the lock or lists the place: true if it was listed.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`], with [`leave`](Self::leave) for `remove`.
    unsafe fn join(&self, access: Access, queues: &mut Queues, place: &Place) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let added = match access {
                // Beside the readers that there are, whoever waits.
                Access::Read if place.is_urgent() => {
                    access.added(word & !WAITERS).map(|next| next | word & WAITERS)
                }
                _ => access.added(word),
            };
            let next = added.unwrap_or(word | WAITERS);
            if word == next {
                break;
            }
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if added.is_some() => return false,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        // SAFETY: as the caller says.
        unsafe { access.queue(queues).push(place) };
        true
    }

    /// Takes a place off whose wait ended otherwise, and lets those go on that waited because of it.
    fn leave(&self, access: Access, queues: &mut Queues, place: &Place, batch: &mut Batch) {
        access.queue(queues).remove(place);
        self.settle(Access::Write, queues, batch);
    }

    /// Hands the lock to those who can have it now: the first writer if there is no holder, all readers if
    /// there is no writer, and if both can, those whose `turn` it is. Under the queues' lock.
    fn settle(&self, turn: Access, queues: &mut Queues, batch: &mut Batch) {
        self.admit_urgent(queues, batch);
        if self.word.load(Ordering::Relaxed) & WRITER == 0 {
            if turn == Access::Read {
                self.admit_readers(queues, batch);
            }
            // The last reader that leaves after this look settles again.
            if self.word.load(Ordering::Relaxed) & READERS == 0 {
                self.admit_writer(queues, batch);
            }
            let written = self.word.load(Ordering::Relaxed) & WRITER != 0;
            if !written && queues.writers.is_empty() {
                self.admit_readers(queues, batch);
            }
        }
        if queues.readers.is_empty() && queues.writers.is_empty() {
            self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        }
    }

    /// Hands the lock to urgent ones that can have it now: all readers if there is no writer, else a writer
    /// if there is no holder.
    fn admit_urgent(&self, queues: &mut Queues, batch: &mut Batch) {
        if self.word.load(Ordering::Relaxed) & WRITER == 0 {
            self.admit_readers_that(Place::is_urgent, queues, batch);
            if self.word.load(Ordering::Relaxed) & READERS == 0 {
                self.admit_writer_that(Place::is_urgent, queues, batch);
            }
        }
    }

    fn admit_readers(&self, queues: &mut Queues, batch: &mut Batch) {
        self.admit_readers_that(|_| true, queues, batch);
    }

    fn admit_readers_that(&self, fits: fn(&Place) -> bool, queues: &mut Queues, batch: &mut Batch) {
        // Counted before the ticket is won, as the reader may go on, and leave, at once. Acquires for the
        // reader what earlier holders did.
        let give = |_: &Place| {
            self.word.fetch_add(READER, Ordering::Acquire);
        };
        let undo = |_: &Place, ()| {
            self.word.fetch_sub(READER, Ordering::Relaxed);
        };
        while queues.readers.choose_fitting(batch, fits, give, undo).is_some() {}
    }

    fn admit_writer(&self, queues: &mut Queues, batch: &mut Batch) {
        self.admit_writer_that(|_| true, queues, batch);
    }

    fn admit_writer_that(&self, fits: fn(&Place) -> bool, queues: &mut Queues, batch: &mut Batch) {
        let give = |_: &Place| {
            self.word.fetch_or(WRITER, Ordering::Acquire);
        };
        let undo = |_: &Place, ()| {
            self.word.fetch_and(!WRITER, Ordering::Relaxed);
        };
        queues.writers.choose_fitting(batch, fits, give, undo);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::coroutine::{Cause, Sleeper};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        lock: RawRwLock,
        data: UnsafeCell<u32>,
        sleepers: [Sleeper; 3],
    }

    // SAFETY: the model checks that the accesses to `data` are ordered; each sleeper is one thread's.
    unsafe impl Sync for World {}
    // SAFETY: as above.
    unsafe impl Send for World {}

    impl World {
        fn new() -> Arc<World> {
            let sleepers = [Sleeper::new(), Sleeper::new(), Sleeper::new()];
            Arc::new(World { lock: RawRwLock::new(), data: UnsafeCell::new(0), sleepers })
        }

        /// As `lock_slowly`.
        fn lock(&self, access: Access, sleeper: usize) {
            if self.lock.try_lock(access) {
                return;
            }
            let ticket = self.sleepers[sleeper].ticket();
            let place = Place::new(ticket, 0);
            // SAFETY: the place stays until its ticket was fired from the list.
            if unsafe { self.lock.join(access, &mut self.lock.queues.lock(), &place) } {
                assert_eq!(self.sleepers[sleeper].sleep(ticket), Cause::Event);
            }
        }

        fn section(&self, access: Access, sleeper: usize) {
            self.lock(access, sleeper);
            match access {
                // SAFETY: under the lock, which is what the model checks.
                Access::Write => self.data.with_mut(|data| unsafe { *data += 1 }),
                // SAFETY: as above.
                Access::Read => self.data.with(|data| assert!(unsafe { *data } <= 2)),
            }
            self.lock.unlock(access);
        }
    }

    fn spawn(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || f(&world))
    }

    fn sections(of: [Access; 3]) {
        loom::model(move || {
            let world = World::new();
            let others = [0, 1].map(|i| spawn(&world, move |world| world.section(of[i], i)));
            world.section(of[2], 2);
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(world.lock.word.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    fn a_writer_and_two_readers() {
        sections([Access::Read, Access::Read, Access::Write]);
    }

    #[test]
    fn two_writers_and_a_reader() {
        sections([Access::Write, Access::Read, Access::Write]);
    }

    /// A reader that blocks the thread which a waiting writer needs gets the lock before it, whether it comes
    /// before the holder has left or afterwards.
    fn an_urgent_one_goes_first(holds: Access, waits: Access, urgent: Access) {
        loom::model(move || {
            let world = World::new();
            assert!(world.lock.try_lock(holds));
            let ticket = world.sleepers[0].ticket();
            let place = Place::new(ticket, 0);
            // SAFETY: the place stays until its ticket was fired from the list.
            assert!(unsafe { world.lock.join(waits, &mut world.lock.queues.lock(), &place) });
            let urgent_ticket = world.sleepers[1].ticket();
            let urgent_place = Place::urgent(urgent_ticket, 0);
            // SAFETY: as above.
            let listed = unsafe { world.lock.join(urgent, &mut world.lock.queues.lock(), &urgent_place) };
            assert_eq!(listed, holds == Access::Write || urgent == Access::Write);
            let holder = spawn(&world, move |world| world.lock.unlock(holds));
            if listed {
                assert_eq!(world.sleepers[1].sleep(urgent_ticket), Cause::Event);
            }
            world.lock.unlock(urgent);
            // Only now does the other one run.
            assert_eq!(world.sleepers[0].sleep(ticket), Cause::Event);
            world.lock.unlock(waits);
            holder.join().unwrap();
            assert_eq!(world.lock.word.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    fn an_urgent_reader_goes_before_a_writer() {
        an_urgent_one_goes_first(Access::Read, Access::Write, Access::Read);
        an_urgent_one_goes_first(Access::Write, Access::Write, Access::Read);
    }

    #[test]
    fn an_urgent_writer_goes_before_others() {
        an_urgent_one_goes_first(Access::Write, Access::Read, Access::Write);
        an_urgent_one_goes_first(Access::Read, Access::Write, Access::Write);
    }

    /// A writer gives up while the reader that it waits for leaves, and a reader waits behind it.
    #[test]
    fn a_writer_gives_up() {
        loom::model(|| {
            let world = World::new();
            assert!(world.lock.try_lock(Access::Read));
            let others = [
                spawn(&world, |world| world.lock.unlock(Access::Read)),
                spawn(&world, |world| world.section(Access::Read, 1)),
            ];
            let (lock, sleeper) = (&world.lock, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let place = Place::new(ticket, 0);
            // SAFETY: the place leaves below unless its ticket was fired from the list.
            let listed = unsafe { lock.join(Access::Write, &mut lock.queues.lock(), &place) };
            if listed && sleeper.give_up(ticket) {
                let mut batch = Batch::new();
                lock.leave(Access::Write, &mut lock.queues.lock(), &place, &mut batch);
                sched::wake_all(&mut batch);
            } else {
                lock.unlock(Access::Write);
            }
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(lock.word.load(Ordering::Relaxed), 0);
        });
    }
}
