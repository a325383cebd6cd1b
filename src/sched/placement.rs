//! On which worker a coroutine starts.
//!
//! The problem: where started coroutines stay on their worker, a bad start cannot be mended later. An accept
//! loop that is alone awake would start each of its connections on its own worker. But coroutines that end
//! soon, and partners that talk to one another, are better off where they were spawned.
//!
//! So a worker compares its load, the coroutines that live there, with the load of the others before it
//! starts a coroutine. If it is ahead by more than a margin, it hands the coroutine to the least loaded
//! worker. It goes on handing coroutines to that one until their loads are equal: coroutines that were
//! spawned in a row stay together.
//!
//! The margin depends on what was started before:
//! - Coroutines that ended in their first turn leave no load. The margin is large, so a burst of short ones
//!   is not sent around; an idle worker steals some.
//! - Coroutines that have waited in their first turn are likely to live on. The margin is small: the third
//!   coroutine of a row goes elsewhere. It is smaller still for coroutines that were stolen or spawned by
//!   plain threads, which have no partner here.
//!
//! A worker that is stuck in a turn gets none (`Remote::welcomes`).

use super::shared::{Remote, Shared};
use std::cell::Cell;

/// The margin while coroutines end in their first turn.
const MARGIN_SHORT_LIVED: usize = 16;
/// The margin while they do not.
const MARGIN_LONG_LIVED: usize = 2;
/// The same for coroutines that were not spawned on this worker.
const MARGIN_FOREIGN: usize = 1;
/// How much a long-lived coroutine weighs against short-lived ones, and how much of the past counts.
const LONG_LIVED: u32 = 4;
const MEMORY: u32 = 16;

/// What a worker remembers to place coroutines.
pub(super) struct Placement {
    /// Above zero: of the last coroutines, at least one in [`LONG_LIVED`] + 1 has lived on after its first
    /// turn.
    long_lived: Cell<u32>,
    /// The lowest load of another worker at the last look, or less.
    least: Cell<usize>,
    /// The worker that coroutines are handed to until its load is that of this one.
    target: Cell<Option<usize>>,
}

impl Placement {
    pub(super) fn new() -> Placement {
        Placement { long_lived: Cell::new(0), least: Cell::new(0), target: Cell::new(None) }
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

    /// Makes the next choice look at the other workers afresh.
    pub(super) fn forget(&self) {
        self.least.set(0);
    }

    /// The worker that is to start a coroutine; `None` for this one.
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
        let remotes = shared.active_remotes();
        if let Some(target) = self.target.get().map(|target| &remotes[target]) {
            if target.load() < load && target.welcomes() {
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
        Some(&remotes[target])
    }
}
