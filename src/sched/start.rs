//! Starting the threads of workers.

use super::shared::Shared;
use super::threads::AbortOnPanic;
use super::worker::Worker;
use crate::base::sys::Probe;
use crate::base::sys::ThreadClock;
use crate::stack::overflow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Starts the thread of the worker with that index.
pub(super) fn start_worker(shared: &Arc<Shared>, index: usize) -> io::Result<()> {
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
        let _stack = overflow::AltStack::install();
        let worker = Worker::new(own, index, deques);
        worker.run();
        if worker.remote().live() != 0 {
            worker.shared().threads.stay();
        }
    })
}

/// Adds a worker where all are stuck, in migrating mode; the netpoller thread does it.
pub(super) fn add_spare_worker(shared: &Shared) {
    let index = shared.active.load(Ordering::Relaxed);
    let Some(remote) = shared.remotes.get(index) else { return };
    let shared = remote.runtime.upgrade().expect("the netpoller thread keeps the runtime");
    // With no thread to be had the work goes on waiting, as it would have.
    if start_worker(&shared, index).is_ok() {
        shared.active.store(index + 1, Ordering::Release);
    }
}
