//! Waiting for the first of several things: the engine of `select!`.
//!
//! An [`Arm`] is one alternative: a send, a receive, the end of a coroutine, a point in time. A select
//!
//! 1. polls its arms from a random one on, and is done if one can be carried out now;
//! 2. else waits, with the one ticket of that wait in the lists of all arms;
//! 3. takes itself off all lists, and is done if it was chosen in one of them; else it begins again.
//!
//! No arm is carried out twice, and none beside another: whoever wants to carry one out from the other side
//! (`WaitList::choose`) has to win the ticket first, and there is one winner. An arm that turns out to be
//! possible while the select puts itself on the lists is not carried out there, but the wait is called
//! off: the select fires its own ticket, after which nobody else can choose it. If it loses that race
//! it has been chosen already, and takes that.
//!
//! The arms of one select never count as possible because of one another, though it may offer to send and to
//! receive on one channel: a list leaves out the places of the waiter that asks (`WaitList::has_others`).
//!
//! Two selects that find each other on their lists at the same time may both call off. Each then lets
//! others go first before it begins again, so on one worker the other one is either listed by then, and
//! found by the poll, or gone; between threads the random order parts them. A select that is called off
//! again and again is no loop without a wait: cancellation, time limits and its worker's other coroutines
//! get through each time.

use super::wait::{Cancel, Woken, checkpoint, raise, spend, wait, yield_now};
use super::worker;
use crate::coroutine::{Batch, Cause, Event, Node, Ticket, WaitReason};
use std::cell::Cell;
use std::time::Instant;

/// One alternative of a select.
pub(crate) trait Arm {
    /// Carries it out if that is possible now.
    fn poll(&mut self) -> bool;

    /// When to poll again although nobody calls.
    fn until(&self) -> Option<Instant> {
        None
    }

    /// Lists the ticket where it will be fired; false if it could be carried out now. Runs in a commit.
    ///
    /// # Safety
    ///
    /// The arm stays where it is, and the ticket's waiter alive, until [`leave`](Self::leave) has returned.
    unsafe fn enlist(&self, ticket: Ticket) -> bool;

    /// Takes the ticket off the list; whether it was chosen there, and so carried out. Also where nothing
    /// was listed.
    fn leave(&self) -> bool;
}

/// Some arm, for [`select`].
pub struct AnyArm<'a>(&'a mut dyn Arm);

impl<'a> AnyArm<'a> {
    pub(crate) fn new(arm: &'a mut dyn Arm) -> AnyArm<'a> {
        AnyArm(arm)
    }
}

/// How long a select waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// It does not.
    None,
    /// Until then.
    Until(Instant),
    /// Until an arm can be carried out.
    Endless,
}

impl Patience {
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Patience::Until(deadline) => Some(deadline),
            Patience::None | Patience::Endless => None,
        }
    }
}

/// Carries out one of the arms and gives its place; `None` if none can be in that time. Parks. A
/// cancellation unwinds out of this, with none carried out.
pub(crate) fn select(
    arms: &mut [Option<AnyArm<'_>>],
    reason: WaitReason,
    patience: Patience,
) -> Option<usize> {
    spend();
    let deadline = patience.deadline();
    loop {
        let start = if arms.len() > 1 { random() as usize % arms.len() } else { 0 };
        for place in (start..arms.len()).chain(0..start) {
            if arms[place].as_mut().is_some_and(|arm| arm.0.poll()) {
                return Some(place);
            }
        }
        let past = deadline.is_some_and(|deadline| deadline <= Instant::now());
        if past || matches!(patience, Patience::None) {
            return None;
        }
        match wait_for_one(arms, start, reason, deadline) {
            Outcome::Chosen(place) => return Some(place),
            Outcome::Disturbed => {}
            Outcome::CalledOff => {
                checkpoint();
                yield_now();
            }
        }
    }
}

/// How a wait for the arms ended.
enum Outcome {
    /// That one has been carried out.
    Chosen(usize),
    /// None has: it is time to look again.
    Disturbed,
    /// As above: one has turned out to be possible before the select waited.
    CalledOff,
}

/// Waits for one of the arms.
fn wait_for_one(
    arms: &[Option<AnyArm<'_>>],
    start: usize,
    reason: WaitReason,
    deadline: Option<Instant>,
) -> Outcome {
    let called_off = Cell::new(false);
    let until = arms.iter().flatten().filter_map(|arm| arm.0.until()).chain(deadline).min();
    let mut commit = |ticket: Ticket| {
        for arm in arms[start..].iter().chain(&arms[..start]).flatten() {
            // SAFETY: the arms are borrowed until this function ends, before which each of them is left,
            // whether it was listed or not.
            if !unsafe { arm.0.enlist(ticket) } {
                called_off.set(true);
                // If this is too late, the one who won has chosen another arm.
                // SAFETY: the waiter is this one's own. It has not parked, so the batch stays empty.
                let _ = unsafe { ticket.fire(Cause::Event, &mut Batch::new()) };
                return false;
            }
        }
        true
    };
    // SAFETY: the ticket is on the arms' lists only, which are left below.
    let woken = unsafe { wait(reason, until, Cancel::Obey, &mut commit) };
    let mut outcome = if called_off.get() { Outcome::CalledOff } else { Outcome::Disturbed };
    for (place, arm) in arms.iter().enumerate() {
        if arm.as_ref().is_some_and(|arm| arm.0.leave()) {
            outcome = Outcome::Chosen(place);
        }
    }
    if woken == Woken::Cancelled {
        raise();
    }
    outcome
}

/// A number that differs from call to call.
fn random() -> u32 {
    worker::with(worker::Worker::random).unwrap_or_else(|| {
        use std::sync::atomic::{AtomicU32, Ordering};
        static SEED: AtomicU32 = AtomicU32::new(1);
        // A Weyl sequence, its upper half folded down.
        let x = SEED.fetch_add(0x9e37_79b9, Ordering::Relaxed);
        (x ^ (x >> 15)).wrapping_mul(0x85eb_ca6b) >> 8
    })
}

/// The end of a coroutine, or a cancellation, as one of the alternatives of a
/// [`Select`](crate::channel::Select). Made by `arm` of what it is the end of.
///
/// It waits for an event that is set for good.
pub struct EventArm<'a> {
    event: &'a Event,
    node: Cell<Option<Node>>,
}

impl<'a> EventArm<'a> {
    pub(crate) fn new(event: &'a Event) -> EventArm<'a> {
        EventArm { event, node: Cell::new(None) }
    }

    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm(self)
    }

    #[doc(hidden)]
    pub fn finish(self) {}
}

impl Arm for EventArm<'_> {
    fn poll(&mut self) -> bool {
        self.event.is_set()
    }

    unsafe fn enlist(&self, ticket: Ticket) -> bool {
        // SAFETY: nobody has the node's address: it was taken off before.
        let node = unsafe { (*self.node.as_ptr()).insert(Node::new(ticket)) };
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
        select(&mut [Some(one.any()), Some(other.any())], WaitReason::Select, Patience::Endless)
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
