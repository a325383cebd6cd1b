//! Futures that receive, among senders and receivers of other kinds.

use crate::common::{Counts, LONG, eventually, on_one_worker, poll};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use sward::channel::{Select, bounded};
use sward::time::timeout_async;

/// A send that waits is news for a watcher, though a future has come before it.
#[test]
fn a_send_wakes_a_watcher_behind_a_future() {
    for capacity in [0, 1] {
        on_one_worker(|| {
            let (sender, receiver) = bounded(capacity);
            let futures: Vec<_> = (0..=capacity)
                .map(|_| {
                    let mut future = Box::pin(receiver.recv_async());
                    assert!(poll(future.as_mut(), &Arc::default()).is_pending());
                    future
                })
                .collect();
            let theirs = receiver.clone();
            let watches = sward::spawn(move || {
                let mut arm = theirs.arm();
                let mut select = Select::new();
                select.recv(&mut arm);
                select.ready()
            });
            sward::yield_now();
            let sends = thread::spawn(move || (0..=capacity).try_for_each(|i| sender.send(i)));
            eventually("the watcher has news", || watches.is_finished());
            assert_eq!(watches.join().unwrap(), 0);
            for (i, future) in futures.into_iter().enumerate() {
                assert_eq!(sward::block_on(future), Ok(i));
            }
            sends.join().unwrap().unwrap();
        });
    }
}

/// Neither a message that is yet to be made nor a future is something for the other side to take. If the one
/// waits for the other, the message is made.
#[test]
fn a_message_that_is_made_late_reaches_a_future() {
    for future_first in [true, false] {
        on_one_worker(|| {
            let (sender, receiver) = bounded(0);
            let made = Arc::new(AtomicUsize::new(0));
            let mut future = Box::pin(receiver.recv_async());
            if future_first {
                assert!(poll(future.as_mut(), &Arc::default()).is_pending());
            }
            let make = made.clone();
            let sends = sward::spawn(move || {
                let make = || {
                    make.fetch_add(1, SeqCst);
                    7
                };
                sward::select! { send_with(sender, make) -> sent => sent }
            });
            sward::yield_now();
            if future_first {
                eventually("the message is made", || made.load(SeqCst) == 1);
            } else {
                assert_eq!(made.load(SeqCst), 0, "it is made for nobody");
            }
            assert_eq!(sward::block_on(timeout_async(LONG, future)).unwrap(), Ok(7));
            assert_eq!(sends.join().unwrap(), Ok(()));
            assert_eq!(made.load(SeqCst), 1);
        });
    }
}

/// A select that does not wait makes no message for a future, which could not take it.
#[test]
fn no_message_is_made_for_a_future_without_a_wait() {
    let (sender, receiver) = bounded(0);
    let mut future = Box::pin(receiver.recv_async());
    assert!(poll(future.as_mut(), &Arc::default()).is_pending());
    let (_idle, other) = bounded::<()>(0);
    sward::select! {
        send_with(sender, || -> u8 { unreachable!() }) -> _ => unreachable!(),
        recv(other) -> _ => unreachable!(),
        default => {}
    }
}

/// The turn of a future that is dropped does not go to the select whose message it was.
#[test]
fn a_dropped_future_does_not_make_a_select_serve_itself() {
    on_one_worker(|| {
        let (sender, receiver) = bounded(0);
        let counts = [Arc::<Counts>::default(), Arc::default()];
        let mut first = Box::pin(receiver.recv_async());
        assert!(poll(first.as_mut(), &counts[0]).is_pending());
        let (to, from) = (sender.clone(), receiver.clone());
        let selects = sward::spawn(move || {
            sward::select! {
                send(to, 7) -> sent => sent.is_ok(),
                recv(from) -> _ => unreachable!(),
            }
        });
        while counts[0].get() == 0 {
            sward::yield_now();
        }
        // The message of the select is left to the first future, and there is no other one.
        drop(first);
        sward::yield_now();
        assert!(!selects.is_finished() && sender.is_empty());
        let mut second = Box::pin(receiver.recv_async());
        assert_eq!(poll(second.as_mut(), &counts[1]), Poll::Ready(Ok(7)));
        assert!(selects.join().unwrap());
    });
}

/// The turn of a future that is dropped goes past the receives of the select whose message it was.
#[test]
fn a_turn_goes_past_the_select_whose_message_it_is_for() {
    on_one_worker(|| {
        for _ in 0..20 {
            let (sender, receiver) = bounded(0);
            let (first, second) = (Arc::<Counts>::default(), Arc::<Counts>::default());
            let mut one = Box::pin(receiver.recv_async());
            assert!(poll(one.as_mut(), &first).is_pending());
            let (to, from) = (sender.clone(), receiver.clone());
            // The order of the arms is random.
            let selects = sward::spawn(move || {
                sward::select! {
                    send(to, 7) -> sent => sent.is_ok(),
                    recv(from) -> _ => unreachable!(),
                }
            });
            let mut other = Box::pin(receiver.recv_async());
            assert!(poll(other.as_mut(), &second).is_pending());
            while first.get() == 0 {
                sward::yield_now();
            }
            assert_eq!(second.get(), 0);
            drop(one);
            assert_eq!(second.get(), 1, "the message is left to nobody");
            assert_eq!(sward::block_on(other), Ok(7));
            assert!(selects.join().unwrap());
        }
    });
}

/// Receivers of both kinds are served in the order in which they came, while there is room.
#[test]
fn futures_and_other_receivers_are_served_in_order() {
    on_one_worker(|| {
        let (sender, receiver) = bounded(8);
        let mut futures = Vec::new();
        let mut coroutines = Vec::new();
        for kind in [0, 1, 1, 0, 0, 1] {
            if kind == 0 {
                let counts = Arc::<Counts>::default();
                let mut future = Box::pin(receiver.recv_async());
                assert!(poll(future.as_mut(), &counts).is_pending());
                futures.push((future, counts));
            } else {
                let theirs = receiver.clone();
                coroutines.push(sward::spawn(move || theirs.recv()));
                sward::yield_now();
            }
        }
        let mut woken = Vec::new();
        for i in 0..6 {
            sender.try_send(i).unwrap();
            sward::yield_now();
            sward::yield_now();
            let done = coroutines.iter().filter(|coroutine| coroutine.is_finished()).count();
            woken.push((futures.iter().map(|(_, counts)| counts.get()).sum::<usize>(), done));
        }
        assert_eq!(woken, [(1, 0), (1, 1), (1, 2), (2, 2), (3, 2), (3, 3)]);
        // The coroutines had the oldest messages.
        let coroutines: Vec<_> = coroutines.into_iter().map(|one| one.join().unwrap().unwrap()).collect();
        assert_eq!(coroutines, [0, 1, 2]);
        let futures: Vec<_> = futures.into_iter().map(|(one, _)| sward::block_on(one).unwrap()).collect();
        assert_eq!(futures, [3, 4, 5]);
    });
}
