//! Selects on both sides of a channel, and waits for readiness alone.

use crate::common::{LONG, both, in_runtime, on_one_worker, soon, with_workers};
use crate::mpmc::MS;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use sward::channel::{RecvError, Select, after, bounded, never};
use sward::task::JoinError;

#[test]
fn a_wait_for_readiness_takes_nothing() {
    both(|| {
        let (s, r) = bounded::<u8>(1);
        let (idle, _keep) = bounded::<u8>(0);
        let (mut a, mut b, mut c) = (r.arm(), s.arm(7), idle.arm(8));
        let mut select = Select::new();
        let (recv, send) = (select.recv(&mut a), select.send(&mut b));
        let never = select.send(&mut c);
        assert_eq!((recv, send, never), (0, 1, 2));
        assert_eq!(select.ready(), send);
        assert!(s.is_empty());
        s.send(1).unwrap();
        assert_eq!(select.try_ready(), Ok(recv));
        assert_eq!(r.try_recv(), Ok(1));
        select.remove(send);
        assert_eq!(select.try_ready().unwrap_err().to_string(), "all operations in select would block");
        assert_eq!(select.ready_timeout(MS).unwrap_err().to_string(), "timed out waiting on select");
        assert!(select.ready_deadline(Instant::now() + MS).is_err());
        // A message, and then the disconnection, wake a coroutine that waits for readiness.
        let later = {
            let s = s.clone();
            sward::spawn(move || {
                sward::sleep(2 * MS);
                s.send(2).unwrap();
            })
        };
        assert_eq!(select.ready(), recv);
        assert_eq!(r.try_recv(), Ok(2));
        later.join().unwrap();
        let after = after(MS);
        let mut arm = after.arm();
        let number = select.recv(&mut arm);
        assert_eq!((number, select.ready(), select.ready_timeout(LONG)), (3, 3, Ok(3)));
        after.recv().unwrap();
    });
}

/// Two selects that wait only for readiness do not meet: neither makes the other ready.
#[test]
fn two_waits_for_readiness_do_not_make_each_other_ready() {
    in_runtime(|| {
        let (s, r) = bounded::<u8>(0);
        let looks = {
            let s = s.clone();
            sward::spawn(move || {
                let mut arm = s.arm(1);
                let mut select = Select::new();
                select.send(&mut arm);
                select.ready()
            })
        };
        while !looks.is_finished() {
            let mut arm = r.arm();
            let mut select = Select::new();
            select.recv(&mut arm);
            assert!(select.ready_timeout(MS).is_err());
            let mut other = r.arm();
            let mut select = Select::new();
            select.recv(&mut other);
            // This receiver waits, so the send of `looks` is ready.
            assert_eq!(select.wait_timeout(5 * MS), None);
        }
        assert_eq!(looks.join().unwrap(), 0);
    });
}

/// A wait for readiness to receive, and a send whose message is yet to be made, offer one another nothing. So
/// the message is made.
#[test]
fn a_message_that_is_made_late_reaches_a_wait_for_readiness() {
    for sender_first in [true, false] {
        on_one_worker(|| {
            let (s, r) = bounded(0);
            let made = Arc::new(AtomicUsize::new(0));
            let looks = || {
                let r = r.clone();
                sward::spawn(move || {
                    let mut arm = r.arm();
                    let mut select = Select::new();
                    select.recv(&mut arm);
                    let ready = select.ready_timeout(LONG);
                    (ready, r.try_recv())
                })
            };
            let sends = || {
                let made = made.clone();
                sward::spawn(move || {
                    let make = || made.fetch_add(1, Ordering::Relaxed);
                    sward::select! {
                        send_with(s, make) -> sent => sent.is_ok(),
                        default(LONG) => false,
                    }
                })
            };
            let (looks, sends) = if sender_first {
                let sends = sends();
                sward::yield_now();
                assert_eq!(made.load(Ordering::Relaxed), 0, "it is made for nobody");
                (looks(), sends)
            } else {
                let looks = looks();
                sward::yield_now();
                (looks, sends())
            };
            assert_eq!(looks.join().unwrap(), (Ok(0), Ok(0)));
            assert!(sends.join().unwrap());
            assert_eq!(made.load(Ordering::Relaxed), 1);
        });
    }
}

#[test]
fn one_channel_may_be_in_several_arms() {
    both(|| {
        let (s, r) = bounded(0);
        // A select does not meet itself.
        sward::select! {
            recv(r) -> _ => unreachable!(),
            send(s, 1) -> _ => unreachable!(),
            default(2 * MS) => {}
        }
        let sender = {
            let s = s.clone();
            sward::spawn(move || s.send(1).unwrap())
        };
        let got = sward::select! {
            recv(r) -> message => message,
            recv(r) -> message => message,
        };
        assert_eq!(got, Ok(1));
        sender.join().unwrap();
    });
}

/// Selects with sends and receives on both sides of the same channels, in opposite order. Each message
/// arrives once.
#[test]
fn selects_meet_selects() {
    const EACH: usize = 2_000;
    for workers in [1, 2, 4] {
        for capacity in [0, 1] {
            with_workers(workers).run(|| {
                let (s1, r1) = bounded::<usize>(capacity);
                let (s2, r2) = bounded::<usize>(capacity);
                let senders: Vec<_> = (0..4)
                    .map(|number| {
                        let (s1, s2) = (s1.clone(), s2.clone());
                        sward::spawn(move || {
                            for i in 0..EACH {
                                let mut next = Some(number * EACH + i);
                                if i % 2 == 0 {
                                    sward::select! {
                                        send_from(s1, next) -> sent => sent.unwrap(),
                                        send(s2, number * EACH + i) -> sent => sent.unwrap(),
                                    }
                                } else {
                                    sward::select! {
                                        send_from(s2, next) -> sent => sent.unwrap(),
                                        send(s1, number * EACH + i) -> sent => sent.unwrap(),
                                    }
                                }
                            }
                        })
                    })
                    .collect();
                let receivers: Vec<_> = (0..4)
                    .map(|number| {
                        let (r1, r2) = (r1.clone(), r2.clone());
                        sward::spawn(move || {
                            let mut seen = Vec::new();
                            let (mut open1, mut open2) = (true, true);
                            while open1 || open2 {
                                let off = never();
                                let (a, b) = if number % 2 == 0 { (&r1, &r2) } else { (&r2, &r1) };
                                let (open_a, open_b) = if number % 2 == 0 {
                                    (&mut open1, &mut open2)
                                } else {
                                    (&mut open2, &mut open1)
                                };
                                sward::select! {
                                    recv(if *open_a { a } else { &off }) -> message => match message {
                                        Ok(i) => seen.push(i),
                                        Err(RecvError) => *open_a = false,
                                    },
                                    recv(if *open_b { b } else { &off }) -> message => match message {
                                        Ok(i) => seen.push(i),
                                        Err(RecvError) => *open_b = false,
                                    },
                                }
                            }
                            seen
                        })
                    })
                    .collect();
                drop((s1, s2));
                senders.into_iter().for_each(|s| s.join().unwrap());
                let seen: Vec<_> = receivers.into_iter().flat_map(|r| r.join().unwrap()).collect();
                assert_eq!(seen.len(), 4 * EACH);
                assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), 4 * EACH);
            });
        }
    }
}

/// After Go's `TestSelectStress`: four channels with different capacities, and senders and receivers that
/// select until each has had its share.
#[test]
fn select_stress() {
    const SHARE: usize = 1_000;
    in_runtime(|| {
        let channels: Vec<_> = [0, 0, 2, 3].into_iter().map(bounded::<usize>).collect();
        let single = |c: usize| {
            let (s, r) = channels[c].clone();
            [
                sward::spawn(move || (0..SHARE).for_each(|i| s.send(i).unwrap())),
                sward::spawn(move || (0..SHARE).for_each(|_| _ = r.recv().unwrap())),
            ]
        };
        let mut all: Vec<_> = (0..4).flat_map(single).collect();
        let ends = channels.clone();
        all.push(sward::spawn(move || {
            let mut left = [SHARE; 4];
            while left.iter().any(|&n| n > 0) {
                let next: [Option<usize>; 4] = std::array::from_fn(|c| (left[c] > 0).then_some(left[c]));
                let mut arms: Vec<_> = (0..4).map(|c| ends[c].0.arm_of(next[c])).collect();
                let mut select = Select::new();
                arms.iter_mut().for_each(|arm| _ = select.send(arm));
                let chosen = select.wait();
                arms.swap_remove(chosen).finish().unwrap();
                left[chosen] -= 1;
            }
        }));
        let ends = channels.clone();
        all.push(sward::spawn(move || {
            let mut left = [SHARE; 4];
            let off = never();
            while left.iter().any(|&n| n > 0) {
                let of = |c: usize| if left[c] > 0 { &ends[c].1 } else { &off };
                let chosen = sward::select! {
                    recv(of(0)) -> m => { m.unwrap(); 0 }
                    recv(of(1)) -> m => { m.unwrap(); 1 }
                    recv(of(2)) -> m => { m.unwrap(); 2 }
                    recv(of(3)) -> m => { m.unwrap(); 3 }
                };
                left[chosen] -= 1;
            }
        }));
        all.into_iter().for_each(|c| c.join().unwrap());
        assert!(channels.iter().all(|(s, _)| s.is_empty()));
    });
}

/// Two selects can each send and receive on one rendezvous channel. One receives what the other sends.
#[test]
fn selects_on_both_sides_of_a_channel_meet() {
    let meet = |workers| {
        with_workers(workers).run(|| {
            for _ in 0..100 {
                let (tx, rx) = bounded(0);
                let both_sides = |i: u32| {
                    let (tx, rx) = (tx.clone(), rx.clone());
                    sward::spawn(move || {
                        sward::select! {
                            recv(rx) -> message => Some(message.unwrap()),
                            send(tx, i) -> sent => { sent.unwrap(); None }
                        }
                    })
                };
                let selects = [both_sides(0), both_sides(1)];
                let [first, second] = selects.map(|select| select.join().unwrap());
                assert!(matches!((first, second), (Some(1), None) | (None, Some(0))), "{first:?} {second:?}");
            }
        });
    };
    soon(move || meet(1));
    soon(move || meet(2));
}

/// A select whose arms are the two sides of one channel does not meet itself: it waits until something else
/// ends the wait.
#[test]
fn a_select_does_not_meet_itself() {
    fn both_sides() {
        let (tx, rx) = bounded(0);
        sward::select! {
            recv(rx) -> _ => {},
            send(tx, 1) -> _ => {},
        }
    }
    soon(|| both(|| assert!(sward::time::timeout(5 * MS, both_sides).is_err())));
    soon(|| {
        in_runtime(|| {
            let select = sward::spawn(both_sides);
            sward::sleep(5 * MS);
            select.cancel();
            assert!(matches!(select.join(), Err(JoinError::Cancelled)));
        });
    });
}
