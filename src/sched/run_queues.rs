//! The run queues of one worker, with those of the home that it runs: which coroutine runs next.
//!
//! The problem: a worker has several sources of runnable coroutines. With any fixed order between them, the
//! first source starves the last one. With a fixed share for each, a source that fills faster than its share
//! grows for ever.
//!
//! So a worker takes its work in *rounds*. A round serves what was runnable when the round began, source by
//! source. A coroutine that becomes runnable during a round waits for the next one.
//!
//! ```text
//!  source          holds                                              order
//!  ready           woken coroutines of the home                       oldest first
//!  oldest_first    unstarted ones; migrating: woken ones, too;        oldest first   (may be stolen)
//!                  mobile homes in which something is runnable
//!  assigned        unstarted ones that another worker placed here     oldest first   (`Remote::assigned`)
//!  newest_first    unstarted children of coroutines in their first    newest first   (may be stolen)
//!                  turn: trees of spawns
//!  yielded         coroutines of the home that have yielded; from     oldest first
//!                  `Shared::yielded` also migrating ones, and homes
//!                  with such coroutines only, after a long slice
//!  lifo            the one that the running coroutine has just woken  next, at most LIFO_RUN times in a row
//! ```
//!
//! A round begins when the one before is served. At its beginning it
//! - takes over what was woken and what has yielded during the round before, and the home's inbox;
//! - moves this worker's share of the injector to `oldest_first`;
//! - notes how many coroutines each other source holds. It serves that many, or until the source is empty.
//!
//! `yielded` comes last in a round, so `yield_now` returns after everything that was runnable has had a
//! turn. A coroutine that yields may compute for long, while the others usually have little to do, and
//! clients wait for them. So if a round has spawned or woken coroutines, the next round begins before this
//! one has served all its `yielded`. At most [`MAX_PUT_OFF`] rounds in a row put off their yielded coroutines
//! in this way. A round that serves a yielded coroutine serves more of them until the next tick of the
//! netpoller thread, a millisecond later.
//!
//! The bound. A coroutine becomes runnable during round k. Round k serves at most what was runnable when it
//! began. Round k + 1 serves what was runnable when that one began, and the coroutine is among it. At most
//! `LIFO_RUN` turns of `lifo` follow each turn of a round. So the coroutine waits for at most (1 + LIFO_RUN)
//! turns for each coroutine that was runnable at the beginning of the two rounds; for two turns for each, if
//! none of them wakes another. There are two exceptions:
//! - The n-th of `yielded` waits for at most n times MAX_PUT_OFF + 1 rounds. It waits for n rounds if rounds
//!   spawn and wake nothing. If turns are so short that no tick comes between them, it waits for
//!   MAX_PUT_OFF + 2 rounds, or for two if rounds spawn and wake nothing. In migrating mode pinned coroutines
//!   that yield have a queue of their own, and rounds begin with the one or the other queue alternately: the
//!   n-th of either waits twice as long.
//! - `newest_first` promises a turn to each of its coroutines, but not in this round. A round takes the
//!   oldest of them first, and so does every [`OLDEST_TURN`]th turn. So the n-th oldest waits for n rounds,
//!   or for n times OLDEST_TURN turns, whichever is less.
//!
//! Mobile homes. `ready`, `yielded` and `lifo` are those of the home that the worker runs, the other sources
//! are the worker's. If the next item is a home, the worker leaves the present one for it, in the middle of
//! its round: the round goes on there. So a round serves each home of `oldest_first` for one slice, and a
//! slice is the home's part of the round, from the first coroutine of its `ready` to the next item. A home
//! that has waited while others ran has not served its `yielded`, so a slice begins with all of its
//! coroutines in `ready`, these last ([`HomeQueues::begin_slice`]). A home that always has something to run
//! keeps its worker to itself only while no item waits: each round comes to the items. A home whose slice has
//! lasted until a tick, and in which all have yielded, counts as a coroutine that has yielded: it goes to
//! `Shared::yielded`, for any worker. So homes that were woken go before it.
//!
//! Rejected:
//! - One turn in a fixed number for each source, as Go's 61st for its global queue. The share does not grow
//!   with the backlog. Beside two coroutines that compute for 10 ms and yield, unstarted coroutines got 66
//!   turns a second, while 200 a second were spawned.
//! - One queue in order of arrival for all sources. Trees of spawns are then walked in breadth, and all their
//!   inner nodes are alive at once.
//! - Newest first for all that is spawned. Under load, the oldest connection of an accept loop waits longest.

use super::deques::Deques;
use super::home_queues::HomeQueues;
use super::runnable::Runnable;
use super::shared::{Home, Remote, Shared};
use crate::coroutine::Waiter;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// How often in a row the coroutine that was just woken goes first: a ping-pong pair must not starve the
/// rest.
pub(super) const LIFO_RUN: u32 = 16;
/// In one of this many turns the oldest of `newest_first` goes first. The number is prime, so that it does
/// not fall in step with a period of the program.
pub(super) const OLDEST_TURN: u32 = 61;

/// The most rounds in a row that put off their yielded coroutines, because each has spawned or woken others.
const MAX_PUT_OFF: u32 = 3;

/// Which yielded coroutines a round serves next.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum YieldedOrder {
    /// First those of the home that the worker runs, then the items of `Shared::yielded`.
    #[default]
    LocalFirst,
    /// The other way round.
    SharedFirst,
    /// None: the round has served one, and the netpoller thread has ticked since; or they are put off.
    NoMore,
}

/// How many coroutines of each source the present round still serves. `ready` and `yielded` need no number:
/// coroutines of the next round wait in a queue beside them.
#[derive(Default)]
struct Quota {
    /// Whether any of the next three numbers may be above zero.
    unstarted: Cell<bool>,
    oldest_first: Cell<usize>,
    assigned: Cell<usize>,
    newest_first: Cell<usize>,
    /// Items of `Shared::yielded`.
    yielded: Cell<usize>,
    /// Whether the round serves these before the home's own.
    shared_first: Cell<bool>,
    /// Which yielded coroutines come next.
    yielded_order: Cell<YieldedOrder>,
    /// Whether the oldest of `newest_first` has yet to be served.
    oldest: Cell<bool>,
    /// Whether the round has served a yielded coroutine.
    served_yielded: Cell<bool>,
}

/// What a worker runs next: a coroutine of the home that it runs, or an item of its own queues.
pub(super) enum Next {
    /// A started coroutine of the home.
    Started(NonNull<Waiter>),
    /// What other workers might have taken as well: an unstarted coroutine, in migrating mode also a started
    /// one; or a home.
    Item(Runnable),
    Nothing,
}

/// The sources of one worker, beside those of the home that it runs.
pub(super) struct RunQueues {
    deques: Deques,
    /// Whether `Shared::yielded` is in use: in migrating mode and with mobile homes.
    shares_yielded: bool,
    left: Quota,
    /// Whether a coroutine was spawned or woken here since the round began.
    newly_runnable: Cell<bool>,
    /// How many rounds have put off their yielded coroutines since a yielded coroutine had a turn.
    put_off: Cell<u32>,
    /// How many rounds have to begin before `oldest_item_if` may pass over an item again.
    until_choosy: Cell<u32>,
}

impl RunQueues {
    /// `shares_yielded`: `Shared::yielded` is in use.
    pub(super) fn new(deques: Deques, shares_yielded: bool) -> RunQueues {
        RunQueues {
            deques,
            shares_yielded,
            left: Quota::default(),
            newly_runnable: Cell::new(false),
            put_off: Cell::new(0),
            until_choosy: Cell::new(0),
        }
    }

    /// Queues a woken coroutine of the home that the worker runs.
    pub(super) fn push_woken(&self, home: &HomeQueues, waiter: NonNull<Waiter>) {
        self.newly_runnable.set(true);
        // SAFETY: the caller has just woken it, so it is in no queue; it stays alive until it has run.
        unsafe { home.woken.push(waiter) };
    }

    /// Queues a coroutine that may be stolen.
    pub(super) fn push_oldest_first(&self, home: &Home, item: Runnable) {
        self.newly_runnable.set(true);
        self.deques.oldest_first.push(home, item);
    }

    /// Queues an unstarted coroutine ahead of all that this method has queued before.
    pub(super) fn push_newest_first(&self, home: &Home, item: Runnable) {
        self.newly_runnable.set(true);
        self.deques.newest_first.push(home, item);
    }

    /// The deques. What is stolen from others goes there.
    pub(super) fn deques(&self) -> &Deques {
        &self.deques
    }

    /// Takes what to run next. `push_behind` queues the coroutine of `lifo` when that has had its
    /// `LIFO_RUN` turns in a row.
    #[inline]
    pub(super) fn next(
        &self,
        home: &Home,
        remote: &Remote,
        shared: &Shared,
        push_behind: impl FnOnce(NonNull<Waiter>),
    ) -> Next {
        let own = &home.queues;
        if let Some(waiter) = own.lifo.take() {
            let run = own.lifo_run.get() + 1;
            if run <= LIFO_RUN {
                own.lifo_run.set(run);
                return Next::Started(waiter);
            }
            push_behind(waiter);
        }
        own.lifo_run.set(0);
        let mut begun = false;
        // At most twice: the rest of the present round, then the next one.
        loop {
            if let Some(waiter) = own.ready.pop_looking_ahead() {
                return Next::Started(waiter);
            }
            if self.left.unstarted.get()
                && let Some(item) = self.next_item(home, remote)
            {
                return Next::Item(item);
            }
            let order = if self.puts_off_yielded(own, begun) {
                YieldedOrder::NoMore
            } else {
                self.left.yielded_order.get()
            };
            if order == YieldedOrder::LocalFirst {
                let own = own.yielded.pop_looking_ahead().map(Next::Started);
                if let Some(next) = own.or_else(|| self.next_shared_yielded(shared)) {
                    return self.serve_yielded(next);
                }
            } else if order == YieldedOrder::SharedFirst
                && let Some(next) = self.next_yielded_shared_first(own, shared)
            {
                return self.serve_yielded(next);
            }
            if begun {
                return Next::Nothing;
            }
            self.begin_round(home, remote, shared);
            begun = true;
        }
    }

    /// Whether the next round begins before this one serves a yielded coroutine: this round has spawned or
    /// woken coroutines, and has served no yielded coroutine yet.
    #[inline]
    fn puts_off_yielded(&self, own: &HomeQueues, begun: bool) -> bool {
        let go_first = self.newly_runnable.get()
            && !self.left.served_yielded.get()
            && !begun
            && (!own.yielded.is_empty() || self.left.yielded.get() > 0)
            && self.put_off.get() < MAX_PUT_OFF;
        if go_first {
            self.put_off.set(self.put_off.get() + 1);
        }
        go_first
    }

    /// The netpoller thread has ticked: if the round has served a yielded coroutine, it serves no more.
    pub(super) fn note_tick(&self) {
        if self.left.served_yielded.get() {
            self.left.yielded_order.set(YieldedOrder::NoMore);
        }
    }

    /// Takes the oldest item, whatever the round says.
    pub(super) fn oldest_item(&self, home: &Home) -> Option<Runnable> {
        self.deques.oldest_first.pop(home)
    }

    /// Takes the oldest item if it `suits`; otherwise that item goes behind all others. This does not happen
    /// to an item twice: the next round serves it at the latest, and until then no other is passed over.
    pub(super) fn oldest_item_if(
        &self,
        home: &Home,
        suits: impl FnOnce(&Runnable) -> bool,
    ) -> Option<Runnable> {
        if self.until_choosy.get() > 0 {
            return None;
        }
        let item = self.oldest_item(home)?;
        if suits(&item) {
            return Some(item);
        }
        self.push_oldest_first(home, item);
        // The present round may be over when it comes to the item. The next one counts it at its beginning.
        self.until_choosy.set(2);
        None
    }

    fn next_item(&self, home: &Home, remote: &Remote) -> Option<Runnable> {
        let left = &self.left;
        let item = take_within(&left.oldest_first, || self.deques.oldest_first.pop(home))
            .or_else(|| take_within(&left.assigned, || remote.take_assigned()))
            .or_else(|| take_within(&left.newest_first, || self.pop_newest_first(home, remote)));
        left.unstarted.set(item.is_some());
        item
    }

    /// The next item that is not for this home. The slice of the home is over.
    #[cold]
    pub(super) fn next_elsewhere(&self, home: &Home, remote: &Remote, shared: &Shared) -> Option<Next> {
        let own = &home.queues;
        // The rest of the present round, then the next one.
        for begun in [false, true] {
            if self.left.unstarted.get()
                && let Some(item) = self.next_item(home, remote)
            {
                return Some(Next::Item(item));
            }
            let yielded =
                self.left.yielded.get() > 0 && self.left.yielded_order.get() != YieldedOrder::NoMore;
            if yielded && !self.puts_off_yielded(own, begun) {
                // Coroutines that were woken in this home go first.
                if !own.only_yielded() {
                    return None;
                }
                if let Some(next) = self.next_shared_yielded(shared) {
                    return Some(self.serve_yielded(next));
                }
            }
            if !begun {
                self.begin_round(home, remote, shared);
            }
        }
        None
    }

    #[inline]
    fn serve_yielded(&self, next: Next) -> Next {
        self.left.served_yielded.set(true);
        self.put_off.set(0);
        next
    }

    #[inline]
    fn next_shared_yielded(&self, shared: &Shared) -> Option<Next> {
        take_within(&self.left.yielded, || shared.take_yielded()).map(Next::Item)
    }

    #[cold]
    fn next_yielded_shared_first(&self, own: &HomeQueues, shared: &Shared) -> Option<Next> {
        self.next_shared_yielded(shared).or_else(|| own.yielded.pop().map(Next::Started))
    }

    fn pop_newest_first(&self, home: &Home, remote: &Remote) -> Option<Runnable> {
        // A single one is the newest as well.
        let several = self.left.oldest.replace(false) && self.deques.newest_first.len() > 1;
        let oldest = if several { self.oldest(remote) } else { None };
        oldest.or_else(|| self.deques.newest_first.pop(home))
    }

    /// Takes the oldest coroutine of `newest_first`.
    pub(super) fn oldest(&self, remote: &Remote) -> Option<Runnable> {
        // To steal pins the thread, which is not free of charge in a mobile home (`deques`).
        if remote.newest_first.is_empty() { None } else { remote.newest_first.steal().success() }
    }

    /// Begins a round, when the one before is served.
    #[inline]
    fn begin_round(&self, home: &Home, remote: &Remote, shared: &Shared) {
        if remote.ring.is_active() {
            remote.ring.serve_and_wake();
            // In migrating mode the first coroutine that was woken is there, and `next` does not look again.
            if let Some(waiter) = home.queues.lifo.take() {
                self.push_woken(&home.queues, waiter);
            }
        }
        self.newly_runnable.set(false);
        self.until_choosy.set(self.until_choosy.get().saturating_sub(1));
        let own = &home.queues;
        own.ready.take_over(&own.woken);
        own.yielded.take_over(&own.next_yielded);
        if !home.inbox.is_empty() {
            own.ready.append(home.inbox.take());
        }
        if shared.has_injected() {
            home.outside(&mut || shared.take_share_of_injected(&self.deques.oldest_first));
        }
        let left = &self.left;
        let (oldest_first, newest_first) = (self.deques.oldest_first.len(), self.deques.newest_first.len());
        // Some of these may not be pushed yet.
        let assigned = remote.assigned_count.load(Ordering::Relaxed);
        if oldest_first + newest_first + assigned > 0 {
            left.unstarted.set(true);
            left.oldest_first.set(oldest_first);
            left.assigned.set(assigned);
            left.newest_first.set(newest_first);
            left.oldest.set(true);
        }
        left.yielded_order.set(YieldedOrder::LocalFirst);
        if self.shares_yielded {
            left.yielded.set(shared.count_yielded());
            left.shared_first.set(left.shared_first.get() ^ left.served_yielded.get());
            if left.shared_first.get() {
                left.yielded_order.set(YieldedOrder::SharedFirst);
            }
        }
        left.served_yielded.set(false);
    }

    /// Takes any coroutine, in no order: for a worker that leaves.
    pub(super) fn take_any(&self, remote: &Remote) -> Option<Runnable> {
        let own = &remote.home.queues;
        let inbox = || {
            own.woken.append(remote.home.inbox.take());
            own.woken.pop()
        };
        let own = own.take_any().or_else(inbox).map(Runnable);
        own.or_else(|| self.deques.oldest_first.pop(&remote.home))
            .or_else(|| remote.take_assigned())
            .or_else(|| self.deques.newest_first.pop(&remote.home))
    }
}

/// Takes one more coroutine of a source, if the round serves one.
#[inline]
fn take_within(left: &Cell<usize>, take: impl FnOnce() -> Option<Runnable>) -> Option<Runnable> {
    let n = left.get();
    if n == 0 {
        return None;
    }
    let item = take();
    // An empty source is served, even if thieves have emptied it.
    left.set(if item.is_some() { n - 1 } else { 0 });
    item
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sched::config::Config;

    /// An item that is never run.
    fn item(number: usize) -> Runnable {
        let address = NonNull::<Waiter>::dangling().as_ptr().wrapping_byte_add(number * align_of::<Waiter>());
        Runnable(NonNull::new(address).expect("a small number"))
    }

    /// A worker that starts newcomers asks for each one whether the next item is a home that suits. None is.
    #[test]
    fn an_item_that_does_not_suit_is_passed_over_once() {
        let shared = Shared::new(Config::of_tests()).expect("a runtime");
        let remote = &shared.remotes[0];
        for length in 2..8 {
            let queues = RunQueues::new(Deques::new(), false);
            for number in 0..length {
                queues.push_oldest_first(&remote.home, item(number));
            }
            let mut pushed = length;
            let mut waiting: Vec<_> = (0..length).collect();
            let mut taken = 0;
            while !waiting.is_empty() {
                let Next::Item(found) = queues.next(&remote.home, remote, &shared, |_| ()) else {
                    panic!("there is always another item")
                };
                taken += 1;
                assert!(taken <= 3 * length, "{waiting:?} of {length} wait for ever");
                waiting.retain(|&number| item(number).0 != found.0);
                assert!(queues.oldest_item_if(&remote.home, |_| false).is_none());
                queues.push_oldest_first(&remote.home, item(pushed));
                pushed += 1;
            }
        }
    }
}
