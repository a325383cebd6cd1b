//! `select!`: each ready arm has the same share, and arms are tried at one moment.

use crate::common::both;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use sward::channel::{Receiver, Select, bounded, never, unbounded};

#[test]
fn select_is_fair() {
    const TURNS: usize = 10_000;
    both(|| {
        let (s1, r1) = unbounded();
        let (s2, r2) = unbounded();
        for _ in 0..TURNS {
            s1.send(()).unwrap();
            s2.send(()).unwrap();
        }
        let mut hits = [0; 2];
        for _ in 0..TURNS {
            sward::select! {
                recv(r1) -> _ => hits[0] += 1,
                recv(r2) -> _ => hits[1] += 1,
            }
        }
        assert!(hits.iter().all(|&n| n > TURNS / 4), "{hits:?}");
    });
}

/// A message moves from the channel of one arm to that of the other. It is sent to the second before it
/// leaves the first, so at each moment one of the arms is ready.
#[test]
fn default_is_not_taken_while_a_message_moves_from_arm_to_arm() {
    const ROUNDS: usize = 30_000;
    fn until(reached: impl Fn() -> bool) {
        for turn in 0.. {
            if reached() {
                return;
            }
            if turn % 64 == 63 {
                thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
    fn defaults(pick: impl Fn(&Receiver<u8>, &Receiver<u8>, usize) -> bool) -> usize {
        let ends = [unbounded(), unbounded()];
        let [(s1, r1), (s2, r2)] = &ends;
        let (started, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    let (from, to) = if round % 2 == 0 { (r1, s2) } else { (r2, s1) };
                    until(|| started.load(Ordering::Acquire) == round);
                    (0..round % 100).for_each(|_| std::hint::spin_loop());
                    to.send(0).unwrap();
                    _ = from.try_recv();
                    ended.store(round, Ordering::Release);
                }
            });
            let mut missed = 0;
            for round in 1..=ROUNDS {
                let from = if round % 2 == 0 { s1 } else { s2 };
                from.send(0).unwrap();
                started.store(round, Ordering::Release);
                missed += usize::from(!pick(r1, r2, round));
                until(|| ended.load(Ordering::Acquire) == round);
                r1.try_iter().chain(r2.try_iter()).for_each(drop);
            }
            missed
        })
    }
    // Arms between the two: they prolong the select's search, so more can move meanwhile.
    let (_keep, idle) = bounded::<u8>(0);
    let by_default = |a: &Receiver<u8>, b: &Receiver<u8>, _| {
        sward::select! {
            recv(a) -> _ => true,
            recv(idle) -> _ => true,
            recv(idle) -> _ => true,
            recv(idle) -> _ => true,
            recv(b) -> _ => true,
            default => false,
        }
    };
    let by_timeout = |a: &Receiver<u8>, b: &Receiver<u8>, round: usize| {
        sward::select! {
            recv(a) -> _ => true,
            recv(idle) -> _ => true,
            recv(idle) -> _ => true,
            recv(idle) -> _ => true,
            recv(b) -> _ => true,
            default(Duration::from_nanos(round as u64 % 3)) => false,
        }
    };
    let by_poll = |a: &Receiver<u8>, b: &Receiver<u8>, _| {
        let mut arms = [a, &idle, &idle, &idle, b].map(Receiver::arm);
        let mut select = Select::new();
        arms.iter_mut().for_each(|arm| _ = select.recv(arm));
        select.poll().is_some()
    };
    assert_eq!([defaults(by_default), defaults(by_timeout), defaults(by_poll)], [0; 3]);
}

/// Two arms that are always ready have the same share, wherever the arms stand that never are.
#[test]
fn every_ready_arm_has_the_same_share() {
    const TURNS: usize = 20_000;
    let share = || {
        let (s1, r1) = unbounded();
        let (s2, r2) = unbounded();
        (0..TURNS).for_each(|_| s1.send(()).and(s2.send(())).unwrap());
        let off = never::<()>();
        let (_keep, idle) = unbounded::<()>();
        let mut hits = [0; 2];
        for _ in 0..TURNS {
            sward::select! {
                recv(off) -> _ => unreachable!(),
                recv(idle) -> _ => unreachable!(),
                recv(off) -> _ => unreachable!(),
                recv(r1) -> _ => hits[0] += 1,
                recv(r2) -> _ => hits[1] += 1,
            }
        }
        hits
    };
    // A fair coin shows fewer than 9,000 heads of 20,000 once in 10^45 times.
    let fair = |hits: [usize; 2]| assert!(hits.iter().all(|&n| n > TURNS * 9 / 20), "{hits:?}");
    both(|| fair(share()));
}

#[test]
fn a_biased_select_prefers_the_first() {
    both(|| {
        let (s1, r1) = unbounded();
        let (s2, r2) = unbounded();
        for i in 0..100 {
            s1.send(i).unwrap();
            s2.send(i).unwrap();
        }
        for i in 0..200 {
            let (from, message) = sward::select_biased! {
                recv(r1) -> message => (0, message),
                recv(r2) -> message => (1, message),
                default => unreachable!(),
            };
            assert_eq!((from, message), (i / 100, Ok(i % 100)));
        }
        for _ in 0..100 {
            s1.send(0).unwrap();
            s2.send(0).unwrap();
            let (mut one, mut two) = (r1.arm(), r2.arm());
            let mut select = Select::new_biased();
            select.recv(&mut two);
            select.recv(&mut one);
            assert_eq!(select.ready(), 0);
            assert_eq!(select.wait(), 0);
            r1.recv().unwrap();
        }
    });
}
