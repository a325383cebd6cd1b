//! Pauses: a coroutine that the system does not run for a while, or a host whose machine stands still.
//!
//! A coroutine pauses where another one could run: before a turn, or at a call that need not wait. Which ones
//! do is drawn, with a probability that is drawn for the whole run: one in eight to one in 256, or none in a
//! quarter of the runs. All magnitudes of durations are equally likely.

use super::random::Random;
use std::collections::BTreeMap;
use std::time::Duration;

/// The pauses of a run. Times are those of its clock, in nanoseconds.
pub(super) struct Pauses {
    random: Random,
    /// One in 2^n calls pauses, for up to so long.
    drawn: Option<(u32, u64)>,
    /// Until when coroutines pause.
    coroutines: BTreeMap<u32, u64>,
    /// Until when hosts do.
    hosts: BTreeMap<u32, u64>,
    /// The end of the last of all.
    last: u64,
}

impl Pauses {
    /// With a time: coroutines pause by chance, for up to so long.
    pub(super) fn new(seed: u64, longest: Option<Duration>) -> Pauses {
        let mut random = Random::new(seed, 5);
        let (none, rarity) = (random.below(4) == 0, 3 + random.below(6) as u32);
        let longest = longest.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let drawn = longest.filter(|longest| !none && *longest > 0).map(|longest| (rarity, longest));
        Pauses { random, drawn, coroutines: BTreeMap::new(), hosts: BTreeMap::new(), last: 0 }
    }

    /// How long the coroutine pauses that is about to go on, if it does.
    pub(super) fn draw(&mut self) -> Option<u64> {
        let (rarity, longest) = self.drawn?;
        if self.random.next() >> (64 - rarity) != 0 {
            return None;
        }
        let magnitude = longest >> self.random.below(20);
        Some(magnitude - magnitude / 2 + self.random.below(magnitude as usize / 2 + 1) as u64)
    }

    /// That coroutine pauses until then.
    pub(super) fn add(&mut self, who: u32, until: u64) {
        self.coroutines.insert(who, until);
        self.last = self.last.max(until);
    }

    /// That host pauses until then, or longer if it does already.
    pub(super) fn add_host(&mut self, host: u32, until: u64) {
        let end = self.hosts.entry(host).or_default();
        *end = until.max(*end);
        self.last = self.last.max(until);
    }

    /// Whether anything may pause at that time.
    pub(super) fn any(&self, now: u64) -> bool {
        now < self.last
    }

    /// Whether that coroutine of that host does.
    pub(super) fn is_paused(&self, who: u32, host: u32, now: u64) -> bool {
        let lasts = |end: Option<&u64>| end.is_some_and(|end| now < *end);
        lasts(self.coroutines.get(&who)) || lasts(self.hosts.get(&host))
    }

    /// When the next one ends.
    pub(super) fn next_end(&mut self, now: u64) -> Option<u64> {
        self.coroutines.retain(|_, end| now < *end);
        self.hosts.retain(|_, end| now < *end);
        self.coroutines.values().chain(self.hosts.values()).min().copied()
    }

    /// The host does not pause any more.
    pub(super) fn end_of_host(&mut self, host: u32) {
        self.hosts.remove(&host);
    }

    /// No coroutine pauses by chance any more.
    pub(super) fn end_of_coroutines(&mut self) {
        self.coroutines.clear();
        self.drawn = None;
    }
}
