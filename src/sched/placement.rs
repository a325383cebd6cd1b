//! On which worker a coroutine starts.
//!
//! The problem: a started coroutine stays in its home, and a pinned home stays on its worker, so a bad start
//! cannot be mended later. With mobile homes it can, but its sockets stay in the worker's shard. An accept
//! loop that is alone awake would start each of its connections on its own worker. But coroutines that end
//! soon, and partners that talk to each other, are better off where they were spawned.
//!
//! So a worker compares its load with the load of the other workers before it starts a coroutine. The load
//! of a worker is the number of coroutines that live on it or are assigned to it. If the worker is ahead by
//! more than a margin, it assigns the coroutine to the least loaded worker. It goes on assigning coroutines
//! to that worker until their loads are equal: so coroutines that were spawned in a row stay together.
//!
//! The margin depends on the coroutines that were started before:
//! - They ended in their first turn: they leave no load, so the margin is large. A burst of short
//!   coroutines is not sent around; idle workers steal some of them.
//! - They have waited in their first turn: they are likely to live on, so the margin is small, and the
//!   third coroutine of a row goes elsewhere. For a coroutine that was stolen, or that a plain thread has
//!   spawned, the margin is smaller still: it has no partner here.
//!
//! A worker that is in a long turn is assigned none (`Remote::accepts_assignments`).
//!
//! # In which mobile home
//!
//! A coroutine that computes for long delays its siblings, and nobody else. If it computes for a fifth of the
//! time, it delays the requests to its siblings in that fifth. For the slowest percent of all requests not to
//! show this, less than one coroutine in twenty must be its sibling. So there are many small homes first, and
//! fuller ones only when the limit of homes is reached:
//!
//! - A coroutine that is alone in its home delays nobody, so at first each one has a home of its own.
//! - But a coroutine often waits for its children, or talks to them. Such partners
//!   stay together: they start in their spawner's home, while that has few coroutines.
//! - Coroutines that end in their first turn leave no load. While the last ones did, they start in the home
//!   that the worker runs.
//! - Otherwise it starts in a vacant home or a new one.
//! - At the limit it starts in the next home of the worker's queue, or in an idle one that has few
//!   coroutines, and homes are allowed to be a little fuller until one is vacant again.
//! - A home in which a turn was long gets no newcomer for ten seconds or more, as long as another one can
//!   have it. Nor does that of an isolated coroutine.
//! - If no mobile home is idle, and the worker runs none, it starts in the worker's pinned home.

use super::shared::{Remote, Shared};
use std::cell::Cell;

/// The margin while coroutines end in their first turn.
const MARGIN_SHORT_LIVED: usize = 16;
/// The margin while they wait in their first turn.
const MARGIN_LONG_LIVED: usize = 2;
/// The same for a coroutine that was not spawned on this worker.
const MARGIN_FOREIGN: usize = 1;
/// How much a long-lived coroutine weighs against short-lived ones, and how much of the past counts.
const LONG_LIVED: u32 = 4;
const MEMORY: u32 = 16;
/// By how many coroutines a mobile home may be fuller while coroutines end in their first turn.
const SHORT_LIVED: usize = 3;
/// With this many coroutines a mobile home is full, as long as there may be more homes.
pub(super) const FULL: usize = 1;

/// What a worker remembers to place coroutines.
pub(super) struct Placement {
    /// Above zero: of the last coroutines, at least one in [`LONG_LIVED`] + 1 has lived on after its first
    /// turn.
    long_lived: Cell<u32>,
    /// The lowest load of another worker when they were compared last, or less.
    least: Cell<usize>,
    /// The worker to which coroutines are assigned until its load is that of this one.
    target: Cell<Option<usize>>,
}

impl Placement {
    /// `mobile`: coroutines start in mobile homes. There a coroutine of unknown kind counts as one that lives
    /// on, since it cannot leave the siblings that a wrong guess gives it.
    pub(super) fn new(mobile: bool) -> Placement {
        let long_lived = if mobile { MEMORY } else { 0 };
        Placement { long_lived: Cell::new(long_lived), least: Cell::new(0), target: Cell::new(None) }
    }

    /// A coroutine has suspended in its first turn.
    pub(super) fn note_long_lived(&self) {
        self.long_lived.set((self.long_lived.get() + LONG_LIVED).min(MEMORY));
    }

    /// A coroutine has ended in its first turn.
    #[inline]
    pub(super) fn note_short_lived(&self) {
        self.long_lived.set(self.long_lived.get().saturating_sub(1));
    }

    /// How many coroutines make a mobile home full that `full` long-lived ones make full.
    #[inline]
    pub(super) fn full_with(&self, full: usize) -> usize {
        if self.long_lived.get() == 0 { full + SHORT_LIVED } else { full }
    }

    /// Makes the next choice compare the loads again.
    pub(super) fn forget(&self) {
        self.least.set(0);
    }

    /// The worker that starts the coroutine; `None` for this one, whose index and remote part are given.
    pub(super) fn choose<'a>(
        &self,
        remote: &Remote,
        index: usize,
        shared: &'a Shared,
        spawned_here: bool,
    ) -> Option<&'a Remote> {
        let margin = match (self.long_lived.get(), spawned_here) {
            (0, _) => MARGIN_SHORT_LIVED,
            (_, true) => MARGIN_LONG_LIVED,
            (_, false) => MARGIN_FOREIGN,
        };
        let limit = |least: usize| least + least / 16 + margin;
        let load = remote.load();
        // The target was active, and stays so.
        if let Some(target) = self.target.get().map(|target| &shared.remotes[target]) {
            if target.load() < load && target.accepts_assignments() {
                return Some(target);
            }
            self.target.set(None);
        }
        if load <= limit(self.least.get()) {
            return None;
        }
        let (target, least) = shared.least_loaded(index)?;
        self.least.set(least);
        if load <= limit(least) {
            return None;
        }
        self.target.set(Some(target));
        Some(&shared.remotes[target])
    }
}
