//! Futures that are polled by hand, or by an executor that knows nothing of this crate.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use sward::block_on;

/// The waker of an executor that knows nothing of this crate: a thread that std parks.
struct Unparks(Thread, AtomicBool);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// On a thread by that executor; in a coroutine, whose thread others need, by `block_on`.
pub fn complete<F: Future>(future: F) -> F::Output {
    if sward::in_coroutine() {
        return block_on(future);
    }
    let mut future = pin!(future);
    let unparks = Arc::new(Unparks(std::thread::current(), AtomicBool::new(false)));
    let waker = unparks.clone().into();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !unparks.1.swap(false, Ordering::SeqCst) {
            std::thread::park();
        }
    }
}

/// Counts how often it was woken.
#[derive(Default)]
pub struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counts {
    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

pub fn poll<F: Future + ?Sized>(future: Pin<&mut F>, counts: &Arc<Counts>) -> Poll<F::Output> {
    let waker = Waker::from(counts.clone());
    future.poll(&mut Context::from_waker(&waker))
}

/// A waker that calls the closure.
struct Calls<F>(F);

impl<F: Fn() + Send + Sync> Wake for Calls<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// A waker that calls the closure, and so may wait where its future is woken.
pub fn waker_that(calls: impl Fn() + Send + Sync + 'static) -> Waker {
    Arc::new(Calls(calls)).into()
}

/// Polls with that waker.
pub fn poll_with<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}
