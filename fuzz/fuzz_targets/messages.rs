//! Programs of coroutines that send, receive, select, cancel and close, made from the bytes. Whatever the order:
//! no message is lost, doubled or out of order, and every coroutine ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use std::time::Duration;
use sward::channel::{self, Receiver, Sender, TryRecvError, TrySendError};
use sward::sync::Mutex;
use sward_fuzz::{RUNTIME, run_actors};

/// A message: its sender, and its number there.
type Message = (usize, u32);

fuzz_target!(|data: &[u8]| {
    let Some(([shape, cancelled], program)) = sward_fuzz::program(data) else { return };
    RUNTIME.run(|| run(shape, cancelled, program));
});

fn run(shape: u8, cancelled: u8, program: &[u8]) {
    let capacity = usize::from(shape % 4);
    let channels: [(Sender<Message>, Receiver<Message>); 2] =
        [channel::bounded(capacity), channel::unbounded()];
    let actors = 2 + usize::from(shape / 4 % 4);
    let (sent, received) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let theirs = (channels.clone(), Arc::clone(&sent), Arc::clone(&received));
    // A message that was taken by a coroutine that is cancelled at its next wait is noted by then.
    run_actors(actors, cancelled, program, move |actor, steps| {
        let (channels, sent, received) = &theirs;
        act(actor, steps, channels, sent, received);
    });
    let mut received = std::mem::take(&mut *received.lock().expect("no panic"));
    for (_, receiver) in &channels {
        received.extend(receiver.try_iter().map(|message| (usize::MAX, message)));
    }
    // Of one sender's messages on one channel, each receiver gets the earlier ones first.
    for channel in 0..2 {
        for receiver in 0..actors {
            for sender in 0..actors {
                let numbers = received.iter().filter(|(by, m)| *by == receiver && m.0 == sender);
                let numbers = numbers.map(|(_, m)| m.1).filter(|n| n % 2 == channel);
                assert!(numbers.is_sorted(), "out of order");
            }
        }
    }
    let mut got: Vec<Message> = received.into_iter().map(|(_, message)| message).collect();
    got.sort_unstable();
    let mut sent = std::mem::take(&mut *sent.lock().expect("no panic"));
    sent.sort_unstable();
    assert_eq!(sent, got, "lost or doubled");
}

/// The lowest bit of a message's number is its channel.
fn act(
    actor: usize,
    steps: &[u8],
    channels: &[(Sender<Message>, Receiver<Message>); 2],
    sent: &Mutex<Vec<Message>>,
    received: &Mutex<Vec<(usize, Message)>>,
) {
    // A wait that nobody ends has a limit; a virtual clock would be better, and this one is short.
    const SOON: Duration = Duration::from_micros(50);
    let note = |message| sward::task::mask(|| received.lock().expect("no panic").push((actor, message)));
    let noted = |message| sward::task::mask(|| sent.lock().expect("no panic").push(message));
    for (number, step) in steps.iter().enumerate() {
        let chosen = usize::from(step >> 3 & 1);
        let (sender, receiver) = &channels[chosen];
        let message = (actor, 2 * number as u32 + chosen as u32);
        match step % 8 {
            0 => {
                if sender.send_timeout(message, SOON).is_ok() {
                    noted(message);
                }
            }
            1 => match sender.try_send(message) {
                Ok(()) => noted(message),
                Err(TrySendError::Full(back)) => assert_eq!(back, message),
                Err(TrySendError::Disconnected(_)) => unreachable!("we have a receiver"),
            },
            2 => {
                if let Ok(message) = receiver.recv_timeout(SOON) {
                    note(message);
                }
            }
            3 => match receiver.try_recv() {
                Ok(message) => note(message),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => unreachable!("we have a sender"),
            },
            4 => {
                let after = channel::after(SOON);
                sward::select! {
                    recv(channels[0].1) -> got => note(got.expect("we have a sender")),
                    recv(channels[1].1) -> got => note(got.expect("we have a sender")),
                    recv(after) -> _ => {}
                }
            }
            5 => {
                sward::select! {
                    send(channels[0].0, (actor, 2 * number as u32)) -> done => {
                        done.expect("we have a receiver");
                        noted((actor, 2 * number as u32));
                    }
                    recv(channels[1].1) -> got => note(got.expect("we have a sender")),
                    default => {}
                }
            }
            6 => sward::yield_now(),
            _ => {
                let after = channel::after(SOON);
                sward::select! {
                    send(sender, message) -> done => {
                        done.expect("we have a receiver");
                        noted(message);
                    }
                    recv(receiver) -> got => note(got.expect("we have a sender")),
                    recv(after) -> _ => {}
                }
            }
        }
    }
}
