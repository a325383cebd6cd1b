//! The readers-writer lock without its data: one word, and the queues of those who wait.
//!
//! ```text
//!  63                    3         2       1      0
//! +-----------------------+---------+------+--------+
//! |        readers        | HANDOFF | WAKE | WRITER |
//! +-----------------------+---------+------+--------+
//!
//!  word          state                                     moves
//!  0             free                                      read -> r=1      write -> WRITER
//!  r             read by r; nobody is in the queues, or    read -> r+1      unlock -> r-1
//!                some are on their way                     a writer lists itself -> r WAKE
//!  WRITER        written; likewise                         unlock -> 0      downgrade -> r=1
//!                                                          anybody lists itself -> WRITER WAKE
//!  r WAKE        read; some are in the queues, nobody is   unlock -> r-1 WAKE
//!                on its way                                who comes lists itself
//!  WRITER WAKE   written; likewise                         unlock -> WAKE   downgrade -> r=1 WAKE
//!  WAKE          free; whoever released it is about to     read -> r=1 WAKE      write -> WRITER WAKE
//!                look at the queues                        pass_on -> 0
//!  .. WAKE       held, and handed over when it is          unlock -> the same, until nobody holds it
//!     HANDOFF    released
//!  WAKE HANDOFF  nobody's; whoever released it is about    pass_on -> r or WRITER, with the flags that
//!                to hand it over                           those who still wait leave
//! ```
//!
//! - Each taking and each release is one read-modify-write. If nobody holds the lock after a release, and
//!   the word is not 0, the one who released it goes on to `pass_on`. All other changes are made under the
//!   queues' lock; WAKE and HANDOFF change only there.
//! - WAKE is set if somebody is in a queue and nobody is *on its way*, that is, was woken without the lock
//!   and has neither taken it nor come back to its queue. HANDOFF, always together with WAKE, is set if one
//!   in a queue is urgent or starves (both below). With HANDOFF nobody takes the lock by itself, save the
//!   urgent, under the queues' lock.
//! - The flags are set only by the compare-and-swap that finds the lock held, by a holder, or where HANDOFF
//!   is set already. So the last holder finds them when it leaves, and comes to `pass_on`.
//!
//! So nobody is left behind. While somebody is in a queue, one of these holds: some are on their way; or the
//! lock is held under WAKE; or the one who released it is between `unlock` and the queues' lock. `pass_on`
//! leaves some on their way, or holders, or empty queues. The last of those on their way sets WAKE again if
//! somebody is in a queue, as it takes the lock, or in the compare-and-swap that shows it that the lock is
//! held. And readers are in the queue only while the lock is written or a writer waits: when that ends
//! without a release (a writer gives up, or the last one on its way arrives) they are woken
//! (`wake_idle_readers`).
//!
//! # Fairness
//!
//! Handing the lock to those who wait makes all others wait until they run. So normally `pass_on` wakes
//! them and leaves the lock free: after a writer all readers that wait, after readers the first writer; and
//! the other kind if there is none of the one. They compete with whoever comes by, and who is overtaken goes
//! back to the front. While some are on their way nobody else needs to be woken, and the others take and
//! release the lock at the price of an uncontended one. Readers that come do not join those who read while
//! a writer is in the queue and nobody on its way, so that there is a last reader, who wakes it.
//!
//! That alone can starve one of them. So **one that was overtaken and has waited for longer than
//! [`STARVATION_THRESHOLD`]** (one millisecond, from the time it came) *starves*, **and while one who starves is in a
//! queue the lock is handed over in turns**: a writer that leaves hands it to *all* readers that wait by
//! then; the last reader that leaves hands it to the first writer; and who comes joins a queue. So a reader
//! that starves waits for the holders and for one writer; a writer that starves for the holders and one turn
//! of readers, and for each writer that starves and is before it, with its turn of readers. (Phase-fair
//! locks, Brandenburg and Anderson 2010.) The clock is read only by those who wait.
//!
//! One who blocks a worker's thread while it waits (in a destructor, while its coroutine unwinds) is
//! *urgent*: what it waits for must not be a coroutine of that very worker. It waits before all others, and
//! with HANDOFF, so that the lock is handed to it and not left to those on their way. The lock is handed to
//! urgent ones first, whoever's turn it is, and an urgent reader does not wait for writers that wait.
//!
//! One who is handed the lock has it, and one who is on its way arrives: its ticket was won under the queues'
//! lock, so no cancellation or timeout gives the lock, or the wake-up, to somebody who is gone.

use super::{STARVATION_THRESHOLD, spin_for};
use crate::base::list_lock::ListLock;
use crate::base::sync::{AtomicUsize, Ordering, const_fn};
use crate::coroutine::{Batch, WaitList, WaitNode, WaitReason};
use crate::sched::{self, Cancel, Woken};
use std::time::Instant;

const WRITER: usize = 1;
const WAKE: usize = 1 << 1;
const HANDOFF: usize = 1 << 2;
const FLAGS: usize = WAKE | HANDOFF;
const READER: usize = 1 << 3;
const READERS: usize = !(WRITER | FLAGS);
const MAX: usize = usize::MAX / 2;

/// What a place wants whose owner has lost its patience.
const STARVED: usize = 1;

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
    /// How many were woken, and have neither taken the lock nor gone back to their queue.
    on_their_way: usize,
    /// How many in the queues have lost their patience.
    starved: usize,
}

impl Queues {
    fn are_empty(&self) -> bool {
        self.readers.is_empty() && self.writers.is_empty()
    }

    /// WAKE and HANDOFF as they have to be.
    fn flags(&self) -> usize {
        let urgent = |list: &WaitList| list.first().is_some_and(WaitNode::blocks_thread);
        if self.starved > 0 || urgent(&self.readers) || urgent(&self.writers) {
            WAKE | HANDOFF
        } else if !self.are_empty() && self.on_their_way == 0 {
            WAKE
        } else {
            0
        }
    }

    fn wake_readers(&mut self, batch: &mut Batch) {
        self.on_their_way += self.readers.disturb_all(batch);
    }

    fn wake_writer(&mut self, batch: &mut Batch) {
        self.on_their_way += usize::from(self.writers.disturb_first(batch));
    }
}

/// What one wants the lock for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Who wants the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// One who has just come.
    Newcomer,
    /// One who was woken.
    Woken,
    /// One who blocks the thread of a worker.
    Urgent,
}

impl Access {
    /// The word once this was added to it; `None` if it has to wait.
    #[inline]
    fn added(self, word: usize, who: Who) -> Option<usize> {
        let handed_over = if who == Who::Urgent { 0 } else { HANDOFF };
        match self {
            Access::Read => {
                let behind_writers = who == Who::Newcomer && word & READERS != 0;
                let refused = WRITER | handed_over | if behind_writers { WAKE } else { 0 };
                assert!(word < MAX, "too many readers");
                (word & refused == 0).then_some(word + READER)
            }
            Access::Write => (word & (WRITER | READERS | handed_over) == 0).then_some(word | WRITER),
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
                queues: ListLock::new(Queues {
                    readers: WaitList::new(),
                    writers: WaitList::new(),
                    on_their_way: 0,
                    starved: 0,
                }),
            }
        }
    }

    /// Takes the lock if that needs no wait.
    #[inline]
    pub(super) fn try_lock(&self, access: Access) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        // As `added`, in one comparison, where nobody waits.
        let (refused, unit) = match access {
            Access::Read => (WRITER | FLAGS | !MAX, READER),
            Access::Write => (!0, WRITER),
        };
        let next = word.wrapping_add(unit);
        // Acquires what earlier holders did: pairs with the releases of `unlock` and `downgrade`.
        word & refused == 0
            && self.word.compare_exchange(word, next, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.take_or_flag(access, Who::Newcomer, 0)
    }

    /// Takes the lock if it can be had; otherwise sets the flags, so that whoever has it finds them. Flags
    /// are set under the queues' lock.
    fn take_or_flag(&self, access: Access, who: Who, flags: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let added = access.added(word, who);
            let next = added.unwrap_or(word | flags);
            if next == word {
                return false;
            }
            // As in `try_lock`.
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return added.is_some(),
                Err(now) => word = now,
            }
        }
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
        if self.try_for_a_moment(access, Who::Newcomer) {
            return;
        }
        let reason = match access {
            Access::Read => WaitReason::RwLockRead,
            Access::Write => WaitReason::RwLockWrite,
        };
        let since = Instant::now();
        // Once it was woken and overtaken: whether it has waited for longer than its patience.
        let mut starved = None;
        loop {
            let mut listed = false;
            let (woken, given) = sched::wait_in(
                &self.queues,
                reason,
                None,
                Cancel::Obey,
                if starved == Some(true) { STARVED } else { 0 },
                |queues, place| {
                    // SAFETY: `wait_in` keeps the place as `join` and `come_back` want it.
                    listed = unsafe {
                        match starved {
                            None => self.join(access, queues, place),
                            Some(_) => self.come_back(access, queues, place),
                        }
                    };
                    listed
                },
                |queues, place, batch| self.leave(access, queues, place, batch),
            );
            match woken {
                Woken::Event if given || !listed && starved.is_none() => return,
                Woken::Event => {
                    // `come_back` has taken it, or nobody has.
                    let taken = !listed || self.try_for_a_moment(access, Who::Woken);
                    if self.arrive_and_wake(access, taken) {
                        return;
                    }
                    starved = Some(since.elapsed() > STARVATION_THRESHOLD);
                }
                Woken::Timeout | Woken::Cancelled => sched::unwind_cancelled(),
            }
        }
    }

    /// Takes the lock if it can be had within a moment.
    fn try_for_a_moment(&self, access: Access, who: Who) -> bool {
        spin_for(|| {
            let word = self.word.load(Ordering::Relaxed);
            if access.added(word, who).is_some() && self.take_or_flag(access, who, 0) {
                return Some(true);
            }
            (word & HANDOFF != 0).then_some(false)
        })
    }

    /// Releases the lock.
    #[inline]
    pub(super) fn unlock(&self, access: Access) {
        // Releases what the holder did to those who take the lock later.
        let left = match access {
            Access::Read => self.word.fetch_sub(READER, Ordering::Release) - READER,
            Access::Write => self.word.fetch_sub(WRITER, Ordering::Release) - WRITER,
        };
        if left != 0 && left & READERS == 0 {
            self.unlock_slowly(access);
        }
    }

    #[cold]
    fn unlock_slowly(&self, access: Access) {
        let turn = match access {
            Access::Read => Access::Write,
            Access::Write => Access::Read,
        };
        let mut batch = Batch::new();
        self.pass_on(turn, &mut self.queues.lock(), &mut batch);
        batch.wake();
    }

    /// Turns the writer's hold into a reader's.
    pub(super) fn downgrade(&self) {
        let word = self.word.fetch_add(READER - WRITER, Ordering::Release);
        if word != WRITER {
            let mut batch = Batch::new();
            self.pass_on(Access::Read, &mut self.queues.lock(), &mut batch);
            batch.wake();
        }
    }

    /// Sees to those who wait, after the lock was released under WAKE; who is to be woken goes into the
    /// batch. If both can go on, those go whose `turn` it is.
    fn pass_on(&self, turn: Access, queues: &mut Queues, batch: &mut Batch) {
        let word = self.word.load(Ordering::Relaxed);
        if word & HANDOFF != 0 {
            self.hand_over(turn, queues, batch);
        } else if queues.on_their_way == 0 {
            if turn == Access::Read {
                queues.wake_readers(batch);
            }
            // Readers that overtake a writer whose turn it is not will leave under WAKE in their turn.
            if queues.on_their_way == 0 && (turn == Access::Write || word & READERS == 0) {
                queues.wake_writer(batch);
            }
            if queues.on_their_way == 0 {
                queues.wake_readers(batch);
            }
        }
        self.update(queues);
    }

    /// Brings WAKE and HANDOFF in line with the queues, from which something went.
    fn update(&self, queues: &Queues) {
        self.word.fetch_and(!FLAGS | queues.flags(), Ordering::Relaxed);
    }

    /// One who comes takes the lock or lists its place: true if it was listed.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`], with [`leave`](Self::leave) for `remove`.
    unsafe fn join(&self, access: Access, queues: &mut Queues, place: &WaitNode) -> bool {
        let (who, flags) = match () {
            () if place.blocks_thread() => (Who::Urgent, WAKE | HANDOFF),
            () if queues.on_their_way > 0 => (Who::Newcomer, 0),
            () => (Who::Newcomer, WAKE),
        };
        if self.take_or_flag(access, who, flags) {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe { access.queue(queues).push(place) };
        true
    }

    fn arrive_and_wake(&self, access: Access, taken: bool) -> bool {
        let mut batch = Batch::new();
        let taken = self.arrive(access, &mut self.queues.lock(), taken, &mut batch);
        batch.wake();
        taken
    }

    /// One who was woken takes the lock, if it has not `taken` it already; whether it has it. If not, it is
    /// on its way still.
    fn arrive(&self, access: Access, queues: &mut Queues, taken: bool, batch: &mut Batch) -> bool {
        debug_assert!(queues.on_their_way > 0, "only who was woken arrives");
        if !taken && !self.take_or_flag(access, Who::Woken, 0) {
            return false;
        }
        queues.on_their_way -= 1;
        self.wake_idle_readers(queues, batch);
        // The caller has the lock, and will find what is set here.
        self.word.fetch_or(queues.flags(), Ordering::Relaxed);
        true
    }

    /// One who was woken lists its place as the first: true if it was listed. If not, it has taken the lock,
    /// and is on its way still.
    ///
    /// # Safety
    ///
    /// As for [`join`](Self::join).
    unsafe fn come_back(&self, access: Access, queues: &mut Queues, place: &WaitNode) -> bool {
        let starved = place.want() == STARVED;
        let flags = match () {
            () if starved => WAKE | HANDOFF,
            () if queues.on_their_way > 1 => 0,
            () => WAKE,
        };
        if self.take_or_flag(access, Who::Woken, flags) {
            return false;
        }
        queues.on_their_way -= 1;
        queues.starved += usize::from(starved);
        // SAFETY: as the caller says.
        unsafe { access.queue(queues).push_first(place) };
        true
    }

    /// Takes a place off whose wait ended otherwise, and lets those go on that waited because of it.
    fn leave(&self, access: Access, queues: &mut Queues, place: &WaitNode, batch: &mut Batch) {
        if access.queue(queues).remove(place) {
            queues.starved -= usize::from(place.want() == STARVED);
        }
        if self.word.load(Ordering::Relaxed) & HANDOFF != 0 {
            self.hand_over(Access::Write, queues, batch);
        } else {
            self.wake_idle_readers(queues, batch);
        }
        self.update(queues);
    }

    /// Wakes the readers if there is no writer for whom they would wait.
    fn wake_idle_readers(&self, queues: &mut Queues, batch: &mut Batch) {
        let free = self.word.load(Ordering::Relaxed) & (WRITER | HANDOFF) == 0;
        if free && queues.on_their_way == 0 && queues.writers.is_empty() {
            queues.wake_readers(batch);
        }
    }

    /// Hands the lock to those who can have it now: the first writer if there is no holder, all readers if
    /// there is no writer, and if both can, those whose `turn` it is. Under the queues' lock, and with
    /// HANDOFF, so that nobody else takes it.
    fn hand_over(&self, turn: Access, queues: &mut Queues, batch: &mut Batch) {
        self.admit_urgent(queues, batch);
        if self.word.load(Ordering::Relaxed) & WRITER == 0 {
            if turn == Access::Read {
                self.admit_readers(queues, batch);
            }
            // The last reader that leaves after this look comes to `pass_on`.
            if self.word.load(Ordering::Relaxed) & READERS == 0 {
                self.admit_writer(queues, batch);
            }
            let written = self.word.load(Ordering::Relaxed) & WRITER != 0;
            if !written && queues.writers.is_empty() {
                self.admit_readers(queues, batch);
            }
        }
    }

    /// Hands the lock to urgent ones that can have it now: all readers if there is no writer, else a writer
    /// if there is no holder.
    fn admit_urgent(&self, queues: &mut Queues, batch: &mut Batch) {
        if self.word.load(Ordering::Relaxed) & WRITER == 0 {
            self.admit_readers_that(WaitNode::blocks_thread, queues, batch);
            if self.word.load(Ordering::Relaxed) & READERS == 0 {
                self.admit_writer_that(WaitNode::blocks_thread, queues, batch);
            }
        }
    }

    fn admit_readers(&self, queues: &mut Queues, batch: &mut Batch) {
        self.admit_readers_that(|_| true, queues, batch);
    }

    fn admit_readers_that(&self, fits: fn(&WaitNode) -> bool, queues: &mut Queues, batch: &mut Batch) {
        // Counted before the ticket is won, as the reader may go on, and leave, at once. Acquires for the
        // reader what earlier holders did.
        let mut give = |place: &WaitNode| {
            queues.starved -= usize::from(place.want() == STARVED);
            self.word.fetch_add(READER, Ordering::Acquire);
        };
        let undo = |_: &WaitNode, ()| {
            self.word.fetch_sub(READER, Ordering::Relaxed);
        };
        while queues.readers.choose_fitting(batch, fits, &mut give, undo).is_some() {}
    }

    fn admit_writer(&self, queues: &mut Queues, batch: &mut Batch) {
        self.admit_writer_that(|_| true, queues, batch);
    }

    fn admit_writer_that(&self, fits: fn(&WaitNode) -> bool, queues: &mut Queues, batch: &mut Batch) {
        let give = |place: &WaitNode| {
            queues.starved -= usize::from(place.want() == STARVED);
            self.word.fetch_or(WRITER, Ordering::Acquire);
        };
        let undo = |_: &WaitNode, ()| {
            self.word.fetch_and(!WRITER, Ordering::Relaxed);
        };
        queues.writers.choose_fitting(batch, fits, give, undo);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::coroutine::{Cause, Sleeper, Ticket};
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

        /// As `lock_slowly`, by one that has lost its patience or has not.
        fn lock(&self, access: Access, sleeper: usize, starved: bool) {
            if self.lock.try_lock(access) {
                return;
            }
            let ticket = self.sleepers[sleeper].ticket();
            let place = WaitNode::new(ticket, 0);
            // SAFETY: the place stays until its ticket was fired from the list.
            if unsafe { self.lock.join(access, &mut self.lock.queues.lock(), &place) } {
                self.wait(access, sleeper, ticket, &place, starved);
            }
        }

        /// What `lock_slowly` does once it is listed.
        fn wait(&self, access: Access, sleeper: usize, ticket: Ticket, place: &WaitNode, starved: bool) {
            let (lock, sleeper) = (&self.lock, &self.sleepers[sleeper]);
            assert_eq!(sleeper.sleep(ticket), Cause::Event);
            if place.chosen() {
                return;
            }
            let mut taken = lock.take_or_flag(access, Who::Woken, 0);
            while !lock.arrive_and_wake(access, taken) {
                let ticket = sleeper.ticket();
                let place = WaitNode::new(ticket, usize::from(starved));
                // SAFETY: the place stays until its ticket was fired from the list.
                let listed = unsafe { lock.come_back(access, &mut lock.queues.lock(), &place) };
                if listed {
                    assert_eq!(sleeper.sleep(ticket), Cause::Event);
                    if place.chosen() {
                        return;
                    }
                }
                taken = !listed || lock.take_or_flag(access, Who::Woken, 0);
            }
        }

        fn visit_and_unlock(&self, access: Access) {
            match access {
                // SAFETY: under the lock, which is what the model checks.
                Access::Write => self.data.with_mut(|data| unsafe { *data += 1 }),
                // SAFETY: as above.
                Access::Read => self.data.with(|data| assert!(unsafe { *data } <= 4)),
            }
            self.lock.unlock(access);
        }

        fn section(&self, access: Access, sleeper: usize, starved: bool) {
            self.lock(access, sleeper, starved);
            self.visit_and_unlock(access);
        }

        /// Once all have been joined.
        fn assert_free(&self) {
            assert_eq!(self.lock.word.load(Ordering::Relaxed), 0);
            let queues = self.lock.queues.lock();
            assert!(queues.are_empty() && queues.on_their_way == 0 && queues.starved == 0);
        }
    }

    fn spawn(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || f(&world))
    }

    use Access::{Read, Write};

    /// All are there at once; those that are woken and overtaken starve, or do not.
    fn sections(of: [Access; 3]) {
        for starved in [false, true] {
            loom::model(move || {
                let world = World::new();
                let others = [0, 1].map(|i| spawn(&world, move |world| world.section(of[i], i, starved)));
                world.section(of[2], 2, starved);
                for other in others {
                    other.join().unwrap();
                }
                world.assert_free();
            });
        }
    }

    #[test]
    fn a_writer_and_two_readers() {
        sections([Read, Read, Write]);
    }

    #[test]
    fn two_writers_and_a_reader() {
        sections([Write, Read, Write]);
    }

    /// A holder leaves and comes back without waiting while another waits: it may overtake, and may leave
    /// without a look while that one is on its way, which gets in all the same.
    #[test]
    fn one_who_is_overtaken_gets_in() {
        for (holds, again, waits) in [(Write, Write, Write), (Write, Write, Read), (Read, Read, Write)] {
            for starved in [false, true] {
                loom::model(move || {
                    let world = World::new();
                    assert!(world.lock.try_lock(holds));
                    let holder = spawn(&world, move |world| {
                        world.visit_and_unlock(holds);
                        for _ in 0..2 {
                            if world.lock.try_lock(again) {
                                world.visit_and_unlock(again);
                            }
                        }
                    });
                    world.section(waits, 0, starved);
                    holder.join().unwrap();
                    world.assert_free();
                });
            }
        }
    }

    /// Readers are woken by a writer that leaves; one takes the lock while another is still to come, and a
    /// writer waits: nobody is left behind.
    #[test]
    fn readers_that_are_woken_and_a_writer() {
        for starved in [false, true] {
            loom::model(move || {
                let world = World::new();
                assert!(world.lock.try_lock(Write));
                let tickets = [0, 1].map(|i| world.sleepers[i].ticket());
                let places = tickets.map(|ticket| WaitNode::new(ticket, 0));
                for place in &places {
                    // SAFETY: the place stays until its ticket was fired from the list.
                    assert!(unsafe { world.lock.join(Read, &mut world.lock.queues.lock(), place) });
                }
                world.visit_and_unlock(Write);
                assert_eq!(world.lock.queues.lock().on_their_way, 2);
                let other = world.clone();
                let [here, there] = places;
                let (ours, theirs) = (tickets[0], tickets[1]);
                let reader = thread::spawn(move || {
                    let world = other;
                    world.wait(Read, 1, theirs, &there, starved);
                    world.visit_and_unlock(Read);
                });
                let writer = spawn(&world, move |world| world.section(Write, 2, starved));
                world.wait(Read, 0, ours, &here, starved);
                world.visit_and_unlock(Read);
                reader.join().unwrap();
                writer.join().unwrap();
                world.assert_free();
            });
        }
    }

    /// One that was woken finds the lock held again, and starves: the lock is handed to it, and who comes
    /// from then on does not get before it.
    #[test]
    fn one_that_starves_is_not_overtaken_again() {
        for (waits, overtakes, comes) in [(Write, Read, Read), (Read, Write, Write), (Write, Write, Write)] {
            loom::model(move || {
                let world = World::new();
                let (lock, sleeper) = (&world.lock, &world.sleepers[0]);
                assert!(lock.try_lock(overtakes));
                let ticket = sleeper.ticket();
                let place = WaitNode::new(ticket, STARVED);
                let mut queues = lock.queues.lock();
                // It is as if it had been woken.
                queues.on_their_way = 1;
                // SAFETY: the place stays until its ticket was fired from the list.
                assert!(unsafe { lock.come_back(waits, &mut queues, &place) });
                drop(queues);
                let inside = Arc::new(std::sync::atomic::AtomicBool::new(false));
                let theirs = inside.clone();
                let newcomer = spawn(&world, move |world| {
                    world.lock(comes, 1, false);
                    assert!(theirs.load(Ordering::Relaxed), "it came before the one that starves");
                    world.visit_and_unlock(comes);
                });
                world.visit_and_unlock(overtakes);
                assert_eq!(sleeper.sleep(ticket), Cause::Event);
                assert!(place.chosen(), "it is handed the lock");
                inside.store(true, Ordering::Relaxed);
                world.visit_and_unlock(waits);
                newcomer.join().unwrap();
                world.assert_free();
            });
        }
    }

    /// One that blocks the thread which a waiting one needs gets the lock before it, whether that one waits
    /// in a queue or is on its way.
    fn an_urgent_one_goes_first(holds: Access, waits: Access, urgent: Access) {
        for waiter_in_flight in [false, true] {
            loom::model(move || {
                let world = World::new();
                let lock = &world.lock;
                assert!(lock.try_lock(holds));
                let ticket = world.sleepers[0].ticket();
                let place = WaitNode::new(ticket, 0);
                // SAFETY: the place stays until its ticket was fired from the list.
                assert!(unsafe { lock.join(waits, &mut lock.queues.lock(), &place) });
                if waiter_in_flight {
                    lock.unlock(holds);
                    assert!(lock.try_lock(holds), "it overtakes");
                }
                let urgent_ticket = world.sleepers[1].ticket();
                let urgent_place = WaitNode::new(urgent_ticket, 0).blocking_thread(true);
                // SAFETY: as above.
                let listed = unsafe { lock.join(urgent, &mut lock.queues.lock(), &urgent_place) };
                assert_eq!(listed, holds == Write || urgent == Write);
                let holder = spawn(&world, move |world| world.visit_and_unlock(holds));
                if listed {
                    assert_eq!(world.sleepers[1].sleep(urgent_ticket), Cause::Event);
                    assert!(urgent_place.chosen(), "it is handed the lock");
                }
                world.visit_and_unlock(urgent);
                // Only now does the other one run.
                world.wait(waits, 0, ticket, &place, false);
                world.visit_and_unlock(waits);
                holder.join().unwrap();
                world.assert_free();
            });
        }
    }

    #[test]
    fn an_urgent_reader_goes_before_a_writer() {
        an_urgent_one_goes_first(Read, Write, Read);
        an_urgent_one_goes_first(Write, Write, Read);
    }

    #[test]
    fn an_urgent_writer_goes_before_others() {
        an_urgent_one_goes_first(Write, Read, Write);
        an_urgent_one_goes_first(Read, Write, Write);
    }

    /// A writer gives up while the reader that it waits for leaves, and a reader waits behind it.
    #[test]
    fn a_writer_gives_up() {
        for starved in [false, true] {
            loom::model(move || {
                let world = World::new();
                assert!(world.lock.try_lock(Read));
                let (lock, sleeper) = (&world.lock, &world.sleepers[0]);
                let ticket = sleeper.ticket();
                let place = WaitNode::new(ticket, usize::from(starved));
                let mut queues = lock.queues.lock();
                // It is as if it had been woken, and overtaken.
                queues.on_their_way = 1;
                // SAFETY: the place leaves below unless its ticket was fired from the list.
                assert!(unsafe { lock.come_back(Write, &mut queues, &place) });
                drop(queues);
                let others = [
                    spawn(&world, |world| world.visit_and_unlock(Read)),
                    spawn(&world, |world| world.section(Read, 1, false)),
                ];
                if sleeper.give_up(ticket) {
                    let mut batch = Batch::new();
                    lock.leave(Write, &mut lock.queues.lock(), &place, &mut batch);
                    batch.wake();
                } else {
                    world.wait(Write, 0, ticket, &place, starved);
                    world.visit_and_unlock(Write);
                }
                for other in others {
                    other.join().unwrap();
                }
                world.assert_free();
            });
        }
    }

    /// A writer gives up while a reader holds the lock and goes on holding it until one that came after the
    /// writer reads as well.
    #[test]
    fn readers_do_not_wait_for_one_another() {
        loom::model(|| {
            let world = World::new();
            assert!(world.lock.try_lock(Read));
            let (lock, sleeper) = (&world.lock, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let place = WaitNode::new(ticket, 0);
            // SAFETY: the place leaves below.
            assert!(unsafe { lock.join(Write, &mut lock.queues.lock(), &place) });
            let reader = spawn(&world, |world| world.section(Read, 1, false));
            assert!(sleeper.give_up(ticket), "nobody wakes it");
            let mut batch = Batch::new();
            lock.leave(Write, &mut lock.queues.lock(), &place, &mut batch);
            batch.wake();
            reader.join().unwrap();
            world.visit_and_unlock(Read);
            world.assert_free();
        });
    }
}
