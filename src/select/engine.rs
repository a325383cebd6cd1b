//! The engine of `select!`.
//!
//! The problem: of several operations, exactly one is to complete, as a whole, while other threads complete
//! the other sides of them. And a select with `default` must not take the default if there was always an
//! operation that could complete.
//!
//! # Terms
//!
//! - An [`Arm`] is one alternative: a send, a receive, the end of a coroutine, a point in time. It is
//!   *possible* if it could complete at once.
//! - To *enlist* is to put the select's ticket into the list from which the arm's other side fires it; to
//!   *leave* is to take it off. A ticket is won once (`coroutine/waiter.rs`).
//! - The select *aborts* its wait by firing its own ticket.
//! - The *other side* of an arm is who completes it for a select that waits: a receiver for a send, a sender
//!   for a receive.
//!
//! # The states of a select
//!
//! ```text
//!  state       leaves it for   when
//!  trying      done            an arm has completed: one that was possible when its turn came
//!              done            no arm was possible, there is only one, and the select must not wait
//!              enlisting       no arm was possible
//!  enlisting   waiting         all arms were impossible when they were enlisted
//!              leaving         an arm is possible (`enlist` returned false): the select aborts its wait
//!  trying      confirming      no arm was possible, there are several, and the select must not wait
//!  confirming  done            it is confirmed that no arm was possible (see below)
//!              trying          otherwise
//!  waiting     leaving         its ticket was fired: by an arm's other side, which has completed that arm;
//!                              by a change that may have made an arm possible; by the deadline, a due time,
//!                              or a cancellation
//!  leaving     done            one of the lists says that the other side has completed the arm
//!              unwinding       the wait was cancelled
//!              trying          otherwise
//! ```
//!
//! The code has one loop ([`select`]) over [`try_arms`] (trying) and [`wait_for_one`] or [`confirm_none`]
//! (the rest).
//!
//! # Why one arm completes, once
//!
//! The other side of an arm (`WaitList::hand_to_first`) has to win the ticket first, and a ticket is won
//! once. When the select aborts its wait, it competes for the ticket like anybody else: if it wins, no other
//! side can complete an arm any more; if it loses, one has, and `leave` finds which. A timeout and a
//! cancellation compete in the same way. Nobody completes an arm of a select that confirms.
//!
//! # Why `default` is right
//!
//! A select that must not wait ([`WaitLimit::None`], or a deadline that has passed) may give up only if at
//! one moment *no* arm was possible. Trying the arms one after another does not show that: a message may move
//! from an arm that is yet to be tried to one that has been. So such a select *confirms* that no arm is
//! possible. It watches all of them with a ticket, as if to wait for readiness ([`Arm::watch`]), and then
//! fires that ticket itself instead of parking. It gives up if each `watch` found its arm impossible and
//! its own fire won. The argument:
//!
//! - `watch` checks the arm and lists the ticket under one lock. From then on the arm stays impossible until
//!   the ticket is fired. Whatever would make it possible (a send, a receive, a disconnection, the end of a
//!   coroutine) goes through the list under the same lock. There it either fires the ticket, or serves a
//!   waiter, which uses it up.
//! - A point in time is in no list. But a due time only ever moves later, so if nothing was due at the time
//!   that the clock shows after all due times have been read, nothing was due when they were read. The clock
//!   is read while the ticket is on all lists.
//! - So while the clock is read, no arm is possible, provided that the ticket is still unfired after that.
//!   The select's own fire comes later, and it won: so the ticket was unfired.
//!
//! A select that confirms offers nothing, since it will not wait: it is nobody's other side, and no future is
//! woken for it. Its ticket is of a waiter of its own (`with_ticket`). So no wait in between ends it, or is
//! ended by it.
//!
//! A single arm needs no confirmation: trying it checks it at one moment. If the confirmation fails the
//! select begins again. Each time another thread has completed an operation, has begun to wait, or has just
//! left a list.
//!
//! # Shares
//!
//! Each pass visits the arms in a new random order, a uniform shuffle. So each of the possible arms is
//! equally likely to be the first, wherever it stands.
//!
//! The arms of one select never count as possible because of one another, though a select may offer to send
//! and to receive on one channel: a list ignores the nodes of the waiter that asks (`WaitList::has_others`).
//!
//! # Livelock
//!
//! Two selects that find each other on their lists at the same time may both abort. Each then yields before
//! it begins again. On one worker, the other select is then either listed, and found by the next try, or
//! gone. Between threads, the random order separates them. A select that is aborted again and again stays
//! interruptible: each time it checks for cancellation and time limits, and its worker's other coroutines
//! run.
//!
//! # Rejected
//!
//! - Locking all channels at once, in the order of their addresses, as Go does. A confirmation locks each
//!   channel twice, but one at a time: no thread spins on a lock whose holder waits for another lock, and
//!   arms that are no channels need no rule of their own.
//! - Trying the arms in the given order from a random start. An arm behind `k` impossible ones then has `k +
//!   1` shares.

use super::arm::{AnyArm, Arm};
use super::limit::WaitLimit;
use super::shuffle::Shuffle;
use crate::base::clock;
use crate::coroutine::{Batch, Cause, Facts, Fired, Subject, Ticket, WaitReason, Why, with_ticket};
use crate::sched::{Cancel, Woken, checkpoint, consume_budget, unwind_cancelled, wait, yield_now};
use std::cell::Cell;
use std::time::Instant;

/// Which of several possible arms completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Each is equally likely: each pass visits the arms in a new random order.
    Random,
    /// The first.
    Given,
}

/// Completes one of the arms and returns its number; `None` if none becomes possible within the limit. Parks.
/// A cancellation unwinds out of this, with no arm completed. Leaves the arms in another order.
pub(crate) fn select(
    arms: &mut [Option<AnyArm<'_>>],
    reason: WaitReason,
    limit: WaitLimit,
    order: Order,
) -> Option<usize> {
    consume_budget();
    // Hints are used in the first pass only: if one is wrong, `enlist` finds the arm possible, and the next
    // pass has to try it.
    let mut first_pass = true;
    loop {
        if let Some(number) = try_arms(arms, order, first_pass && arms.len() > 1) {
            return Some(number);
        }
        let must_end = limit.has_passed();
        if !first_pass && !must_end {
            arms.iter_mut().flatten().for_each(|any| any.arm.prepare_to_wait());
        }
        first_pass = false;
        let outcome = match must_end {
            true if arms.len() < 2 => return None,
            true => with_ticket(|ticket| confirm_none(arms, ticket)),
            false => wait_for_one(arms, reason, limit.deadline()),
        };
        match outcome {
            Outcome::Completed(number) => return Some(number),
            Outcome::NonePossible => return None,
            Outcome::Aborted if !must_end => {
                checkpoint();
                yield_now();
            }
            Outcome::Woken | Outcome::Aborted => {}
        }
    }
}

/// Waits until one of the arms seems to be possible, completes none, and returns its number; `None` if none
/// becomes possible within the limit. Parks, and is cancelled, as [`select`].
pub(super) fn ready(
    arms: &mut [Option<AnyArm<'_>>],
    reason: WaitReason,
    limit: WaitLimit,
    order: Order,
) -> Option<usize> {
    let mut watched: Vec<_> = arms.iter().flatten().map(|any| (Watched(&*any.arm), any.number)).collect();
    let mut arms: Vec<_> =
        watched.iter_mut().map(|(arm, number)| Some(AnyArm::new(arm).numbered(*number))).collect();
    select(&mut arms, reason, limit, order)
}

/// An arm that completes by being found ready.
struct Watched<'a>(&'a dyn Arm);

impl Arm for Watched<'_> {
    fn facts(&self) -> Option<Facts> {
        self.0.facts()
    }

    fn try_complete(&mut self) -> bool {
        self.0.is_ready()
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn seems_blocked(&self) -> bool {
        self.0.seems_blocked()
    }

    fn due(&self) -> Option<Instant> {
        self.0.due()
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

/// Completes the first arm, in that order, that is possible, and returns its number. With `use_hints` it
/// skips arms that seem to be blocked.
fn try_arms(arms: &mut [Option<AnyArm<'_>>], order: Order, use_hints: bool) -> Option<usize> {
    let mut shuffle = (order == Order::Random && arms.len() > 1).then(Shuffle::new);
    for at in 0..arms.len() {
        if let Some(shuffle) = &mut shuffle {
            arms.swap(at, at + shuffle.below(arms.len() - at));
        }
        if let Some(AnyArm { arm, number }) = &mut arms[at]
            && !(use_hints && arm.seems_blocked())
            && arm.try_complete()
        {
            return Some(*number);
        }
    }
    None
}

/// How a wait for the arms, or a confirmation that none is possible, ended.
#[derive(Debug)]
enum Outcome {
    /// The other side of the arm of that number has completed it.
    Completed(usize),
    /// There was a moment at which no arm was possible.
    NonePossible,
    /// The ticket was fired, and no arm has completed: try again.
    Woken,
    /// An arm turned out to be possible before the select waited: try again.
    Aborted,
}

/// What a select waits for.
struct Arms<'a, 'b>(&'a [Option<AnyArm<'b>>]);

// SAFETY: the slice does not change during the wait; nor does what the arms' `facts` use.
unsafe impl Subject for Arms<'_, '_> {
    fn facts(&self) -> Facts {
        Facts::Any(self.0.iter().flatten().filter_map(|any| any.arm.facts()).collect())
    }
}

/// Enlists in all arms, and waits until the ticket is fired.
fn wait_for_one(arms: &[Option<AnyArm<'_>>], reason: WaitReason, deadline: Option<Instant>) -> Outcome {
    let aborted = Cell::new(false);
    let mut commit = |ticket: Ticket| {
        // SAFETY: the arms are borrowed until this function ends, and each of them is left before that,
        // whether it was listed or not.
        let listed = unsafe { enlist(arms, ticket) };
        if !listed {
            aborted.set(true);
            // If this loses, an arm's other side has won, and `leave` finds which arm it is.
            // SAFETY: the waiter is the caller's own. It has not parked, so the batch stays empty.
            let _ = unsafe { ticket.fire(Cause::Event, &mut Batch::new()) };
        }
        listed
    };
    let until = first_due(arms).into_iter().chain(deadline).min();
    // SAFETY: the ticket is on the arms' lists only, which are left below.
    let woken = unsafe { wait(Why::new(reason, &Arms(arms)), until, Cancel::Obey, &mut commit) };
    let completed = leave(arms);
    if woken == Woken::Cancelled {
        unwind_cancelled();
    }
    match completed {
        Some(number) => Outcome::Completed(number),
        None if aborted.get() => Outcome::Aborted,
        None => Outcome::Woken,
    }
}

/// Confirms that no arm is possible at one moment, with the ticket of a wait that never parks. The
/// argument is at the head of this file.
fn confirm_none(arms: &[Option<AnyArm<'_>>], ticket: Ticket) -> Outcome {
    // SAFETY: the arms are left below, and the waiter is the caller's own.
    let watches = arms.iter().flatten().all(|any| unsafe { any.arm.watch(ticket) });
    // First the due times, then the clock.
    let impossible = watches && first_due(arms).is_none_or(|due| due > clock::now());
    // SAFETY: the waiter is the caller's own. It has not parked, so the batch stays empty.
    let unfired = unsafe { ticket.fire(Cause::Timeout, &mut Batch::new()) } != Fired::Lost;
    leave(arms);
    if impossible && unfired { Outcome::NonePossible } else { Outcome::Aborted }
}

/// Enlists the ticket in all arms, or up to the first that is possible: then false.
///
/// # Safety
///
/// The arms stay where they are, and the ticket's waiter alive, until [`leave`] has returned.
unsafe fn enlist(arms: &[Option<AnyArm<'_>>], ticket: Ticket) -> bool {
    // SAFETY: as the caller says.
    arms.iter().flatten().all(|any| unsafe { any.arm.enlist(ticket) })
}

/// Leaves all arms; the number of the one that its other side has completed.
fn leave(arms: &[Option<AnyArm<'_>>]) -> Option<usize> {
    let mut completed = None;
    for AnyArm { arm, number } in arms.iter().flatten() {
        if arm.leave() {
            completed = Some(*number);
        }
    }
    completed
}

/// The earliest time at which an arm becomes possible by itself.
fn first_due(arms: &[Option<AnyArm<'_>>]) -> Option<Instant> {
    arms.iter().flatten().filter_map(|any| any.arm.due()).min()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::Event;
    use crate::sched::set;
    use crate::select::EventArm;
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
    use crate::coroutine::{Event, Sleeper};
    use crate::select::EventArm;
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

    /// As [`select`] with [`WaitLimit::None`].
    fn without_waiting(arms: &mut [Option<AnyArm<'_>>]) -> Option<usize> {
        loop {
            if let Some(number) = try_arms(arms, Order::Given, false) {
                return Some(number);
            }
            if let Outcome::NonePossible = with_ticket(|ticket| confirm_none(arms, ticket)) {
                return None;
            }
            thread::yield_now();
        }
    }

    /// As [`select`] with [`WaitLimit::Endless`].
    fn waiting(arms: &mut [Option<AnyArm<'_>>], sleeper: &Sleeper) -> usize {
        loop {
            if let Some(number) = try_arms(arms, Order::Given, false) {
                return number;
            }
            arms.iter_mut().flatten().for_each(|any| any.arm.prepare_to_wait());
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

    /// Two receives as the arms of one select, which `select` runs: what it returns, and what each arm
    /// received.
    fn of_two<R>(
        world: &World,
        select: impl FnOnce(&mut [Option<AnyArm<'_>>]) -> R,
    ) -> (R, [Option<u32>; 2]) {
        let mut arms = [0, 1].map(|i| world.ends[i].1.arm());
        let [first, second] = &mut arms;
        let outcome = select(&mut [Some(first.any()), Some(second.any().numbered(1))]);
        (outcome, arms.map(|arm| arm.finish().ok()))
    }

    /// As `try_recv`, without the budget: that belongs to the thread of the test, not of the model.
    fn take(receiver: &Receiver<u32>) -> Option<u32> {
        let mut arm = receiver.arm();
        if arm.try_complete() { arm.finish().ok() } else { None }
    }

    fn queued(world: &World) -> usize {
        world.ends.iter().map(|(_, receiver)| receiver.len()).sum()
    }

    /// A message arrives at the first arm before the one of the second arm is taken: there is always one.
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
            let (completed, got) = of_two(&world, without_waiting);
            let completed = completed.expect("there was always a message");
            assert_eq!(got[completed], Some(completed as u32));
            let taken = usize::from(mover.join().unwrap());
            assert_eq!(queued(&world) + taken, 1, "the select received one of the two");
        });
    }

    /// As above, and the message at the first arm is left to a future that came before the select.
    #[test]
    fn no_default_while_a_message_is_left_to_a_future() {
        loom::model(|| {
            let world = world([unbounded(), unbounded()]);
            world.ends[1].0.try_send(1).unwrap();
            let future = world.ends[0].1.arm();
            // SAFETY: the arm is left below, and the sleeper outlives the model's threads.
            assert!(unsafe { future.wait_in_turn(world.other.ticket()) });
            let mover = {
                let world = world.clone();
                thread::spawn(move || {
                    world.ends[0].0.try_send(0).unwrap();
                    take(&world.ends[1].1).is_some()
                })
            };
            let (completed, got) = of_two(&world, without_waiting);
            let completed = completed.expect("there was always a message");
            assert_eq!(got[completed], Some(completed as u32));
            let taken = usize::from(mover.join().unwrap());
            assert_eq!(queued(&world) + taken, 1, "the select received one of the two");
            future.leave();
        });
    }

    /// An event is set before the message of the other arm is taken.
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
            assert!(without_waiting(arms).is_some());
            mover.join().unwrap();
        });
    }

    /// A select that must not wait, and a rendezvous: it meets a sender that waits, or leaves it to the next
    /// receiver.
    #[test]
    fn a_select_that_must_not_wait_loses_nothing() {
        loom::model(|| {
            let world = world([bounded(0), bounded(0)]);
            let sender = {
                let world = world.clone();
                thread::spawn(move || {
                    let mut arm = world.ends[0].0.arm(0);
                    waiting(&mut [Some(arm.any())], &world.other);
                    arm.finish().unwrap();
                })
            };
            let (completed, got) = of_two(&world, without_waiting);
            assert_eq!(got, [completed.map(|_| 0), None]);
            if completed.is_none() {
                let mut arm = world.ends[0].1.arm();
                waiting(&mut [Some(arm.any())], &world.sleeper);
                assert_eq!(arm.finish(), Ok(0));
            }
            sender.join().unwrap();
        });
    }

    /// A select waits, while a message arrives at its first arm and the one of its second is taken.
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
            let (completed, got) = of_two(&world, |arms| waiting(arms, &world.sleeper));
            assert_eq!(got[completed], Some(completed as u32));
            assert_eq!(got[1 - completed], None);
            let taken = usize::from(mover.join().unwrap());
            assert_eq!(queued(&world) + taken, 1, "the select received one of the two");
        });
    }

    /// A waiter for readiness, which then tries, meets a sender that waits on a channel of capacity zero.
    #[test]
    fn a_waiting_sender_wakes_a_watcher() {
        loom::model(|| {
            let world = world([bounded(0), bounded(0)]);
            let sender = {
                let world = world.clone();
                thread::spawn(move || {
                    let mut arm = world.ends[0].0.arm(5);
                    waiting(&mut [Some(arm.any())], &world.other);
                    arm.finish().unwrap();
                })
            };
            let message = loop {
                let arms = [0, 1].map(|i| world.ends[i].1.arm());
                let [mut first, mut second] = [0, 1].map(|i| Watched(&arms[i]));
                let watched =
                    &mut [Some(AnyArm::new(&mut first)), Some(AnyArm::new(&mut second).numbered(1))];
                assert_eq!(waiting(watched, &world.sleeper), 0);
                if let Some(message) = take(&world.ends[0].1) {
                    break message;
                }
                thread::yield_now();
            };
            assert_eq!(message, 5);
            sender.join().unwrap();
        });
    }

    /// A message that is made when it can be sent, and a future that waits for its turn, on a channel of
    /// capacity zero: the message is made, and the future has its turn.
    #[test]
    fn a_message_that_is_made_late_reaches_a_future() {
        loom::model(|| {
            let world = world([bounded(0), bounded(0)]);
            let sender = {
                let world = world.clone();
                thread::spawn(move || {
                    let mut arm = world.ends[0].0.arm_with(|| 5);
                    waiting(&mut [Some(arm.any())], &world.other);
                    arm.finish().unwrap();
                })
            };
            let mut arm = world.ends[0].1.arm();
            while !arm.try_complete() {
                let ticket = world.sleeper.ticket();
                // SAFETY: the arm is left below; the sleeper outlives the model's threads.
                if unsafe { arm.wait_in_turn(ticket) } || !world.sleeper.give_up(ticket) {
                    world.sleeper.sleep(ticket);
                }
                assert!(!arm.leave(), "nothing is handed to a future");
            }
            assert_eq!(arm.finish(), Ok(5));
            sender.join().unwrap();
        });
    }

    /// A message that is made when it can be sent reaches a receiver that waits on a channel of capacity
    /// zero.
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
                    waiting(&mut [Some(arm.any())], &world.other);
                    arm.finish().unwrap();
                    assert_eq!(made, 1);
                })
            };
            let mut arm = world.ends[0].1.arm();
            waiting(&mut [Some(arm.any())], &world.sleeper);
            assert_eq!(arm.finish(), Ok(5));
            sender.join().unwrap();
        });
    }
}
