//! Those who wait for their turn, first come first served: a lock, a permit, a message.
//!
//! A [`WaitList`] is under the lock of what it belongs to. Its elements, [`WaitNode`]s, live on the
//! stacks of those who wait, so waiting allocates nothing.
//!
//! ```text
//!  place       how it gets there                             who may touch it
//!  unlisted    made by the one who waits                     its owner
//!  listed      `push_back`, `push_first`, in the commit      whoever holds the lock
//!  chosen      `choose` took it off and won its ticket       its owner, as soon as the ticket is won
//!  unlisted    `choose` took it off and lost its ticket,     its owner
//!              or `remove`
//! ```
//!
//! - `choose` takes a place off and prepares it (hands over a value) *before* it fires the ticket, since
//!   a winner's frame may be gone right after. If the ticket is lost (a timeout, a cancellation, another
//!   arm of a select came first) it undoes that; the owner cannot look in between, because
//! - an owner whose wait ended otherwise takes the lock and calls `remove` before its frame goes.
//!
//! So who is chosen is settled by the ticket's one compare-and-swap, under the lock: nobody is ever
//! chosen who then does not take what it was chosen for, and nothing has to be passed on.

use super::waiter::{Batch, Cause, Fired, Ticket};
use std::cell::Cell;
use std::ptr::NonNull;

/// The place of one wait in a list.
#[derive(Debug)]
pub(crate) struct WaitNode {
    ticket: Ticket,
    previous: Cell<Option<NonNull<WaitNode>>>,
    next: Cell<Option<NonNull<WaitNode>>>,
    listed: Cell<bool>,
    chosen: Cell<bool>,
    /// What the one who waits wants, in the terms of the list's owner: a kind, a number, an address.
    want: usize,
    /// Whether the wait blocks the thread of a worker.
    blocks_thread: bool,
}

impl WaitNode {
    /// A place that is in no list.
    #[inline]
    pub(crate) fn new(ticket: Ticket, want: usize) -> WaitNode {
        WaitNode {
            ticket,
            previous: Cell::new(None),
            next: Cell::new(None),
            listed: Cell::new(false),
            chosen: Cell::new(false),
            want,
            blocks_thread: false,
        }
    }

    /// The same place, urgent if the wait blocks the thread of a worker, so that nothing on that thread runs
    /// before the wait has ended.
    #[inline]
    pub(crate) fn blocking_thread(self, blocks_thread: bool) -> WaitNode {
        WaitNode { blocks_thread, ..self }
    }

    /// Whether the wait blocks the thread of a worker.
    pub(crate) fn blocks_thread(&self) -> bool {
        self.blocks_thread
    }

    /// What the one who waits wants.
    pub(crate) fn want(&self) -> usize {
        self.want
    }

    /// The slot that the one who waits offers: what it wants is that address, exposed.
    pub(crate) fn slot<T>(&self) -> *mut T {
        std::ptr::with_exposed_provenance_mut(self.want)
    }

    /// Whether it was chosen: asked by its owner, under the list's lock or after its wait was ended
    /// by the only list that it was in.
    pub(crate) fn chosen(&self) -> bool {
        self.chosen.get()
    }
}

/// Those who wait, in the order in which they came.
#[derive(Debug)]
pub(crate) struct WaitList {
    head: Option<NonNull<WaitNode>>,
    tail: Option<NonNull<WaitNode>>,
}

// SAFETY: the places belong to whoever holds the list's lock, and their tickets are Send.
unsafe impl Send for WaitList {}

impl WaitList {
    /// A list with nobody in it.
    pub(crate) const fn new() -> WaitList {
        WaitList { head: None, tail: None }
    }

    /// Whether nobody waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// The place of the first one, until the list is changed.
    #[inline]
    pub(crate) fn first(&self) -> Option<&WaitNode> {
        // SAFETY: listed places are alive, and ours under the lock.
        self.head.map(|head| unsafe { head.as_ref() })
    }

    /// Whether a place that counts is listed by another waiter than that place's: a select may be listed with
    /// several arms.
    pub(crate) fn has_others(&self, than: &WaitNode, counts: impl Fn(&WaitNode) -> bool) -> bool {
        self.any(|place| !place.ticket.same_waiter(than.ticket) && counts(place))
    }

    /// Whether the list has such a place.
    pub(crate) fn any(&self, such: impl Fn(&WaitNode) -> bool) -> bool {
        let mut at = self.head;
        while let Some(place) = at {
            // SAFETY: listed places are alive, and ours under the lock.
            let place = unsafe { place.as_ref() };
            if such(place) {
                return true;
            }
            at = place.next.get();
        }
        false
    }

    /// Adds a place at the end.
    ///
    /// # Safety
    ///
    /// The place is in no list. It stays where it is, and its ticket's waiter alive, until it was
    /// chosen or [`remove`](Self::remove) has been called for it, under the list's lock.
    pub(crate) unsafe fn push_back(&mut self, place: &WaitNode) {
        place.listed.set(true);
        place.next.set(None);
        place.previous.set(self.tail);
        let this = NonNull::from(place);
        match self.tail.replace(this) {
            // SAFETY: listed places are alive, and ours under the lock.
            Some(tail) => unsafe { tail.as_ref() }.next.set(Some(this)),
            None => self.head = Some(this),
        }
    }

    /// Adds a place before all others, save those that are [urgent](WaitNode::blocks_thread).
    ///
    /// # Safety
    ///
    /// As for [`push_back`](Self::push_back).
    pub(crate) unsafe fn push_first(&mut self, place: &WaitNode) {
        let (mut previous, mut next) = (None, self.head);
        // SAFETY: listed places are alive, and ours under the lock.
        while let Some(urgent) = next.filter(|at| unsafe { at.as_ref() }.blocks_thread) {
            previous = next;
            // SAFETY: as above.
            next = unsafe { urgent.as_ref() }.next.get();
        }
        place.listed.set(true);
        place.previous.set(previous);
        place.next.set(next);
        let this = Some(NonNull::from(place));
        match previous {
            // SAFETY: as above.
            Some(previous) => unsafe { previous.as_ref() }.next.set(this),
            None => self.head = this,
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { next.as_ref() }.previous.set(this),
            None => self.tail = this,
        }
    }

    /// Adds a place where it belongs that has not waited before: at the end, or, if it is urgent, before all
    /// that are not.
    ///
    /// # Safety
    ///
    /// As for [`push_back`](Self::push_back).
    pub(crate) unsafe fn push(&mut self, place: &WaitNode) {
        if place.blocks_thread {
            // SAFETY: as the caller says.
            unsafe { self.push_first(place) };
        } else {
            // SAFETY: as the caller says.
            unsafe { self.push_back(place) };
        }
    }

    /// Takes a place off if it is in the list; whether it was.
    pub(crate) fn remove(&mut self, place: &WaitNode) -> bool {
        if !place.listed.replace(false) {
            return false;
        }
        let (previous, next) = (place.previous.take(), place.next.take());
        match previous {
            // SAFETY: listed places are alive, and ours under the lock.
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None => self.head = next,
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { next.as_ref() }.previous.set(previous),
            None => self.tail = previous,
        }
        true
    }

    /// Ends the wait of the first one who still waits. `give` prepares each candidate, and `undo` takes
    /// back what it gave to one who turns out not to wait any more. Those to be scheduled go into the
    /// batch. `None` if nobody waits.
    pub(crate) fn choose<R>(
        &mut self,
        batch: &mut Batch,
        give: impl FnMut(&WaitNode) -> R,
        undo: impl FnMut(&WaitNode, R),
    ) -> Option<R> {
        self.choose_fitting(batch, |_| true, give, undo)
    }

    /// As [`choose`](Self::choose), but a candidate for whom there is not enough stays the first, and
    /// nobody is chosen. `fits` is asked anew for each one, as `undo` may have brought something back.
    pub(crate) fn choose_fitting<R>(
        &mut self,
        batch: &mut Batch,
        mut fits: impl FnMut(&WaitNode) -> bool,
        mut give: impl FnMut(&WaitNode) -> R,
        mut undo: impl FnMut(&WaitNode, R),
    ) -> Option<R> {
        while let Some(head) = self.head {
            // SAFETY: a listed place is alive while we hold the lock, until its ticket is won.
            let place = unsafe { head.as_ref() };
            if !fits(place) {
                return None;
            }
            self.remove(place);
            place.chosen.set(true);
            let given = give(place);
            let ticket = place.ticket;
            // SAFETY: the place's owner cannot go before it was chosen or takes our lock, so its
            // waiter is alive. After a win neither the place nor the waiter is touched.
            if unsafe { ticket.fire(Cause::Event, batch) } != Fired::Lost {
                return Some(given);
            }
            // Lost: the owner has to take our lock before it goes, so the place is alive still.
            place.chosen.set(false);
            undo(place, given);
        }
        None
    }

    /// As [`choose`](Self::choose), but only of those that are urgent.
    pub(crate) fn choose_urgent<R>(
        &mut self,
        batch: &mut Batch,
        give: impl FnMut(&WaitNode) -> R,
        undo: impl FnMut(&WaitNode, R),
    ) -> Option<R> {
        self.choose_fitting(batch, WaitNode::blocks_thread, give, undo)
    }

    /// Ends the wait of the first one, who has nothing to be given; whether there was one.
    pub(crate) fn choose_first(&mut self, batch: &mut Batch) -> bool {
        self.choose(batch, |_| (), |_, ()| ()).is_some()
    }

    /// Ends the wait of the first one who still waits without choosing it: it looks for itself. Whether
    /// there was one.
    pub(crate) fn disturb_first(&mut self, batch: &mut Batch) -> bool {
        while let Some(head) = self.head {
            // SAFETY: as in `choose_fitting`.
            let place = unsafe { head.as_ref() };
            self.remove(place);
            let ticket = place.ticket;
            // SAFETY: as in `choose_fitting`.
            if unsafe { ticket.fire(Cause::Event, batch) } != Fired::Lost {
                return true;
            }
        }
        false
    }

    /// Ends the waits of all places ahead of the first such place, without choosing any. Whether there is
    /// such a place.
    #[inline]
    pub(crate) fn disturb_until(&mut self, batch: &mut Batch, such: impl Fn(&WaitNode) -> bool) -> bool {
        while let Some(head) = self.head {
            // SAFETY: as in `choose_fitting`.
            let place = unsafe { head.as_ref() };
            if such(place) {
                return true;
            }
            self.remove(place);
            let ticket = place.ticket;
            // SAFETY: as in `choose_fitting`.
            let _ = unsafe { ticket.fire(Cause::Event, batch) };
        }
        false
    }

    /// Ends the waits of all without choosing any of them; how many still waited.
    pub(crate) fn disturb_all(&mut self, batch: &mut Batch) -> usize {
        let mut disturbed = 0;
        while self.disturb_first(batch) {
            disturbed += 1;
        }
        disturbed
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::coroutine::waiter::Park;
    use crate::coroutine::waiter::testing::{ticket_of, waiter};

    /// Four who wait in the list, wanting 0 to 3.
    macro_rules! four {
        ($list:ident, $waiters:ident, $places:ident) => {
            let mut $list = WaitList::new();
            let $waiters: Vec<_> = (0..4).map(|_| waiter()).collect();
            let $places: Vec<_> =
                $waiters.iter().enumerate().map(|(want, w)| WaitNode::new(ticket_of(w), want)).collect();
            for (place, waiter) in $places.iter().zip(&$waiters) {
                // SAFETY: places and waiters outlive the list's use of them.
                unsafe { $list.push_back(place) };
                assert_eq!(waiter.park(place.ticket, false), Park::Parked);
            }
        };
    }

    /// What the first one wants.
    fn first(list: &WaitList) -> Option<usize> {
        // SAFETY: listed places are alive.
        list.head.map(|place| unsafe { place.as_ref() }.want)
    }

    fn lose(place: &WaitNode) {
        // SAFETY: the tests' waiters are alive; the batch is thrown away.
        assert_eq!(unsafe { place.ticket.fire(Cause::Timeout, &mut Batch::new()) }, Fired::Schedule);
    }

    #[test]
    fn the_first_who_still_waits_is_chosen() {
        four!(list, waiters, places);
        lose(&places[0]);
        let mut undone = Vec::new();
        let chosen = list.choose(&mut Batch::new(), |place| place.want(), |_, want| undone.push(want));
        assert_eq!((chosen, undone), (Some(1), vec![0]));
        assert!(places[1].chosen() && !places[0].chosen());
        assert!(!list.remove(&places[0]) && !list.remove(&places[1]));
        assert_eq!(first(&list), Some(2));
    }

    #[test]
    fn who_does_not_fit_stays_the_first() {
        four!(list, waiters, places);
        lose(&places[0]);
        let fits = |place: &WaitNode| place.want() < 1;
        let chosen = list.choose_fitting(&mut Batch::new(), fits, |_| (), |_, ()| ());
        assert_eq!(chosen, None);
        assert!(places[1].listed.get() && !places[1].chosen());
        assert_eq!(first(&list), Some(1));
    }

    #[test]
    fn places_leave_from_anywhere_and_come_back_to_the_front() {
        for victim in 0..4 {
            four!(list, waiters, places);
            assert!(list.remove(&places[victim]));
            // SAFETY: as above.
            unsafe { list.push_first(&places[victim]) };
            let mut order = Vec::new();
            while let Some(want) = list.choose(&mut Batch::new(), WaitNode::want, |_, _| ()) {
                order.push(want);
            }
            let mut expected: Vec<_> = (0..4).filter(|&want| want != victim).collect();
            expected.insert(0, victim);
            assert_eq!(order, expected);
        }
    }

    #[test]
    fn the_urgent_go_before_others() {
        let waiters: Vec<_> = (0..6).map(|_| waiter()).collect();
        let tickets: Vec<_> = waiters.iter().map(ticket_of).collect();
        let places: Vec<_> =
            (0..6).map(|i| WaitNode::new(tickets[i], i).blocking_thread(i % 2 == 1)).collect();
        let mut list = WaitList::new();
        for place in &places[..5] {
            // SAFETY: places and waiters outlive the list's use of them.
            unsafe { list.push(place) };
        }
        assert!(list.remove(&places[4]));
        // SAFETY: as above.
        unsafe { list.push_first(&places[4]) };
        // SAFETY: as above.
        unsafe { list.push(&places[5]) };
        let mut order = Vec::new();
        while let Some(want) = list.choose(&mut Batch::new(), WaitNode::want, |_, _| ()) {
            order.push(want);
        }
        assert_eq!(order, [1, 3, 5, 4, 0, 2]);
        assert!(list.is_empty() && list.tail.is_none());
    }

    #[test]
    fn ones_own_places_are_not_others() {
        let (one, other) = (waiter(), waiter());
        let places = [&one, &one, &other].map(|waiter| WaitNode::new(ticket_of(waiter), 0));
        let mut list = WaitList::new();
        assert!(!list.has_others(&places[0], |_| true));
        // SAFETY: places and waiters outlive the list's use of them.
        unsafe { list.push_back(&places[0]) };
        assert!(!list.has_others(&places[1], |_| true) && list.has_others(&places[2], |_| true));
        // SAFETY: as above.
        unsafe { list.push_back(&places[2]) };
        assert!(list.has_others(&places[1], |_| true) && list.has_others(&places[2], |_| true));
    }

    #[test]
    fn the_disturbed_are_not_chosen() {
        four!(list, waiters, places);
        lose(&places[0]);
        let mut batch = Batch::new();
        assert!(list.disturb_first(&mut batch));
        assert_eq!(first(&list), Some(2));
        assert_eq!(list.disturb_all(&mut batch), 2);
        assert_eq!(batch.len(), 3);
        assert!(!list.disturb_first(&mut batch) && list.disturb_all(&mut batch) == 0);
        assert!(list.is_empty() && places.iter().all(|place| !place.chosen() && !place.listed.get()));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::base::list_lock::ListLock;
    use crate::coroutine::{Sleeper, Waiter};
    use loom::sync::Arc;
    use loom::thread;

    struct Shop {
        counter: ListLock<(WaitList, u32)>,
        sleeper: Sleeper,
    }

    // SAFETY: what is not Sync is the place in the list, which is the lock's.
    unsafe impl Sync for Shop {}
    // SAFETY: as above.
    unsafe impl Send for Shop {}

    fn schedule(batch: &mut Batch) {
        while let Some(waiter) = batch.pop() {
            // SAFETY: it was fired with the verdict `Schedule`, once.
            unsafe { Waiter::schedule(waiter) };
        }
    }

    /// One item, one who waits for it, and a timeout: either the one who waits was chosen and has the item,
    /// or it timed out and the item is where it was. Its frame goes right after.
    #[test]
    fn a_choice_against_a_timeout() {
        loom::model(|| {
            let shop =
                Arc::new(Shop { counter: ListLock::new((WaitList::new(), 1)), sleeper: Sleeper::new() });
            let ticket = shop.sleeper.ticket();
            let place = Box::new(WaitNode::new(ticket, 0));
            // SAFETY: the place is taken off below unless it was chosen.
            unsafe { shop.counter.lock().0.push_back(&place) };
            let keeper = {
                let shop = shop.clone();
                thread::spawn(move || {
                    let mut batch = Batch::new();
                    let mut counter = shop.counter.lock();
                    let (list, items) = &mut *counter;
                    let items = Cell::from_mut(items);
                    let give = |_: &WaitNode| items.set(items.get() - 1);
                    let chosen = list.choose(&mut batch, give, |_, ()| items.set(items.get() + 1));
                    drop(counter);
                    schedule(&mut batch);
                    chosen.is_some()
                })
            };
            let timer = {
                let shop = shop.clone();
                thread::spawn(move || {
                    let mut batch = Batch::new();
                    // SAFETY: the sleeper is alive.
                    let fired = unsafe { ticket.fire(Cause::Timeout, &mut batch) };
                    schedule(&mut batch);
                    drop(shop);
                    fired != Fired::Lost
                })
            };
            let chosen = match shop.sleeper.sleep(ticket) {
                Cause::Event => place.chosen(),
                _ => {
                    shop.counter.lock().0.remove(&place);
                    assert!(!place.chosen());
                    false
                }
            };
            drop(place);
            assert_eq!(keeper.join().unwrap(), chosen);
            assert_eq!(timer.join().unwrap(), !chosen);
            assert_eq!(shop.counter.lock().1, u32::from(!chosen));
        });
    }
}
