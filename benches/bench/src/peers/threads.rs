//! Plain threads with the kernel's scheduler. The channels are crossbeam's: std's are the same algorithm, but
//! have one receiver.

use super::Peer;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, RwLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

pub struct Threads;

impl Peer for Threads {
    type Join<T: Send + 'static> = JoinHandle<T>;
    type Task = Thread;

    fn run<T: Send + 'static>(_workers: usize, main: impl FnOnce() -> T + Send + 'static) -> T {
        main()
    }

    fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        thread::Builder::new().stack_size(64 << 10).spawn(f).expect("the kernel has a thread left")
    }

    fn join<T: Send + 'static>(handle: JoinHandle<T>) -> T {
        handle.join().expect("it ends well")
    }

    fn task_of<T: Send + 'static>(handle: &JoinHandle<T>) -> Thread {
        handle.thread().clone()
    }

    fn current() -> Thread {
        thread::current()
    }

    fn unpark(task: &Thread) {
        task.unpark();
    }

    fn park() {
        thread::park();
    }

    fn yield_now() {
        thread::yield_now();
    }

    fn sleep(duration: Duration) {
        thread::sleep(duration);
    }
}

channels_as_in_crossbeam!(Threads, Sender, Receiver, bounded);
locks_as_in_std!(Threads, Mutex, RwLock);
net_as_in_std!(Threads, TcpListener, TcpStream);
