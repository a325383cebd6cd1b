//! `select!` and `Select`: what they wait for, and what they carry out.

use crate::common::{both, in_runtime, soon};
use crate::mpmc::MS;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use sward::channel::{
    self, Receiver, RecvError, RecvTimeoutError, Select, SendError, Sender, TryRecvError, TrySendError,
    after, bounded, never, unbounded,
};
use sward::task::JoinError;

#[test]
fn select_takes_what_is_ready() {
    both(|| {
        let (s1, r1) = unbounded::<u8>();
        let (s2, r2) = unbounded::<&str>();
        s2.send("two").unwrap();
        let got = sward::select! {
            recv(r1) -> _ => unreachable!(),
            recv(r2) -> message => message.unwrap(),
        };
        assert_eq!(got, "two");
        s1.send(1).unwrap();
        sward::select! {
            recv(r1) -> message => { assert_eq!(message, Ok(1)) }
            recv(r2) -> _ => unreachable!()
        }
        drop(s1);
        sward::select! {
            recv(r1) -> message => assert_eq!(message, Err(RecvError)),
            recv(r2) -> _ => unreachable!(),
        }
    });
}

#[test]
fn select_has_defaults() {
    both(|| {
        let (s, r) = bounded::<u8>(1);
        let ready = |r: &Receiver<u8>| {
            sward::select! {
                recv(r) -> _ => true,
                default => false,
            }
        };
        assert!(!ready(&r));
        s.send(1).unwrap();
        assert!(ready(&r));
        let start = Instant::now();
        sward::select! {
            recv(r) -> _ => unreachable!(),
            default(3 * MS) => assert!(start.elapsed() >= 3 * MS),
        }
    });
}

#[test]
fn select_sends() {
    both(|| {
        let (s1, r1) = bounded(1);
        let (s2, r2) = bounded(1);
        s1.send(0).unwrap();
        sward::select! {
            send(s1, 1) -> _ => unreachable!(),
            send(s2, 2) -> sent => sent.unwrap(),
        }
        assert_eq!((r1.try_recv(), r2.try_recv()), (Ok(0), Ok(2)));
        drop(r2);
        s1.send(0).unwrap();
        sward::select! {
            send(s1, 1) -> _ => unreachable!(),
            send(s2, 2) -> sent => assert_eq!(sent, Err(SendError(2))),
        }
    });
}

#[test]
fn a_message_that_is_not_sent_stays_in_its_variable() {
    both(|| {
        let (s, r) = bounded(1);
        let mut next = Some(String::from("first"));
        sward::select! {
            send_from(s, next) -> sent => sent.unwrap(),
        }
        assert_eq!(next, None);
        // Without a message the arm is disabled.
        sward::select! {
            send_from(s, next) -> _ => unreachable!(),
            default => assert_eq!(next, None),
        }
        next = Some(String::from("second"));
        sward::select! {
            send_from(s, next) -> _ => unreachable!(),
            recv(after(MS)) -> _ => {}
        }
        assert_eq!(next.as_deref(), Some("second"));
        assert_eq!(r.recv().unwrap(), "first");
    });
}

#[test]
fn select_waits() {
    both(|| {
        let (s1, r1) = bounded::<u8>(0);
        let (s2, r2) = bounded::<u8>(0);
        let sender = sward::spawn(move || {
            sward::sleep(2 * MS);
            s2.send(2).unwrap();
        });
        sward::select! {
            recv(r1) -> _ => unreachable!(),
            recv(r2) -> message => assert_eq!(message, Ok(2)),
        }
        sender.join().unwrap();
        let receiver = sward::spawn(move || r1.recv());
        let mut rest = Some(1);
        sward::select! {
            send_from(s1, rest) -> sent => sent.unwrap(),
            recv(r2) -> end => assert_eq!(end, Err(RecvError)),
        }
        if let Some(rest) = rest {
            s1.send(rest).unwrap();
        }
        assert_eq!(receiver.join().unwrap(), Ok(1));
    });
}

#[test]
fn select_waits_for_the_end_of_a_coroutine() {
    both(|| {
        let (_s, r) = bounded::<u8>(0);
        let child = sward::spawn(|| {
            sward::sleep(MS);
            "done"
        });
        sward::select! {
            recv(r) -> _ => unreachable!(),
            join(child) -> result => assert_eq!(result.unwrap(), "done"),
        }
    });
}

#[test]
fn select_waits_for_a_cancellation() {
    both(|| {
        let token = sward::task::CancelToken::new();
        let (_s, r) = bounded::<u8>(0);
        let cancelled = || {
            sward::select! {
                recv(r) -> _ => unreachable!(),
                cancelled(token) => true,
                default(MS) => false,
            }
        };
        assert!(!cancelled());
        let later = token.clone();
        let child = sward::spawn(move || {
            sward::sleep(MS);
            later.cancel();
        });
        sward::select! {
            recv(r) -> _ => unreachable!(),
            cancelled(token) => {}
        }
        child.join().unwrap();
        assert!(cancelled());
        // The same for a list of arms that is made at run time.
        let (mut arm, mut other) = (token.arm(), r.arm());
        let mut select = Select::new();
        select.recv(&mut other);
        let number = select.event(&mut arm);
        assert_eq!(select.wait(), number);
    });
}

/// A select makes a message when it can send it, and at most once.
#[test]
fn a_message_is_made_when_it_can_be_sent() {
    both(|| {
        for capacity in [0, 1] {
            let (s, r) = bounded(capacity);
            let (_keep, idle) = unbounded::<u8>();
            let made = AtomicUsize::new(0);
            let make = || made.fetch_add(1, Ordering::Relaxed);
            (0..capacity).for_each(|_| s.send(99).unwrap());
            sward::select! {
                send_with(s, make) -> _ => unreachable!(),
                recv(idle) -> _ => unreachable!(),
                default(MS) => {}
            }
            sward::select! {
                send_with(s, make) -> _ => unreachable!(),
                recv(idle) -> _ => unreachable!(),
                default => {}
            }
            assert_eq!(made.load(Ordering::Relaxed), 0);
            (0..capacity).for_each(|_| _ = r.recv().unwrap());
            let receiver = {
                let r = r.clone();
                sward::spawn(move || (r.recv(), r.recv()))
            };
            for _ in 0..2 {
                sward::select! {
                    send_with(s, make) -> sent => sent.unwrap(),
                    recv(idle) -> _ => unreachable!(),
                }
            }
            assert_eq!(receiver.join().unwrap(), (Ok(0), Ok(1)));
            assert_eq!(made.load(Ordering::Relaxed), 2);
            drop(r);
            sward::select! { send_with(s, make) -> sent => assert_eq!(sent, Err(SendError(2))) }
        }
    });
}

/// Senders that make their messages late meet all kinds of receivers. Each message arrives once.
#[test]
fn messages_that_are_made_late_arrive_once() {
    const EACH: usize = 500;
    for capacity in [0, 1, 3] {
        in_runtime(|| {
            let (s, r) = bounded::<usize>(capacity);
            let (s2, r2) = bounded::<usize>(capacity);
            let made = Arc::new(AtomicUsize::new(0));
            let senders: Vec<_> = (0..4)
                .map(|_| {
                    let (s, s2, made) = (s.clone(), s2.clone(), made.clone());
                    sward::spawn(move || {
                        let mut sent = 0;
                        while sent < EACH {
                            let make = || made.fetch_add(1, Ordering::Relaxed);
                            let (mut one, mut two) = (s.arm_with(make), s2.arm_with(make));
                            let mut select = Select::new();
                            select.send_with(&mut one);
                            select.send_with(&mut two);
                            let (chosen, other) = if select.wait() == 0 { (one, two) } else { (two, one) };
                            chosen.finish().unwrap();
                            sent += 1;
                            if let Some(kept) = other.into_message() {
                                s.send(kept).unwrap();
                                sent += 1;
                            }
                        }
                    })
                })
                .collect();
            let receivers: Vec<_> = (0..4)
                .map(|kind| {
                    let (r, r2) = (r.clone(), r2.clone());
                    sward::spawn(move || {
                        let mut seen = Vec::new();
                        let (mut open, off) = ([true; 2], never());
                        while open != [false; 2] {
                            let (a, b) = (if open[0] { &r } else { &off }, if open[1] { &r2 } else { &off });
                            let (from, message) = if kind < 2 {
                                sward::select! {
                                    recv(a) -> message => (0, message),
                                    recv(b) -> message => (1, message),
                                }
                            } else {
                                let mut arms = [a.arm(), b.arm()];
                                let mut select = Select::new();
                                arms.iter_mut().for_each(|arm| _ = select.recv(arm));
                                let from = select.ready();
                                match [a, b][from].try_recv() {
                                    Err(TryRecvError::Empty) if kind == 2 => continue,
                                    // Two selects that wait only for readiness do not meet.
                                    Err(TryRecvError::Empty) => match [a, b][from].recv_timeout(MS) {
                                        Err(RecvTimeoutError::Timeout) => continue,
                                        other => (from, other.map_err(|_| RecvError)),
                                    },
                                    other => (from, other.map_err(|_| RecvError)),
                                }
                            };
                            match message {
                                Ok(message) => seen.push(message),
                                Err(RecvError) => open[from] = false,
                            }
                        }
                        seen
                    })
                })
                .collect();
            drop((s, s2));
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            let mut seen: Vec<_> = receivers.into_iter().flat_map(|r| r.join().unwrap()).collect();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..made.load(Ordering::Relaxed)), "{seen:?}");
        });
    }
}

#[test]
#[should_panic(expected = "no arm of the number 1")]
fn an_arm_can_be_removed_once() {
    let (_s, r) = unbounded::<u8>();
    let (mut one, mut two) = (r.arm(), r.arm());
    let mut select = Select::new();
    select.recv(&mut one);
    select.recv(&mut two);
    select.remove(1);
    select.remove(1);
}

#[test]
fn a_select_can_be_made_at_run_time() {
    both(|| {
        for count in [1, 8, 9, 40] {
            let channels: Vec<_> = (0..count).map(|_| bounded(1)).collect();
            let mut arms: Vec<_> = channels.iter().map(|(_, r)| r.arm()).collect();
            let mut select = Select::new();
            for (number, arm) in arms.iter_mut().enumerate() {
                assert_eq!(select.recv(arm), number);
            }
            assert_eq!(select.poll(), None);
            channels[count / 2].0.send(count).unwrap();
            let mut select = Select::new();
            for arm in &mut arms {
                select.recv(arm);
            }
            let chosen = select.wait();
            assert_eq!(chosen, count / 2);
            assert_eq!(arms.swap_remove(chosen).finish(), Ok(count));
        }
        let mut select = Select::new();
        let (s, _r) = bounded(0);
        let mut arm = s.arm("kept");
        select.send(&mut arm);
        assert_eq!(select.wait_timeout(MS), None);
        assert_eq!(arm.into_message(), Some("kept"));
        assert_eq!(Select::new().wait_timeout(MS), None);
    });
}

#[test]
fn a_cancelled_select_carries_nothing_out() {
    in_runtime(|| {
        let (s1, r1) = bounded::<u8>(0);
        let (s2, r2) = bounded::<u8>(0);
        let select = {
            let (r1, s2) = (r1.clone(), s2.clone());
            sward::spawn(move || {
                sward::select! {
                    recv(r1) -> _ => {}
                    send(s2, 1) -> _ => {}
                }
            })
        };
        sward::sleep(MS);
        select.cancel();
        assert!(matches!(select.join(), Err(JoinError::Cancelled)));
        assert_eq!(s1.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(r2.try_recv(), Err(TryRecvError::Empty));
    });
}

/// A time limit or a cancellation that unwinds a select leaves an unsent message in its variable.
#[test]
fn a_select_that_unwinds_puts_the_message_back() {
    both(|| {
        let (tx, _rx) = bounded::<String>(0);
        let mut slot = Some(String::from("kept"));
        let ended = sward::time::timeout(2 * MS, || {
            sward::select! {
                send_from(tx, slot) -> _ => {}
                recv(if slot.is_some() { never::<u8>() } else { after_now() }) -> _ => {}
            }
        });
        assert!(ended.is_err());
        assert_eq!(slot.as_deref(), Some("kept"));
    });
    fn after_now() -> Receiver<u8> {
        unbounded().1
    }
}

/// An arm that was carried out keeps its message (a receive) and is not carried out again (a send).
#[test]
fn an_arm_is_used_once() {
    struct Looks(Option<Sender<Looks>>);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                let _ = sender.len();
            }
        }
    }
    fn wait<T>(arm: &mut channel::RecvArm<'_, T>) {
        let mut select = Select::new();
        select.recv(arm);
        select.wait();
    }
    let receive = || {
        let (tx, rx) = unbounded();
        tx.send(Looks(Some(tx.clone()))).unwrap();
        let mut arm = rx.arm();
        wait(&mut arm);
        let later = sward::spawn(move || {
            sward::sleep(MS);
            tx.send(Looks(None)).unwrap();
        });
        wait(&mut arm);
        assert!(arm.finish().unwrap().0.is_some());
        later.join().unwrap();
        assert!(rx.recv().unwrap().0.is_none());
    };
    soon(move || both(receive));
    let send = || {
        let (tx, rx) = bounded(2);
        let mut arm = tx.arm(1);
        for again in [false, true] {
            let mut select = Select::new();
            select.send(&mut arm);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| select.wait()));
            assert_eq!(outcome.is_err(), again);
        }
        assert_eq!((rx.recv(), rx.len()), (Ok(1), 0));
    };
    soon(move || both(send));
}
