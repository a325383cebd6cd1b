//! Channels and the semaphore against simple models, over random sequences of calls that do not wait.

use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use sward::channel::{self, TryRecvError, TrySendError, broadcast, watch};
use sward::sync::{Semaphore, TryAcquireError};

/// Takes the steps on a plain thread and in a coroutine.
fn everywhere_with<S: Clone + Send + Sync>(steps: &[S], test: impl Fn(&[S]) + Sync) {
    test(steps);
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| test(steps));
}

fn settings() -> ProptestConfig {
    ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }
}

/// A call on one of the ends; the number selects the end.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize),
    Recv(usize),
    CloneSender(usize),
    CloneReceiver(usize),
    DropSender(usize),
    DropReceiver(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = 0..8usize;
    let step = prop_oneof![
        8 => end.clone().prop_map(Step::Send),
        8 => end.clone().prop_map(Step::Recv),
        1 => end.clone().prop_map(Step::CloneSender),
        1 => end.clone().prop_map(Step::CloneReceiver),
        1 => end.clone().prop_map(Step::DropSender),
        1 => end.prop_map(Step::DropReceiver),
    ];
    vec(step, 0..120)
}

/// The end that the number selects, if there is one.
fn pick<T>(ends: &mut [T], number: usize) -> Option<&mut T> {
    let len = ends.len();
    if len == 0 { None } else { ends.get_mut(number % len) }
}

/// Removes the end that the number selects, if there is one.
fn take<T>(ends: &mut Vec<T>, number: usize) -> Option<T> {
    if ends.is_empty() { None } else { Some(ends.swap_remove(number % ends.len())) }
}

fn a_channel(capacity: Option<usize>, steps: &[Step]) {
    let (sender, receiver) = match capacity {
        Some(capacity) => channel::bounded(capacity),
        None => channel::unbounded(),
    };
    let (mut senders, mut receivers) = (vec![sender], vec![receiver]);
    let mut model = VecDeque::new();
    let room = capacity.unwrap_or(usize::MAX);
    // Each message is counted, so the test notices one that is lost or dropped twice.
    let alive = Arc::new(());
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Send(end) => {
                let closed = receivers.is_empty();
                let Some(sender) = pick(&mut senders, end) else { continue };
                match sender.try_send((number, alive.clone())) {
                    Ok(()) => {
                        assert!(!closed && model.len() < room);
                        model.push_back(number);
                    }
                    Err(TrySendError::Full((back, _))) => {
                        assert!(!closed && model.len() == room && back == number);
                    }
                    Err(TrySendError::Disconnected((back, _))) => assert!(closed && back == number),
                }
            }
            Step::Recv(end) => {
                let closed = senders.is_empty();
                let Some(receiver) = pick(&mut receivers, end) else { continue };
                match receiver.try_recv() {
                    Ok((got, _)) => assert_eq!(Some(got), model.pop_front()),
                    Err(TryRecvError::Empty) => assert!(model.is_empty() && !closed),
                    Err(TryRecvError::Disconnected) => assert!(model.is_empty() && closed),
                }
            }
            Step::CloneSender(end) => {
                let clone = pick(&mut senders, end).map(|sender| sender.clone());
                senders.extend(clone);
            }
            Step::CloneReceiver(end) => {
                let clone = pick(&mut receivers, end).map(|receiver| receiver.clone());
                receivers.extend(clone);
            }
            Step::DropSender(end) => drop(take(&mut senders, end)),
            Step::DropReceiver(end) => {
                drop(take(&mut receivers, end));
                if receivers.is_empty() {
                    // No receiver can get them any more.
                    model.clear();
                }
            }
        }
        for sender in &senders {
            assert_eq!((sender.len(), sender.is_empty()), (model.len(), model.is_empty()));
            assert_eq!((sender.is_full(), sender.capacity()), (model.len() == room, capacity));
            assert_eq!(sender.is_closed(), receivers.is_empty());
            assert!(sender.same_channel(&senders[0]));
        }
        for receiver in &receivers {
            assert_eq!((receiver.len(), receiver.is_empty()), (model.len(), model.is_empty()));
            assert_eq!((receiver.is_full(), receiver.capacity()), (model.len() == room, capacity));
            assert!(receiver.same_channel(&receivers[0]));
        }
        assert_eq!(Arc::strong_count(&alive), 1 + model.len());
    }
    drop(senders);
    if let Some(receiver) = receivers.first() {
        assert!(receiver.iter().map(|(got, _)| got).eq(model));
    }
    drop(receivers);
    assert_eq!(Arc::strong_count(&alive), 1);
}

fn a_watched_value(steps: &[Step]) {
    let (sender, receiver) = watch::channel(usize::MAX);
    let (mut senders, mut receivers) = (vec![sender], vec![(receiver, false)]);
    let mut value = usize::MAX;
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Send(end) => {
                let Some(sender) = pick(&mut senders, end) else { continue };
                if number % 2 == 0 {
                    assert_eq!(*sender.send(number), value);
                } else {
                    sender.send_modify(|before| {
                        assert_eq!(*before, value);
                        number
                    });
                }
                value = number;
                // Each with what the model says that it has not seen.
                receivers.iter_mut().for_each(|(_, news)| *news = true);
            }
            Step::Recv(end) => {
                let closed = senders.is_empty();
                let Some((receiver, news)) = pick(&mut receivers, end) else { continue };
                if *news && number % 2 == 0 {
                    assert_eq!(*receiver.get_and_update(), value);
                } else if *news {
                    receiver.changed().expect("there is a new value");
                } else if closed {
                    receiver.changed().expect_err("there will be none");
                }
                *news = false;
            }
            Step::CloneSender(end) => {
                let clone = pick(&mut senders, end).map(|sender| sender.clone());
                senders.extend(clone);
            }
            Step::CloneReceiver(end) => {
                let clone = if number % 2 == 0 {
                    pick(&mut senders, end).map(|sender| (sender.subscribe(), false))
                } else {
                    pick(&mut receivers, end).map(|(receiver, news)| (receiver.clone(), *news))
                };
                receivers.extend(clone);
            }
            Step::DropSender(end) => drop(take(&mut senders, end)),
            Step::DropReceiver(end) => drop(take(&mut receivers, end)),
        }
        for sender in &senders {
            assert_eq!((*sender.get(), sender.receiver_count()), (value, receivers.len()));
        }
        for (receiver, news) in &receivers {
            assert_eq!((*receiver.get(), receiver.has_changed()), (value, *news));
        }
    }
}

/// Each receiver of the model has the messages that it has still to receive, and the number that it has
/// missed.
fn a_broadcast(capacity: usize, steps: &[Step]) {
    type Yet = (VecDeque<usize>, u64);
    let (sender, receiver) = broadcast::channel(capacity);
    let mut senders = vec![sender];
    let mut receivers: Vec<(_, Yet)> = vec![(receiver, Yet::default())];
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Send(end) => {
                let Some(sender) = pick(&mut senders, end) else { continue };
                match sender.send(number) {
                    Ok(count) => assert_eq!(count, receivers.len()),
                    Err(channel::SendError(back)) => assert!(receivers.is_empty() && back == number),
                }
                for (_, (yet, missed)) in &mut receivers {
                    yet.push_back(number);
                    if yet.len() > capacity {
                        yet.pop_front();
                        *missed += 1;
                    }
                }
            }
            Step::Recv(end) => {
                let closed = senders.is_empty();
                let Some((receiver, (yet, missed))) = pick(&mut receivers, end) else { continue };
                let expected = match (std::mem::take(missed), yet.is_empty()) {
                    (0, true) if closed => Err(broadcast::RecvError::Closed),
                    (0, true) => Err(broadcast::RecvError::Empty),
                    (0, false) => Ok(yet.pop_front().expect("it is not empty")),
                    (missed, _) => Err(broadcast::RecvError::Lagged(missed)),
                };
                assert_eq!(receiver.try_recv(), expected);
            }
            Step::CloneSender(end) => {
                let clone = pick(&mut senders, end).map(|sender| sender.clone());
                senders.extend(clone);
            }
            Step::CloneReceiver(end) => {
                let clone = if number % 2 == 0 {
                    pick(&mut senders, end).map(|sender| (sender.subscribe(), Yet::default()))
                } else {
                    pick(&mut receivers, end).map(|(receiver, yet)| (receiver.clone(), yet.clone()))
                };
                receivers.extend(clone);
            }
            Step::DropSender(end) => drop(take(&mut senders, end)),
            Step::DropReceiver(end) => drop(take(&mut receivers, end)),
        }
        for sender in &senders {
            assert_eq!(sender.receiver_count(), receivers.len());
        }
        for (receiver, (yet, missed)) in &receivers {
            assert_eq!(receiver.len(), yet.len() as u64 + missed);
            assert_eq!(receiver.is_empty(), yet.is_empty() && *missed == 0);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Permits {
    Acquire(usize),
    AcquireOwned(usize),
    Release(usize),
    Forget(usize),
    Add(usize),
    Close,
}

fn permits() -> impl Strategy<Value = Vec<Permits>> {
    let step = prop_oneof![
        8 => (0..5usize).prop_map(Permits::Acquire),
        4 => (0..5usize).prop_map(Permits::AcquireOwned),
        8 => (0..8usize).prop_map(Permits::Release),
        1 => (0..8usize).prop_map(Permits::Forget),
        2 => (0..4usize).prop_map(Permits::Add),
    ];
    // Some are closed in the end, and still used.
    (vec(step.clone(), 0..80), any::<bool>(), vec(step, 0..20)).prop_map(|(mut steps, closes, after)| {
        if closes {
            steps.push(Permits::Close);
        }
        steps.extend(after);
        steps
    })
}

fn a_semaphore(first: usize, steps: &[Permits]) {
    let semaphore = Arc::new(Semaphore::new(first));
    let (mut borrowed, mut owned) = (Vec::new(), Vec::new());
    let (mut free, mut held, mut closed) = (first, 0, false);
    for step in steps {
        match *step {
            Permits::Acquire(count) => match semaphore.try_acquire_many(count) {
                Ok(permit) => {
                    assert!(!closed && free >= count && permit.num_permits() == count);
                    (free, held) = (free - count, held + count);
                    borrowed.push(permit);
                }
                Err(TryAcquireError::NoPermits) => assert!(!closed && free < count),
                Err(TryAcquireError::Closed) => assert!(closed),
            },
            Permits::AcquireOwned(count) => match semaphore.try_acquire_many_owned(count) {
                Ok(permit) => {
                    assert!(!closed && free >= count && permit.num_permits() == count);
                    (free, held) = (free - count, held + count);
                    owned.push(permit);
                }
                Err(TryAcquireError::NoPermits) => assert!(!closed && free < count),
                Err(TryAcquireError::Closed) => assert!(closed),
            },
            Permits::Release(which) => {
                let count = match take(&mut borrowed, which) {
                    Some(permit) => permit.num_permits(),
                    None => take(&mut owned, which).map_or(0, |permit| permit.num_permits()),
                };
                (free, held) = (free + count, held - count);
            }
            Permits::Forget(which) => {
                if let Some(permit) = take(&mut owned, which) {
                    held -= permit.num_permits();
                    permit.forget();
                } else if let Some(permit) = take(&mut borrowed, which) {
                    held -= permit.num_permits();
                    permit.forget();
                }
            }
            Permits::Add(count) => {
                semaphore.add_permits(count);
                free += count;
            }
            Permits::Close => {
                semaphore.close();
                closed = true;
            }
        }
        assert_eq!((semaphore.available_permits(), semaphore.is_closed()), (free, closed));
    }
    drop((borrowed, owned));
    assert_eq!(semaphore.available_permits(), free + held);
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_bounded_channel_is_a_queue_with_a_capacity(capacity in 1..6usize, steps in steps()) {
        everywhere_with(&steps, |steps| a_channel(Some(capacity), steps));
    }

    #[test]
    fn an_unbounded_channel_is_a_queue(steps in steps()) {
        everywhere_with(&steps, |steps| a_channel(None, steps));
    }

    /// No receiver waits, so no send succeeds.
    #[test]
    fn a_channel_of_capacity_0_is_always_empty_and_full(steps in steps()) {
        everywhere_with(&steps, |steps| a_channel(Some(0), steps));
    }

    #[test]
    fn a_watched_value_is_the_last_one(steps in steps()) {
        everywhere_with(&steps, a_watched_value);
    }

    #[test]
    fn a_broadcast_is_a_queue_for_each(capacity in 1..6usize, steps in steps()) {
        everywhere_with(&steps, |steps| a_broadcast(capacity, steps));
    }

    #[test]
    fn a_semaphore_is_a_counter(first in 0..6usize, steps in permits()) {
        everywhere_with(&steps, |steps| a_semaphore(first, steps));
    }
}

/// While one receiver waits, each `try_send` to a channel of capacity 0 succeeds, and the messages arrive in
/// order.
#[test]
fn a_channel_of_capacity_0_hands_over() {
    let runtime = sward::runtime::Builder::new().worker_threads(1).build().expect("a runtime");
    runtime.run(|| {
        let (sender, receiver) = channel::bounded(0);
        let waits = sward::spawn(move || receiver.iter().collect::<Vec<_>>());
        let mut taken = 0;
        while taken < 100 {
            taken += usize::from(sender.try_send(taken).is_ok());
            assert_eq!(sender.len(), 0);
            sward::yield_now();
        }
        drop(sender);
        assert!(waits.join().expect("no panic").into_iter().eq(0..100));
    });
}
