//! The mutex without its data: one atomic word, and a queue of waiters under a list lock.
//!
//! # The problem
//!
//! A contended mutex must be fast and must starve nobody. Handing it to the longest waiter at each unlock is
//! fair but slow: each critical section then costs a context switch, during which the mutex belongs to a
//! waiter that does not run yet. Letting running lockers take it first is fast, but can starve a waiter.
//!
//! # Normal mode and starvation mode
//!
//! The two modes are those of Go's mutex.
//!
//! In *normal mode* waiters queue in FIFO order. Unlock frees the mutex and wakes the first waiter. The woken
//! waiter does not own the mutex: it competes with new lockers, which may take the free mutex first
//! (*barging*). While it is *in flight* no other waiter is woken: unlock does not touch the queue, and a
//! locker that finds the mutex free takes it, each by one read-modify-write, as without contention. A woken
//! waiter that loses goes back to the front of the queue.
//!
//! If a woken waiter loses, and first queued over [`STARVATION_THRESHOLD`] (1 ms) ago, it switches the mutex
//! to *starvation mode*. Unlock then *reserves* the mutex for the first waiter and wakes it: HANDOFF was set
//! when the waiter queued again (`requeue`), and unlock removes only LOCKED. New lockers neither take a
//! reserved mutex nor spin; they queue at the end. In this mode each critical section costs a switch. The
//! mutex returns to normal mode when the waiter that acquires it is the last one, or has waited for less than
//! the threshold; or when all waiters have left. Only the slow path reads the clock: before a locker queues,
//! and after each wake-up.
//!
//! A *ticket* is the right to end one wait. Unlock wakes a waiter by firing its ticket, one compare-and-swap.
//! That fails if a cancellation or a time limit has ended the wait first (`coroutine/waitlist.rs`).
//!
//! # Waiters that block their worker's thread
//!
//! A wait in a destructor that runs while its coroutine unwinds blocks the thread of the worker
//! (`blocks_thread`). The waiter in flight may be a coroutine of that worker: it cannot run before the
//! destructor has the mutex, so leaving the mutex to it would be a deadlock. Therefore:
//!
//! - A new locker that blocks its thread takes the mutex whenever nobody holds it, reserved or not.
//! - Otherwise it queues before all waiters that do not block their threads, and behind earlier ones of its
//!   own kind. While it queues HANDOFF is set, so the holder's unlock *hands the mutex off* to it: LOCKED is
//!   set on its behalf, whether a waiter is in flight or not.
//! - If the waiter in flight then finds the mutex held, it goes back to the queue, behind all waiters that
//!   block their threads.
//!
//! No other waiter is protected from a slow waiter in flight. The worker of the waiter in flight may compute
//! for long, or be blocked by a wait elsewhere. Until that worker runs the waiter in flight, nobody wakes the
//! other waiters, even if the mutex is free. A hand-off to the waiter in flight would delay them as long.
//! They do not read the clock before they are woken, so the mutex does not enter starvation mode in that
//! time.
//!
//! # The states
//!
//! ```text
//!  word                  owner of the mutex, and the waiters              a new locker
//!  0                     nobody; the queue is empty, or a waiter is in    takes it
//!                        flight
//!  LOCKED                the holder; the queue is empty, or a waiter is   queues
//!                        in flight
//!  LOCKED WAKE           the holder; some queue, none is in flight        queues
//!  WAKE                  nobody; some queue, none is in flight; an        takes it (barging)
//!                        unlock is about to call `wake_next`
//!  LOCKED WAKE HANDOFF   the holder; starvation mode, or the first        queues
//!                        waiter blocks its thread
//!  WAKE HANDOFF          nobody: reserved; an unlock is about to call     queues; takes it if it
//!                        `wake_next`, or a waiter is in flight            blocks its thread
//!
//!  from                  to                    cause
//!  0, WAKE               LOCKED is added       `try_lock`; `enqueue`, `lock_woken`, `requeue`: it is free
//!  LOCKED ..             LOCKED is removed     `unlock`; with WAKE it goes on to `wake_next`
//!  LOCKED                LOCKED WAKE           `enqueue`: a waiter queues, and none is in flight
//!                                              `requeue`, `leave_in_flight`: the waiter in flight has lost,
//!                                              or leaves
//!                                              `lock_woken`: the waiter in flight has won, others queue
//!  LOCKED, LOCKED WAKE   LOCKED WAKE HANDOFF   `enqueue`: a waiter that blocks its thread
//!                                              `requeue`: a waiter that has waited for over 1 ms; a future
//!                                              that blocks its thread by now
//!  WAKE                  0                     `wake_next`: the first waiter is in flight now
//!  LOCKED WAKE           LOCKED                `wake_next`: the same, but a new locker has been faster
//!  WAKE HANDOFF          WAKE HANDOFF          `wake_next`, starvation mode: the first waiter is in flight
//!                                              now, and the mutex stays reserved for it
//!  WAKE HANDOFF          LOCKED, and flags     `wake_next`: handed off to a waiter that blocks its thread
//!                                              `lock_woken`, `requeue`, `leave_in_flight`: the waiter in
//!                                              flight takes it
//!                                              `enqueue`: a locker that blocks its thread takes it
//!  any with flags        flags are removed     `dequeue`: a cancelled waiter has left, and no other waiter
//!                                              needs them
//!                                              `wake_next`: the waits of all queued waiters had ended
//! ```
//!
//! - Without the queue's lock, only LOCKED changes, by one read-modify-write: `try_lock` sets it where
//!   neither LOCKED nor HANDOFF is set, `unlock` clears it. An unlock that finds LOCKED alone returns at
//!   once. All other functions that change the word hold the queue's lock.
//! - WAKE and HANDOFF change only under the queue's lock. [`Queue::flags`] says what they have to be: WAKE if
//!   waiters queue and none is in flight; both in starvation mode, and if the first waiter blocks its thread.
//!   So HANDOFF is never set without WAKE.
//! - The flags are only ever set in a word with LOCKED: by the compare-and-swap that finds LOCKED there, or
//!   by the holder itself. So the holder sees them when it unlocks, and calls `wake_next`.
//!
//! # Why no waiter is forgotten
//!
//! Claim: while the queue is not empty and its lock is free, one of these holds.
//!
//! 1. A waiter is in flight.
//! 2. LOCKED and WAKE are set, so the holder's unlock will call `wake_next`.
//! 3. An unlock has removed LOCKED under WAKE, and has not called `wake_next` yet. If a new locker takes the
//!    mutex in between, this unlock still wakes a waiter.
//!
//! - `enqueue` makes 2 true, unless 1 is true: one compare-and-swap either finds the mutex free and takes it,
//!   or finds it held and sets WAKE. If `enqueue` finds the mutex reserved, 1 or 3 is true already. If WAKE
//!   is set already, a load is enough: should LOCKED be gone by then, the unlock that removed it still has to
//!   take the queue's lock, so 3 is true.
//! - `unlock` leads from 2 to 3.
//! - `wake_next` leads from 3 to 1: it fires the ticket of the first waiter, or finds that a waiter is in
//!   flight already. Or it leads to 2: it hands the mutex off and leaves the flags that the other waiters
//!   need, or finds LOCKED together with HANDOFF, since another locker has taken the mutex. Or it empties the
//!   queue: it takes off each waiter whose wait has ended otherwise, and goes on to the next one. It must
//!   take them off. If one of them stayed first, HANDOFF could stay set in a free mutex, and new lockers
//!   would queue although nobody will wake them.
//! - The waiter in flight leads from 1 to 2. Either it acquires the mutex, and sets the flags that the queue
//!   needs. Or one compare-and-swap finds the mutex held and sets WAKE, so the holder's unlock will see WAKE.
//!   If the holder has unlocked before that, without WAKE, the compare-and-swap finds the mutex free instead,
//!   and takes it.
//!
//! *Cancellation.* The waiter in flight has won its wait: its ticket was fired under the queue's lock. So no
//! cancellation and no timeout keeps it from competing, and no reservation has to be undone. If its coroutine
//! is cancelled meanwhile, there are two cases. If it gets the mutex, `lock` returns as usual, and the next
//! wait meets the cancellation. If the mutex is held, it queues again, as above; that wait ends at once with
//! the cancellation, and `dequeue` leaves the flags as the other waiters need them.
//!
//! *Futures* (`lock_future.rs`) wait in the same queue. A future in flight that is dropped leads from 1 to 2
//! or 3 (`leave_in_flight`). If one compare-and-swap finds the mutex free or reserved, the future takes it
//! and unlocks it again. If it finds the mutex held, it sets WAKE, so the holder's unlock will see WAKE.
//!
//! *Orderings.* The release of `unlock` pairs with the acquire of the next thread that sets LOCKED. All
//! changes in between are read-modify-writes, which continue the release sequence. The one store, in
//! `lock_woken`, is made by the new holder, whose own unlock releases again. It is a release as well, for
//! readers that only want to know the holder (`holder.rs`): it ends the release sequence of the unlock
//! before.
//!
//! # What was rejected
//!
//! - *A hand-off at each unlock*: see the problem. Starvation mode does this, and is left as soon as
//!   possible.
//! - *Deciding on fairness in unlock, by a random timer* (parking_lot): each unlock that wakes a waiter reads
//!   the clock.
//! - *Several waiters in flight*: they would compete with one another, and each that loses has cost a
//!   wake-up.

use super::holder::HolderWord;
use super::lock_future::FutureLock;
use super::{STARVATION_THRESHOLD, spin_for};
use crate::base::clock;
use crate::base::list_lock::ListLock;
use crate::base::sync::{AtomicU32, Ordering, const_fn};
use crate::coroutine::{Batch, Facts, NodeState, Subject, WaitList, WaitNode, WaitReason, Why};
use crate::sched::{self, Cancel, Ended, Wait};

/// The mutex is held.
const LOCKED: u32 = 1;
/// Unlock has to call `wake_next`.
const WAKE: u32 = 1 << 1;
/// Unlock reserves the mutex or hands it off: new lockers must not take it.
const HANDOFF: u32 = 1 << 2;

/// A mutex without data.
#[derive(Debug)]
pub(super) struct RawMutex {
    word: AtomicU32,
    pub(super) holder: HolderWord,
    queue: ListLock<Queue>,
}

/// The waiters.
#[derive(Debug)]
pub(super) struct Queue {
    list: WaitList,
    /// A waiter was woken, and has neither acquired the mutex nor queued again.
    waiter_in_flight: bool,
    /// Starvation mode.
    starving: bool,
}

impl Queue {
    /// WAKE and HANDOFF as this queue needs them. Leaves starvation mode if no waiter is left.
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

// SAFETY: atomics only.
unsafe impl Subject for RawMutex {
    fn facts(&self) -> Facts {
        // Acquire: as `holder.rs` says.
        let locked = self.word.load(Ordering::Acquire) & LOCKED != 0;
        let holder = if locked { self.holder.get() } else { None };
        Facts::Lock { at: std::ptr::from_ref(self).addr(), holder, readers: 0 }
    }
}

impl RawMutex {
    const_fn! {
        /// A free mutex.
        pub(super) fn new() -> RawMutex {
            RawMutex {
                word: AtomicU32::new(0),
                holder: HolderWord::new(),
                queue: ListLock::new(Queue {
                    list: WaitList::new(),
                    waiter_in_flight: false,
                    starving: false,
                }),
            }
        }
    }

    /// Takes the mutex if it is free and not reserved.
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

    /// Takes the mutex, and waits for it if necessary. A cancellation unwinds out of this, unless masked.
    #[inline]
    pub(super) fn lock(&self, reason: WaitReason, cancel: Cancel) {
        if !self.try_lock() {
            self.lock_slow(reason, cancel);
        }
    }

    #[cold]
    fn lock_slow(&self, reason: WaitReason, cancel: Cancel) {
        if self.spin() {
            return;
        }
        let blocks_thread = sched::blocks_worker();
        let since = clock::now();
        // `None` until this waiter was woken and has lost; then whether it has waited beyond the threshold.
        let mut starved = None;
        loop {
            let ended = sched::wait_in(
                &self.queue,
                Wait { why: Why::new(reason, self), deadline: None, cancel, payload: () },
                // SAFETY: `wait_in` keeps the node as `enqueue` and `requeue` require.
                |queue, node| unsafe {
                    match starved {
                        None => self.enqueue(queue, node),
                        Some(starved) => self.requeue(queue, node, starved),
                    }
                },
                |queue, node, _| self.dequeue(queue, node),
            );
            match ended {
                // The mutex could be taken.
                Ended::NotListed => return,
                // The mutex was handed off to it.
                Ended::Handed if blocks_thread => return,
                // It is in flight: it competes for the mutex.
                Ended::Handed => {
                    let locked = self.spin();
                    let is_starved = clock::since(since) > STARVATION_THRESHOLD;
                    if self.lock_woken(&mut self.queue.lock(), locked, is_starved) {
                        return;
                    }
                    starved = Some(is_starved);
                }
                Ended::Cancelled => sched::unwind_cancelled(),
                Ended::Woken | Ended::Timeout => unreachable!("nobody ends this wait so"),
            }
        }
    }

    /// Spins for a moment; true if that got the mutex.
    fn spin(&self) -> bool {
        spin_for(|| match self.word.load(Ordering::Relaxed) {
            word if word & (LOCKED | HANDOFF) == 0 => self.try_lock().then_some(true),
            // Waiters queue: to spin would burn processor time, only to overtake them.
            word => (word & (WAKE | HANDOFF) != 0).then_some(false),
        })
    }

    /// Releases the mutex.
    #[inline]
    pub(super) fn unlock(&self) {
        self.holder.clear();
        // Releases what the holder did to the next one.
        if self.word.fetch_sub(LOCKED, Ordering::Release) != LOCKED {
            self.unlock_slow();
        }
    }

    #[cold]
    fn unlock_slow(&self) {
        let mut batch = Batch::new();
        self.wake_next(&mut self.queue.lock(), &mut batch);
        batch.wake();
    }

    /// Wakes a waiter, or hands the mutex off to it, after an unlock under WAKE.
    fn wake_next(&self, queue: &mut Queue, batch: &mut Batch) {
        let word = self.word.load(Ordering::Relaxed);
        if word & HANDOFF != 0 {
            if word & LOCKED != 0 {
                // It has a new holder already, whose unlock finds the flags and comes here.
                return;
            }
            // A waiter that blocks its thread gets ownership now. This word is stable: with HANDOFF, LOCKED
            // is set only under the queue's lock. It is set before the ticket is fired, as the waiter may
            // unlock at once. Acquires, for that waiter, what the last holder did.
            let give = |_: &WaitNode| {
                self.word.fetch_or(LOCKED, Ordering::Acquire);
            };
            let undo = |_: &WaitNode, ()| {
                self.word.fetch_and(!LOCKED, Ordering::Relaxed);
            };
            if queue.list.hand_to_first_blocking(batch, give, undo).is_some() {
                self.clear_flags(queue);
                return;
            }
        }
        // The first waiter competes; in starvation mode HANDOFF stays set, so the mutex is reserved for it.
        // If a waiter is in flight already, nobody else is woken.
        if !queue.waiter_in_flight {
            queue.waiter_in_flight = queue.list.hand_turn_to_first(batch);
        }
        self.clear_flags(queue);
    }

    /// Clears the flags that the queue needs no longer, after a waiter has left it.
    fn clear_flags(&self, queue: &mut Queue) {
        self.word.fetch_and(LOCKED | queue.flags(), Ordering::Relaxed);
    }

    /// Takes the mutex if it is free; a reserved one only if `entitled`. Otherwise sets the flags, so that
    /// the holder's unlock finds them. Under the queue's lock.
    fn lock_or_flag(&self, entitled: bool, flags: u32) -> bool {
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

    /// A new locker takes the mutex or queues: true if it queues.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`], with [`dequeue`](Self::dequeue) for `remove`.
    unsafe fn enqueue(&self, queue: &mut Queue, node: &WaitNode) -> bool {
        let flags = match () {
            // Unlock hands the mutex off to it.
            () if node.blocks_thread() => WAKE | HANDOFF,
            // The waiter in flight sets WAKE when it acquires the mutex or loses.
            () if queue.waiter_in_flight => 0,
            () => WAKE,
        };
        if self.lock_or_flag(node.blocks_thread(), flags) {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe { queue.list.push(node) };
        true
    }

    /// The waiter in flight takes the mutex if it is free; `locked` says that the waiter has it already.
    /// Returns whether the waiter has the mutex. If not, the waiter is still in flight. `starved` says that
    /// it has waited beyond the threshold.
    fn lock_woken(&self, queue: &mut Queue, locked: bool, starved: bool) -> bool {
        debug_assert!(queue.waiter_in_flight, "only the waiter in flight comes here");
        if !locked && !self.lock_or_flag(true, 0) {
            return false;
        }
        queue.waiter_in_flight = false;
        // Back to normal mode if it is the last waiter, or has waited for less than the threshold.
        queue.starving &= starved && !queue.list.is_empty();
        // The word is stable: LOCKED is ours, and the flags change under the queue's lock. Releases that the
        // former holder is gone, to `facts`.
        self.word.store(LOCKED | queue.flags(), Ordering::Release);
        true
    }

    /// The waiter in flight takes the mutex or goes back to the front of the queue: true if it queues. If it
    /// is `starved` it starts starvation mode.
    ///
    /// # Safety
    ///
    /// As for [`enqueue`](Self::enqueue).
    unsafe fn requeue(&self, queue: &mut Queue, node: &WaitNode, starved: bool) -> bool {
        let flags = if starved || node.blocks_thread() { WAKE | HANDOFF } else { WAKE };
        // From here on each unlock finds the flags, and waits for the queue's lock.
        if self.lock_or_flag(true, flags) {
            return !self.lock_woken(queue, true, starved);
        }
        queue.waiter_in_flight = false;
        queue.starving |= starved;
        // SAFETY: as the caller says.
        unsafe { queue.list.push_first(node) };
        true
    }

    /// Takes off the node of a wait that was cancelled.
    fn dequeue(&self, queue: &mut Queue, node: &WaitNode) {
        queue.list.remove(node);
        self.clear_flags(queue);
    }

    /// The waiter in flight does not want the mutex any more. True if it has the mutex now: it has to unlock
    /// it, which wakes the next waiter. Otherwise the holder's unlock does that.
    fn leave_in_flight(&self, queue: &mut Queue) -> bool {
        // As in `requeue`: from here on each unlock finds the flag, and waits for the queue's lock.
        if self.lock_or_flag(true, WAKE) {
            return self.lock_woken(queue, true, true);
        }
        queue.waiter_in_flight = false;
        self.clear_flags(queue);
        false
    }
}

impl FutureLock for RawMutex {
    type Access = ();
    type Payload = ();

    fn try_lock_for(&self, (): ()) -> bool {
        self.try_lock()
    }

    fn payload(_starved: bool) {}

    unsafe fn begin_wait(&self, (): (), node: &WaitNode, lost: Option<bool>) -> bool {
        let mut queue = self.queue.lock();
        // SAFETY: as the caller says.
        unsafe {
            match lost {
                None => self.enqueue(&mut queue, node),
                Some(starved) => self.requeue(&mut queue, node, starved),
            }
        }
    }

    fn end_wait(&self, (): (), node: &WaitNode, starved: bool) -> bool {
        // The mutex was handed off to it.
        if node.blocks_thread() {
            return true;
        }
        let locked = self.try_lock();
        self.lock_woken(&mut self.queue.lock(), locked, starved)
    }

    fn leave(&self, (): (), node: &WaitNode) {
        let mut queue = self.queue.lock();
        let locked = match node.state() {
            NodeState::Handed => node.blocks_thread() || self.leave_in_flight(&mut queue),
            _ => {
                self.dequeue(&mut queue, node);
                false
            }
        };
        drop(queue);
        if locked {
            self.unlock();
        }
    }

    fn give_up_turn(&self, (): ()) {
        let locked = self.leave_in_flight(&mut self.queue.lock());
        if locked {
            self.unlock();
        }
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

        /// As `lock_slow`, by a waiter that is starved once it loses, or is not.
        fn lock(&self, sleeper: usize, starved: bool) {
            let mutex = &self.mutex;
            if mutex.try_lock() {
                return;
            }
            let mut lost = false;
            loop {
                let ticket = self.sleepers[sleeper].ticket();
                let node = WaitNode::new(ticket, ());
                let mut queue = mutex.queue.lock();
                // SAFETY: the node stays until its ticket was fired from the list.
                let listed = unsafe {
                    if lost {
                        mutex.requeue(&mut queue, &node, starved)
                    } else {
                        mutex.enqueue(&mut queue, &node)
                    }
                };
                drop(queue);
                if !listed {
                    return;
                }
                assert_eq!(self.sleepers[sleeper].sleep(ticket), Cause::Event);
                let locked = mutex.try_lock();
                if mutex.lock_woken(&mut mutex.queue.lock(), locked, starved) {
                    return;
                }
                lost = true;
            }
        }

        /// Once all threads have been joined.
        fn assert_free_and(&self, sections: u32) {
            assert!(self.mutex.try_lock());
            self.mutex.unlock();
            assert_eq!(self.mutex.word.load(Ordering::Relaxed), 0);
            // SAFETY: no other thread is left.
            self.data.with(|data| assert_eq!(unsafe { *data }, sections));
        }
    }

    fn spawn(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || f(&world))
    }

    /// A holder unlocks while a new locker comes: the locker gets the mutex, and sees what the holder did.
    #[test]
    fn a_waiter_is_not_forgotten() {
        loom::model(|| {
            let world = World::new();
            let holder = spawn(&world, World::add_and_unlock);
            world.lock(0, false);
            world.add_and_unlock();
            holder.join().unwrap();
            world.assert_free_and(2);
        });
    }

    /// The holder locks twice more, and may barge: there is one holder at a time, and the waiter gets the
    /// mutex even if the holder unlocks without WAKE while the waiter is in flight.
    #[test]
    fn barging_excludes_and_is_excluded() {
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

    /// Two waiters behind a holder, either of which may be starved.
    #[test]
    fn two_waiters_both_get_the_mutex() {
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

    /// A woken waiter finds the mutex held again, and is starved: no later locker gets the mutex before it.
    #[test]
    fn no_barging_in_starvation_mode() {
        loom::model(|| {
            let world = World::new();
            let (mutex, sleeper) = (&world.mutex, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let node = WaitNode::new(ticket, ());
            // SAFETY: the node stays until its ticket was fired from the list.
            assert!(unsafe { mutex.enqueue(&mut mutex.queue.lock(), &node) });
            world.add_and_unlock();
            assert_eq!(sleeper.sleep(ticket), Cause::Event);
            assert!(mutex.try_lock(), "a new locker barges");
            assert!(!mutex.lock_woken(&mut mutex.queue.lock(), false, true));
            let ticket = sleeper.ticket();
            let node = WaitNode::new(ticket, ());
            // SAFETY: as above.
            assert!(unsafe { mutex.requeue(&mut mutex.queue.lock(), &node, true) });
            let last = spawn(&world, |world| {
                world.lock(1, false);
                // SAFETY: under the mutex.
                world.data.with(|data| assert_eq!(unsafe { *data }, 3, "it barged in starvation mode"));
                world.add_and_unlock();
            });
            world.add_and_unlock();
            assert_eq!(sleeper.sleep(ticket), Cause::Event);
            let locked = mutex.try_lock();
            assert!(!locked && mutex.lock_woken(&mut mutex.queue.lock(), locked, true));
            world.add_and_unlock();
            last.join().unwrap();
            world.assert_free_and(4);
        });
    }

    /// A starved waiter is cancelled, while the holder unlocks and a new locker comes: starvation mode ends
    /// with its last waiter.
    #[test]
    fn a_starved_waiter_is_cancelled() {
        loom::model(|| {
            let world = World::new();
            let (mutex, sleeper) = (&world.mutex, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let node = WaitNode::new(ticket, ());
            let mut queue = mutex.queue.lock();
            // As if it had been woken, and had lost.
            queue.waiter_in_flight = true;
            // SAFETY: the node leaves below unless its ticket was fired from the list.
            assert!(unsafe { mutex.requeue(&mut queue, &node, true) });
            drop(queue);
            let holder = spawn(&world, World::add_and_unlock);
            let other = spawn(&world, |world| {
                world.lock(1, false);
                world.add_and_unlock();
            });
            let mut sections = 2;
            if sleeper.give_up(ticket) {
                mutex.dequeue(&mut mutex.queue.lock(), &node);
            } else {
                assert!(mutex.lock_woken(&mut mutex.queue.lock(), false, true), "it is reserved");
                world.add_and_unlock();
                sections += 1;
            }
            holder.join().unwrap();
            other.join().unwrap();
            world.assert_free_and(sections);
        });
    }

    /// A thread that finds the mutex taken by a waiter that was woken does not name the holder before it.
    #[test]
    fn a_holder_that_has_unlocked_is_not_named() {
        loom::model(|| {
            let world = World::new();
            // As a `HolderWord`: the first holder.
            let named = Arc::new(AtomicU32::new(1));
            let (mutex, sleeper) = (&world.mutex, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let node = WaitNode::new(ticket, ());
            // SAFETY: the node stays until its ticket was fired from the list.
            assert!(unsafe { mutex.enqueue(&mut mutex.queue.lock(), &node) });
            let (first, reader) = (named.clone(), named.clone());
            let first = spawn(&world, move |world| {
                first.store(0, Ordering::Relaxed);
                world.mutex.unlock();
            });
            let reader = spawn(&world, move |world| {
                // The first holder has it together with WAKE.
                if world.mutex.word.load(Ordering::Acquire) == LOCKED {
                    assert_ne!(reader.load(Ordering::Relaxed), 1, "it has unlocked");
                }
            });
            assert_eq!(sleeper.sleep(ticket), Cause::Event);
            let locked = mutex.try_lock();
            assert!(mutex.lock_woken(&mut mutex.queue.lock(), locked, false));
            named.store(2, Ordering::Relaxed);
            first.join().unwrap();
            reader.join().unwrap();
            named.store(0, Ordering::Relaxed);
            mutex.unlock();
            world.assert_free_and(0);
        });
    }

    /// A future that waits, and may be starved, is dropped while the holder unlocks and may barge. Another
    /// waiter gets the mutex all the same.
    #[test]
    fn a_dropped_future_passes_its_turn_on() {
        for starved in [None, Some(false), Some(true)] {
            loom::model(move || {
                let world = World::new();
                let mutex = &world.mutex;
                let ticket = world.sleepers[0].ticket();
                let node = WaitNode::new(ticket, ());
                // As if it had been woken, and had lost.
                mutex.queue.lock().waiter_in_flight = starved.is_some();
                // SAFETY: `leave` follows.
                assert!(unsafe { mutex.begin_wait((), &node, starved) });
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
                mutex.leave((), &node);
                holder.join().unwrap();
                other.join().unwrap();
                world.assert_free_and(2 + again.load(Ordering::Relaxed));
            });
        }
    }

    /// As above, by a future that was polled in flight, and was stopped before it could queue again.
    #[test]
    fn a_future_in_flight_that_is_dropped_passes_its_turn_on() {
        loom::model(|| {
            let world = World::new();
            let mutex = &world.mutex;
            let ticket = world.sleepers[0].ticket();
            let node = WaitNode::new(ticket, ());
            // SAFETY: the node stays until its ticket was fired from the list.
            assert!(unsafe { mutex.begin_wait((), &node, None) });
            world.add_and_unlock();
            assert_eq!(world.sleepers[0].sleep(ticket), Cause::Event);
            assert!(mutex.try_lock(), "a new locker barges");
            let other = spawn(&world, |world| {
                world.lock(1, false);
                world.add_and_unlock();
            });
            let holder = spawn(&world, World::add_and_unlock);
            if mutex.end_wait((), &node, false) {
                world.add_and_unlock();
                holder.join().unwrap();
                other.join().unwrap();
                return world.assert_free_and(4);
            }
            mutex.give_up_turn(());
            holder.join().unwrap();
            other.join().unwrap();
            world.assert_free_and(3);
        });
    }

    /// A future that was polled where it blocks its thread is dropped: the mutex may have been handed off
    /// to it by then, or not. Another waiter gets it.
    #[test]
    fn a_dropped_future_that_blocked_its_thread_leaves_no_trace() {
        loom::model(|| {
            let world = World::new();
            let mutex = &world.mutex;
            let ticket = world.sleepers[0].ticket();
            let node = WaitNode::new(ticket, ()).blocking_thread(true);
            // SAFETY: the node leaves below.
            assert!(unsafe { mutex.begin_wait((), &node, None) });
            let holder = spawn(&world, World::add_and_unlock);
            let other = spawn(&world, |world| {
                world.lock(1, false);
                world.add_and_unlock();
            });
            mutex.leave((), &node);
            holder.join().unwrap();
            other.join().unwrap();
            world.assert_free_and(2);
        });
    }

    /// A future in flight is polled again where it blocks its thread, and a coroutine waits that could not
    /// run meanwhile: the future is handed the mutex.
    #[test]
    fn a_future_in_flight_that_blocks_its_thread_by_now_is_handed_the_mutex() {
        for starved in [false, true] {
            loom::model(move || {
                let world = World::new();
                let mutex = &world.mutex;
                mutex.queue.lock().waiter_in_flight = true;
                let waits = world.sleepers[1].ticket();
                let behind = WaitNode::new(waits, ());
                // SAFETY: the node leaves below.
                assert!(unsafe { mutex.enqueue(&mut mutex.queue.lock(), &behind) });
                let holder = spawn(&world, World::add_and_unlock);
                let ticket = world.sleepers[0].ticket();
                let node = WaitNode::new(ticket, ()).blocking_thread(true);
                // SAFETY: the node stays until its ticket was fired from the list.
                if unsafe { mutex.begin_wait((), &node, Some(starved)) } {
                    assert_eq!(world.sleepers[0].sleep(ticket), Cause::Event);
                    assert!(mutex.end_wait((), &node, starved));
                }
                world.add_and_unlock();
                holder.join().unwrap();
                mutex.leave((), &behind);
                world.assert_free_and(2);
            });
        }
    }

    /// As `lock_slow` of a waiter that blocks its worker's thread.
    fn lock_blocking_thread(world: &World, sleeper: usize) {
        if world.mutex.try_lock() {
            return;
        }
        let ticket = world.sleepers[sleeper].ticket();
        let node = WaitNode::new(ticket, ()).blocking_thread(true);
        // SAFETY: the node stays until its ticket was fired from the list.
        if unsafe { world.mutex.enqueue(&mut world.mutex.queue.lock(), &node) } {
            assert_eq!(world.sleepers[sleeper].sleep(ticket), Cause::Event);
        }
    }

    /// A waiter is in flight, perhaps with the mutex reserved, but runs only after another waiter, which
    /// blocks the thread that both need, has had the mutex.
    #[test]
    fn a_waiter_that_blocks_its_thread_does_not_wait_for_the_one_in_flight() {
        for starving in [false, true] {
            loom::model(move || {
                let world = World::new();
                let mutex = &world.mutex;
                let ticket = world.sleepers[0].ticket();
                let node = WaitNode::new(ticket, ());
                let mut queue = mutex.queue.lock();
                queue.waiter_in_flight = starving;
                // SAFETY: the node stays until its ticket was fired from the list.
                assert!(unsafe {
                    if starving {
                        mutex.requeue(&mut queue, &node, true)
                    } else {
                        mutex.enqueue(&mut queue, &node)
                    }
                });
                drop(queue);
                let holder = spawn(&world, World::add_and_unlock);
                lock_blocking_thread(&world, 1);
                world.add_and_unlock();
                holder.join().unwrap();
                // Only now can the other one run.
                assert_eq!(world.sleepers[0].sleep(ticket), Cause::Event);
                let locked = mutex.try_lock();
                assert!(
                    mutex.lock_woken(&mut mutex.queue.lock(), locked, starving),
                    "no other thread is left"
                );
                world.add_and_unlock();
                world.assert_free_and(3);
            });
        }
    }

    /// A waiter that loses and queues again stays behind one that blocks its thread, and both get the mutex.
    #[test]
    fn a_waiter_that_blocks_its_thread_among_others() {
        for starved in [false, true] {
            loom::model(move || {
                let world = World::new();
                let holder = spawn(&world, World::add_and_unlock);
                let other = spawn(&world, |world| {
                    lock_blocking_thread(world, 1);
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

    /// Two waiters that block their threads. One may take the mutex before the holder's unlock hands it to
    /// the other, which sees what the one did.
    #[test]
    fn two_waiters_that_block_their_threads() {
        loom::model(|| {
            let world = World::new();
            let holder = spawn(&world, World::add_and_unlock);
            let other = spawn(&world, |world| {
                lock_blocking_thread(world, 1);
                world.add_and_unlock();
            });
            lock_blocking_thread(&world, 0);
            world.add_and_unlock();
            holder.join().unwrap();
            other.join().unwrap();
            world.assert_free_and(3);
        });
    }

    /// A waiter is cancelled while the holder unlocks and barges: either it is in flight, and has to compete,
    /// or it dequeues; another waiter gets the mutex all the same.
    #[test]
    fn a_cancelled_waiter_leaves_no_trace() {
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
            let node = WaitNode::new(ticket, ());
            let mut sections = 2;
            // SAFETY: the node leaves below unless its ticket was fired from the list.
            let listed = unsafe { mutex.enqueue(&mut mutex.queue.lock(), &node) };
            if listed && sleeper.give_up(ticket) {
                mutex.dequeue(&mut mutex.queue.lock(), &node);
            } else if !listed || mutex.lock_woken(&mut mutex.queue.lock(), false, false) {
                world.add_and_unlock();
                sections += 1;
            } else {
                // It was woken and has lost: it goes back to the front.
                let ticket = sleeper.ticket();
                let node = WaitNode::new(ticket, ());
                // SAFETY: as above.
                let listed = unsafe { mutex.requeue(&mut mutex.queue.lock(), &node, false) };
                if listed && sleeper.give_up(ticket) {
                    mutex.dequeue(&mut mutex.queue.lock(), &node);
                } else {
                    while listed && !mutex.lock_woken(&mut mutex.queue.lock(), false, false) {
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
