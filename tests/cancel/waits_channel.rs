//! Waits of `sward::channel`, each ended in both ways.

use crate::ended::{GUARD, ended, given_and_cancelled, guarded, join, spawn_waiting};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use sward::channel::{self, broadcast, oneshot, watch};

#[test]
fn a_receive() {
    guarded(|| {
        for capacity in [0, 1, 16, usize::MAX] {
            let (sender, receiver) = channel::bounded(capacity);
            let theirs = receiver.clone();
            ended(
                move || theirs.recv(),
                || {
                    if capacity == 0 {
                        assert!(sender.try_send(1).unwrap_err().is_full(), "somebody waits still");
                    } else {
                        sender.send(1).unwrap();
                        assert_eq!(receiver.try_recv(), Ok(1));
                    }
                },
            );
            let theirs = receiver.clone();
            let given = Cell::new(0);
            given_and_cancelled(
                move || theirs.recv().unwrap(),
                || given.set(usize::from(sender.try_send(1).is_err())),
                // On a rendezvous channel the send may have been refused.
                || receiver.try_iter().count() + given.get(),
            );
        }
        let never = channel::never::<()>();
        ended(move || never.recv(), || ());
        let after = channel::after(Duration::from_millis(100));
        let theirs = after.clone();
        ended(move || theirs.recv().map(|_| sward::sleep(GUARD)), || ());
    });
}

#[test]
fn a_send() {
    guarded(|| {
        for capacity in [0, 1, 3] {
            let (sender, receiver) = channel::bounded(capacity);
            (0..capacity).for_each(|_| sender.send(0).unwrap());
            let theirs = sender.clone();
            ended(
                move || theirs.send(1),
                || {
                    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), vec![0; capacity]);
                    (0..capacity).for_each(|_| sender.send(0).unwrap());
                },
            );
            // The waiters behind it proceed.
            let (first, second) = (sender.clone(), sender.clone());
            let first = spawn_waiting(move || first.send(1));
            let second = spawn_waiting(move || second.send(2));
            first.cancel();
            assert!(join(first).is_err());
            assert_eq!(receiver.iter().take(capacity + 1).last(), Some(2));
            join(second).unwrap().unwrap();
        }
    });
}

/// The receiver and the end of the wait compete for a send: the message either arrives or is dropped.
#[test]
fn a_send_that_is_met() {
    guarded(|| {
        let (sender, receiver) = channel::bounded(0);
        for receive_first in [true, false] {
            let theirs = sender.clone();
            let sends = spawn_waiting(move || theirs.send(5));
            let received = if receive_first {
                let received = receiver.try_recv().is_ok();
                sends.cancel();
                received
            } else {
                sends.cancel();
                receiver.try_recv().is_ok()
            };
            assert_eq!(received, join(sends).is_ok());
            assert!(receiver.try_recv().is_err());
        }
    });
}

#[test]
fn a_select() {
    guarded(|| {
        let (sender, receiver) = channel::bounded(1);
        let (full, filled) = channel::bounded(1);
        full.send(0).unwrap();
        let (receives, sends) = (receiver.clone(), full.clone());
        ended(
            move || {
                sward::select! {
                    recv(receives) -> _ => (),
                    send(sends, 1) -> _ => (),
                    default(2 * GUARD) => (),
                }
            },
            || {
                sender.send(1).unwrap();
                assert_eq!(receiver.try_recv(), Ok(1));
                assert_eq!(filled.try_recv(), Ok(0));
                assert!(filled.try_recv().is_err(), "an ended select has sent");
                full.send(0).unwrap();
            },
        );
        let (receives, sends) = (receiver.clone(), full.clone());
        given_and_cancelled(
            move || {
                sward::select! {
                    recv(receives) -> message => assert_eq!(message, Ok(1)),
                    send(sends, 1) -> _ => unreachable!(),
                }
            },
            || sender.try_send(1).unwrap(),
            || receiver.try_iter().count(),
        );
    });
}

#[test]
fn a_oneshot() {
    guarded(|| {
        let (sender, receiver) = oneshot::channel();
        let receiver = Arc::new(receiver);
        let theirs = receiver.clone();
        ended(move || theirs.recv(), || assert!(!sender.is_closed()));
        sender.send(3).unwrap();
        assert_eq!(receiver.recv(), Ok(3));
    });
}

#[test]
fn a_watched_value() {
    guarded(|| {
        let (sender, mut mine) = watch::channel(0);
        let source = sender.clone();
        ended(
            move || source.subscribe().changed(),
            || {
                assert_eq!(sender.receiver_count(), 1);
                sender.send_modify(|n| n + 1);
                mine.changed().unwrap();
            },
        );
        assert_eq!(*mine.get(), 4);
    });
}

#[test]
fn a_broadcast() {
    guarded(|| {
        let (sender, mut mine) = broadcast::channel(8);
        let source = sender.clone();
        ended(
            move || source.subscribe().recv(),
            || {
                assert_eq!(sender.send(1).unwrap(), 1, "a receiver that is gone counts");
                assert_eq!(mine.recv(), Ok(1));
            },
        );
    });
}
