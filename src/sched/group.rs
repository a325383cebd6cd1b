//! In a simulation: the host that a coroutine belongs to, for coroutines that are spawned later in its name.

use super::current::with;
use super::simulated;

/// The group of a coroutine: what it spawns is in the same one. Outside of simulations there is one group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group(u32);

impl Group {
    /// The group of the caller.
    pub(crate) fn of_caller() -> Group {
        let group = || with(|worker| worker.simulated.group()).unwrap_or(0);
        Group(if simulated::POSSIBLE { group() } else { 0 })
    }

    /// Calls the closure, which spawns for the group.
    pub(crate) fn spawning<T>(&self, spawn: impl FnOnce() -> T) -> T {
        if simulated::POSSIBLE {
            with(|worker| worker.simulated.begin_spawning_for(self.0));
        }
        let spawned = spawn();
        if simulated::POSSIBLE {
            with(|worker| worker.simulated.end_spawning_for());
        }
        spawned
    }
}
