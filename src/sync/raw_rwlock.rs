//! The readers-writer lock without its data: one atomic word, and two queues of waiters under a list lock.
//!
//! # The problem
//!
//! As for the mutex (`raw_mutex.rs`): a contended lock must be fast and must starve nobody, and handing it to
//! waiters makes all others wait until these run. In addition readers must neither starve writers nor be
//! starved by them.
//!
//! # Normal mode and starvation mode
//!
//! In *normal mode* unlock frees the lock and wakes waiters: after a writer all queued readers, after the
//! last reader the first writer; and the other kind if there is none of that. The woken waiters are *in
//! flight*: they compete with new lockers, which may take the lock first (*barging*). A woken waiter that
//! loses goes back to the front of its queue. While waiters are in flight no others are woken, and lock and
//! unlock cost what they cost without contention: one read-modify-write. New readers do not join the present
//! readers while a waiter is queued and none is in flight, so that there is a last reader, which wakes the
//! writer.
//!
//! A woken waiter that loses more than [`STARVATION_THRESHOLD`] (1 ms) after it first queued is *starved*.
//! While a starved waiter is queued the lock is in *starvation mode*: it is *handed off*, alternately to
//! readers and to a writer. A writer's unlock hands it to *all* readers that are queued by then; the last
//! reader's unlock hands it to the first writer; new lockers queue. So a starved reader waits for the present
//! holders and for one writer. A starved writer waits for the present holders and one phase of readers, and
//! for each starved writer before it with its phase of readers. (Phase-fair locks, Brandenburg and Anderson
//! 2010.) Only waiters read the clock: when they first queue, and after each wake-up.
//!
//! # Waiters that block their worker's thread
//!
//! A wait in a destructor that runs while its coroutine unwinds blocks the thread of the worker
//! (`blocks_thread`). A waiter in flight may be a coroutine of that worker, so to leave the lock to that one
//! would be a deadlock. Therefore a locker that blocks its thread takes the lock whenever no holder excludes
//! it, even with HANDOFF; a reader passes queued writers. Otherwise it queues before all others. While it
//! queues HANDOFF is set, and the lock is handed to such waiters first, in either phase.
//!
//! # The states
//!
//! ```text
//!  63                    3         2       1      0
//! +-----------------------+---------+------+--------+
//! |        readers        | HANDOFF | WAKE | WRITER |
//! +-----------------------+---------+------+--------+
//!
//!  word              who holds the lock, and the waiters               new reader     new writer
//!  0                 nobody; none is queued, or some are in flight     takes it       takes it
//!  r                 r readers; likewise                               takes it       queues
//!  WRITER            a writer; likewise                                queues         queues
//!  r WAKE            r readers; some are queued, none is in flight     queues         queues
//!  WRITER WAKE       a writer; likewise                                queues         queues
//!  WAKE              nobody; as above; an unlock is about to call      takes it       takes it (barging)
//!                    `wake_next`
//!  .. WAKE HANDOFF   the holders; starvation mode, or the first        queues         queues
//!                    waiter of a queue blocks its thread
//!  WAKE HANDOFF      nobody: an unlock is about to hand it off         queues         queues
//!
//!  from              to                    cause
//!  no WRITER         r + 1                 `try_lock`, `lock_or_flag`: a reader
//!  no holder         WRITER                `try_lock`, `lock_or_flag`: a writer
//!  r, WRITER         r - 1, no WRITER      `unlock`; if nobody holds the lock then and a flag is set, it
//!                                          goes on to `wake_next`
//!  WRITER            r = 1                 `downgrade`; with a flag it goes on to `wake_next`
//!  held              held WAKE             `enqueue`: a waiter queues, and none is in flight
//!                                          `requeue`: the last waiter in flight has lost, and queues
//!                                          `lock_woken`: the last waiter in flight has it, others queue
//!  held              held WAKE HANDOFF     `enqueue`: a waiter that blocks its thread
//!                                          `requeue`: a waiter that has waited for over 1 ms
//!  WAKE              0                     `wake_next`: waiters are in flight now
//!  WAKE HANDOFF      r or WRITER, flags    `wake_next`: handed off
//!                                          `enqueue`: a locker that blocks its thread
//!  .. WAKE HANDOFF   the flags go          the last waiter that needs them has the lock, or its wait was
//!                                          cancelled (`dequeue`)
//! ```
//!
//! - Each lock and each unlock is one read-modify-write. All other changes are made under the queues' lock;
//!   WAKE and HANDOFF change only there. [`Queues::flags`] says what they have to be: WAKE if waiters are
//!   queued and none is in flight; both in starvation mode, and if the first waiter of a queue blocks its
//!   thread.
//! - With HANDOFF neither new lockers nor waiters in flight take the lock. Only a locker that blocks its
//!   thread does, under the queues' lock.
//! - The flags are only ever set by the compare-and-swap that finds the lock held, by a holder, or where
//!   HANDOFF is set already. So the last holder sees them when it unlocks, and calls `wake_next`.
//!
//! # Why no waiter is forgotten
//!
//! Claim: while a waiter is queued and the queues' lock is free, one of these holds.
//!
//! 1. Waiters are in flight.
//! 2. The lock is held and WAKE is set, so the last holder's unlock will call `wake_next`.
//! 3. An unlock has released the lock under WAKE, and has not called `wake_next` yet.
//!
//! - `enqueue` makes 2 true, unless 1 is.
//! - `unlock` leads from 2 to 3.
//! - `wake_next` leads from 3 to 1, or to 2 if it hands the lock off or new lockers have been faster. Or it
//!   empties the queues. In each case it takes off waiters whose waits have ended otherwise: their tickets
//!   are lost. Waking (`wake_readers`, `wake_writer`) does not count them as in flight, and handing off
//!   (`hand_to_*`) takes back the unit that it gave them. Then it goes on to the next waiter. It must: the
//!   `dequeue` of such a waiter hands the lock off only with HANDOFF, and otherwise wakes only readers. A
//!   writer behind it would be forgotten.
//! - `hand_to_*` also takes a starved waiter out of `Queues::starved`, whether it wins the ticket or not: in
//!   both cases the waiter is not queued any more. If it lost, the waiter's own `dequeue` finds the node off
//!   the queue, and does not count it a second time. Waking needs no such count: it happens only without
//!   HANDOFF, so no queued waiter is starved.
//! - The last waiter in flight sets WAKE again if waiters are queued: as it takes the lock, or in the
//!   compare-and-swap that shows it that the lock is held. That is 2.
//!
//! Readers queue only because a writer holds the lock or is queued, or under HANDOFF. If that ends without an
//! unlock (the writer's wait is cancelled, or the last waiter in flight takes the lock) they are woken at
//! once (`wake_idle_readers`).
//!
//! *Cancellation.* A waiter that is handed the lock has it, and a waiter in flight comes to compete: its
//! ticket was fired under the queues' lock, so no cancellation and no timeout gives the lock, or the wake-up,
//! to a waiter that is gone. A waiter whose wait ends otherwise calls `dequeue`. That lets in the waiters
//! that it has kept out (with HANDOFF by handing the lock off), and clears the flags that only it needed.
//!
//! *Futures* (`lock_future.rs`) wait in the same queues. A future that was handed the lock and is dropped
//! unlocks it. A future in flight that is dropped (`leave_in_flight`) takes the lock and unlocks it again, if
//! it can. If it cannot and is the last one in flight, the compare-and-swap that shows it that the lock is
//! held sets WAKE, as in `requeue`: that is 2. With HANDOFF and without a holder 3 is true already.
//!
//! *Orderings.* The releases of `unlock` and `downgrade` pair with the acquire of each later lock. All
//! changes in between are read-modify-writes, which continue the release sequences.
//!
//! # What was rejected
//!
//! - *A hand-off at each unlock*: each critical section that has waiters costs a switch. Starvation mode does
//!   this, only while a starved waiter is queued.
//! - *A fixed preference for readers or for writers*: the other kind can starve.
//! - *One FIFO queue for both*: readers between two writers would get in apart from the others. With two
//!   queues all queued readers share one phase.

use super::holder::HolderWord;
use super::lock_future::FutureLock;
use super::{STARVATION_THRESHOLD, spin_for};
use crate::base::clock;
use crate::base::list_lock::{ListGuard, ListLock};
use crate::base::sync::{AtomicUsize, Ordering, const_fn};
use crate::coroutine::{Batch, Facts, NodeState, Subject, WaitList, WaitNode, WaitReason, Why};
use crate::sched::{self, Cancel, Ended, Wait};

/// A writer holds the lock.
const WRITER: usize = 1;
/// The last holder's unlock has to call `wake_next`.
const WAKE: usize = 1 << 1;
/// Unlock hands the lock off: new lockers must not take it.
const HANDOFF: usize = 1 << 2;
const FLAGS: usize = WAKE | HANDOFF;
/// One reader.
const READER: usize = 1 << 3;
/// The number of readers.
const READERS: usize = !(WRITER | FLAGS);
/// A word above this has too many readers. This leaves room for readers that are just being counted.
const MAX: usize = usize::MAX / 2;

/// The payload of a node: whether its waiter is starved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Starved(bool);

/// A readers-writer lock without data.
#[derive(Debug)]
pub(super) struct RawRwLock {
    word: AtomicUsize,
    /// The writer.
    pub(super) holder: HolderWord,
    queues: ListLock<Queues>,
}

/// The waiters.
#[derive(Debug)]
pub(super) struct Queues {
    readers: WaitList<Starved>,
    writers: WaitList<Starved>,
    /// How many waiters were woken, and have neither taken the lock nor queued again.
    in_flight: usize,
    /// How many queued waiters are starved. Starvation mode, if not zero.
    starved: usize,
}

impl Queues {
    fn are_empty(&self) -> bool {
        self.readers.is_empty() && self.writers.is_empty()
    }

    /// WAKE and HANDOFF as these queues need them.
    fn flags(&self) -> usize {
        let blocks_thread = |list: &WaitList<Starved>| list.first().is_some_and(WaitNode::blocks_thread);
        if self.starved > 0 || blocks_thread(&self.readers) || blocks_thread(&self.writers) {
            WAKE | HANDOFF
        } else if !self.are_empty() && self.in_flight == 0 {
            WAKE
        } else {
            0
        }
    }

    fn wake_readers(&mut self, batch: &mut Batch) {
        self.in_flight += self.readers.wake_all(batch);
    }

    fn wake_writer(&mut self, batch: &mut Batch) {
        self.in_flight += usize::from(self.writers.wake_first(batch));
    }
}

/// What a locker wants the lock for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The kinds of lockers, by what they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Locker {
    /// It has not queued yet.
    New,
    /// A waiter in flight.
    Woken,
    /// It blocks its worker's thread.
    BlocksThread,
}

impl Access {
    /// The word after this locker has taken the lock; `None` if it has to wait.
    #[inline]
    fn added(self, word: usize, locker: Locker) -> Option<usize> {
        let handoff = if locker == Locker::BlocksThread { 0 } else { HANDOFF };
        match self {
            Access::Read => {
                // New readers do not join the present ones while a writer is queued and has to be woken.
                let behind_writers = locker == Locker::New && word & READERS != 0;
                let refused = WRITER | handoff | if behind_writers { WAKE } else { 0 };
                assert!(word < MAX, "too many readers");
                (word & refused == 0).then_some(word + READER)
            }
            Access::Write => (word & (WRITER | READERS | handoff) == 0).then_some(word | WRITER),
        }
    }

    fn queue(self, queues: &mut Queues) -> &mut WaitList<Starved> {
        match self {
            Access::Read => &mut queues.readers,
            Access::Write => &mut queues.writers,
        }
    }
}

// SAFETY: atomics only.
unsafe impl Subject for RawRwLock {
    fn facts(&self) -> Facts {
        // Acquire: as `holder.rs` says.
        let word = self.word.load(Ordering::Acquire);
        let holder = if word & WRITER != 0 { self.holder.get() } else { None };
        Facts::Lock { at: std::ptr::from_ref(self).addr(), holder, readers: (word & READERS) / READER }
    }
}

impl RawRwLock {
    const_fn! {
        /// A free lock.
        pub(super) fn new() -> RawRwLock {
            RawRwLock {
                word: AtomicUsize::new(0),
                holder: HolderWord::new(),
                queues: ListLock::new(Queues {
                    readers: WaitList::new(),
                    writers: WaitList::new(),
                    in_flight: 0,
                    starved: 0,
                }),
            }
        }
    }

    /// Takes the lock if a new locker may have it now.
    #[inline]
    pub(super) fn try_lock(&self, access: Access) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        // As `added`, in one comparison, if nobody waits.
        let (refused, unit) = match access {
            Access::Read => (WRITER | FLAGS | !MAX, READER),
            Access::Write => (!0, WRITER),
        };
        let next = word.wrapping_add(unit);
        // Acquires what earlier holders did: pairs with the releases of `unlock` and `downgrade`.
        word & refused == 0
            && self.word.compare_exchange(word, next, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.lock_or_flag(access, Locker::New, 0)
    }

    /// Takes the lock if this locker may have it now. Otherwise sets the flags, so that the last holder's
    /// unlock finds them. With flags: under the queues' lock.
    fn lock_or_flag(&self, access: Access, locker: Locker, flags: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let added = access.added(word, locker);
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

    /// Takes the lock, and waits for it if necessary. A cancellation unwinds out of this.
    #[inline]
    pub(super) fn lock(&self, access: Access) {
        if !self.try_lock(access) {
            self.lock_slow(access);
        }
    }

    #[cold]
    fn lock_slow(&self, access: Access) {
        if self.spin(access, Locker::New) {
            return;
        }
        let reason = match access {
            Access::Read => WaitReason::RwLockRead,
            Access::Write => WaitReason::RwLockWrite,
        };
        let since = clock::now();
        // `None` until this waiter was woken and has lost; then whether it has waited beyond the threshold.
        let mut starved = None;
        loop {
            let ended = sched::wait_in(
                &self.queues,
                Wait {
                    why: Why::new(reason, self),
                    deadline: None,
                    cancel: Cancel::Obey,
                    payload: Starved(starved == Some(true)),
                },
                |queues, node| {
                    // SAFETY: `wait_in` keeps the node as `enqueue` and `requeue` require.
                    unsafe {
                        match starved {
                            None => self.enqueue(access, queues, node),
                            Some(_) => self.requeue(access, queues, node),
                        }
                    }
                },
                |queues, node, batch| self.dequeue(access, queues, node, batch),
            );
            match ended {
                Ended::Handed => return,
                Ended::NotListed if starved.is_none() => return,
                Ended::NotListed | Ended::Woken => {
                    // It is in flight, and `requeue` has taken the lock, or it competes now.
                    let locked = ended == Ended::NotListed || self.spin(access, Locker::Woken);
                    if self.lock_woken_and_wake(access, locked) {
                        return;
                    }
                    starved = Some(clock::since(since) > STARVATION_THRESHOLD);
                }
                Ended::Timeout | Ended::Cancelled => sched::unwind_cancelled(),
            }
        }
    }

    /// Spins for a moment; true if that got the lock.
    fn spin(&self, access: Access, locker: Locker) -> bool {
        spin_for(|| {
            let word = self.word.load(Ordering::Relaxed);
            if access.added(word, locker).is_some() && self.lock_or_flag(access, locker, 0) {
                return Some(true);
            }
            (word & HANDOFF != 0).then_some(false)
        })
    }

    /// Releases the lock.
    #[inline]
    pub(super) fn unlock(&self, access: Access) {
        if access == Access::Write {
            self.holder.clear();
        }
        // Releases what the holder did to later holders.
        let left = match access {
            Access::Read => self.word.fetch_sub(READER, Ordering::Release) - READER,
            Access::Write => self.word.fetch_sub(WRITER, Ordering::Release) - WRITER,
        };
        if left != 0 && left & READERS == 0 {
            self.unlock_slow(access);
        }
    }

    #[cold]
    fn unlock_slow(&self, access: Access) {
        let preferred = match access {
            Access::Read => Access::Write,
            Access::Write => Access::Read,
        };
        let mut batch = Batch::new();
        self.wake_next(preferred, &mut self.queues.lock(), &mut batch);
        batch.wake();
    }

    /// Makes the writer a reader.
    pub(super) fn downgrade(&self) {
        self.holder.clear();
        let word = self.word.fetch_add(READER - WRITER, Ordering::Release);
        if word != WRITER {
            let mut batch = Batch::new();
            self.wake_next(Access::Read, &mut self.queues.lock(), &mut batch);
            batch.wake();
        }
    }

    /// Wakes waiters, or hands the lock off to them, after an unlock under WAKE. If both readers and a writer
    /// could go on, those of the `preferred` access do.
    fn wake_next(&self, preferred: Access, queues: &mut Queues, batch: &mut Batch) {
        let word = self.word.load(Ordering::Relaxed);
        if word & HANDOFF != 0 {
            self.hand_off(preferred, queues, batch);
        } else if queues.in_flight == 0 {
            if preferred == Access::Read {
                queues.wake_readers(batch);
            }
            // If new readers have barged before a writer that is not preferred, WAKE stays set, and the last
            // of them wakes the writer.
            if queues.in_flight == 0 && (preferred == Access::Write || word & READERS == 0) {
                queues.wake_writer(batch);
            }
            if queues.in_flight == 0 {
                queues.wake_readers(batch);
            }
        }
        self.clear_flags(queues);
    }

    /// Clears the flags that the queues need no longer, after a waiter has left them.
    fn clear_flags(&self, queues: &Queues) {
        self.word.fetch_and(!FLAGS | queues.flags(), Ordering::Relaxed);
    }

    /// A new locker takes the lock or queues: true if it queues.
    ///
    /// # Safety
    ///
    /// As for [`WaitList::push_back`], with [`dequeue`](Self::dequeue) for `remove`.
    unsafe fn enqueue(&self, access: Access, queues: &mut Queues, node: &WaitNode<Starved>) -> bool {
        let (locker, flags) = match () {
            () if node.blocks_thread() => (Locker::BlocksThread, WAKE | HANDOFF),
            () if queues.in_flight > 0 => (Locker::New, 0),
            () => (Locker::New, WAKE),
        };
        if self.lock_or_flag(access, locker, flags) {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe { access.queue(queues).push(node) };
        true
    }

    /// As [`lock_woken`](Self::lock_woken), and schedules the waiters that it wakes.
    fn lock_woken_and_wake(&self, access: Access, locked: bool) -> bool {
        let mut batch = Batch::new();
        let locked = self.lock_woken(access, &mut self.queues.lock(), locked, &mut batch);
        batch.wake();
        locked
    }

    /// A waiter in flight takes the lock, if it has not `locked` it already; true if it holds it then. If
    /// not, it is still in flight.
    fn lock_woken(&self, access: Access, queues: &mut Queues, locked: bool, batch: &mut Batch) -> bool {
        debug_assert!(queues.in_flight > 0, "only waiters in flight come here");
        if !locked && !self.lock_or_flag(access, Locker::Woken, 0) {
            return false;
        }
        queues.in_flight -= 1;
        self.wake_idle_readers(queues, batch);
        // The caller holds the lock, so its unlock will find the flags.
        self.word.fetch_or(queues.flags(), Ordering::Relaxed);
        true
    }

    /// A waiter in flight takes the lock or goes back to the front of its queue: true if it queues. If not,
    /// it has the lock and is still in flight. If it is starved it starts starvation mode.
    ///
    /// # Safety
    ///
    /// As for [`enqueue`](Self::enqueue).
    unsafe fn requeue(&self, access: Access, queues: &mut Queues, node: &WaitNode<Starved>) -> bool {
        let Starved(starved) = *node.payload();
        let flags = match () {
            // A future in flight may be polled where it blocks its thread.
            () if starved || node.blocks_thread() => WAKE | HANDOFF,
            // Another waiter in flight sets WAKE when it takes the lock or loses.
            () if queues.in_flight > 1 => 0,
            () => WAKE,
        };
        if self.lock_or_flag(access, Locker::Woken, flags) {
            return false;
        }
        queues.in_flight -= 1;
        queues.starved += usize::from(starved);
        // SAFETY: as the caller says.
        unsafe { access.queue(queues).push_first(node) };
        true
    }

    /// Takes off the node of a wait that was cancelled, and lets waiters go on that waited because of it.
    fn dequeue(&self, access: Access, queues: &mut Queues, node: &WaitNode<Starved>, batch: &mut Batch) {
        if access.queue(queues).remove(node) {
            queues.starved -= usize::from(node.payload().0);
        }
        if self.word.load(Ordering::Relaxed) & HANDOFF != 0 {
            self.hand_off(Access::Write, queues, batch);
        } else {
            self.wake_idle_readers(queues, batch);
        }
        self.clear_flags(queues);
    }

    /// Wakes the queued readers if there is no writer for which they would have to wait.
    fn wake_idle_readers(&self, queues: &mut Queues, batch: &mut Batch) {
        let free = self.word.load(Ordering::Relaxed) & (WRITER | HANDOFF) == 0;
        if free && queues.in_flight == 0 && queues.writers.is_empty() {
            queues.wake_readers(batch);
        }
    }

    /// Hands the lock to the waiters that can have it now: the first writer if there is no holder, all
    /// readers if there is no writer; if both can, those of the `preferred` access. Under the queues' lock,
    /// and with HANDOFF, so that no one else takes the lock meanwhile.
    fn hand_off(&self, preferred: Access, queues: &mut Queues, batch: &mut Batch) {
        self.hand_to_thread_blockers(queues, batch);
        if self.word.load(Ordering::Relaxed) & WRITER == 0 {
            if preferred == Access::Read {
                self.hand_to_readers(queues, batch);
            }
            // If a reader holds the lock now, the last one to unlock it calls `wake_next`.
            if self.word.load(Ordering::Relaxed) & READERS == 0 {
                self.hand_to_writer(queues, batch);
            }
            let written = self.word.load(Ordering::Relaxed) & WRITER != 0;
            if !written && queues.writers.is_empty() {
                self.hand_to_readers(queues, batch);
            }
        }
    }

    /// Hands the lock to waiters that block their thread and can have it now: all such readers if there is no
    /// writer, and such a writer if there is no holder.
    fn hand_to_thread_blockers(&self, queues: &mut Queues, batch: &mut Batch) {
        if self.word.load(Ordering::Relaxed) & WRITER == 0 {
            self.hand_to_readers_that(WaitNode::blocks_thread, queues, batch);
            if self.word.load(Ordering::Relaxed) & READERS == 0 {
                self.hand_to_writer_if(WaitNode::blocks_thread, queues, batch);
            }
        }
    }

    fn hand_to_readers(&self, queues: &mut Queues, batch: &mut Batch) {
        self.hand_to_readers_that(|_| true, queues, batch);
    }

    fn hand_to_readers_that(
        &self,
        fits: fn(&WaitNode<Starved>) -> bool,
        queues: &mut Queues,
        batch: &mut Batch,
    ) {
        // Counted before the ticket is fired, as the reader may go on, and unlock, at once. Acquires for the
        // reader what earlier holders did.
        let mut give = |node: &WaitNode<Starved>| {
            queues.starved -= usize::from(node.payload().0);
            self.word.fetch_add(READER, Ordering::Acquire);
        };
        let undo = |_: &WaitNode<Starved>, ()| {
            self.word.fetch_sub(READER, Ordering::Relaxed);
        };
        while queues.readers.hand_to_first_if(batch, fits, &mut give, undo).is_some() {}
    }

    fn hand_to_writer(&self, queues: &mut Queues, batch: &mut Batch) {
        self.hand_to_writer_if(|_| true, queues, batch);
    }

    fn hand_to_writer_if(
        &self,
        fits: fn(&WaitNode<Starved>) -> bool,
        queues: &mut Queues,
        batch: &mut Batch,
    ) {
        let give = |node: &WaitNode<Starved>| {
            queues.starved -= usize::from(node.payload().0);
            self.word.fetch_or(WRITER, Ordering::Acquire);
        };
        let undo = |_: &WaitNode<Starved>, ()| {
            self.word.fetch_and(!WRITER, Ordering::Relaxed);
        };
        queues.writers.hand_to_first_if(batch, fits, give, undo);
    }

    /// A waiter in flight does not want the lock any more. True if it has the lock now: it has to unlock it,
    /// which wakes the next waiters. Otherwise an unlock that is still to come does that.
    fn leave_in_flight(&self, access: Access, queues: &mut Queues, batch: &mut Batch) -> bool {
        // As in `requeue`: another waiter in flight sets WAKE when it takes the lock, loses or leaves.
        let flags = if queues.in_flight > 1 { 0 } else { WAKE };
        if self.lock_or_flag(access, Locker::Woken, flags) {
            return self.lock_woken(access, queues, true, batch);
        }
        queues.in_flight -= 1;
        self.wake_idle_readers(queues, batch);
        self.clear_flags(queues);
        false
    }

    /// As [`leave_in_flight`](Self::leave_in_flight), and unlocks. The queues' lock is held.
    fn leave_and_unlock(&self, access: Access, mut queues: ListGuard<'_, Queues>) {
        let mut batch = Batch::new();
        let locked = self.leave_in_flight(access, &mut queues, &mut batch);
        drop(queues);
        batch.wake();
        if locked {
            self.unlock(access);
        }
    }
}

impl FutureLock for RawRwLock {
    type Access = Access;
    type Payload = Starved;

    fn try_lock_for(&self, access: Access) -> bool {
        self.try_lock(access)
    }

    fn payload(starved: bool) -> Starved {
        Starved(starved)
    }

    unsafe fn begin_wait(&self, access: Access, node: &WaitNode<Starved>, lost: Option<bool>) -> bool {
        let mut queues = self.queues.lock();
        if lost.is_none() {
            // SAFETY: as the caller says.
            return unsafe { self.enqueue(access, &mut queues, node) };
        }
        // SAFETY: as the caller says.
        if unsafe { self.requeue(access, &mut queues, node) } {
            return true;
        }
        drop(queues);
        let locked = self.lock_woken_and_wake(access, true);
        debug_assert!(locked, "`requeue` has taken the lock");
        false
    }

    fn end_wait(&self, access: Access, node: &WaitNode<Starved>, _starved: bool) -> bool {
        let handed = {
            let _queues = self.queues.lock();
            node.was_handed()
        };
        handed || self.lock_woken_and_wake(access, false)
    }

    fn leave(&self, access: Access, node: &WaitNode<Starved>) {
        let mut queues = self.queues.lock();
        match node.state() {
            NodeState::Handed => {
                drop(queues);
                self.unlock(access);
            }
            NodeState::Woken => self.leave_and_unlock(access, queues),
            NodeState::Listed | NodeState::Unlisted => {
                let mut batch = Batch::new();
                self.dequeue(access, &mut queues, node, &mut batch);
                drop(queues);
                batch.wake();
            }
        }
    }

    fn give_up_turn(&self, access: Access) {
        self.leave_and_unlock(access, self.queues.lock());
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

        /// As `lock_slow`, by a waiter that is starved once it loses, or is not.
        fn lock(&self, access: Access, sleeper: usize, starved: bool) {
            if self.lock.try_lock(access) {
                return;
            }
            let ticket = self.sleepers[sleeper].ticket();
            let node = WaitNode::new(ticket, Starved(false));
            // SAFETY: the node stays until its ticket was fired from the list.
            if unsafe { self.lock.enqueue(access, &mut self.lock.queues.lock(), &node) } {
                self.wait(access, sleeper, ticket, &node, starved);
            }
        }

        /// What `lock_slow` does once it is queued.
        fn wait(
            &self,
            access: Access,
            sleeper: usize,
            ticket: Ticket,
            node: &WaitNode<Starved>,
            starved: bool,
        ) {
            let (lock, sleeper) = (&self.lock, &self.sleepers[sleeper]);
            assert_eq!(sleeper.sleep(ticket), Cause::Event);
            if node.was_handed() {
                return;
            }
            let mut locked = lock.lock_or_flag(access, Locker::Woken, 0);
            while !lock.lock_woken_and_wake(access, locked) {
                let ticket = sleeper.ticket();
                let node = WaitNode::new(ticket, Starved(starved));
                // SAFETY: the node stays until its ticket was fired from the list.
                let listed = unsafe { lock.requeue(access, &mut lock.queues.lock(), &node) };
                if listed {
                    assert_eq!(sleeper.sleep(ticket), Cause::Event);
                    if node.was_handed() {
                        return;
                    }
                }
                locked = !listed || lock.lock_or_flag(access, Locker::Woken, 0);
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

        /// Once all threads have been joined.
        fn assert_free(&self) {
            assert_eq!(self.lock.word.load(Ordering::Relaxed), 0);
            let queues = self.lock.queues.lock();
            assert!(queues.are_empty() && queues.in_flight == 0 && queues.starved == 0);
        }
    }

    fn spawn(world: &Arc<World>, f: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || f(&world))
    }

    use Access::{Read, Write};

    /// Three lockers at once. Waiters that are woken and lose are starved, or are not.
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

    /// A holder unlocks and locks again twice while another locker waits: it may barge, and may unlock
    /// without WAKE while the waiter is in flight, which gets the lock all the same.
    #[test]
    fn a_waiter_that_loses_gets_the_lock() {
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

    /// A writer becomes a reader, while a reader and another writer come: the reader sees what it has
    /// written, and nobody is forgotten.
    #[test]
    fn a_writer_that_becomes_a_reader_lets_others_in() {
        loom::model(|| {
            let world = World::new();
            assert!(world.lock.try_lock(Write));
            let reader = spawn(&world, |world| world.section(Read, 0, false));
            let writer = spawn(&world, |world| world.section(Write, 1, false));
            // SAFETY: under the lock, which is what the model checks.
            world.data.with_mut(|data| unsafe { *data += 1 });
            world.lock.downgrade();
            world.visit_and_unlock(Read);
            reader.join().unwrap();
            writer.join().unwrap();
            world.assert_free();
        });
    }

    /// A writer's unlock wakes two readers; one takes the lock while the other is still in flight, and a
    /// writer waits: no waiter is forgotten.
    #[test]
    fn woken_readers_and_a_writer() {
        for starved in [false, true] {
            loom::model(move || {
                let world = World::new();
                assert!(world.lock.try_lock(Write));
                let tickets = [0, 1].map(|i| world.sleepers[i].ticket());
                let nodes = tickets.map(|ticket| WaitNode::new(ticket, Starved(false)));
                for node in &nodes {
                    // SAFETY: the node stays until its ticket was fired from the list.
                    assert!(unsafe { world.lock.enqueue(Read, &mut world.lock.queues.lock(), node) });
                }
                world.visit_and_unlock(Write);
                assert_eq!(world.lock.queues.lock().in_flight, 2);
                let other = world.clone();
                let [here, there] = nodes;
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

    /// A woken waiter finds the lock held again, and is starved: the lock is handed off to it, and no later
    /// locker gets it first.
    #[test]
    fn no_barging_in_starvation_mode() {
        for (waits, overtakes, comes) in [(Write, Read, Read), (Read, Write, Write), (Write, Write, Write)] {
            loom::model(move || {
                let world = World::new();
                let (lock, sleeper) = (&world.lock, &world.sleepers[0]);
                assert!(lock.try_lock(overtakes));
                let ticket = sleeper.ticket();
                let node = WaitNode::new(ticket, Starved(true));
                let mut queues = lock.queues.lock();
                // As if it had been woken.
                queues.in_flight = 1;
                // SAFETY: the node stays until its ticket was fired from the list.
                assert!(unsafe { lock.requeue(waits, &mut queues, &node) });
                drop(queues);
                let inside = Arc::new(std::sync::atomic::AtomicBool::new(false));
                let theirs = inside.clone();
                let later = spawn(&world, move |world| {
                    world.lock(comes, 1, false);
                    assert!(theirs.load(Ordering::Relaxed), "it barged in starvation mode");
                    world.visit_and_unlock(comes);
                });
                world.visit_and_unlock(overtakes);
                assert_eq!(sleeper.sleep(ticket), Cause::Event);
                assert!(node.was_handed(), "the lock is handed off to it");
                inside.store(true, Ordering::Relaxed);
                world.visit_and_unlock(waits);
                later.join().unwrap();
                world.assert_free();
            });
        }
    }

    /// A waiter that blocks the thread which another one needs gets the lock before that one, whether that
    /// one is queued or in flight.
    fn a_thread_blocker_goes_first(holds: Access, waits: Access, blocks: Access) {
        for waiter_in_flight in [false, true] {
            loom::model(move || {
                let world = World::new();
                let lock = &world.lock;
                assert!(lock.try_lock(holds));
                let ticket = world.sleepers[0].ticket();
                let node = WaitNode::new(ticket, Starved(false));
                // SAFETY: the node stays until its ticket was fired from the list.
                assert!(unsafe { lock.enqueue(waits, &mut lock.queues.lock(), &node) });
                if waiter_in_flight {
                    lock.unlock(holds);
                    assert!(lock.try_lock(holds), "it barges");
                }
                let blocking_ticket = world.sleepers[1].ticket();
                let blocking_node = WaitNode::new(blocking_ticket, Starved(false)).blocking_thread(true);
                // SAFETY: as above.
                let listed = unsafe { lock.enqueue(blocks, &mut lock.queues.lock(), &blocking_node) };
                assert_eq!(listed, holds == Write || blocks == Write);
                let holder = spawn(&world, move |world| world.visit_and_unlock(holds));
                if listed {
                    assert_eq!(world.sleepers[1].sleep(blocking_ticket), Cause::Event);
                    assert!(blocking_node.was_handed(), "the lock is handed off to it");
                }
                world.visit_and_unlock(blocks);
                // Only now can the other one run.
                world.wait(waits, 0, ticket, &node, false);
                world.visit_and_unlock(waits);
                holder.join().unwrap();
                world.assert_free();
            });
        }
    }

    #[test]
    fn a_reader_that_blocks_its_thread_goes_first() {
        a_thread_blocker_goes_first(Read, Write, Read);
        a_thread_blocker_goes_first(Write, Write, Read);
    }

    #[test]
    fn a_writer_that_blocks_its_thread_goes_first() {
        a_thread_blocker_goes_first(Write, Read, Write);
        a_thread_blocker_goes_first(Read, Write, Write);
    }

    /// A writer's wait is cancelled while the reader that it waits for unlocks, and a reader waits behind it.
    #[test]
    fn a_waiting_writer_is_cancelled() {
        for starved in [false, true] {
            loom::model(move || {
                let world = World::new();
                assert!(world.lock.try_lock(Read));
                let (lock, sleeper) = (&world.lock, &world.sleepers[0]);
                let ticket = sleeper.ticket();
                let node = WaitNode::new(ticket, Starved(starved));
                let mut queues = lock.queues.lock();
                // As if it had been woken, and had lost.
                queues.in_flight = 1;
                // SAFETY: the node leaves below unless its ticket was fired from the list.
                assert!(unsafe { lock.requeue(Write, &mut queues, &node) });
                drop(queues);
                let others = [
                    spawn(&world, |world| world.visit_and_unlock(Read)),
                    spawn(&world, |world| world.section(Read, 1, false)),
                ];
                if sleeper.give_up(ticket) {
                    let mut batch = Batch::new();
                    lock.dequeue(Write, &mut lock.queues.lock(), &node, &mut batch);
                    batch.wake();
                } else {
                    world.wait(Write, 0, ticket, &node, starved);
                    world.visit_and_unlock(Write);
                }
                for other in others {
                    other.join().unwrap();
                }
                world.assert_free();
            });
        }
    }

    /// A future that waits, and may be starved, is dropped while the holder unlocks. A writer and a reader
    /// get the lock all the same.
    #[test]
    fn a_dropped_future_passes_its_turn_on() {
        for access in [Read, Write] {
            for lost in [None, Some(false), Some(true)] {
                loom::model(move || {
                    let world = World::new();
                    let (lock, sleeper) = (&world.lock, &world.sleepers[0]);
                    assert!(lock.try_lock(Write));
                    let node = WaitNode::new(sleeper.ticket(), Starved(lost == Some(true)));
                    // As if it had been woken, and had lost.
                    lock.queues.lock().in_flight = usize::from(lost.is_some());
                    // SAFETY: `leave` follows.
                    assert!(unsafe { lock.begin_wait(access, &node, lost) });
                    let others = [
                        spawn(&world, |world| world.visit_and_unlock(Write)),
                        spawn(&world, move |world| {
                            world.section(if access == Read { Write } else { Read }, 1, false);
                        }),
                    ];
                    lock.leave(access, &node);
                    for other in others {
                        other.join().unwrap();
                    }
                    world.assert_free();
                });
            }
        }
    }

    /// A future in flight finds the lock taken by a new locker, and is dropped before it can queue again.
    #[test]
    fn a_future_in_flight_that_is_dropped_passes_its_turn_on() {
        for access in [Read, Write] {
            loom::model(move || {
                let world = World::new();
                let (lock, sleeper) = (&world.lock, &world.sleepers[0]);
                assert!(lock.try_lock(Write));
                let ticket = sleeper.ticket();
                let node = WaitNode::new(ticket, Starved(false));
                // SAFETY: the node stays until its ticket was fired from the list.
                assert!(unsafe { lock.begin_wait(access, &node, None) });
                world.visit_and_unlock(Write);
                assert_eq!(sleeper.sleep(ticket), Cause::Event);
                assert!(lock.try_lock(Write), "a new locker barges");
                let others = [
                    spawn(&world, move |world| world.section(Read, 1, false)),
                    spawn(&world, |world| world.visit_and_unlock(Write)),
                ];
                if lock.end_wait(access, &node, false) {
                    world.visit_and_unlock(access);
                } else {
                    lock.give_up_turn(access);
                }
                for other in others {
                    other.join().unwrap();
                }
                world.assert_free();
            });
        }
    }

    /// A writer's wait is cancelled while a reader holds the lock, and holds it until a reader that queued
    /// behind the writer reads as well.
    #[test]
    fn readers_do_not_wait_for_one_another() {
        loom::model(|| {
            let world = World::new();
            assert!(world.lock.try_lock(Read));
            let (lock, sleeper) = (&world.lock, &world.sleepers[0]);
            let ticket = sleeper.ticket();
            let node = WaitNode::new(ticket, Starved(false));
            // SAFETY: the node leaves below.
            assert!(unsafe { lock.enqueue(Write, &mut lock.queues.lock(), &node) });
            let reader = spawn(&world, |world| world.section(Read, 1, false));
            assert!(sleeper.give_up(ticket), "nobody wakes it");
            let mut batch = Batch::new();
            lock.dequeue(Write, &mut lock.queues.lock(), &node, &mut batch);
            batch.wake();
            reader.join().unwrap();
            world.visit_and_unlock(Read);
            world.assert_free();
        });
    }
}
