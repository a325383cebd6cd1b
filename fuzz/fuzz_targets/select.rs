//! Programs of `Select` with a number of arms that the bytes decide. First one coroutine alone, where a model
//! says which arms can complete, and which one does if the order is given. Then several at once: no message is
//! lost or doubled, and every coroutine ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use sward::channel::{self, Receiver, RecvArm, SendArm, Sender};
use sward::select::Select;
use sward::sync::Mutex;
use sward_fuzz::{RUNTIME, run_actors};

const CHANNELS: usize = 3;
type Ends = [(Option<Sender<u32>>, Option<Receiver<u32>>); CHANNELS];

fuzz_target!(|data: &[u8]| {
    let Some(([shape, cancelled], program)) = sward_fuzz::program(data) else { return };
    let (alone, together) = program.split_at(program.len() / 2);
    RUNTIME.run(|| {
        run_alone(shape, alone);
        run_together(shape, cancelled, together);
    });
});

/// How many messages each channel holds.
fn capacities(shape: u8) -> [usize; CHANNELS] {
    std::array::from_fn(|channel| usize::from(shape >> (2 * channel) & 3))
}

enum Operation<'a> {
    Send(usize, u32, SendArm<'a, u32>),
    Receive(usize, RecvArm<'a, u32>),
}

/// The operations that these bytes ask for: up to eight, and several on one channel.
fn operations<'a>(ends: &'a Ends, bytes: &[u8], number: &mut u32) -> Vec<Operation<'a>> {
    let operation = |byte: &u8| {
        let channel = usize::from(byte >> 1) % CHANNELS;
        let (sender, receiver) = &ends[channel];
        if byte & 1 == 0 {
            *number += 1;
            Some(Operation::Send(channel, *number, sender.as_ref()?.arm(*number)))
        } else {
            Some(Operation::Receive(channel, receiver.as_ref()?.arm()))
        }
    };
    bytes.iter().filter_map(operation).collect()
}

fn select<'a>(operations: &'a mut [Operation<'_>], biased: bool) -> Select<'a> {
    let mut select = if biased { Select::new_biased() } else { Select::new() };
    for (number, operation) in operations.iter_mut().enumerate() {
        let given = match operation {
            Operation::Send(_, _, arm) => select.send(arm),
            Operation::Receive(_, arm) => select.recv(arm),
        };
        assert_eq!(given, number);
    }
    select
}

/// Nobody else uses the channels, so a rendezvous never takes place.
fn run_alone(shape: u8, program: &[u8]) {
    let capacities = capacities(shape);
    let mut ends: Ends = capacities.map(channel::bounded).map(|(s, r)| (Some(s), Some(r)));
    let mut model: [VecDeque<u32>; CHANNELS] = Default::default();
    let (mut number, mut rest) = (0, program);
    while let Some((&step, more)) = rest.split_first() {
        let (arms, later) = more.split_at(more.len().min(usize::from(step & 7) + 1));
        rest = later;
        // Seldom one end of a channel goes.
        if step >= 0xf8 {
            let (sender, receiver) = &mut ends[usize::from(step) % CHANNELS];
            if step & 4 == 0 {
                *sender = None
            } else {
                *receiver = None
            }
            // What nobody can receive any more is dropped.
            if receiver.is_none() {
                model[usize::from(step) % CHANNELS].clear();
            }
            continue;
        }
        let mut operations = operations(&ends, arms, &mut number);
        let can = |operation: &Operation<'_>| match *operation {
            Operation::Send(channel, ..) => {
                ends[channel].1.is_none() || model[channel].len() < capacities[channel]
            }
            Operation::Receive(channel, _) => !model[channel].is_empty() || ends[channel].0.is_none(),
        };
        let possible: Vec<usize> =
            operations.iter().enumerate().filter(|(_, operation)| can(operation)).map(|(n, _)| n).collect();
        let biased = step & 8 != 0;
        let done = select(&mut operations, biased).poll();
        match done {
            None => assert!(possible.is_empty(), "{possible:?} can complete"),
            Some(done) if biased => assert_eq!(Some(&done), possible.first()),
            Some(done) => assert!(possible.contains(&done), "{done} of {possible:?}"),
        }
        for (n, operation) in operations.into_iter().enumerate() {
            match operation {
                Operation::Send(channel, message, arm) if done == Some(n) => match arm.finish() {
                    Ok(()) => {
                        assert!(ends[channel].1.is_some());
                        model[channel].push_back(message);
                    }
                    Err(_) => assert!(ends[channel].1.is_none(), "somebody receives"),
                },
                Operation::Send(_, message, arm) => assert_eq!(arm.into_message(), Some(message)),
                Operation::Receive(channel, arm) if done == Some(n) => match arm.finish() {
                    Ok(message) => assert_eq!(model[channel].pop_front(), Some(message)),
                    Err(_) => assert!(model[channel].is_empty() && ends[channel].0.is_none()),
                },
                Operation::Receive(..) => {}
            }
        }
    }
    for ((_, receiver), model) in ends.iter().zip(&model) {
        assert_eq!(receiver.as_ref().map_or(0, Receiver::len), model.len());
    }
}

/// What the coroutines have sent and received.
#[derive(Default)]
struct Notes {
    sent: Vec<u32>,
    received: Vec<u32>,
}

fn run_together(shape: u8, cancelled: u8, program: &[u8]) {
    let ends: Arc<Ends> = Arc::new(capacities(shape).map(channel::bounded).map(|(s, r)| (Some(s), Some(r))));
    let actors = 2 + usize::from(shape >> 6);
    let notes = Arc::new(Mutex::new(Notes::default()));
    let theirs = (Arc::clone(&ends), Arc::clone(&notes));
    run_actors(actors, cancelled, program, move |actor, steps| {
        let (ends, notes) = &theirs;
        act(actor as u32, steps, ends, notes);
    });
    let Notes { mut sent, mut received } = std::mem::take(&mut *notes.lock().expect("no panic"));
    received.extend(ends.iter().flat_map(|(_, receiver)| receiver.as_ref().expect("kept").try_iter()));
    sent.sort_unstable();
    received.sort_unstable();
    assert_eq!(sent, received, "lost or doubled");
}

fn act(actor: u32, steps: &[u8], ends: &Ends, notes: &Mutex<Notes>) {
    let (mut number, mut rest) = (actor << 24, steps);
    while let Some((&step, more)) = rest.split_first() {
        let (arms, later) = more.split_at(more.len().min(usize::from(step & 7) + 1));
        rest = later;
        let mut operations = operations(ends, arms, &mut number);
        if operations.is_empty() {
            continue;
        }
        let select = select(&mut operations, step & 8 != 0);
        // A wait that nobody ends has a limit.
        let done =
            if step & 16 == 0 { select.wait_timeout(Duration::from_micros(50)) } else { select.poll() };
        // What has moved is noted, also if a cancellation waits.
        sward::task::mask(|| {
            let mut notes = notes.lock().expect("no panic");
            for (n, operation) in operations.into_iter().enumerate() {
                match operation {
                    Operation::Send(_, message, arm) if done == Some(n) => {
                        arm.finish().expect("the receivers live");
                        notes.sent.push(message);
                    }
                    Operation::Send(_, message, arm) => assert_eq!(arm.into_message(), Some(message)),
                    Operation::Receive(_, arm) if done == Some(n) => {
                        notes.received.push(arm.finish().expect("the senders live"));
                    }
                    Operation::Receive(..) => {}
                }
            }
        });
    }
}
