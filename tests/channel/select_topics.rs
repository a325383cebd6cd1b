//! Receivers of `broadcast` and `watch` as alternatives of a select.

use crate::common::{both, in_runtime};
use crate::mpmc::MS;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use sward::channel::{Select, broadcast, never, unbounded, watch};

/// A message whose clones are counted.
struct Counted(Arc<AtomicU32>);

impl Clone for Counted {
    fn clone(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }
}

#[test]
fn a_broadcast_is_received_like_other_channels() {
    use broadcast::RecvError;
    both(|| {
        let (news, receiver) = broadcast::channel(2);
        let (requests, incoming) = unbounded();
        let next = |news: &broadcast::Receiver<u32>| {
            sward::select! {
                recv(news) -> message => Some(message),
                recv(incoming) -> request => { request.unwrap(); None }
                default => Some(Err(RecvError::Empty)),
            }
        };
        assert_eq!(next(&receiver), Some(Err(RecvError::Empty)));
        requests.send(()).unwrap();
        assert_eq!(next(&receiver), None);
        for number in 0..3 {
            news.send(number).unwrap();
        }
        let second = receiver.clone();
        assert_eq!(next(&receiver), Some(Err(RecvError::Lagged(1))));
        assert_eq!([next(&receiver), next(&receiver)], [Some(Ok(1)), Some(Ok(2))]);
        assert_eq!(next(&receiver), Some(Err(RecvError::Empty)));
        drop(news);
        assert_eq!(next(&receiver), Some(Err(RecvError::Closed)));
        assert_eq!(next(&second), Some(Err(RecvError::Lagged(1))), "it is at the place of the original");
    });
}

#[test]
fn a_change_is_seen_once() {
    both(|| {
        let (level, watcher) = watch::channel(1);
        let changed = |watcher: &watch::Receiver<u32>| {
            sward::select! {
                changed(watcher) -> result => Some(result),
                default => None,
            }
        };
        assert_eq!(changed(&watcher), None, "the first value counts as seen");
        level.send(2);
        level.send(3);
        assert!(watcher.has_changed());
        assert_eq!((changed(&watcher), *watcher.get()), (Some(Ok(())), 3));
        assert_eq!(changed(&watcher), None);
        level.send(4);
        drop(level);
        assert_eq!(changed(&watcher), Some(Ok(())), "the last value is seen before the end");
        assert_eq!(changed(&watcher), Some(Err(sward::channel::RecvError)));
    });
}

/// Both wait with the channels of other arms, and are woken by what is sent meanwhile.
#[test]
fn a_select_waits_for_topics() {
    both(|| {
        let (level, watcher) = watch::channel(1);
        let (news, receiver) = broadcast::channel(4);
        let (done, finished) = unbounded();
        let waits = sward::spawn(move || {
            let mut seen = Vec::new();
            loop {
                sward::select! {
                    changed(watcher) -> result => match result {
                        Ok(()) => seen.push(*watcher.get()),
                        Err(_) => break seen,
                    },
                    recv(receiver) -> message => seen.push(message.unwrap()),
                    recv(never::<()>()) -> _ => unreachable!(),
                }
                done.send(()).unwrap();
            }
        });
        for number in 0..20 {
            sward::sleep(MS / 10);
            if number % 2 == 0 {
                _ = news.send(number)
            } else {
                _ = level.send(number)
            }
            finished.recv().unwrap();
        }
        drop(level);
        assert_eq!(waits.join().unwrap(), (0..20).collect::<Vec<_>>());
        assert!(news.send(1).is_err(), "there is no receiver");
    });
}

/// An arm that does not complete takes nothing; nor does a select that is cancelled or whose time is over.
#[test]
fn what_another_arm_completes_stays() {
    in_runtime(|| {
        let clones = Arc::new(AtomicU32::new(0));
        let (news, receiver) = broadcast::channel(4);
        let (level, watcher) = watch::channel(0);
        for _ in 0..3 {
            let waits = sward::spawn({
                let (receiver, watcher) = (receiver.clone(), watcher.clone());
                move || {
                    sward::select! {
                        recv(receiver) -> _ => unreachable!(),
                        changed(watcher) => unreachable!(),
                    }
                }
            });
            sward::yield_now();
            waits.cancel();
            assert!(waits.join().unwrap_err().is_cancelled());
        }
        sward::select! {
            recv(receiver) -> _ => unreachable!(),
            changed(watcher) => unreachable!(),
            default(MS) => {}
        }
        assert!(news.send(Counted(Arc::clone(&clones))).is_ok());
        level.send(1);
        let (requests, incoming) = unbounded();
        for _ in 0..20 {
            requests.send(()).unwrap();
            sward::select_biased! {
                recv(incoming) -> request => request.unwrap(),
                recv(receiver) -> _ => unreachable!(),
                changed(watcher) => unreachable!(),
            }
        }
        assert_eq!((receiver.len(), watcher.has_changed()), (1, true));
        assert_eq!(clones.load(Ordering::Relaxed), 0, "nothing was cloned under way");
        let mut received = sward::select! { recv(receiver) -> message => message.ok() };
        assert!(
            received.take().is_some() && clones.load(Ordering::Relaxed) == 1,
            "for the channel keeps its own"
        );
    });
}

#[test]
fn a_select_of_many_arms_takes_topics() {
    both(|| {
        let (news, receiver) = broadcast::channel(4);
        let (level, watcher) = watch::channel(0);
        let (mut messages, mut changes) = (receiver.arm(), watcher.arm());
        let mut select = Select::new_biased();
        assert_eq!((select.recv_broadcast(&mut messages), select.changed(&mut changes)), (0, 1));
        assert!(select.try_ready().is_err());
        level.send(1);
        assert_eq!(select.ready(), 1);
        news.send("now").unwrap();
        assert_eq!(select.ready(), 0, "readiness takes nothing");
        assert_eq!(select.wait(), 0);
        assert_eq!(messages.finish(), Ok("now"));
        // An arm that has completed keeps what it has, and completes at once in another select.
        let mut select = Select::new();
        select.changed(&mut changes);
        assert_eq!(select.wait(), 0);
        assert!(!watcher.has_changed());
        level.send(2);
        let mut select = Select::new();
        select.changed(&mut changes);
        assert_eq!((select.ready(), select.poll()), (0, Some(0)));
        assert_eq!((changes.finish(), watcher.has_changed()), (Ok(()), true));
    });
}

/// One receiver that two coroutines share: each message goes to one of them. Other receivers get all.
#[test]
fn messages_of_a_shared_receiver_are_dealt() {
    const MESSAGES: u64 = 2_000;
    in_runtime(|| {
        let (news, receiver) = broadcast::channel(MESSAGES as usize);
        let (level, watcher) = watch::channel(0);
        let shared = Arc::new(receiver);
        let own = news.subscribe();
        let take = |receiver: Arc<broadcast::Receiver<u64>>, watcher: watch::Receiver<u64>| {
            move || {
                let (mut got, mut last) = (Vec::new(), 0);
                loop {
                    sward::select! {
                        recv(receiver) -> message => match message {
                            Ok(message) => got.push(message),
                            Err(error) => {
                                assert_eq!(error, broadcast::RecvError::Closed);
                                break (got, last);
                            }
                        },
                        changed(watcher) -> result => if result.is_ok() {
                            // A later change may have come before this look.
                            assert!(*watcher.get() >= last);
                            last = *watcher.get();
                        },
                    }
                }
            }
        };
        let takers = [&shared, &shared, &Arc::new(own)]
            .map(|receiver| sward::spawn(take(Arc::clone(receiver), watcher.clone())));
        for number in 1..=MESSAGES {
            news.send(number).unwrap();
            level.send(number);
            if number % 64 == 0 {
                sward::yield_now();
            }
        }
        drop(news);
        let [one, other, all] = takers.map(|taker| taker.join().unwrap().0);
        assert!(one.is_sorted() && other.is_sorted());
        let mut both = [one, other].concat();
        both.sort_unstable();
        assert_eq!((both, all), ((1..=MESSAGES).collect(), (1..=MESSAGES).collect()));
        drop(level);
    });
}
