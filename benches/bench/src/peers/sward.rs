//! sward in its three modes. All modes run the same code of this program, so that they differ in nothing but
//! the runtime's settings.

use super::Peer;
use std::sync::OnceLock;
use std::time::Duration;
use sward::channel::{Receiver, Sender, bounded};
use sward::net::{TcpListener, TcpStream};
use sward::runtime::{Builder, Homes};
use sward::sync::{Mutex, RwLock};
use sward::task::{self, JoinHandle, Task};

/// What a started coroutine stays with.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    /// Its worker.
    Pinned,
    /// Its home, which moves between workers.
    Homes,
    /// Nothing.
    Migrating,
}

static MODE: OnceLock<Mode> = OnceLock::new();

/// The mode of a peer's name.
pub fn mode(peer: &str) -> Option<Mode> {
    match peer {
        "sward" => Some(Mode::Pinned),
        "sward-homes" => Some(Mode::Homes),
        "sward-migrating" => Some(Mode::Migrating),
        _ => None,
    }
}

/// Decides the mode of this process.
pub fn set_mode(mode: Mode) {
    assert!(MODE.set(mode).is_ok(), "a process has one mode");
}

pub struct Sward;

impl Peer for Sward {
    type Join<T: Send + 'static> = JoinHandle<T>;
    type Task = Task;

    fn run<T: Send + 'static>(workers: usize, main: impl FnOnce() -> T + Send + 'static) -> T {
        let mode = *MODE.get().expect("it was set");
        let homes = if mode == Mode::Homes { Homes::Auto } else { Homes::Off };
        let mut builder = Builder::new().worker_threads(workers).homes(homes);
        if mode == Mode::Migrating {
            // SAFETY: the workloads hold nothing that is bound to a thread across a wait: their locks are the
            // peer's own, and they use no thread-locals.
            builder = unsafe { builder.migrate_started() };
        }
        let runtime = builder.build().expect("the runtime starts");
        assert_eq!(runtime.metrics().homes.is_some(), mode == Mode::Homes, "the mode is in force");
        runtime.run(main)
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

channels_as_in_crossbeam!(Sward, Sender, Receiver, bounded);
locks_as_in_std!(Sward, Mutex, RwLock);
net_as_in_std!(Sward, TcpListener, TcpStream);
