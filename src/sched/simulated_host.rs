//! The host of a coroutine in a simulation (`sward::sim`), for coroutines that are spawned later in its name.

use super::current::with;
use super::simulated;

/// The host of a coroutine. What the coroutine spawns is of the same host. Outside of simulations there is
/// only one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SimulatedHost(u32);

impl SimulatedHost {
    /// The host of the caller.
    pub(crate) fn of_caller() -> SimulatedHost {
        let host = || with(|worker| worker.simulated.host()).unwrap_or(0);
        SimulatedHost(if simulated::POSSIBLE { host() } else { 0 })
    }

    /// Calls the closure, which spawns for the host.
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
