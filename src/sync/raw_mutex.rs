//! The mutex without its data: one word, and the queue of those who wait.
//!
//! ```text
//!  word          state                                    moves
//!  0             free                                     try_lock -> LOCKED
//!  LOCKED        held; nobody is in the queue, or one     unlock -> 0
//!                is on its way                            join -> LOCKED WAKE, unless one is on its way
//!                                                         come_back -> LOCKED WAKE
//!  LOCKED WAKE   held; some are in the queue, or all      unlock -> WAKE
//!                have left, and nobody is on its way
//!  WAKE          free; whoever released it is about to    try_lock -> LOCKED WAKE
//!                look at the queue                        pass_on -> 0
//!  LOCKED WAKE   held, and goes to one of the queue       unlock -> WAKE HANDOFF
//!    HANDOFF     next
//!  WAKE HANDOFF  nobody's; whoever released it is about   pass_on -> LOCKED WAKE HANDOFF, or LOCKED:
//!                to look, or one is on its way, for         handed over to an urgent one
//!                whom it is reserved                      arrive -> LOCKED, with the flags that it leaves
//! ```
//!
//! - `try_lock` sets LOCKED where neither LOCKED nor HANDOFF is set, and `unlock` clears it, each with one
//!   read-modify-write. If `unlock` finds nothing but LOCKED it has no more to do; else it goes on to
//!   `pass_on`. All other changes are made under the queue's lock; WAKE and HANDOFF change only there.
//! - WAKE is set if somebody is in the queue and nobody is *on its way*, that is, was chosen and has neither
//!   taken the mutex nor come back to the queue. HANDOFF, always together with WAKE, is set if one in the
//!   queue is urgent or the queue is starving (both below).
//! - The flags are only ever set in a word with LOCKED, by the compare-and-swap that finds it there or by
//!   the holder. So the holder finds them when it unlocks, and comes to `pass_on`.
//!
//! So nobody is left behind. While somebody is in the queue, one of these holds: one is on its way; or
//! LOCKED and WAKE are set, and the holder will come to `pass_on`; or the one who released the mutex under
//! WAKE is between `unlock` and the queue's lock. `pass_on` leaves one on its way, or the mutex handed over,
//! or the queue empty. One on its way takes the mutex or comes back to the queue: in the same
//! compare-and-swap that shows it that the mutex is held it sets WAKE, so the holder that leaves without a
//! look has left before it, and the mutex is free.
//!
//! The release of `unlock` pairs with the acquire of whoever sets LOCKED next. What happens to the word in
//! between are read-modify-writes, which carry it on, or the holder's own stores.
//!
//! # Fairness
//!
//! Handing the mutex to the first in the queue at each unlock is fair and slow: every section then costs a
//! switch, during which the mutex is held by somebody who does not run. So `unlock` releases it, and the
//! first of the queue, woken, competes with whoever comes by. While it is on its way nothing else needs to
//! be woken, so the others go on at the price of an uncontended mutex. If it is overtaken it goes back to
//! the front.
//!
//! That alone can starve it. So **one that was overtaken and has waited for longer than [`STARVATION_THRESHOLD`]** (one
//! millisecond, from the time it came) **makes the queue starving: the mutex is then reserved at each
//! release for the first of the queue, and who comes goes to its end.** That lasts until one takes the mutex
//! who is the last in the queue or has waited for less. (Go's mutex has the same two modes; parking_lot
//! decides by a random clock.) The clock is read only by those who wait.
//!
//! One who blocks a worker's thread while it waits (in a destructor, while its coroutine unwinds) is
//! *urgent*: the one on its way may be a coroutine of that very worker, which does not run before the wait
//! has ended. So the mutex is not left to that one. An urgent one waits before all others, and while it
//! does HANDOFF is set, so that `unlock` comes to `pass_on`, which hands the mutex over to it, whoever is on
//! its way; and one that comes takes a reservation for itself. The one on its way finds the mutex taken, and
//! goes back to the list.
//!
//! That helps the urgent one alone. Others in the queue wait until the one on its way has come, though the
//! mutex be free: if its worker computes for long, or is blocked by one that is urgent elsewhere, they wait
//! as long, as they would if the mutex had been handed over. Until then nobody's patience counts.
//!
//! One waiter is on its way at a time. It was chosen (its ticket was won under the queue's lock), so no
//! cancellation or timeout keeps it from arriving, and a reservation for it needs no way back.

use super::{STARVATION_THRESHOLD, spin_for};
use crate::base::sync::{AtomicU32, ListLock, Ordering, const_fn};
use crate::coroutine::{Batch, WaitList, WaitNode, WaitReason};
use crate::sched::{self, Cancel, Woken};
use std::time::Instant;

const LOCKED: u32 = 1;
const WAKE: u32 = 1 << 1;
const HANDOFF: u32 = 1 << 2;

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
    waiter_in_flight: bool,
    /// One that had lost its patience went back to the list, and the mutex has not since come to one who
    /// has not, or who is the last.
    starving: bool,
}

impl Queue {
    /// WAKE and HANDOFF as they have to be.
    fn flags(&mut self) -> u32 {
        if self.list.is_empty() && !self.waiter_in_flight {
            self.starving = false;
        }
        if self.starving || self.list.first().is_some_and(WaitNode::blocks_thread) {
            WAKE | HANDOFF
        } else if !self.list.is_empty() && !self.waiter_in_flight {
            WAKE
        } else {
            0
        }
    }
}

impl RawMutex {
    const_fn! {
        /// A free mutex.
        pub(super) fn new() -> RawMutex {
            RawMutex {
                word: AtomicU32::new(0),
                queue: ListLock::new(Queue { list: WaitList::new(), waiter_in_flight: false, starving: false }),
            }
        }
    }

    /// Takes the mutex if it is free.
    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        let mut word = 0;
        while word & (LOCKED | HANDOFF) == 0 {
            // Acquires what the last holder did: pairs with the release of `unlock`.
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
        if self.try_for_a_moment() {
            return;
        }
        let urgent = sched::blocks_worker();
        let since = Instant::now();
        // Once it was chosen and overtaken: whether it has waited for longer than its patience.
        let mut starved = None;
        loop {
            let (woken, chosen) = sched::wait_in(
                &self.queue,
                reason,
                None,
                cancel,
                0,
                // SAFETY: `wait_in` keeps the place as `join` and `come_back` want it.
                |queue, place| unsafe {
                    match starved {
                        None => self.join(queue, place),
                        Some(starved) => self.come_back(queue, place, starved),
                    }
                },
                |queue, place, _| self.leave(queue, place),
            );
            match woken {
                Woken::Event if !chosen || urgent => return,
                Woken::Event => {
                    let taken = self.try_for_a_moment();
                    let is_starved = since.elapsed() > STARVATION_THRESHOLD;
                    if self.arrive(&mut self.queue.lock(), taken, is_starved) {
                        return;
                    }
                    starved = Some(is_starved);
                }
                Woken::Timeout | Woken::Cancelled => sched::unwind_cancelled(),
            }
        }
    }

    /// Takes the mutex if it becomes free within a moment.
    fn try_for_a_moment(&self) -> bool {
        spin_for(|| match self.word.load(Ordering::Relaxed) {
            word if word & (LOCKED | HANDOFF) == 0 => self.try_lock().then_some(true),
            // Whoever waits would be overtaken, at the price of our processor time.
            word => (word & (WAKE | HANDOFF) != 0).then_some(false),
        })
    }

    /// Releases the mutex.
    #[inline]
    pub(super) fn unlock(&self) {
        // Releases what the holder did to the next one that takes it.
        if self.word.fetch_sub(LOCKED, Ordering::Release) != LOCKED {
            self.unlock_slowly();
        }
    }

    #[cold]
    fn unlock_slowly(&self) {
        let mut batch = Batch::new();
        self.pass_on(&mut self.queue.lock(), &mut batch);
        batch.wake();
    }

    /// Chooses the next one for the mutex that was released under WAKE; who is to be woken goes into the
    /// batch.
    fn pass_on(&self, queue: &mut Queue, batch: &mut Batch) {
        let word = self.word.load(Ordering::Relaxed);
        if word & HANDOFF != 0 {
            if word & LOCKED != 0 {
                // One of the queue has it already, and will come here.
                return;
            }
            // Stable: without LOCKED, and with HANDOFF, LOCKED is set under the queue's lock alone. Set before the
            // ticket is won, as the winner may release it at once. Acquires for it what the last holder did.
            let give = |_: &WaitNode| {
                self.word.fetch_or(LOCKED, Ordering::Acquire);
            };
            let undo = |_: &WaitNode, ()| {
                self.word.fetch_and(!LOCKED, Ordering::Relaxed);
            };
            if queue.list.choose_urgent(batch, give, undo).is_some() {
                self.update(queue);
                return;
            }
        }
        if !queue.waiter_in_flight {
            queue.waiter_in_flight = queue.list.choose_first(batch);
        }
        self.update(queue);
    }

    /// Brings WAKE and HANDOFF in line with the queue, from which something went.
    fn update(&self, queue: &mut Queue) {
        self.word.fetch_and(LOCKED | queue.flags(), Ordering::Relaxed);
    }

    /// Takes the mutex if it is free, be it with HANDOFF if the caller is `entitled`; otherwise sets the
    /// flags, so that whoever releases it finds them. Under the queue's lock.
    fn take_or_flag(&self, entitled: bool, flags: u32) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let free = word & LOCKED == 0 && (entitled || word & HANDOFF == 0);
            let next = if free { word | LOCKED } else { word | flags };
            if next == word {
                return false;
            }
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return free,
                Err(now) => word = now,
            }
        }
    }

    /// One who comes takes the mutex or lists its place: true if it was listed.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`], with [`leave`](Self::leave) for `remove`.
    unsafe fn join(&self, queue: &mut Queue, place: &WaitNode) -> bool {
        let flags = match () {
            () if place.blocks_thread() => WAKE | HANDOFF,
            () if queue.waiter_in_flight => 0,
            () => WAKE,
        };
        if self.take_or_flag(place.blocks_thread(), flags) {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe { queue.list.push(place) };
        true
    }

    /// One who was chosen takes the mutex, if it has not `taken` it already; whether it has it. If not, it
    /// is on its way still. It is `starved` if it has waited for longer than its patience.
    fn arrive(&self, queue: &mut Queue, taken: bool, starved: bool) -> bool {
        debug_assert!(queue.waiter_in_flight, "only who was chosen arrives");
        if !taken && !self.take_or_flag(true, 0) {
            return false;
        }
        queue.waiter_in_flight = false;
        queue.starving &= starved && !queue.list.is_empty();
        // Stable: LOCKED is ours, and the flags change under the queue's lock.
        self.word.store(LOCKED | queue.flags(), Ordering::Relaxed);
        true
    }

    /// One who was chosen takes the mutex or lists its place as the first: true if it was listed.
    ///
    /// # Safety
    ///
    /// As for [`join`](Self::join).
    unsafe fn come_back(&self, queue: &mut Queue, place: &WaitNode, starved: bool) -> bool {
        let flags = if starved { WAKE | HANDOFF } else { WAKE };
        // Whoever releases the mutex from here on looks at the queue, and waits for its lock.
        if self.take_or_flag(true, flags) {
            return !self.arrive(queue, true, starved);
        }
        queue.waiter_in_flight = false;
        queue.starving |= starved;
        // SAFETY: as the caller says.
        unsafe { queue.list.push_first(place) };
        true
    }

    /// Takes a place off whose wait ended otherwise.
    fn leave(&self, queue: &mut Queue, place: &WaitNode) {
        queue.list.remove(place);
        self.update(queue);
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

        /// As `lock_slowly`, by one that has lost its patience or has not.
        fn lock(&self, sleeper: usize, starved: bool) {
            let mutex = &self.mutex;
            if mutex.try_lock() {
                return;
            }
            let mut came = false;
            loop {
                let ticket = self.sleepers[sleeper].ticket();
                let place = WaitNode::new(ticket, 0);
                let mut queue = mutex.queue.lock();
                // SAFETY: the place stays until its ticket was fired from the list.
                let listed = unsafe {
                    if came {
                        mutex.come_back(&mut queue, &place, starved)
                    } else {
                        mutex.join(&mut queue, &place)
                    }
                };
                drop(queue);
                if !listed {
                    return;
                }
                assert_eq!(self.sleepers[sleeper].sleep(ticket), Cause::Event);
                let taken = mutex.try_lock();
                if mutex.arrive(&mut mutex.queue.lock(), taken, starved) {
                    return;
                }
                came = true;
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
            world.lock(0, false);
            world.add_and_unlock();
            holder.join().unwrap();
            world.assert_free_and(2);
        });
    }

    /// The holder comes back twice without waiting: it may overtake, but one at a time is inside, and the
    /// one who waits gets in, also if the holder leaves without a look while that one is on its way.
    #[test]
    fn an_overtaker_excludes_and_is_excluded() {
        for starved in [false, true] {
            loom::model(move || {
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
                world.lock(0, starved);
                world.add_and_unlock();
                holder.join().unwrap();
                world.assert_free_and(2 + again.load(Ordering::Relaxed));
            });
        }
    }

    /// Two wait behind a holder, and either may have lost its patience.
    #[test]
    fn two_who_wait_both_get_in() {
        for starved in [[false, false], [false, true], [true, true]] {
            loom::model(move || {
                let world = World::new();
                let holder = spawn(&world, World::add_and_unlock);
                let other = spawn(&world, move |world| {
                    world.lock(1, starved[1]);
                    world.add_and_unlock();
                });
                world.lock(0, starved[0]);
                world.add_and_unlock();
                holder.join().unwrap();
                other.join().unwrap();
                world.assert_free_and(3);
            });
        }
    }

    /// One that was chosen finds the mutex held again, and has lost its patience: whoever comes from then on
    /// does not get before it.
    #[test]
    fn one_that_starves_is_not_overtaken_again() {
        loom::model(|| {
            let world = World::new();
            let (mutex, sleeper) = (&world.mutex, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let place = WaitNode::new(ticket, 0);
            // SAFETY: the place stays until its ticket was fired from the list.
            assert!(unsafe { mutex.join(&mut mutex.queue.lock(), &place) });
            world.add_and_unlock();
            assert_eq!(sleeper.sleep(ticket), Cause::Event);
            assert!(mutex.try_lock(), "one overtakes");
            assert!(!mutex.arrive(&mut mutex.queue.lock(), false, true));
            let ticket = sleeper.ticket();
            let place = WaitNode::new(ticket, 0);
            // SAFETY: as above.
            assert!(unsafe { mutex.come_back(&mut mutex.queue.lock(), &place, true) });
            let last = spawn(&world, |world| {
                world.lock(1, false);
                // SAFETY: under the mutex.
                world
                    .data
                    .with(|data| assert_eq!(unsafe { *data }, 3, "it came before the one that starves"));
                world.add_and_unlock();
            });
            world.add_and_unlock();
            assert_eq!(sleeper.sleep(ticket), Cause::Event);
            let taken = mutex.try_lock();
            assert!(!taken && mutex.arrive(&mut mutex.queue.lock(), taken, true));
            world.add_and_unlock();
            last.join().unwrap();
            world.assert_free_and(4);
        });
    }

    /// One that starves gives up, while the holder unlocks and another comes: the mutex is handed over no
    /// longer than somebody waits.
    #[test]
    fn one_that_starves_gives_up() {
        loom::model(|| {
            let world = World::new();
            let (mutex, sleeper) = (&world.mutex, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let place = WaitNode::new(ticket, 0);
            let mut queue = mutex.queue.lock();
            // It is as if it had been chosen, and overtaken.
            queue.waiter_in_flight = true;
            // SAFETY: the place leaves below unless its ticket was fired from the list.
            assert!(unsafe { mutex.come_back(&mut queue, &place, true) });
            drop(queue);
            let holder = spawn(&world, World::add_and_unlock);
            let other = spawn(&world, |world| {
                world.lock(1, false);
                world.add_and_unlock();
            });
            let mut sections = 2;
            if sleeper.give_up(ticket) {
                mutex.leave(&mut mutex.queue.lock(), &place);
            } else {
                assert!(mutex.arrive(&mut mutex.queue.lock(), false, true), "it is reserved");
                world.add_and_unlock();
                sections += 1;
            }
            holder.join().unwrap();
            other.join().unwrap();
            world.assert_free_and(sections);
        });
    }

    /// As `lock_slowly` of one who blocks a worker's thread.
    fn lock_urgently(world: &World, sleeper: usize) {
        if world.mutex.try_lock() {
            return;
        }
        let ticket = world.sleepers[sleeper].ticket();
        let place = WaitNode::new(ticket, 0).blocking_thread(true);
        // SAFETY: the place stays until its ticket was fired from the list.
        if unsafe { world.mutex.join(&mut world.mutex.queue.lock(), &place) } {
            assert_eq!(world.sleepers[sleeper].sleep(ticket), Cause::Event);
        }
    }

    /// One is chosen, or has the mutex reserved, and does not come before another has had it that blocks the
    /// thread which both need.
    #[test]
    fn an_urgent_one_does_not_wait_for_the_one_on_its_way() {
        for starving in [false, true] {
            loom::model(move || {
                let world = World::new();
                let mutex = &world.mutex;
                let ticket = world.sleepers[0].ticket();
                let place = WaitNode::new(ticket, 0);
                let mut queue = mutex.queue.lock();
                queue.waiter_in_flight = starving;
                // SAFETY: the place stays until its ticket was fired from the list.
                assert!(unsafe {
                    if starving {
                        mutex.come_back(&mut queue, &place, true)
                    } else {
                        mutex.join(&mut queue, &place)
                    }
                });
                drop(queue);
                let holder = spawn(&world, World::add_and_unlock);
                lock_urgently(&world, 1);
                world.add_and_unlock();
                holder.join().unwrap();
                // Only now does the other one run.
                assert_eq!(world.sleepers[0].sleep(ticket), Cause::Event);
                let taken = mutex.try_lock();
                assert!(mutex.arrive(&mut mutex.queue.lock(), taken, starving), "nobody else is there");
                world.add_and_unlock();
                world.assert_free_and(3);
            });
        }
    }

    /// One who comes back to the list because it was overtaken does not get before an urgent one, and both
    /// get in.
    #[test]
    fn an_urgent_one_among_others() {
        for starved in [false, true] {
            loom::model(move || {
                let world = World::new();
                let holder = spawn(&world, World::add_and_unlock);
                let other = spawn(&world, |world| {
                    lock_urgently(world, 1);
                    world.add_and_unlock();
                });
                world.lock(0, starved);
                world.add_and_unlock();
                holder.join().unwrap();
                other.join().unwrap();
                world.assert_free_and(3);
            });
        }
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
                world.lock(1, false);
                world.add_and_unlock();
            });
            let (mutex, sleeper) = (&world.mutex, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let place = WaitNode::new(ticket, 0);
            let mut sections = 2;
            // SAFETY: the place leaves below unless its ticket was fired from the list.
            let listed = unsafe { mutex.join(&mut mutex.queue.lock(), &place) };
            if listed && sleeper.give_up(ticket) {
                mutex.leave(&mut mutex.queue.lock(), &place);
            } else if !listed || mutex.arrive(&mut mutex.queue.lock(), false, false) {
                world.add_and_unlock();
                sections += 1;
            } else {
                // It was chosen and overtaken: it goes back to the front.
                let ticket = sleeper.ticket();
                let place = WaitNode::new(ticket, 0);
                // SAFETY: as above.
                let listed = unsafe { mutex.come_back(&mut mutex.queue.lock(), &place, false) };
                if listed && sleeper.give_up(ticket) {
                    mutex.leave(&mut mutex.queue.lock(), &place);
                } else {
                    while listed && !mutex.arrive(&mut mutex.queue.lock(), false, false) {
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
