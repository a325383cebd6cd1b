//! Bounded and unbounded channels.

use crate::common::{LONG, both, in_runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use sward::channel::{
    self, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError, after, bounded, never, tick, unbounded,
};
use sward::task::JoinError;

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn capacities() -> Vec<(Sender<usize>, Receiver<usize>)> {
    vec![bounded(0), bounded(1), bounded(7), unbounded()]
}

pub(crate) fn assert_auto<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe + Unpin>() {}

#[test]
fn ends_can_be_sent_shared_and_unwound_over() {
    assert_auto::<Sender<std::cell::Cell<u8>>>();
    assert_auto::<Receiver<std::cell::Cell<u8>>>();
    assert_auto::<channel::oneshot::Sender<std::cell::Cell<u8>>>();
    assert_auto::<channel::oneshot::Receiver<std::cell::Cell<u8>>>();
}

#[test]
fn a_bounded_channel_holds_its_capacity() {
    both(|| {
        let (s, r) = bounded(2);
        assert_eq!((s.len(), s.capacity(), s.is_empty(), s.is_full()), (0, Some(2), true, false));
        s.send(1).unwrap();
        assert_eq!(s.try_send(2), Ok(()));
        assert_eq!((r.len(), r.capacity(), r.is_empty(), r.is_full()), (2, Some(2), false, true));
        assert_eq!(s.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(s.send_timeout(3, MS), Err(SendTimeoutError::Timeout(3)));
        assert_eq!(s.send_deadline(3, Instant::now()), Err(SendTimeoutError::Timeout(3)));
        assert_eq!(r.try_iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(r.recv_timeout(MS), Err(RecvTimeoutError::Timeout));
        assert_eq!(r.recv_deadline(Instant::now()), Err(RecvTimeoutError::Timeout));
    });
}

#[test]
fn an_unbounded_channel_has_no_limit() {
    both(|| {
        let (s, r) = unbounded();
        assert_eq!((s.capacity(), s.is_full()), (None, false));
        for i in 0..10_000 {
            s.try_send(i).unwrap();
        }
        assert_eq!(s.len(), 10_000);
        drop(s);
        assert!(r.iter().eq(0..10_000));
    });
}

#[test]
fn with_capacity_0_a_send_meets_its_receive() {
    both(|| {
        let (s, r) = bounded(0);
        assert_eq!((s.capacity(), s.is_full(), s.is_empty()), (Some(0), true, true));
        assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(s.send_timeout(1, MS), Err(SendTimeoutError::Timeout(1)));
        let sender = sward::spawn(move || s.send(2));
        assert_eq!(r.recv(), Ok(2));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(r.recv(), Err(RecvError));
    });
}

#[test]
fn receivers_get_what_was_sent_before_the_disconnection() {
    both(|| {
        for (s, r) in capacities() {
            let other = s.clone();
            let sent = sward::spawn(move || (0..5).for_each(|i| other.send(i).unwrap()));
            drop(s);
            assert!(r.iter().eq(0..5));
            sent.join().unwrap();
            assert_eq!(r.recv(), Err(RecvError));
            assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
            assert_eq!(r.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        }
    });
}

#[test]
fn senders_learn_that_the_receivers_are_gone() {
    both(|| {
        for (s, r) in capacities() {
            drop(r.clone());
            assert!(!s.is_closed());
            drop(r);
            assert!(s.is_closed());
            assert_eq!(s.send(1), Err(SendError(1)));
            assert_eq!(s.try_send(1), Err(TrySendError::Disconnected(1)));
            assert_eq!(s.send_timeout(1, LONG), Err(SendTimeoutError::Disconnected(1)));
        }
    });
}

#[test]
fn a_disconnection_wakes_all_waiters() {
    both(|| {
        let (s, r) = bounded::<u8>(0);
        let waiting = sward::spawn(move || r.recv());
        sward::sleep(MS);
        drop(s);
        assert_eq!(waiting.join().unwrap(), Err(RecvError));

        let (s, r) = bounded(1);
        s.send(1).unwrap();
        let waiting = sward::spawn(move || s.send(2));
        sward::sleep(MS);
        drop(r);
        assert_eq!(waiting.join().unwrap(), Err(SendError(2)));
    });
}

#[test]
fn order_is_kept() {
    both(|| {
        for (s, r) in capacities() {
            let sender = sward::spawn(move || (0..1_000).for_each(|i| s.send(i).unwrap()));
            assert!(r.into_iter().eq(0..1_000));
            sender.join().unwrap();
        }
    });
}

#[test]
fn each_message_goes_to_one_receiver() {
    const EACH: usize = 2_000;
    for (s, r) in capacities() {
        let total = in_runtime(|| {
            // Half of the senders and half of the receivers are plain threads.
            let seen = Arc::new(AtomicUsize::new(0));
            let receive = |r: Receiver<usize>, seen: Arc<AtomicUsize>| {
                move || {
                    for i in r {
                        seen.fetch_add(i, Ordering::Relaxed);
                    }
                }
            };
            let send = |s: Sender<usize>| move || (1..=EACH).for_each(|i| s.send(i).unwrap());
            let receivers: Vec<_> = (0..3).map(|_| sward::spawn(receive(r.clone(), seen.clone()))).collect();
            let threads: Vec<_> = (0..2)
                .flat_map(|_| {
                    [thread::spawn(send(s.clone())), thread::spawn(receive(r.clone(), seen.clone()))]
                })
                .collect();
            let senders: Vec<_> = (0..3).map(|_| sward::spawn(send(s.clone()))).collect();
            drop((s, r));
            senders.into_iter().for_each(|c| c.join().unwrap());
            receivers.into_iter().for_each(|c| c.join().unwrap());
            threads.into_iter().for_each(|t| t.join().unwrap());
            seen.load(Ordering::Relaxed)
        });
        assert_eq!(total, 5 * EACH * (EACH + 1) / 2);
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Counted {
        alive.fetch_add(1, Ordering::Relaxed);
        Counted(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn remaining_messages_are_dropped_once() {
    both(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let (s, r) = unbounded();
        for _ in 0..10 {
            s.send(Counted::new(&alive)).unwrap();
        }
        drop(r.recv().unwrap());
        assert_eq!(alive.load(Ordering::Relaxed), 9);
        drop(r);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "dropped with the last receiver");
        drop(s.send(Counted::new(&alive)));
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_destructor_of_a_message_may_use_the_channel() {
    struct Sends(Option<Sender<Sends>>);
    impl Drop for Sends {
        fn drop(&mut self) {
            if let Some(s) = self.0.take() {
                assert!(s.send(Sends(None)).is_err());
            }
        }
    }
    both(|| {
        let (s, r) = unbounded();
        s.send(Sends(Some(s.clone()))).unwrap();
        drop(r);
    });
}

#[test]
fn same_channel_distinguishes_channels() {
    let ((s1, r1), (s2, r2)) = (bounded::<u8>(1), bounded::<u8>(1));
    assert!(s1.same_channel(&s1.clone()) && !s1.same_channel(&s2));
    assert!(r1.same_channel(&r1.clone()) && !r1.same_channel(&r2));
    assert!(never::<u8>().same_channel(&never()));
    let timer = after(LONG);
    assert!(timer.same_channel(&timer.clone()) && !timer.same_channel(&after(LONG)));
}

#[test]
fn after_and_tick_send() {
    both(|| {
        let late = after(LONG);
        assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(late.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        let start = Instant::now();
        let once = after(2 * MS);
        assert!(once.recv().unwrap() >= start + 2 * MS);
        assert!(start.elapsed() >= 2 * MS);
        assert_eq!(once.recv_timeout(2 * MS), Err(RecvTimeoutError::Timeout));
        let ticks = tick(MS);
        let times: Vec<_> = ticks.iter().take(3).collect();
        assert!(times.windows(2).all(|pair| pair[1] >= pair[0] + MS));
        assert_eq!(never::<u8>().recv_timeout(MS), Err(RecvTimeoutError::Timeout));
    });
}

#[test]
fn one_of_two_waiters_gets_the_one_message_of_after() {
    in_runtime(|| {
        let once = after(2 * MS);
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let once = once.clone();
                sward::spawn(move || once.recv_timeout(50 * MS).is_ok())
            })
            .collect();
        let got: Vec<_> = waiting.into_iter().map(|w| w.join().unwrap()).collect();
        assert_eq!(got.iter().filter(|&&got| got).count(), 1);
    });
}

#[test]
fn a_cancelled_send_leaves_its_message_out() {
    in_runtime(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let (s, r) = bounded(0);
        let message = Counted::new(&alive);
        let other = s.clone();
        let sender = sward::spawn(move || drop(other.send(message)));
        sward::sleep(MS);
        sender.cancel();
        assert!(matches!(sender.join(), Err(JoinError::Cancelled)));
        assert_eq!(alive.load(Ordering::Relaxed), 0);
        assert_eq!(r.try_recv().map(|_| ()), Err(TryRecvError::Empty));
        // The channel is as usable as before.
        let again = sward::spawn(move || r.recv().is_ok());
        assert!(s.send(Counted::new(&alive)).is_ok());
        assert!(again.join().unwrap());
    });
}

#[test]
fn a_cancelled_receive_takes_nothing() {
    in_runtime(|| {
        let (s, r) = bounded(0);
        let other = r.clone();
        let receiver = sward::spawn(move || other.recv());
        sward::sleep(MS);
        receiver.cancel();
        assert!(matches!(receiver.join(), Err(JoinError::Cancelled)));
        assert_eq!(s.try_send(1), Err(TrySendError::Full(1)));
        let again = sward::spawn(move || r.recv());
        s.send(2).unwrap();
        assert_eq!(again.join().unwrap(), Ok(2));
    });
}

/// Senders and receivers are cancelled at random. Each message whose send has returned is received, and no
/// other.
#[test]
fn nothing_is_lost_or_made_up_under_random_cancellation() {
    for capacity in [0, 1, 16] {
        in_runtime(move || {
            let (s, r) = bounded::<usize>(capacity);
            let sent = Arc::new(AtomicUsize::new(0));
            let got = Arc::new(AtomicUsize::new(0));
            let receive = || {
                let (r, got) = (r.clone(), got.clone());
                move || {
                    while let Ok(i) = r.recv() {
                        got.fetch_add(i, Ordering::Relaxed);
                    }
                }
            };
            let mut receivers: Vec<_> = (0..8).map(|_| sward::spawn(receive())).collect();
            let mut senders = Vec::new();
            for round in 0..400 {
                let (s, sent) = (s.clone(), sent.clone());
                senders.push(sward::spawn(move || {
                    for i in 1..=10 {
                        let value = round * 10 + i;
                        s.send(value).unwrap();
                        sent.fetch_add(value, Ordering::Relaxed);
                    }
                }));
                if round % 3 == 0 {
                    let victim = senders.swap_remove(round % senders.len());
                    victim.cancel();
                    let _ = victim.join();
                }
                if round % 5 == 0 {
                    receivers.push(sward::spawn(receive()));
                    let victim = receivers.swap_remove(round % receivers.len());
                    victim.cancel();
                    let _ = victim.join();
                }
                if round % 7 == 0 {
                    sward::yield_now();
                }
            }
            for sender in senders {
                let _ = sender.join();
            }
            drop(s);
            for receiver in receivers {
                let _ = receiver.join();
            }
            // The coroutine counts a send that was carried out before a cancellation at its next wait, since
            // nothing parks in between.
            assert_eq!(got.load(Ordering::Relaxed), sent.load(Ordering::Relaxed));
        });
    }
}

/// The prime sieve of Go's tour: a chain of coroutines.
#[test]
fn a_prime_sieve() {
    in_runtime(|| {
        let (s, mut from) = bounded(0);
        sward::spawn(move || {
            for i in 2.. {
                if s.send(i).is_err() {
                    break;
                }
            }
        });
        let mut primes = Vec::new();
        for _ in 0..50 {
            let prime: u32 = from.recv().unwrap();
            primes.push(prime);
            let (s, next) = bounded(0);
            let before = std::mem::replace(&mut from, next);
            sward::spawn(move || {
                for i in before.iter().filter(|i| i % prime != 0) {
                    if s.send(i).is_err() {
                        break;
                    }
                }
            });
        }
        assert_eq!(primes.last(), Some(&229));
    });
}
