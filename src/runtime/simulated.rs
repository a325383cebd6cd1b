//! The runtime of a simulation: one worker, on the calling thread, and no other threads.

use super::builder::prepare_process;
use super::shutdown::wait_for_end;
use crate::base::fork;
use crate::coroutine::{Id, JoinError, Site};
use crate::sched::{self, Config, Phase, Shared, Simulation, Spawn};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A runtime that a simulation runs on the calling thread.
pub(crate) struct SimulatedRuntime {
    shared: Arc<Shared>,
}

impl SimulatedRuntime {
    /// Makes it. Nothing runs yet.
    pub(crate) fn new() -> io::Result<SimulatedRuntime> {
        let defaults = prepare_process()?;
        let config = Config {
            workers: 1,
            stack_size: defaults.stack_size,
            thread_name: "sward-sim".to_owned(),
            migrate: false,
            stall: Duration::from_secs(1),
            io_uring: crate::sched::RingUse::Nothing,
            // The one whose calls a world answers.
            netpoll: crate::netpoll::BACKENDS[0],
            checks: defaults.checks,
            homes: 0,
            observer: true,
        };
        if config.checks {
            sched::prepare_checks();
        }
        let shared = Shared::new(config)?;
        *shared.threads.alive.lock() = Some(Arc::new(fork::Alive::new()));
        Ok(SimulatedRuntime { shared })
    }

    /// What the workers of the runtime share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Runs the closure as the first coroutine, which reports name by that site, and everything that it
    /// spawns, until the simulation has ended the runtime. `begun` is called with the number of the first
    /// coroutine before that runs. `None` if that has not ended: it is leaked, and never runs again.
    pub(crate) fn run<T: Send>(
        self,
        simulation: Rc<dyn Simulation>,
        site: Site,
        begun: impl FnOnce(Id),
        f: impl FnOnce() -> T + Send,
    ) -> Option<Result<T, JoinError>> {
        let first = Cell::new(None);
        sched::simulate(&self.shared, simulation, || {
            // SAFETY: what is borrowed lasts until `simulate` has returned. By then the coroutine has ended,
            // and its output is taken below; or it is leaked, and nobody runs it any more.
            let handle = unsafe { Spawn::of(&self.shared).named("main").at(site).start(f) };
            begun(handle.header().id());
            first.set(Some(handle));
        });
        let handle = first.take().expect("it was spawned");
        // SAFETY: it is done, `T` is its type, and the handle is not used again.
        handle.header().done.is_set().then(|| unsafe { handle.take::<T>() })
    }
}

impl Drop for SimulatedRuntime {
    fn drop(&mut self) {
        if self.shared.phase() == Phase::Running {
            self.shared.enter(Phase::Closing);
        }
        wait_for_end(&self.shared, Duration::ZERO, Instant::now());
    }
}
