//! sward, in default mode and in migrating mode.

use super::Peer;
use std::time::Duration;
use sward::channel::{Receiver, Sender, bounded};
use sward::net::{TcpListener, TcpStream};
use sward::runtime::Builder;
use sward::sync::{Mutex, RwLock};
use sward::task::{self, JoinHandle, Task};

pub struct Sward<const MIGRATING: bool>;

impl<const MIGRATING: bool> Peer for Sward<MIGRATING> {
    type Join<T: Send + 'static> = JoinHandle<T>;
    type Task = Task;

    const PINNED: bool = !MIGRATING;

    fn run<T: Send + 'static>(workers: usize, main: impl FnOnce() -> T + Send + 'static) -> T {
        let mut builder = Builder::new().worker_threads(workers);
        if MIGRATING {
            // SAFETY: the workloads hold nothing that is bound to a thread across a wait: their locks are the
            // peer's own, and they use no thread-locals.
            builder = unsafe { builder.migrate_started() };
        }
        builder.build().expect("the runtime starts").run(main)
    }

    fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        sward::spawn(f)
    }

    fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle.join().expect("it ends well")
    }

    fn task_of<T: Send + 'static>(handle: &JoinHandle<T>) -> Task {
        handle.task()
    }

    fn current() -> Task {
        task::current()
    }

    fn unpark(task: &Task) {
        task.unpark();
    }

    fn park() {
        task::park();
    }

    fn yield_now() {
        sward::yield_now();
    }

    fn sleep(duration: Duration) {
        sward::sleep(duration);
    }
}

channels_as_in_crossbeam!([const MIGRATING: bool] Sward<MIGRATING>, Sender, Receiver, bounded);
locks_as_in_std!([const MIGRATING: bool] Sward<MIGRATING>, Mutex, RwLock);
net_as_in_std!([const MIGRATING: bool] Sward<MIGRATING>, TcpListener, TcpStream);
