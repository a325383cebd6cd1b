//! Futures whose wakers wait, and what runs a waker in the middle of its own wait.

use crate::common::{Counts, on_one_worker, one_worker, poll, poll_with, until, waker_that};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use sward::channel::{Receiver, bounded};

/// Waits for the end of a coroutine.
fn waits_elsewhere() {
    sward::spawn(sward::yield_now).join().unwrap();
}

/// A plain thread sends to a future whose waker does that.
fn the_send_that_wakes_goes_on(wake: impl Fn() + Send + Sync + 'static) {
    let (sender, receiver) = bounded(0);
    let woken = Arc::new(AtomicUsize::new(0));
    let theirs = woken.clone();
    let waker = waker_that(move || {
        wake();
        theirs.fetch_add(1, SeqCst);
    });
    let mut future = Box::pin(receiver.recv_async());
    assert!(poll_with(future.as_mut(), &waker).is_pending());
    let sends = thread::spawn(move || sender.send(7));
    until(|| woken.load(SeqCst) == 1);
    assert_eq!(poll_with(future.as_mut(), &waker), Poll::Ready(Ok(7)));
    assert_eq!(sends.join().unwrap(), Ok(()));
}

/// A send of a plain thread to a future wakes it once it is listed. What the waker waits for does not end the
/// send.
#[test]
fn a_waker_that_waits_does_not_end_the_send_that_wakes_it() {
    the_send_that_wakes_goes_on(waits_elsewhere);
}

/// As above, by a waker that does not wait: it looks at two channels.
#[test]
fn a_waker_that_selects_does_not_end_the_send_that_wakes_it() {
    let idle: [(_, Receiver<()>); 2] = [bounded(0), bounded(0)];
    the_send_that_wakes_goes_on(move || {
        let [(_, one), (_, other)] = &idle;
        sward::select! {
            recv(one) -> _ => unreachable!(),
            recv(other) -> _ => unreachable!(),
            default => {}
        }
    });
}

/// The commit of a coroutine's send runs on its worker, and so does the waker: its own send wakes a future
/// whose waker waits in turn.
#[test]
fn a_waker_that_waits_in_a_waker_ends_no_other_wait() {
    let ((outer, outer_receiver), (inner, inner_receiver)) = (bounded(0), bounded(0));
    let (sent, woken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let theirs = sent.clone();
    let sends = waker_that(move || {
        inner.send(1).unwrap();
        theirs.fetch_add(1, SeqCst);
    });
    let elsewhere = one_worker();
    let theirs = woken.clone();
    let waits = waker_that(move || {
        elsewhere.spawn(sward::yield_now).join().unwrap();
        theirs.fetch_add(1, SeqCst);
    });
    let mut first = Box::pin(outer_receiver.recv_async());
    assert!(poll_with(first.as_mut(), &sends).is_pending());
    let mut second = Box::pin(inner_receiver.recv_async());
    assert!(poll_with(second.as_mut(), &waits).is_pending());
    let runtime = one_worker();
    let send = runtime.spawn(move || outer.send(7));
    until(|| woken.load(SeqCst) == 1);
    assert_eq!(poll_with(second.as_mut(), &waits), Poll::Ready(Ok(1)));
    until(|| sent.load(SeqCst) == 1);
    assert_eq!(poll_with(first.as_mut(), &sends), Poll::Ready(Ok(7)));
    assert_eq!(send.join().unwrap(), Ok(()));
}

/// A select that does not wait wakes no future: it could not serve it.
#[test]
fn a_select_that_does_not_wait_wakes_no_future() {
    let test = || {
        let (sender, receiver) = bounded(0);
        let (_idle, other) = bounded::<()>(0);
        let counts = Arc::<Counts>::default();
        let mut future = Box::pin(receiver.recv_async());
        assert!(poll(future.as_mut(), &counts).is_pending());
        for _ in 0..3 {
            sward::select! {
                send(sender, 7) -> _ => unreachable!(),
                recv(other) -> _ => unreachable!(),
                default => {}
            }
        }
        assert_eq!(counts.get(), 0);
        let sends = sward::spawn(move || sender.send(8));
        assert_eq!(sward::block_on(future), Ok(8));
        assert_eq!(sends.join().unwrap(), Ok(()));
    };
    on_one_worker(test);
    test();
}
