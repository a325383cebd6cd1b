//! What the program of a check sees of its simulation.

use super::run::{self, Run};
use crate::base::sys::calls::Context;
use std::rc::Rc;
use std::time::Duration;

/// A simulation, as the closure of a [check](super::check) sees it. It may be copied into coroutines.
///
/// All methods panic outside of the simulation's coroutines.
#[derive(Clone, Copy, Debug)]
pub struct Sim {
    _private: (),
}

impl Sim {
    pub(super) fn new() -> Sim {
        Sim { _private: () }
    }

    pub(super) fn run(&self) -> Rc<Run> {
        match run::current() {
            Some(run) => run,
            None => panic!("sward::sim: this thread runs no simulation"),
        }
    }

    /// The seed of this run.
    pub fn seed(&self) -> u64 {
        self.run().seed()
    }

    /// How much simulated time has passed since the run began. Does not park.
    ///
    /// ```
    /// sward::sim::check(|sim| {
    ///     sward::sleep(std::time::Duration::from_secs(3600));
    ///     assert!(sim.now().as_secs() >= 3600);
    /// });
    /// ```
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.run().now())
    }

    /// A random number, which depends on the seed alone. Use it for all that a test chooses at random. Does
    /// not park.
    pub fn random(&self) -> u64 {
        self.run().draw()
    }
}
