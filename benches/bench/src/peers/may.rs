//! `may`: stackful coroutines that migrate. Its channels have no bound.

use super::{Channels, Peer};
use ::may::coroutine::{self, Coroutine, JoinHandle};
use ::may::net::{TcpListener, TcpStream};
use ::may::sync::{Mutex, RwLock, mpmc, mpsc};
use std::time::Duration;

pub struct May;

impl Peer for May {
    type Join<T: Send + 'static> = JoinHandle<T>;
    type Task = Coroutine;

    fn run<T: Send + 'static>(workers: usize, main: impl FnOnce() -> T + Send + 'static) -> T {
        ::may::config().set_workers(workers);
        Self::join(Self::spawn(main))
    }

    fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        // SAFETY: the workloads use no thread-locals, hold nothing that is bound to a thread across a wait,
        // and need little stack.
        unsafe { coroutine::spawn(f) }
    }

    fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle.join().expect("it ends well")
    }

    fn task_of<T: Send + 'static>(handle: &JoinHandle<T>) -> Coroutine {
        handle.coroutine().clone()
    }

    fn current() -> Coroutine {
        coroutine::current()
    }

    fn unpark(task: &Coroutine) {
        task.unpark();
    }

    fn park() {
        coroutine::park();
    }

    fn yield_now() {
        coroutine::yield_now();
    }

    fn sleep(duration: Duration) {
        coroutine::sleep(duration);
    }
}

/// The faster of its two channels that fit.
pub enum Sender<T> {
    One(mpsc::Sender<T>),
    Many(mpmc::Sender<T>),
}

pub enum Receiver<T> {
    One(mpsc::Receiver<T>),
    Many(mpmc::Receiver<T>),
}

impl Channels for May {
    type Sender<T: Send + 'static> = Sender<T>;
    type Receiver<T: Send + 'static> = Receiver<T>;

    fn channel<T: Send + 'static>(
        _capacity: usize,
        senders: usize,
        receivers: usize,
    ) -> (Vec<Sender<T>>, Vec<Receiver<T>>) {
        if receivers == 1 {
            let (sender, receiver) = mpsc::channel();
            ((0..senders).map(|_| Sender::One(sender.clone())).collect(), vec![Receiver::One(receiver)])
        } else {
            let (sender, receiver) = mpmc::channel();
            (
                (0..senders).map(|_| Sender::Many(sender.clone())).collect(),
                (0..receivers).map(|_| Receiver::Many(receiver.clone())).collect(),
            )
        }
    }

    fn send<T: Send + 'static>(sender: &Sender<T>, message: T) {
        let sent = match sender {
            Sender::One(sender) => sender.send(message).is_ok(),
            Sender::Many(sender) => sender.send(message).is_ok(),
        };
        assert!(sent, "the receiver is there");
    }

    fn recv<T: Send + 'static>(receiver: &Receiver<T>) -> Option<T> {
        match receiver {
            Receiver::One(receiver) => receiver.recv().ok(),
            Receiver::Many(receiver) => receiver.recv().ok(),
        }
    }

    fn recv_timeout<T: Send + 'static>(receiver: &Receiver<T>, limit: Duration) -> Option<T> {
        match receiver {
            Receiver::One(receiver) => receiver.recv_timeout(limit).ok(),
            Receiver::Many(receiver) => receiver.recv_timeout(limit).ok(),
        }
    }
}

locks_as_in_std!(May, Mutex, RwLock);
net_as_in_std!(May, TcpListener, TcpStream);
