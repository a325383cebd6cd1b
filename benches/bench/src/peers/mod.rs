//! The peers whose code blocks: each one's names for what the workloads use. tokio's code has another shape
//! (`async`), so each workload has a second text for it. Go's code is in `go/`. The raw epoll loop has
//! servers only.

#[macro_use]
mod shapes;

pub mod may;
pub mod sward;
pub mod threads;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// The address that servers bind: all of loopback, since one pair of addresses has too few ports for the
/// workload `idle`.
pub const ANY: &str = "0.0.0.0:0";

/// Running, spawning and the bare means of waiting.
pub trait Peer: Send + 'static {
    type Join<T: Send + 'static>: Send + 'static;
    type Task: Send + Sync + 'static;

    /// Runs the closure as the first coroutine of a runtime with that many workers.
    fn run<T: Send + 'static>(workers: usize, main: impl FnOnce() -> T + Send + 'static) -> T;
    fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Self::Join<T>;
    fn join<T: Send + 'static>(handle: Self::Join<T>) -> T;
    fn task_of<T: Send + 'static>(handle: &Self::Join<T>) -> Self::Task;
    fn current() -> Self::Task;
    fn unpark(task: &Self::Task);
    fn park();
    fn yield_now();
    fn sleep(duration: Duration);
}

pub trait Channels: Peer {
    type Sender<T: Send + 'static>: Send + 'static;
    type Receiver<T: Send + 'static>: Send + 'static;

    /// One channel with that many senders and receivers. A capacity of zero is a rendezvous.
    #[allow(clippy::type_complexity)]
    fn channel<T: Send + 'static>(
        capacity: usize,
        senders: usize,
        receivers: usize,
    ) -> (Vec<Self::Sender<T>>, Vec<Self::Receiver<T>>);
    fn send<T: Send + 'static>(sender: &Self::Sender<T>, message: T);
    /// `None` after all senders are gone.
    fn recv<T: Send + 'static>(receiver: &Self::Receiver<T>) -> Option<T>;
    fn recv_timeout<T: Send + 'static>(receiver: &Self::Receiver<T>, limit: Duration) -> Option<T>;

    fn one_to_one<T: Send + 'static>(capacity: usize) -> (Self::Sender<T>, Self::Receiver<T>) {
        let (mut senders, mut receivers) = Self::channel(capacity, 1, 1);
        (senders.remove(0), receivers.remove(0))
    }
}

pub trait Locks: Peer {
    type Mutex: Send + Sync + 'static;
    type RwLock: Send + Sync + 'static;

    fn mutex() -> Self::Mutex;
    fn lock<R>(mutex: &Self::Mutex, f: impl FnOnce(&mut u64) -> R) -> R;
    fn rwlock() -> Self::RwLock;
    fn read<R>(lock: &Self::RwLock, f: impl FnOnce(&u64) -> R) -> R;
    fn write<R>(lock: &Self::RwLock, f: impl FnOnce(&mut u64) -> R) -> R;
}

pub trait Net: Peer {
    type Listener: Send + 'static;
    type Stream: Read + Write + Send + 'static;

    fn bind() -> io::Result<(Self::Listener, SocketAddr)>;
    /// Turns Nagle's algorithm off.
    fn accept(listener: &Self::Listener) -> io::Result<Self::Stream>;
    fn set_read_timeout(stream: &Self::Stream, limit: Duration) -> io::Result<()>;
}
