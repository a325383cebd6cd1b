//! The mutex without its data: one word, and the queue of those who wait.
//!
//! ```text
//!  word     state                             moves
//!  0        free                              try_lock -> L
//!  L        held                              unlock -> 0      join -> L W
//!  L W      held; some wait, or one is on     unlock -> W      released, and one is on its way
//!           its way, or all have left         unlock -> L W    reserved for the one on its way
//!                                             unlock -> 0      all have left
//!                                             unlock -> L W    handed over to an urgent one
//!  W        free; one is on its way           try_lock -> L W  it is overtaken
//!                                             arrive -> L W, or L if nobody else waits
//! ```
//!
//! - `try_lock` sets L and `unlock` of a word `L` clears it, each with one read-modify-write and nothing
//!   else. All other changes are made under the queue's lock; W is changed only there.
//! - While both L and W are set the word is stable for whoever holds the queue's lock and the mutex:
//!   `try_lock` declines, and W needs the queue's lock. So `unlock` may store.
//! - While somebody is in the queue or on its way, W is set. And while somebody is in the queue, L is set or
//!   one is on its way: a holder finds W when it unlocks, and the one on its way takes the mutex or lists
//!   itself under L. So nobody is left behind.
//!
//! # Fairness
//!
//! Handing the mutex to the first in the queue at each unlock is fair and slow: every section then costs a
//! switch, during which the mutex is held by somebody who does not run. So `unlock` releases it, and the
//! first of the queue, woken, competes with whoever comes by; if it is overtaken it goes back to the front.
//! That alone can starve it: hence the count. **While somebody waits the mutex is released into the open
//! at most [`PASSES`] times in a row; the next `unlock` keeps it locked and reserves it for the first of
//! the queue.** So the first one is overtaken at most `PASSES` times, and one behind `k` others is behind
//! `k` of them and at most `(k + 1) * PASSES` overtakers. (Go's mutex bounds the time instead, to
//! 1 ms; parking_lot decides by a random clock.)
//!
//! One who blocks a worker's thread while it waits (in a destructor, while its coroutine unwinds) is
//! *urgent*: the one on its way may be a coroutine of that very worker, which does not run before the wait
//! has ended. So the mutex is not left to that one. An urgent one waits before all others; `unlock` keeps
//! the mutex locked and hands it over to an urgent one, whoever is on its way; and one that comes takes a
//! reservation for itself. The one on its way finds the mutex taken, and goes back to the list.
//!
//! One waiter is on its way at a time. It was chosen (its ticket was won under the queue's lock), so no
//! cancellation or timeout keeps it from arriving, and a reservation for it needs no way back.

use super::spin_for;
use crate::base::sync::{AtomicU32, ListLock, Ordering, const_fn};
use crate::coroutine::{Batch, Place, WaitList, WaitReason};
use crate::sched::{self, Cancel, Woken};

const LOCKED: u32 = 1;
const WAITERS: u32 = 1 << 1;

/// How often in a row the mutex is released into the open while somebody waits.
const PASSES: u32 = if cfg!(loom) { 1 } else { 16 };

/// A mutex without data.
#[derive(Debug)]
pub(super) struct RawMutex {
    word: AtomicU32,
    queue: ListLock<Queue>,
}

/// Those who wait.
#[derive(Debug)]
pub(super) struct Queue {
    list: WaitList,
    /// One was chosen, and has neither taken the mutex nor gone back to the list.
    on_its_way: bool,
    /// L is set on behalf of the one on its way.
    reserved: bool,
    /// How often the mutex was released since one of those who wait has taken it.
    passes: u32,
}

impl RawMutex {
    const_fn! {
        /// A free mutex.
        pub(super) fn new() -> RawMutex {
            RawMutex {
                word: AtomicU32::new(0),
                queue: ListLock::new(Queue {
                    list: WaitList::new(),
                    on_its_way: false,
                    reserved: false,
                    passes: 0,
                }),
            }
        }
    }

    /// Takes the mutex if it is free.
    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        let mut word = 0;
        while word & LOCKED == 0 {
            // Acquires what the last holder did: pairs with the releases of `unlock`.
            match self.word.compare_exchange_weak(word, word | LOCKED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Takes the mutex, waiting for it if need be. A cancellation unwinds out of this, unless masked.
    #[inline]
    pub(super) fn lock(&self, reason: WaitReason, cancel: Cancel) {
        if !self.try_lock() {
            self.lock_slowly(reason, cancel);
        }
    }

    #[cold]
    fn lock_slowly(&self, reason: WaitReason, cancel: Cancel) {
        let free = || match self.word.load(Ordering::Relaxed) {
            word if word & LOCKED == 0 => self.try_lock().then_some(true),
            // Whoever waits would be overtaken, at the price of our processor time.
            word => (word & WAITERS != 0).then_some(false),
        };
        if spin_for(free) {
            return;
        }
        let urgent = sched::blocks_worker();
        let mut chosen = false;
        loop {
            let (woken, now_chosen) = sched::wait_in(
                &self.queue,
                reason,
                None,
                cancel,
                0,
                // SAFETY: `wait_in` keeps the place as `join` wants it.
                |queue, place| unsafe { self.join(queue, place, chosen) },
                |queue, place, _| {
                    queue.list.remove(place);
                },
            );
            match woken {
                Woken::Event if !now_chosen || urgent => return,
                Woken::Event if self.arrive(&mut self.queue.lock()) => return,
                Woken::Event => chosen = true,
                Woken::Timeout | Woken::Cancelled => sched::raise(),
            }
        }
    }

    /// Releases the mutex.
    #[inline]
    pub(super) fn unlock(&self) {
        // Releases what the holder did to the next one that takes it.
        if self.word.compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            self.unlock_slowly();
        }
    }

    #[cold]
    fn unlock_slowly(&self) {
        let mut batch = Batch::new();
        self.pass_on(&mut batch);
        sched::wake_all(&mut batch);
    }

    /// Releases the mutex, reserves it, or hands it over; who is to be woken goes into the batch.
    fn pass_on(&self, batch: &mut Batch) {
        let queue = &mut *self.queue.lock();
        if queue.list.choose_urgent(batch, |_| (), |_, ()| ()).is_some() {
            // The mutex stays locked, and is that one's. W stays set, and whoever unlocks it asks the queue.
            return;
        }
        if !queue.on_its_way {
            queue.on_its_way = queue.list.choose_first(batch);
        }
        if !queue.on_its_way {
            queue.passes = 0;
            self.word.store(0, Ordering::Release);
        } else if queue.passes < PASSES {
            queue.passes += 1;
            self.word.store(WAITERS, Ordering::Release);
        } else {
            queue.reserved = true;
        }
    }

    /// Takes the mutex or lists the place: true if it was listed. One who was `chosen` before, and found
    /// the mutex taken, goes to the front.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`].
    unsafe fn join(&self, queue: &mut Queue, place: &Place, chosen: bool) -> bool {
        if chosen {
            if self.arrive(queue) {
                return false;
            }
            queue.on_its_way = false;
            // SAFETY: as the caller says.
            unsafe { queue.list.push_first(place) };
            return true;
        }
        if place.is_urgent() && queue.reserved {
            // L is set already, for one who may have to wait for us.
            queue.reserved = false;
            return false;
        }
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let next = if word & LOCKED == 0 { word | LOCKED } else { word | WAITERS };
            if word == next {
                break;
            }
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if word & LOCKED == 0 => return false,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        // SAFETY: as the caller says.
        unsafe { queue.list.push(place) };
        true
    }

    /// The one on its way takes the mutex, unless it is taken and not reserved. Then W stays set, and
    /// whoever holds the mutex asks the queue before it releases it.
    fn arrive(&self, queue: &mut Queue) -> bool {
        debug_assert!(queue.on_its_way, "only who was chosen arrives");
        if !queue.reserved && !self.try_lock() {
            return false;
        }
        queue.reserved = false;
        queue.on_its_way = false;
        queue.passes = 0;
        if queue.list.is_empty() {
            self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        }
        true
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
        mutex: RawMutex,
        data: UnsafeCell<u32>,
        sleepers: [Sleeper; 2],
    }

    // SAFETY: the model checks that the accesses to `data` are ordered; each sleeper is one thread's.
    unsafe impl Sync for World {}
    // SAFETY: as above.
    unsafe impl Send for World {}

    impl World {
        /// The mutex is held.
        fn new() -> Arc<World> {
            let mutex = RawMutex::new();
            assert!(mutex.try_lock());
            Arc::new(World { mutex, data: UnsafeCell::new(0), sleepers: [Sleeper::new(), Sleeper::new()] })
        }

        fn add_and_unlock(&self) {
            // SAFETY: under the mutex, which is what the model checks.
            self.data.with_mut(|data| unsafe { *data += 1 });
            self.mutex.unlock();
        }

        /// As `lock_slowly`.
        fn lock(&self, sleeper: usize) {
            if self.mutex.try_lock() {
                return;
            }
            let mut chosen = false;
            loop {
                let ticket = self.sleepers[sleeper].ticket();
                let place = Place::new(ticket, 0);
                // SAFETY: the place stays until its ticket was fired from the list.
                if !unsafe { self.mutex.join(&mut self.mutex.queue.lock(), &place, chosen) } {
                    return;
                }
                assert_eq!(self.sleepers[sleeper].sleep(ticket), Cause::Event);
                if self.mutex.arrive(&mut self.mutex.queue.lock()) {
                    return;
                }
                chosen = true;
            }
        }

        /// Once all have been joined.
        fn assert_free_and(&self, sections: u32) {
            assert!(self.mutex.try_lock());
            self.mutex.unlock();
            assert_eq!(self.mutex.word.load(Ordering::Relaxed), 0);
            // SAFETY: nobody else is there.
            self.data.with(|data| assert_eq!(unsafe { *data }, sections));
        }
    }

    fn spawn(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || f(&world))
    }

    /// A holder unlocks while another waits: the other gets it, and sees what the holder did.
    #[test]
    fn one_who_waits_is_not_left_behind() {
        loom::model(|| {
            let world = World::new();
            let holder = spawn(&world, World::add_and_unlock);
            world.lock(0);
            world.add_and_unlock();
            holder.join().unwrap();
            world.assert_free_and(2);
        });
    }

    /// The holder comes back twice without waiting: it may overtake, but one at a time is inside, and the
    /// one who waits gets in.
    #[test]
    fn an_overtaker_excludes_and_is_excluded() {
        loom::model(|| {
            let world = World::new();
            let again = Arc::new(std::sync::atomic::AtomicU32::new(0));
            let count = again.clone();
            let holder = spawn(&world, move |world| {
                world.add_and_unlock();
                for _ in 0..2 {
                    if world.mutex.try_lock() {
                        count.fetch_add(1, Ordering::Relaxed);
                        world.add_and_unlock();
                    }
                }
            });
            world.lock(0);
            world.add_and_unlock();
            holder.join().unwrap();
            world.assert_free_and(2 + again.load(Ordering::Relaxed));
        });
    }

    /// Two wait behind a holder.
    #[test]
    fn two_who_wait_both_get_in() {
        loom::model(|| {
            let world = World::new();
            let holder = spawn(&world, World::add_and_unlock);
            let other = spawn(&world, |world| {
                world.lock(1);
                world.add_and_unlock();
            });
            world.lock(0);
            world.add_and_unlock();
            holder.join().unwrap();
            other.join().unwrap();
            world.assert_free_and(3);
        });
    }

    /// As `lock_slowly` of one who blocks a worker's thread.
    fn lock_urgently(world: &World, sleeper: usize) {
        if world.mutex.try_lock() {
            return;
        }
        let ticket = world.sleepers[sleeper].ticket();
        let place = Place::urgent(ticket, 0);
        // SAFETY: the place stays until its ticket was fired from the list.
        if unsafe { world.mutex.join(&mut world.mutex.queue.lock(), &place, false) } {
            assert_eq!(world.sleepers[sleeper].sleep(ticket), Cause::Event);
        }
    }

    /// One is chosen, or has the mutex reserved, and does not come before another has had it that blocks the
    /// thread which both need.
    #[test]
    fn an_urgent_one_does_not_wait_for_the_one_on_its_way() {
        for passes in [0, PASSES] {
            loom::model(move || {
                let world = World::new();
                world.mutex.queue.lock().passes = passes;
                let ticket = world.sleepers[0].ticket();
                let place = Place::new(ticket, 0);
                // SAFETY: the place stays until its ticket was fired from the list.
                assert!(unsafe { world.mutex.join(&mut world.mutex.queue.lock(), &place, false) });
                let holder = spawn(&world, World::add_and_unlock);
                lock_urgently(&world, 1);
                world.add_and_unlock();
                holder.join().unwrap();
                // Only now does the other one run.
                assert_eq!(world.sleepers[0].sleep(ticket), Cause::Event);
                if !world.mutex.arrive(&mut world.mutex.queue.lock()) {
                    unreachable!("nobody else is there");
                }
                world.add_and_unlock();
                world.assert_free_and(3);
            });
        }
    }

    /// One who comes back to the list because it was overtaken does not get before an urgent one, and both
    /// get in.
    #[test]
    fn an_urgent_one_among_others() {
        loom::model(|| {
            let world = World::new();
            let holder = spawn(&world, World::add_and_unlock);
            let other = spawn(&world, |world| {
                lock_urgently(world, 1);
                world.add_and_unlock();
            });
            world.lock(0);
            world.add_and_unlock();
            holder.join().unwrap();
            other.join().unwrap();
            world.assert_free_and(3);
        });
    }

    /// One gives up while the holder unlocks and comes back: either it was chosen, and has to arrive, or it
    /// leaves; another one that waits gets in all the same.
    #[test]
    fn one_who_gives_up_leaves_no_trace() {
        loom::model(|| {
            let world = World::new();
            let again = Arc::new(std::sync::atomic::AtomicU32::new(0));
            let count = again.clone();
            let holder = spawn(&world, move |world| {
                world.add_and_unlock();
                if world.mutex.try_lock() {
                    count.fetch_add(1, Ordering::Relaxed);
                    world.add_and_unlock();
                }
            });
            let other = spawn(&world, |world| {
                world.lock(1);
                world.add_and_unlock();
            });
            let (mutex, sleeper) = (&world.mutex, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let place = Place::new(ticket, 0);
            let mut sections = 2;
            // SAFETY: the place leaves below unless its ticket was fired from the list.
            let listed = unsafe { mutex.join(&mut mutex.queue.lock(), &place, false) };
            if listed && sleeper.give_up(ticket) {
                mutex.queue.lock().list.remove(&place);
            } else if !listed || mutex.arrive(&mut mutex.queue.lock()) {
                world.add_and_unlock();
                sections += 1;
            } else {
                // It was chosen and overtaken: it goes back to the front.
                let ticket = sleeper.ticket();
                let place = Place::new(ticket, 0);
                // SAFETY: as above.
                let listed = unsafe { mutex.join(&mut mutex.queue.lock(), &place, true) };
                if listed && sleeper.give_up(ticket) {
                    mutex.queue.lock().list.remove(&place);
                } else {
                    while listed && !mutex.arrive(&mut mutex.queue.lock()) {
                        thread::yield_now();
                    }
                    world.add_and_unlock();
                    sections += 1;
                }
            }
            holder.join().unwrap();
            other.join().unwrap();
            world.assert_free_and(sections + again.load(Ordering::Relaxed));
        });
    }
}
