//! Starting the threads of workers.

use super::shared::Shared;
use super::simulated::Simulated;
#[cfg(sward_sim)]
use super::simulated::Simulation;
use super::threads::AbortOnPanic;
use super::worker::Worker;
use crate::base::sys::{Probe, ThreadClock};
use crate::stack::overflow;
use crate::storage;
use std::io;
#[cfg(sward_sim)]
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Starts the thread of the worker with that index.
pub(crate) fn start_worker(shared: &Arc<Shared>, index: usize) -> io::Result<()> {
    let name = format!("{}-{index}", shared.config().thread_name);
    let own = Arc::clone(shared);
    shared.threads.start(name, move || {
        let _bomb = AbortOnPanic;
        let deques = own.remotes[index].deques.lock().take().expect("a remote has one thread");
        if let Some(clock) = ThreadClock::of_this_thread() {
            let _ = own.remotes[index].clock.set(clock);
        }
        if let Some(probe) = Probe::of_this_thread() {
            let _ = own.remotes[index].probe.set(probe);
        }
        let stack = overflow::AltStack::install();
        let _storages = own.has_mobile_homes().then(storage::prepare_thread);
        let worker = Worker::new(own, index, deques, Simulated::none());
        worker.run();
        if worker.remote().home.live() != 0 {
            // Code in a mobile home may have set another one, whose memory ends with that home.
            drop(stack);
            worker.shared().threads.stay();
        }
    })
}

/// Runs the worker of a simulated runtime on this thread, until the runtime has ended. `begin` is called
/// first.
#[cfg(sward_sim)]
pub(crate) fn simulate(shared: &Arc<Shared>, simulation: Rc<dyn Simulation>, begin: impl FnOnce()) {
    let _bomb = AbortOnPanic;
    let deques = shared.remotes[0].deques.lock().take().expect("a runtime is simulated once");
    let _stack = overflow::AltStack::install();
    let worker = Worker::new(Arc::clone(shared), 0, deques, Simulated::by(simulation));
    begin();
    worker.run();
}

/// Adds a worker, in migrating mode or with mobile homes, where coroutines keep all others. The netpoller
/// thread calls this.
pub(crate) fn add_spare_worker(shared: &Arc<Shared>) {
    let index = shared.active.load(Ordering::Relaxed);
    // If the system has no thread for it, the work goes on waiting as it would have.
    if index < shared.remotes.len() && start_worker(shared, index).is_ok() {
        shared.add_worker(index);
    }
}
