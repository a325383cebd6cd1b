//! Waiting for the first of several things: the engine of `select!`.
//!
//! An [`Arm`] is one alternative: a send, a receive, the end of a coroutine, a point in time. A select
//!
//! 1. polls its arms in a random order, and is done if one can be carried out now;
//! 2. else enlists in all arms with one ticket, and parks;
//! 3. leaves all lists, and is done if it was chosen in one of them; else it begins again.
//!
//! An arm is never carried out twice, nor two arms of one select: the other side of an arm
//! (`WaitList::choose`) has to win the ticket first, and a ticket is won once. If an arm turns out to be
//! possible while the select enlists, the select calls the wait off: it fires its own ticket, after which
//! nobody else can choose it, and polls again. If it loses that race it has been chosen already, and takes
//! that.
//!
//! # Why `default` is right
//!
//! A select that must not wait ([`WaitLimit::None`], or a deadline that has passed) may give up only if at one
//! moment *no* arm was possible. To poll the arms one after another does not show that: a message may move
//! from an arm that is yet to be polled to one that has been. So such a select *glances* at its arms. It
//! enlists in all of them with a ticket, as if to wait, and then fires that ticket itself instead of parking.
//! It gives up if each enlisting found its arm impossible and its own fire won. The argument:
//!
//! - `enlist` looks at the arm and lists the ticket under one lock. From then on the arm stays impossible for
//!   as long as the ticket is not fired: whatever would make it possible (a send, a receive, a disconnection,
//!   the end of a coroutine) goes through the list, under the same lock, and fires the ticket or serves a
//!   waiter ahead of it, who uses up what came.
//! - A point in time is in no list. But a due time only ever moves later, so if nothing was due at the time
//!   that the clock shows after all due times have been read, nothing was due when they were read. The clock
//!   is read while the ticket is on all lists.
//! - So while the clock is read no arm is possible, if the ticket is still unfired after that. The
//!   select's own fire, which comes later, won: so it was.
//!
//! One arm by itself needs no glance: its poll looks at it at one moment. A glance that fails for another
//! reason than being chosen is repeated; each time another thread has carried something out, or has just left
//! a list.
//!
//! (Rejected: to lock all channels at once, in the order of their addresses, as Go does. A glance locks each
//! channel twice, but one at a time, so nobody spins on a lock whose holder waits for another one, and arms
//! that are no channels need no rule of their own.)
//!
//! # Shares
//!
//! Each pass visits the arms in a new random order, a uniform shuffle. So each of the arms that are possible
//! is equally likely to be the first, wherever it stands. (Rejected: the given order from a random start. An
//! arm that stands behind `k` impossible ones then gets `k + 1` shares.)
//!
//! The arms of one select never count as possible because of one another, though it may offer to send and to
//! receive on one channel: a list leaves out the places of the waiter that asks (`WaitList::has_others`).
//!
//! Two selects that find each other on their lists at the same time may both call off. Each then lets
//! others go first before it begins again, so on one worker the other one is either listed by then, and
//! found by the poll, or gone; between threads the random order parts them. A select that is called off
//! again and again is no loop without a wait: cancellation, time limits and its worker's other coroutines
//! get through each time.

use super::wait::{
    Cancel, Woken, checkpoint, consume_budget, unwind_cancelled, wait, with_ticket, yield_now,
};
use super::worker;
use crate::coroutine::{Batch, Cause, Event, EventNode, Fired, Ticket, WaitReason};
use std::cell::Cell;
use std::time::Instant;

/// One alternative of a select.
pub(crate) trait Arm {
    /// Carries it out if that is possible now.
    fn poll(&mut self) -> bool;

    /// Whether it looks as if it could be carried out now. Another one may be faster.
    fn is_ready(&self) -> bool;

    /// Whether it looks impossible, as far as can be told without a lock. A hint: it may be wrong either way.
    fn looks_blocked(&self) -> bool {
        false
    }

    /// When to poll again although nobody calls. It only ever moves to later times.
    fn until(&self) -> Option<Instant> {
        None
    }

    /// Lists the ticket where it will be fired; false if it could be carried out now. Runs in a commit.
    ///
    /// # Safety
    ///
    /// The arm stays where it is, and the ticket's waiter alive, until [`leave`](Self::leave) has returned.
    unsafe fn enlist(&self, ticket: Ticket) -> bool;

    /// As [`enlist`](Self::enlist), of one that only waits for the news: it is fired, but never chosen.
    ///
    /// # Safety
    ///
    /// As for `enlist`.
    unsafe fn watch(&self, ticket: Ticket) -> bool;

    /// Takes the ticket off the list; whether it was chosen there, and so carried out. Also where nothing
    /// was listed.
    fn leave(&self) -> bool;
}

/// Some arm, for [`select`], and its number.
pub struct AnyArm<'a> {
    arm: &'a mut dyn Arm,
    number: usize,
}

impl<'a> AnyArm<'a> {
    pub(crate) fn new(arm: &'a mut dyn Arm) -> AnyArm<'a> {
        AnyArm { arm, number: 0 }
    }

    /// The same arm with that number.
    #[doc(hidden)]
    pub fn numbered(self, number: usize) -> AnyArm<'a> {
        AnyArm { number, ..self }
    }
}

impl AnyArm<'_> {
    /// The number of the arm.
    pub(crate) fn number(&self) -> usize {
        self.number
    }
}

/// An arm that is carried out by finding it ready: then [`select`] is a wait for readiness.
struct Watched<'a>(&'a dyn Arm);

impl Arm for Watched<'_> {
    fn poll(&mut self) -> bool {
        self.0.is_ready()
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn looks_blocked(&self) -> bool {
        self.0.looks_blocked()
    }

    fn until(&self) -> Option<Instant> {
        self.0.until()
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.0.watch(ticket) }
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.0.watch(ticket) }
    }

    fn leave(&self) -> bool {
        self.0.leave()
    }
}

/// Waits until one of the arms looks as if it could be carried out, and gives its number; `None` if none does
/// in that time. Parks, and is cancelled, as [`select`].
pub(crate) fn ready(
    arms: &mut [Option<AnyArm<'_>>],
    reason: WaitReason,
    patience: WaitLimit,
    order: Order,
) -> Option<usize> {
    let mut watched: Vec<_> = arms.iter().flatten().map(|any| (Watched(&*any.arm), any.number)).collect();
    let mut arms: Vec<_> =
        watched.iter_mut().map(|(arm, number)| Some(AnyArm::new(arm).numbered(*number))).collect();
    select(&mut arms, reason, patience, order)
}

/// How long a select waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitLimit {
    /// It does not.
    None,
    /// Until then.
    Until(Instant),
    /// Until an arm can be carried out.
    Endless,
}

impl WaitLimit {
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            WaitLimit::Until(deadline) => Some(deadline),
            WaitLimit::None | WaitLimit::Endless => None,
        }
    }

    /// Whether the time is over.
    fn is_over(self) -> bool {
        match self {
            WaitLimit::None => true,
            WaitLimit::Until(deadline) => deadline <= Instant::now(),
            WaitLimit::Endless => false,
        }
    }
}

/// Which of several possible arms is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// None: each pass visits them in a random order.
    Random,
    /// The first.
    Given,
}

/// Carries out one of the arms and gives its number; `None` if none can be in that time. Parks. A
/// cancellation unwinds out of this, with none carried out. Leaves the arms in another order.
pub(crate) fn select(
    arms: &mut [Option<AnyArm<'_>>],
    reason: WaitReason,
    patience: WaitLimit,
    order: Order,
) -> Option<usize> {
    consume_budget();
    // Only at first: what a hint hides is found when the select enlists, and has to be polled then.
    let mut hints = arms.len() > 1;
    loop {
        if let Some(number) = poll(arms, order, hints) {
            return Some(number);
        }
        hints = false;
        let over = patience.is_over();
        let outcome = match over {
            true if arms.len() < 2 => return None,
            true => with_ticket(|ticket| glance(arms, ticket)),
            false => wait_for_one(arms, reason, patience.deadline()),
        };
        match outcome {
            Outcome::Chosen(number) => return Some(number),
            Outcome::NonePossible => return None,
            Outcome::CalledOff if !over => {
                checkpoint();
                yield_now();
            }
            Outcome::Disturbed | Outcome::CalledOff => {}
        }
    }
}

/// Carries out the first arm, in that order, that can be carried out, and gives its number. With `hints` it
/// skips arms that look blocked.
fn poll(arms: &mut [Option<AnyArm<'_>>], order: Order, hints: bool) -> Option<usize> {
    let mut shuffle = (order == Order::Random && arms.len() > 1).then(Shuffle::new);
    for at in 0..arms.len() {
        if let Some(shuffle) = &mut shuffle {
            arms.swap(at, at + shuffle.below(arms.len() - at));
        }
        if let Some(AnyArm { arm, number }) = &mut arms[at]
            && !(hints && arm.looks_blocked())
            && arm.poll()
        {
            return Some(*number);
        }
    }
    None
}

/// How a wait for the arms, or a glance at them, ended.
#[derive(Debug)]
enum Outcome {
    /// That one has been carried out.
    Chosen(usize),
    /// There was a moment at which none was possible.
    NonePossible,
    /// It is time to look again.
    Disturbed,
    /// As above: one has turned out to be possible before the select waited.
    CalledOff,
}

/// Waits for one of the arms.
fn wait_for_one(arms: &[Option<AnyArm<'_>>], reason: WaitReason, deadline: Option<Instant>) -> Outcome {
    let called_off = Cell::new(false);
    let mut commit = |ticket: Ticket| {
        // SAFETY: the arms are borrowed until this function ends, before which each of them is left,
        // whether it was listed or not.
        let listed = unsafe { enlist(arms, ticket) };
        if !listed {
            called_off.set(true);
            // If this is too late, the winner has chosen another arm.
            // SAFETY: the waiter is this one's own. It has not parked, so the batch stays empty.
            let _ = unsafe { ticket.fire(Cause::Event, &mut Batch::new()) };
        }
        listed
    };
    let until = due(arms).into_iter().chain(deadline).min();
    // SAFETY: the ticket is on the arms' lists only, which are left below.
    let woken = unsafe { wait(reason, until, Cancel::Obey, &mut commit) };
    let chosen = leave(arms);
    if woken == Woken::Cancelled {
        unwind_cancelled();
    }
    match chosen {
        Some(number) => Outcome::Chosen(number),
        None if called_off.get() => Outcome::CalledOff,
        None => Outcome::Disturbed,
    }
}

/// Looks whether any of the arms is possible at one moment, with the ticket of a wait that never parks. The
/// argument is in the file's head.
fn glance(arms: &[Option<AnyArm<'_>>], ticket: Ticket) -> Outcome {
    // SAFETY: the arms are left below, and the waiter is the caller's own.
    let listed = unsafe { enlist(arms, ticket) };
    // The due times first, then the clock.
    let impossible = listed && due(arms).is_none_or(|due| due > Instant::now());
    // SAFETY: the waiter is the caller's own. It has not parked, so the batch stays empty.
    let unfired = unsafe { ticket.fire(Cause::Timeout, &mut Batch::new()) } != Fired::Lost;
    match leave(arms) {
        Some(number) => Outcome::Chosen(number),
        None if impossible && unfired => Outcome::NonePossible,
        None => Outcome::CalledOff,
    }
}

/// Lists the ticket in all arms, or up to the first that is possible: then false.
///
/// # Safety
///
/// The arms stay where they are, and the ticket's waiter alive, until [`leave`] has returned.
unsafe fn enlist(arms: &[Option<AnyArm<'_>>], ticket: Ticket) -> bool {
    // SAFETY: as the caller says.
    arms.iter().flatten().all(|any| unsafe { any.arm.enlist(ticket) })
}

/// Leaves all arms; the number of the one that was carried out.
fn leave(arms: &[Option<AnyArm<'_>>]) -> Option<usize> {
    let mut chosen = None;
    for AnyArm { arm, number } in arms.iter().flatten() {
        if arm.leave() {
            chosen = Some(*number);
        }
    }
    chosen
}

/// When the first arm is due that waits for a point in time.
fn due(arms: &[Option<AnyArm<'_>>]) -> Option<Instant> {
    arms.iter().flatten().filter_map(|any| any.arm.until()).min()
}

/// Random numbers for one pass over the arms, from one draw.
struct Shuffle(u32);

impl Shuffle {
    fn new() -> Shuffle {
        Shuffle(random())
    }

    /// A number below that one; each is equally likely, but for a part in 2^32.
    fn below(&mut self, bound: usize) -> usize {
        // A linear congruential generator, and the upper part of a product: its low bits are poor.
        self.0 = self.0.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        ((u64::from(self.0) * bound as u64) >> 32) as usize
    }
}

/// A number that differs from call to call.
fn random() -> u32 {
    worker::with(worker::Worker::random).unwrap_or_else(|| {
        use std::sync::atomic::{AtomicU32, Ordering};
        static SEED: AtomicU32 = AtomicU32::new(1);
        // A Weyl sequence, whose bits are then mixed.
        let x = SEED.fetch_add(0x9e37_79b9, Ordering::Relaxed);
        let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        x ^ (x >> 16)
    })
}

/// The end of a coroutine, or a cancellation, as one of the alternatives of a
/// [`Select`](crate::channel::Select). Made by `arm` of what it is the end of.
///
/// It waits for an event that is set for good.
pub struct EventArm<'a> {
    event: &'a Event,
    node: Cell<Option<EventNode>>,
}

impl<'a> EventArm<'a> {
    pub(crate) fn new(event: &'a Event) -> EventArm<'a> {
        EventArm { event, node: Cell::new(None) }
    }

    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm::new(self)
    }

    #[doc(hidden)]
    pub fn finish(self) {}
}

impl Arm for EventArm<'_> {
    fn poll(&mut self) -> bool {
        self.event.is_set()
    }

    fn is_ready(&self) -> bool {
        self.event.is_set()
    }

    unsafe fn watch(&self, ticket: Ticket) -> bool {
        // SAFETY: as the caller says.
        unsafe { self.enlist(ticket) }
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: nobody has the node's address: it was taken off before.
        let node = unsafe { (*self.node.as_ptr()).insert(EventNode::new(ticket)) };
        // SAFETY: the arm stays until it is left, as the caller says.
        unsafe { self.event.enqueue(node) }
    }

    fn leave(&self) -> bool {
        // SAFETY: only `enlist` makes an exclusive reference, and it is over.
        if let Some(node) = unsafe { (*self.node.as_ptr()).as_ref() } {
            self.event.remove(node);
            self.node.set(None);
        }
        // An event that was set for good stays set: the next poll finds it.
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::wait::set;
    use super::*;
    use std::sync::Arc;

    fn either(events: &[Event; 2]) -> Option<usize> {
        let (mut one, mut other) = (EventArm::new(&events[0]), EventArm::new(&events[1]));
        select(
            &mut [Some(one.any()), Some(other.any())],
            WaitReason::Select,
            WaitLimit::Endless,
            Order::Random,
        )
    }

    /// Either of two events ends the wait, and both lists are as they were.
    #[test]
    fn either_of_two_events_ends_a_wait() {
        let test = || {
            for round in 0..500 {
                let events = Arc::new([Event::new(), Event::new()]);
                let theirs = Arc::clone(&events);
                let setter = crate::spawn(move || set(&theirs[round % 2]));
                either(&events);
                assert!(events[round % 2].is_set() && !events[1 - round % 2].is_set());
                either(&events);
                setter.join().expect("no panic");
                set(&events[1 - round % 2]);
            }
        };
        let runtime = crate::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        runtime.run(test);
        test();
    }

    #[test]
    fn a_cancelled_select_leaves_both() {
        let runtime = crate::runtime::Builder::new().worker_threads(2).build().expect("a runtime");
        runtime.run(|| {
            let events = Arc::new([Event::new(), Event::new()]);
            let theirs = Arc::clone(&events);
            let waits = crate::spawn(move || either(&theirs));
            crate::sleep(std::time::Duration::from_millis(2));
            waits.cancel();
            assert!(waits.join().is_err());
            set(&events[0]);
            set(&events[1]);
        });
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::channel::{Receiver, Sender, bounded, unbounded};
    use crate::coroutine::Sleeper;
    use loom::sync::Arc;
    use loom::thread;

    struct World {
        sleeper: Sleeper,
        other: Sleeper,
        event: Event,
        ends: [(Sender<u32>, Receiver<u32>); 2],
    }

    fn world(ends: [(Sender<u32>, Receiver<u32>); 2]) -> Arc<World> {
        Arc::new(World { sleeper: Sleeper::new(), other: Sleeper::new(), event: Event::new(), ends })
    }

    /// As [`select`] without patience.
    fn without_patience(arms: &mut [Option<AnyArm<'_>>], world: &World) -> Option<usize> {
        loop {
            if let Some(number) = poll(arms, Order::Given, false) {
                return Some(number);
            }
            match glance(arms, world.sleeper.ticket()) {
                Outcome::Chosen(number) => return Some(number),
                Outcome::NonePossible => return None,
                Outcome::Disturbed | Outcome::CalledOff => thread::yield_now(),
            }
        }
    }

    /// As [`select`] with endless patience.
    fn with_patience(arms: &mut [Option<AnyArm<'_>>], sleeper: &Sleeper) -> usize {
        loop {
            if let Some(number) = poll(arms, Order::Given, false) {
                return number;
            }
            let ticket = sleeper.ticket();
            // SAFETY: the arms are left below; the sleeper outlives the model's threads.
            if unsafe { enlist(arms, ticket) } || !sleeper.give_up(ticket) {
                sleeper.sleep(ticket);
            }
            if let Some(number) = leave(arms) {
                return number;
            }
            thread::yield_now();
        }
    }

    /// Two receives as the arms of one select, by `select`; which was carried out, and with what.
    fn of_two<R>(
        world: &World,
        select: impl FnOnce(&mut [Option<AnyArm<'_>>]) -> R,
    ) -> (R, [Option<u32>; 2]) {
        let mut arms = [0, 1].map(|i| world.ends[i].1.arm());
        let [first, second] = &mut arms;
        let outcome = select(&mut [Some(first.any()), Some(second.any().numbered(1))]);
        (outcome, arms.map(|arm| arm.finish().ok()))
    }

    /// As `try_recv`, without the budget, which is the test's thread's and not the model's.
    fn take(receiver: &Receiver<u32>) -> Option<u32> {
        let mut arm = receiver.arm();
        if arm.poll() { arm.finish().ok() } else { None }
    }

    fn queued(world: &World) -> usize {
        world.ends.iter().map(|(_, receiver)| receiver.len()).sum()
    }

    /// A message comes to the first arm before the one of the second arm goes: there is always one.
    #[test]
    fn no_default_while_a_message_moves_from_arm_to_arm() {
        loom::model(|| {
            let world = world([unbounded(), unbounded()]);
            world.ends[1].0.try_send(1).unwrap();
            let mover = {
                let world = world.clone();
                thread::spawn(move || {
                    world.ends[0].0.try_send(0).unwrap();
                    take(&world.ends[1].1).is_some()
                })
            };
            let (chosen, got) = of_two(&world, |arms| without_patience(arms, &world));
            let chosen = chosen.expect("there was always a message");
            assert_eq!(got[chosen], Some(chosen as u32));
            let taken = usize::from(mover.join().unwrap());
            assert_eq!(queued(&world) + taken, 1, "one of two was received here");
        });
    }

    /// An event is set before the message of the other arm goes.
    #[test]
    fn no_default_while_an_event_takes_over_from_a_message() {
        loom::model(|| {
            let world = world([unbounded(), unbounded()]);
            world.ends[1].0.try_send(1).unwrap();
            let mover = {
                let world = world.clone();
                thread::spawn(move || {
                    world.event.set_for_good(&mut Batch::new());
                    take(&world.ends[1].1);
                })
            };
            let (mut event, mut message) = (EventArm::new(&world.event), world.ends[1].1.arm());
            let arms = &mut [Some(event.any()), Some(message.any().numbered(1))];
            assert!(without_patience(arms, &world).is_some());
            mover.join().unwrap();
        });
    }

    /// A glance at a rendezvous: a sender meets it or does not, and the message is in one place.
    #[test]
    fn a_glance_loses_nothing() {
        loom::model(|| {
            let world = world([bounded(0), bounded(0)]);
            let sender = {
                let world = world.clone();
                thread::spawn(move || world.ends[0].0.try_send(0).is_ok())
            };
            let (chosen, got) = of_two(&world, |arms| without_patience(arms, &world));
            assert_eq!(sender.join().unwrap(), chosen.is_some());
            assert_eq!(got, [chosen.map(|_| 0), None]);
        });
    }

    /// A select that waits, while a message comes to its first arm and the one of its second goes.
    #[test]
    fn a_waiting_select_meets_a_moving_message() {
        loom::model(|| {
            let world = world([unbounded(), unbounded()]);
            world.ends[1].0.try_send(1).unwrap();
            let mover = {
                let world = world.clone();
                thread::spawn(move || {
                    let taken = take(&world.ends[1].1).is_some();
                    world.ends[0].0.try_send(0).unwrap();
                    taken
                })
            };
            let (chosen, got) = of_two(&world, |arms| with_patience(arms, &world.sleeper));
            assert_eq!(got[chosen], Some(chosen as u32));
            assert_eq!(got[1 - chosen], None);
            let taken = usize::from(mover.join().unwrap());
            assert_eq!(queued(&world) + taken, 1, "one of two was received here");
        });
    }

    /// One that waits for readiness, and then tries, meets a sender that waits on a channel without room.
    #[test]
    fn a_watcher_hears_of_a_sender_that_waits() {
        loom::model(|| {
            let world = world([bounded(0), bounded(0)]);
            let sender = {
                let world = world.clone();
                thread::spawn(move || {
                    let mut arm = world.ends[0].0.arm(5);
                    with_patience(&mut [Some(arm.any())], &world.other);
                    arm.finish().unwrap();
                })
            };
            let message = loop {
                let arms = [0, 1].map(|i| world.ends[i].1.arm());
                let [mut first, mut second] = [0, 1].map(|i| Watched(&arms[i]));
                let watched =
                    &mut [Some(AnyArm::new(&mut first)), Some(AnyArm::new(&mut second).numbered(1))];
                assert_eq!(with_patience(watched, &world.sleeper), 0);
                if let Some(message) = take(&world.ends[0].1) {
                    break message;
                }
                thread::yield_now();
            };
            assert_eq!(message, 5);
            sender.join().unwrap();
        });
    }

    /// A message that is made when it can be sent reaches a receiver that waits on a channel without room.
    #[test]
    fn a_message_that_is_made_late_reaches_a_receiver_that_waits() {
        loom::model(|| {
            let world = world([bounded(0), bounded(0)]);
            let sender = {
                let world = world.clone();
                thread::spawn(move || {
                    let mut made = 0;
                    let mut arm = world.ends[0].0.arm_with(|| {
                        made += 1;
                        5
                    });
                    with_patience(&mut [Some(arm.any())], &world.other);
                    arm.finish().unwrap();
                    assert_eq!(made, 1);
                })
            };
            let mut arm = world.ends[0].1.arm();
            with_patience(&mut [Some(arm.any())], &world.sleeper);
            assert_eq!(arm.finish(), Ok(5));
            sender.join().unwrap();
        });
    }
}
