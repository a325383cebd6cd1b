//! The waits of channels, permits, notifications, tokens and times as futures, on executors of all kinds.

use crate::common::{
    Counts, LONG, MOMENT, SHORT, both, complete, in_runtime, one_worker, poll, two_workers, until, waiting,
};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;
use sward::block_on;
use sward::channel::{after, bounded, broadcast, oneshot, tick, unbounded, watch};
use sward::sync::{Notify, Semaphore};
use sward::task::CancelToken;
use sward::time::{sleep_async, timeout_async};

fn woken(counts: &Arc<Counts>) -> usize {
    counts.get()
}

/// On a plain thread with an executor of its own, there with `block_on`, and in coroutines.
fn everywhere(test: impl Fn() + Send + Sync) {
    both(&test);
    one_worker().run(&test);
}

#[test]
fn they_may_be_sent() {
    fn sent<T: Send>(value: T) -> T {
        value
    }
    let (sender, receiver) = bounded::<std::cell::Cell<u8>>(0);
    drop(sent(receiver.recv_async()));
    drop(sent(sender.send_async(std::cell::Cell::new(1))));
    let semaphore = Arc::new(Semaphore::new(1));
    drop(sent(semaphore.acquire_async()));
    drop(sent(semaphore.acquire_owned_async()));
    drop(sent(Notify::new().wait_async()));
    drop(sent(CancelToken::new().wait_async()));
    drop(sent(sent(sleep_async(LONG))));
    drop(sent(timeout_async(LONG, receiver.recv_async())));
    let (_watch, mut watched) = watch::channel(1);
    drop(sent(watched.changed_async()));
    let (_broadcast, mut heard) = broadcast::channel::<u8>(1);
    drop(sent(heard.recv_async()));
}

#[test]
fn messages_pass_between_futures_coroutines_and_threads() {
    everywhere(|| {
        for capacity in [0, 1, 3] {
            let (sender, receiver) = bounded(capacity);
            let sends = {
                let sender = sender.clone();
                sward::spawn(move || (0..50).for_each(|i| sender.send(i).unwrap()))
            };
            let awaits = std::thread::spawn(move || {
                complete(async {
                    for i in 50..100 {
                        sender.send_async(i).await.unwrap();
                    }
                })
            });
            let mut all = Vec::new();
            block_on(async {
                while let Ok(message) = receiver.recv_async().await {
                    all.push(message);
                }
            });
            all.sort_unstable();
            assert_eq!(all, (0..100).collect::<Vec<_>>());
            sends.join().unwrap();
            awaits.join().unwrap();
        }
    });
}

#[test]
fn a_future_meets_a_coroutine_on_either_side() {
    in_runtime(|| {
        let (sender, receiver) = bounded::<[u8; 4096]>(0);
        let receives = sward::spawn(move || receiver.recv().map(|message| message[9]));
        block_on(sender.send_async([7; 4096])).unwrap();
        assert_eq!(receives.join().unwrap(), Ok(7));
        assert!(block_on(sender.send_async([7; 4096])).is_err());
        let (sender, receiver) = bounded::<[u8; 4096]>(0);
        let sends = sward::spawn(move || sender.send([8; 4096]).is_ok());
        assert_eq!(block_on(receiver.recv_async()).unwrap()[9], 8);
        assert!(sends.join().unwrap());
        assert!(block_on(receiver.recv_async()).is_err());
    });
}

/// A spurious poll changes nothing, the last waker counts, and each wait wakes once.
#[test]
fn the_last_waker_is_woken() {
    let (sender, receiver) = unbounded();
    let (old, new) = (Arc::default(), Arc::default());
    let mut receives = pin!(receiver.recv_async());
    for counts in [&old, &old, &new, &new] {
        assert!(poll(receives.as_mut(), counts).is_pending());
    }
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!((woken(&old), woken(&new)), (0, 1));
    assert_eq!(poll(receives, &old), Poll::Ready(Ok(1)));
    // Another receiver was faster: the future waits again.
    let mut receives = pin!(receiver.recv_async());
    assert_eq!(receiver.try_recv(), Ok(2));
    assert!(poll(receives.as_mut(), &new).is_pending());
    sender.send(3).unwrap();
    assert_eq!(receiver.try_recv(), Ok(3));
    assert!(poll(receives.as_mut(), &new).is_pending());
    drop(sender);
    assert!(matches!(poll(receives, &new), Poll::Ready(Err(_))));
    assert_eq!(woken(&new), 3);
}

/// A message wakes the first waiter alone, be it a future or a coroutine.
#[test]
fn receivers_of_all_kinds_wait_in_one_queue() {
    let runtime = one_worker();
    let (sender, receiver) = unbounded();
    let (first, second): (Arc<Counts>, Arc<Counts>) = (Arc::default(), Arc::default());
    let (mut one, mut other) = (Box::pin(receiver.recv_async()), Box::pin(receiver.recv_async()));
    assert!(poll(one.as_mut(), &first).is_pending());
    let theirs = receiver.clone();
    let parks = waiting(&runtime, move || theirs.recv());
    assert!(poll(other.as_mut(), &second).is_pending());
    sender.send(1).unwrap();
    assert!((woken(&first), woken(&second), parks.is_finished()) == (1, 0, false));
    sender.send(2).unwrap();
    // The oldest message, although it has woken the future.
    assert_eq!(parks.join().unwrap(), Ok(1));
    assert_eq!((woken(&first), woken(&second)), (1, 0));
    sender.send(3).unwrap();
    assert_eq!((woken(&first), woken(&second)), (1, 1));
    assert_eq!(poll(one.as_mut(), &first), Poll::Ready(Ok(2)));
    assert_eq!(poll(other.as_mut(), &second), Poll::Ready(Ok(3)));
}

/// A future is dropped after a message has woken it. The next waiter gets the message.
#[test]
fn a_dropped_receive_passes_its_turn_on() {
    let runtime = one_worker();
    for capacity in [0, 1] {
        for coroutine in [false, true] {
            let (sender, receiver) = bounded(capacity);
            let (first, second): (Arc<Counts>, Arc<Counts>) = (Arc::default(), Arc::default());
            let mut dropped = Box::pin(receiver.recv_async());
            let mut next = Box::pin(receiver.recv_async());
            assert!(poll(dropped.as_mut(), &first).is_pending());
            // With capacity zero a coroutine comes before futures.
            if coroutine && capacity > 0 {
                let theirs = receiver.clone();
                let parks = waiting(&runtime, move || theirs.recv());
                sender.send(1).unwrap();
                assert_eq!(woken(&first), 1);
                drop(dropped);
                assert_eq!(parks.join().unwrap(), Ok(1));
                continue;
            }
            assert!(poll(next.as_mut(), &second).is_pending());
            let mut sends = Box::pin(sender.send_async(1));
            let sent = poll(sends.as_mut(), &Arc::default());
            assert_eq!(sent.is_ready(), capacity > 0);
            assert_eq!((woken(&first), woken(&second)), (1, 0));
            drop(dropped);
            assert_eq!(woken(&second), 1);
            assert_eq!(poll(next.as_mut(), &second), Poll::Ready(Ok(1)));
        }
    }
}

/// Another receiver takes the message first. The future that was woken keeps its place.
#[test]
fn a_receive_that_finds_nothing_keeps_its_place() {
    let (sender, receiver) = bounded(1);
    let (first, second): (Arc<Counts>, Arc<Counts>) = (Arc::default(), Arc::default());
    let (mut one, mut other) = (Box::pin(receiver.recv_async()), Box::pin(receiver.recv_async()));
    assert!(poll(one.as_mut(), &first).is_pending() && poll(other.as_mut(), &second).is_pending());
    sender.send(1).unwrap();
    assert_eq!(receiver.try_recv(), Ok(1));
    assert!(poll(one.as_mut(), &first).is_pending());
    sender.send(2).unwrap();
    assert_eq!((woken(&first), woken(&second)), (2, 0));
    assert_eq!(poll(one.as_mut(), &first), Poll::Ready(Ok(2)));
    drop(sender);
    assert!(woken(&second) == 1 && matches!(poll(other.as_mut(), &second), Poll::Ready(Err(_))));
}

/// The channel is full, and each message is left to a future that has not been polled. A receiver that waits
/// behind the futures is served all the same, and so is one behind futures without capacity.
#[test]
fn a_send_without_room_serves_a_receiver_behind_futures() {
    let runtime = one_worker();
    for capacity in [0, 1] {
        let (sender, receiver) = bounded(capacity);
        let (first, second) = (Arc::default(), Arc::default());
        let (mut one, mut other) = (Box::pin(receiver.recv_async()), Box::pin(receiver.recv_async()));
        assert!(poll(one.as_mut(), &first).is_pending() && poll(other.as_mut(), &second).is_pending());
        let theirs = receiver.clone();
        let parks = waiting(&runtime, move || theirs.recv());
        for message in 0..=capacity {
            sender.send(message).unwrap();
        }
        assert_eq!(parks.join().unwrap(), Ok(0));
        assert_eq!((woken(&first), woken(&second)), (capacity, 0));
        if capacity > 0 {
            assert_eq!(poll(one.as_mut(), &first), Poll::Ready(Ok(1)));
        }
    }
}

#[test]
fn a_send_that_is_dropped_was_not_made() {
    let counts = Arc::default();
    let message = Arc::new(());
    let (sender, receiver) = bounded(0);
    {
        let mut sends = pin!(sender.send_async(message.clone()));
        assert!(poll(sends.as_mut(), &counts).is_pending());
    }
    assert_eq!(Arc::strong_count(&message), 1);
    assert!(receiver.try_recv().is_err());
    let mut sends = Box::pin(sender.send_async(message.clone()));
    assert!(poll(sends.as_mut(), &counts).is_pending());
    assert!(receiver.try_recv().is_ok());
    assert_eq!(woken(&counts), 1);
    drop(sends);
    assert_eq!(Arc::strong_count(&message), 1);
}

#[test]
fn the_other_channels() {
    everywhere(|| {
        let (answer, question) = oneshot::channel();
        sward::spawn(move || answer.send(1));
        assert_eq!(complete(question.recv_async()), Ok(1));
        assert!(complete(question.recv_async()).is_err());

        let (level, mut watcher) = watch::channel(0);
        let sets = sward::spawn(move || {
            sward::sleep(SHORT);
            level.send(5);
        });
        complete(watcher.changed_async()).unwrap();
        assert_eq!(*watcher.get(), 5);
        sets.join().unwrap();
        assert!(complete(watcher.changed_async()).is_err());

        let (sender, mut receiver) = broadcast::channel(2);
        let mut other = sender.subscribe();
        let sends = sward::spawn(move || (0..2).for_each(|i| _ = sender.send(i)));
        assert_eq!((complete(receiver.recv_async()), complete(receiver.recv_async())), (Ok(0), Ok(1)));
        sends.join().unwrap();
        assert_eq!(complete(other.recv_async()), Ok(0));
        assert_eq!(complete(receiver.recv_async()), Err(broadcast::RecvError::Closed));

        let start = Instant::now();
        assert!(complete(after(SHORT).recv_async()).unwrap() >= start + SHORT);
        let ticks = tick(SHORT);
        assert!(complete(ticks.recv_async()).unwrap() < complete(ticks.recv_async()).unwrap());
    });
}

#[test]
fn a_token_is_awaited() {
    everywhere(|| {
        let root = CancelToken::new();
        let child = root.child_token();
        let counts = Arc::default();
        let mut waits = Box::pin(child.wait_async());
        assert!(poll(waits.as_mut(), &counts).is_pending());
        let cancels = sward::spawn(move || root.cancel());
        complete(child.wait_async());
        cancels.join().unwrap();
        assert!(woken(&counts) == 1 && poll(waits.as_mut(), &counts).is_ready());
    });
}

/// A dropped future that was given a permit, or was notified, passes it on.
#[test]
fn what_a_dropped_future_was_given_goes_to_the_next() {
    let (first, second) = (Arc::default(), Arc::default());
    let semaphore = Semaphore::new(0);
    let mut large = Box::pin(semaphore.acquire_many_async(2));
    let mut small = Box::pin(semaphore.acquire_async());
    assert!(poll(large.as_mut(), &first).is_pending() && poll(small.as_mut(), &second).is_pending());
    semaphore.add_permits(1);
    assert_eq!((woken(&first), woken(&second)), (0, 0), "the large request is the first");
    semaphore.add_permits(1);
    assert_eq!((woken(&first), woken(&second)), (1, 0));
    drop(large);
    assert_eq!(woken(&second), 1);
    let Poll::Ready(Ok(permit)) = poll(small.as_mut(), &second) else { panic!("it was given") };
    assert_eq!(semaphore.available_permits(), 1);
    drop(permit);
    let mut waits = Box::pin(semaphore.acquire_many_async(3));
    assert!(poll(waits.as_mut(), &first).is_pending());
    semaphore.close();
    assert!(matches!(poll(waits.as_mut(), &first), Poll::Ready(Err(_))));
    drop(waits);

    let (first, second) = (Arc::default(), Arc::default());
    let notify = Notify::new();
    let (mut one, mut other) = (Box::pin(notify.wait_async()), Box::pin(notify.wait_async()));
    assert!(poll(one.as_mut(), &first).is_pending() && poll(other.as_mut(), &second).is_pending());
    notify.notify_one();
    assert_eq!((woken(&first), woken(&second)), (1, 0));
    drop(one);
    assert!(woken(&second) == 1 && poll(other.as_mut(), &second).is_ready());
    drop(other);
    let mut last = Box::pin(notify.wait_async());
    assert!(poll(last.as_mut(), &first).is_pending());
    notify.notify_one();
    drop(last);
    complete(notify.wait_async());
}

#[test]
fn times_are_awaited() {
    everywhere(|| {
        let start = Instant::now();
        complete(sleep_async(SHORT));
        block_on(sleep_async(SHORT));
        assert!(start.elapsed() >= 2 * SHORT);
        assert!(complete(timeout_async(SHORT, sleep_async(LONG))).is_err());
        assert!(block_on(timeout_async(LONG, sleep_async(SHORT))).is_ok());
        let sleeps: Vec<_> = (0..200).map(|i| Box::pin(sleep_async(SHORT * (i % 3)))).collect();
        // Some are dropped while their timers run.
        let counts = Arc::default();
        let polled = sleeps.into_iter().enumerate().map(|(i, mut sleep)| {
            let _ = poll(sleep.as_mut(), &counts);
            (i % 2 == 0).then_some(sleep)
        });
        let kept: Vec<_> = polled.collect();
        complete(async {
            for sleep in kept.into_iter().flatten() {
                sleep.await;
            }
        });
    });
}

/// A coroutine that awaits leaves its worker to others.
#[test]
fn a_future_parks_its_coroutine() {
    one_worker().run(|| {
        let ran = Arc::new(AtomicBool::new(false));
        let runs = ran.clone();
        sward::spawn(move || runs.store(true, Ordering::SeqCst));
        while !ran.load(Ordering::SeqCst) {
            block_on(sleep_async(SHORT));
        }
    });
}

/// The timer was one of a runtime that has ended since.
#[test]
fn a_sleep_outlives_the_runtime_that_polled_it() {
    for workers in 0..2 {
        let runtime = if workers == 0 { one_worker() } else { two_workers() };
        let counts = Arc::default();
        let start = Instant::now();
        let mut sleep = runtime.run(|| {
            let mut sleep = Box::pin(sleep_async(MOMENT));
            assert!(poll(sleep.as_mut(), &counts).is_pending());
            sleep
        });
        let mut dropped = runtime.run(|| {
            let mut sleep = Box::pin(sleep_async(LONG));
            assert!(poll(sleep.as_mut(), &counts).is_pending());
            sleep
        });
        drop(runtime);
        assert!(poll(dropped.as_mut(), &counts).is_pending());
        drop(dropped);
        complete(sleep.as_mut());
        assert!(start.elapsed() >= MOMENT);
    }
}

/// Futures are polled and dropped at random amid coroutines: no message and no permit is lost.
#[test]
fn dropped_futures_lose_nothing() {
    const MESSAGES: usize = 3_000;
    for capacity in [0, 2] {
        let runtime = two_workers();
        let (sender, receiver) = bounded(capacity);
        let semaphore = Arc::new(Semaphore::new(3));
        let (sent, received) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut all = Vec::new();
        for id in 0..2 {
            let (sender, sent) = (sender.clone(), sent.clone());
            all.push(runtime.spawn(move || {
                let counts = Arc::default();
                for i in 0..MESSAGES {
                    if id == 0 {
                        sender.send(i).unwrap();
                        sent.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    let mut sends = Box::pin(sender.send_async(i));
                    if i % 3 > 0 {
                        block_on(sends).unwrap();
                        sent.fetch_add(1, Ordering::SeqCst);
                    } else if poll(sends.as_mut(), &counts).is_ready() {
                        sent.fetch_add(1, Ordering::SeqCst);
                    } else {
                        // It may have been received since, and nobody knows. So it is awaited in the end.
                        sward::yield_now();
                        block_on(sends).unwrap();
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }));
        }
        drop(sender);
        for id in 0..3 {
            let (receiver, received, semaphore) = (receiver.clone(), received.clone(), semaphore.clone());
            all.push(runtime.spawn(move || {
                let counts = Arc::default();
                for i in 0.. {
                    let mut receives = Box::pin(receiver.recv_async());
                    let first = match (i + id) % 3 {
                        0 => Poll::Ready(receiver.recv()),
                        _ => poll(receives.as_mut(), &counts),
                    };
                    let message = match first {
                        Poll::Ready(message) => message,
                        Poll::Pending if i % 2 == 0 => {
                            sward::yield_now();
                            continue;
                        }
                        Poll::Pending => block_on(receives),
                    };
                    if message.is_err() {
                        break;
                    }
                    received.fetch_add(1, Ordering::SeqCst);
                    let mut acquires = Box::pin(semaphore.acquire_many_async(1 + i % 3));
                    match poll(acquires.as_mut(), &counts) {
                        Poll::Ready(permits) => drop(permits),
                        Poll::Pending if i % 2 == 0 => sward::yield_now(),
                        Poll::Pending => drop(block_on(acquires)),
                    }
                }
            }));
        }
        drop(receiver);
        for one in all {
            one.join().unwrap();
        }
        assert_eq!(sent.load(Ordering::SeqCst), 2 * MESSAGES);
        assert_eq!(received.load(Ordering::SeqCst), 2 * MESSAGES);
        until(|| semaphore.available_permits() == 3);
    }
}
