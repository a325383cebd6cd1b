//! Channels, locks, the semaphore and `watch` are linearizable: programs with random calls, whose histories a
//! model has to explain. In simulations, and on two real workers. Broken objects show that the check finds
//! something.
//!
//! What the models leave open, since the claim is no more than that: a `try_` call of a lock or of the
//! semaphore may fail while another caller waits, although that one could not have the lock now; and
//! `try_send` on a rendezvous channel may miss a receiver that is about to wait.

use crate::history::{History, Model, assert_linearizable};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use sward::channel::{
    self, Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError, watch,
};
use sward::runtime::Builder;
use sward::sim::{Check, Strategy};
use sward::sync::{
    AcquireTimeoutError, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore,
    SemaphorePermit, TryAcquireError,
};
use sward::{scope, yield_now};

/// Random numbers below a limit.
type Draw<'a> = &'a mut dyn FnMut(usize) -> usize;

/// The time limits of calls that have one.
const LIMIT: Duration = Duration::from_micros(3);

/// Runs the program in simulations, and on two workers.
fn everywhere(program: impl Fn(Draw<'_>) + Sync) {
    for strategy in [Strategy::RandomWalk, Strategy::Pct { depth: 3 }] {
        let passed = Check::new().runs(200).strategy(strategy).run(|sim| {
            program(&mut |limit| (sim.random() % limit as u64) as usize);
        });
        assert!(passed.schedules > 0);
    }
    on_workers(&program);
}

/// The same on two threads, where calls are interrupted anywhere.
fn on_workers(program: &(impl Fn(Draw<'_>) + Sync)) {
    let runtime = Builder::new().worker_threads(2).build().expect("a runtime");
    for seed in 0..200 {
        let mut state = seed;
        runtime.run(|| program(&mut |limit| draw(&mut state) % limit));
    }
}

/// SplitMix64.
fn draw(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as usize
}

// Channels.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// By a call that waits.
    Sent(u32),
    /// By one that does not.
    TrySent(u32),
    SendsNothing,
    Full,
    SendTimeout,
    Received(u32),
    TryReceived(u32),
    Empty,
    RecvTimeout,
    NoSender,
    Len(usize),
    DropSender,
    DropReceiver,
    Cancelled,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Queue {
    capacity: usize,
    messages: VecDeque<u32>,
    senders: usize,
    receivers: usize,
}

impl Model for Queue {
    type Op = Message;

    fn after(&self, op: &Message, _: &[&Message]) -> Option<Queue> {
        let mut after = self.clone();
        let full = self.messages.len() >= self.capacity;
        let possible = match *op {
            Message::Sent(message) | Message::TrySent(message) => {
                after.messages.push_back(message);
                self.receivers > 0 && !full
            }
            Message::SendsNothing => self.receivers == 0,
            Message::Full | Message::SendTimeout => self.receivers > 0 && full,
            Message::Received(message) | Message::TryReceived(message) => {
                after.messages.pop_front() == Some(message)
            }
            Message::Empty | Message::RecvTimeout => self.messages.is_empty() && self.senders > 0,
            Message::NoSender => self.messages.is_empty() && self.senders == 0,
            Message::Len(len) => self.messages.len() == len,
            Message::Cancelled => true,
            Message::DropSender => {
                after.senders -= 1;
                true
            }
            Message::DropReceiver => {
                after.receivers -= 1;
                if after.receivers == 0 {
                    after.messages.clear();
                }
                true
            }
        };
        possible.then_some(after)
    }

    /// A rendezvous: one of the two waits for the other.
    fn after_both(&self, one: &Message, other: &Message) -> Option<Queue> {
        let meet = match (*one, *other) {
            (Message::Sent(sent), Message::Received(got) | Message::TryReceived(got))
            | (Message::TrySent(sent), Message::Received(got)) => sent == got,
            _ => false,
        };
        (self.capacity == 0 && meet && self.receivers > 0).then(|| self.clone())
    }
}

type Messages = History<Message>;

/// A sender whose end is noted.
struct Sends<'a>(Option<Sender<u32>>, &'a Messages);

impl Drop for Sends<'_> {
    fn drop(&mut self) {
        self.1.call(|| drop(self.0.take()), |()| Message::DropSender);
    }
}

/// A receiver whose end is noted.
struct Receives<'a>(Option<Receiver<u32>>, &'a Messages);

impl Drop for Receives<'_> {
    fn drop(&mut self) {
        self.1.call(|| drop(self.0.take()), |()| Message::DropReceiver);
    }
}

impl Sends<'_> {
    fn step(&self, kind: usize, message: u32) {
        let sender = self.0.as_ref().expect("not dropped");
        match kind {
            0 => drop(self.1.call(
                || sender.send(message),
                |sent| if sent.is_ok() { Message::Sent(message) } else { Message::SendsNothing },
            )),
            1 => drop(self.1.call(
                || sender.try_send(message),
                |sent| match sent {
                    Ok(()) => Message::TrySent(message),
                    Err(TrySendError::Full(_)) => Message::Full,
                    Err(TrySendError::Disconnected(_)) => Message::SendsNothing,
                },
            )),
            2 => drop(self.1.call(
                || sender.send_timeout(message, LIMIT),
                |sent| match sent {
                    Ok(()) => Message::Sent(message),
                    Err(SendTimeoutError::Timeout(_)) => Message::SendTimeout,
                    Err(SendTimeoutError::Disconnected(_)) => Message::SendsNothing,
                },
            )),
            _ => _ = self.1.call(|| sender.len(), |len| Message::Len(*len)),
        }
    }
}

impl Receives<'_> {
    fn step(&self, kind: usize) {
        let receiver = self.0.as_ref().expect("not dropped");
        match kind {
            0 => {
                _ = self.1.call(|| receiver.recv(), |got| got.map_or(Message::NoSender, Message::Received));
            }
            1 => drop(self.1.call(
                || receiver.try_recv(),
                |got| match *got {
                    Ok(message) => Message::TryReceived(message),
                    Err(TryRecvError::Empty) => Message::Empty,
                    Err(TryRecvError::Disconnected) => Message::NoSender,
                },
            )),
            2 => drop(self.1.call(
                || receiver.recv_timeout(LIMIT),
                |got| match *got {
                    Ok(message) => Message::Received(message),
                    Err(RecvTimeoutError::Timeout) => Message::RecvTimeout,
                    Err(RecvTimeoutError::Disconnected) => Message::NoSender,
                },
            )),
            _ => _ = self.1.call(|| receiver.len(), |len| Message::Len(*len)),
        }
    }
}

/// Two senders and two receivers with a few calls each.
fn messages(capacity: Option<usize>, draw: Draw<'_>) {
    const ENDS: usize = 2;
    let history = Messages::new(|| Message::Cancelled);
    let (sender, receiver) = capacity.map_or_else(channel::unbounded, channel::bounded);
    let mut plan = || (0..1 + draw(4)).map(|_| draw(7) / 2).collect::<Vec<_>>();
    let plans: Vec<_> = (0..ENDS).map(|_| (plan(), plan())).collect();
    let ends: Vec<_> = plans
        .into_iter()
        .map(|(sends, receives)| {
            let sender = Sends(Some(sender.clone()), &history);
            (sender, sends, Receives(Some(receiver.clone()), &history), receives)
        })
        .collect();
    // The model does not know these two.
    drop((sender, receiver));
    scope(|s| {
        for (end, (sender, sends, receiver, receives)) in ends.into_iter().enumerate() {
            s.spawn(move || {
                for (number, kind) in sends.into_iter().enumerate() {
                    sender.step(kind, (10 * end + number) as u32);
                }
            });
            s.spawn(move || receives.into_iter().for_each(|kind| receiver.step(kind)));
        }
    });
    let capacity = capacity.unwrap_or(usize::MAX);
    let initial = Queue { capacity, messages: VecDeque::new(), senders: ENDS, receivers: ENDS };
    assert_linearizable(initial, &history);
}

#[test]
fn bounded_channels() {
    everywhere(|draw| messages(Some(1 + draw(2)), draw));
}

#[test]
fn unbounded_channels() {
    everywhere(|draw| messages(None, draw));
}

#[test]
fn rendezvous_channels() {
    everywhere(|draw| messages(Some(0), draw));
}

// Locks. Each critical section reads a value, and a writer's leaves another one.

#[derive(Clone, Copy, Debug)]
enum Held {
    Locked(u32),
    TryLocked(u32),
    WouldBlock,
    Unlocked(u32),
    Read(u32),
    WouldBlockRead,
    Done,
    /// A writer becomes a reader.
    Downgraded(u32),
    Cancelled,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Lock {
    value: u32,
    writer: bool,
    readers: usize,
    /// Whether `try_read` may fail because a writer waits.
    writers_first: bool,
}

impl Model for Lock {
    type Op = Held;

    fn after(&self, op: &Held, others: &[&Held]) -> Option<Lock> {
        let mut after = self.clone();
        let free = !self.writer && self.readers == 0;
        let awaited = || others.iter().any(|other| matches!(other, Held::Locked(_) | Held::Cancelled));
        let possible = match *op {
            Held::Locked(value) | Held::TryLocked(value) => {
                after.writer = true;
                free && value == self.value
            }
            Held::WouldBlock => !free,
            Held::Cancelled => true,
            Held::Unlocked(value) => {
                (after.writer, after.value) = (false, value);
                self.writer
            }
            Held::Read(value) => {
                after.readers += 1;
                !self.writer && value == self.value
            }
            Held::WouldBlockRead => self.writer || self.writers_first && awaited(),
            Held::Done => {
                after.readers = self.readers.checked_sub(1)?;
                true
            }
            Held::Downgraded(value) => {
                (after.writer, after.readers, after.value) = (false, 1, value);
                self.writer
            }
        };
        possible.then_some(after)
    }
}

type Sections = History<Held>;

/// The end of a critical section, noted also if the coroutine unwinds.
struct Leaves<'a, G: std::ops::DerefMut<Target = u32>>(Option<G>, &'a Sections);

impl<G: std::ops::DerefMut<Target = u32>> Drop for Leaves<'_, G> {
    fn drop(&mut self) {
        if let Some(guard) = self.0.take() {
            let value = *guard;
            self.1.call(|| drop(guard), |()| Held::Unlocked(value));
        }
    }
}

struct LeavesRead<'a>(Option<RwLockReadGuard<'a, u32>>, &'a Sections);

impl Drop for LeavesRead<'_> {
    fn drop(&mut self) {
        let guard = self.0.take();
        self.1.call(|| drop(guard), |()| Held::Done);
    }
}

fn write(guard: &mut u32, new: u32) {
    yield_now();
    *guard = new;
}

fn mutex(draw: Draw<'_>) {
    let (history, mutex) = (Sections::new(|| Held::Cancelled), Mutex::new(0));
    let plans: Vec<Vec<_>> = (0..3).map(|_| (0..1 + draw(3)).map(|_| draw(2)).collect()).collect();
    scope(|s| {
        for (who, plan) in plans.iter().enumerate() {
            let (history, mutex) = (&history, &mutex);
            s.spawn(move || {
                for (number, kind) in plan.iter().enumerate() {
                    let new = (10 * who + number + 1) as u32;
                    let guard: Option<MutexGuard<'_, u32>> = if *kind == 0 {
                        Some(history.call(|| mutex.lock().unwrap(), |guard| Held::Locked(**guard)))
                    } else {
                        history.call(
                            || mutex.try_lock().ok(),
                            |guard| guard.as_ref().map_or(Held::WouldBlock, |guard| Held::TryLocked(**guard)),
                        )
                    };
                    if let Some(guard) = guard {
                        let mut leaves = Leaves(Some(guard), history);
                        write(leaves.0.as_mut().expect("held"), new);
                    }
                }
            });
        }
    });
    assert_linearizable(Lock { value: 0, writer: false, readers: 0, writers_first: false }, &history);
}

#[test]
fn mutexes() {
    everywhere(mutex);
}

fn rwlock(draw: Draw<'_>) {
    let (history, lock) = (Sections::new(|| Held::Cancelled), RwLock::new(0));
    let plans: Vec<Vec<_>> = (0..3).map(|_| (0..1 + draw(3)).map(|_| draw(5)).collect()).collect();
    scope(|s| {
        for (who, plan) in plans.iter().enumerate() {
            let (history, lock) = (&history, &lock);
            s.spawn(move || {
                for (number, kind) in plan.iter().enumerate() {
                    let new = (10 * who + number + 1) as u32;
                    section(history, lock, *kind, new);
                }
            });
        }
    });
    assert_linearizable(Lock { value: 0, writer: false, readers: 0, writers_first: true }, &history);
}

/// One critical section.
fn section(history: &Sections, lock: &RwLock<u32>, kind: usize, new: u32) {
    let writer: Option<RwLockWriteGuard<'_, u32>> = match kind {
        0 | 4 => Some(history.call(|| lock.write().unwrap(), |guard| Held::Locked(**guard))),
        1 => history.call(
            || lock.try_write().ok(),
            |guard| guard.as_ref().map_or(Held::WouldBlock, |guard| Held::TryLocked(**guard)),
        ),
        _ => None,
    };
    if let Some(guard) = writer {
        let mut leaves = Leaves(Some(guard), history);
        write(leaves.0.as_mut().expect("held"), new);
        if kind == 4 {
            let guard = leaves.0.take().expect("held");
            let guard =
                history.call(|| RwLockWriteGuard::downgrade(guard), |guard| Held::Downgraded(**guard));
            let _leaves = LeavesRead(Some(guard), history);
            yield_now();
        }
        return;
    }
    let reader = match kind {
        2 => Some(history.call(|| lock.read().unwrap(), |guard| Held::Read(**guard))),
        3 => history.call(
            || lock.try_read().ok(),
            |guard| guard.as_ref().map_or(Held::WouldBlockRead, |guard| Held::Read(**guard)),
        ),
        _ => None,
    };
    if let Some(guard) = reader {
        let _leaves = LeavesRead(Some(guard), history);
        yield_now();
    }
}

#[test]
fn readers_writer_locks() {
    everywhere(rwlock);
}

// The semaphore.

#[derive(Clone, Copy, Debug)]
enum Permits {
    Acquired(usize),
    TryAcquired(usize),
    /// By a call that does not wait.
    None(usize),
    /// By one that has waited.
    TimedOut(usize),
    Released(usize),
    Available(usize),
    Closes,
    Closed,
    Cancelled,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Available {
    permits: usize,
    closed: bool,
}

impl Model for Available {
    type Op = Permits;

    fn after(&self, op: &Permits, others: &[&Permits]) -> Option<Available> {
        let mut after = self.clone();
        let possible = match *op {
            Permits::Acquired(n) | Permits::TryAcquired(n) => {
                after.permits = self.permits.checked_sub(n)?;
                !self.closed
            }
            Permits::None(n) | Permits::TimedOut(n) => {
                let waits = |op: &&Permits| {
                    matches!(
                        op,
                        Permits::Acquired(_) | Permits::TimedOut(_) | Permits::Closed | Permits::Cancelled
                    )
                };
                let awaited = others.iter().any(waits);
                !self.closed && (self.permits < n || awaited)
            }
            Permits::Released(n) => {
                after.permits += n;
                true
            }
            Permits::Available(n) => self.permits == n,
            Permits::Closes => {
                after.closed = true;
                true
            }
            Permits::Closed => self.closed,
            Permits::Cancelled => true,
        };
        possible.then_some(after)
    }
}

/// The end of some permits.
struct Releases<'a>(Option<SemaphorePermit<'a>>, &'a History<Permits>);

impl Drop for Releases<'_> {
    fn drop(&mut self) {
        let permit = self.0.take().expect("held");
        let permits = permit.num_permits();
        self.1.call(|| drop(permit), |()| Permits::Released(permits));
    }
}

fn semaphore(draw: Draw<'_>) {
    const PERMITS: usize = 3;
    let (history, semaphore) = (History::new(|| Permits::Cancelled), Semaphore::new(PERMITS));
    let mut plan = |_| (0..1 + draw(3)).map(|_| (draw(13), 1 + draw(PERMITS))).collect::<Vec<_>>();
    let plans: Vec<_> = (0..4).map(&mut plan).collect();
    scope(|s| {
        for plan in &plans {
            let (history, semaphore) = (&history, &semaphore);
            s.spawn(move || {
                for (kind, permits) in plan {
                    acquire(history, semaphore, *kind, *permits);
                }
            });
        }
    });
    assert_linearizable(Available { permits: PERMITS, closed: false }, &history);
}

fn acquire(history: &History<Permits>, semaphore: &Semaphore, kind: usize, n: usize) {
    let permit = match kind {
        0..4 => history.call(
            || semaphore.acquire_many(n).ok(),
            |permit| permit.as_ref().map_or(Permits::Closed, |_| Permits::Acquired(n)),
        ),
        4..7 => history
            .call(
                || semaphore.try_acquire_many(n),
                |permit| match permit {
                    Ok(_) => Permits::TryAcquired(n),
                    Err(TryAcquireError::NoPermits) => Permits::None(n),
                    Err(TryAcquireError::Closed) => Permits::Closed,
                },
            )
            .ok(),
        7..10 => history
            .call(
                || semaphore.acquire_many_timeout(n, LIMIT),
                |permit| match permit {
                    Ok(_) => Permits::Acquired(n),
                    Err(AcquireTimeoutError::Timeout) => Permits::TimedOut(n),
                    Err(AcquireTimeoutError::Closed) => Permits::Closed,
                },
            )
            .ok(),
        10 | 11 => {
            history.call(|| semaphore.available_permits(), |n| Permits::Available(*n));
            None
        }
        _ => {
            history.call(|| semaphore.close(), |()| Permits::Closes);
            None
        }
    };
    if let Some(permit) = permit {
        let _releases = Releases(Some(permit), history);
        yield_now();
    }
}

#[test]
fn semaphores() {
    everywhere(semaphore);
}

// `watch`.

#[derive(Clone, Copy, Debug)]
enum Watched {
    Sent {
        new: u32,
        before: u32,
    },
    Got(u32),
    /// By that receiver.
    Seen(usize, u32),
    Changed(usize),
    Timeout(usize),
    NoSender(usize),
    HasChanged(usize, bool),
    DropSender,
    Cancelled,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Room {
    value: u32,
    version: usize,
    senders: usize,
    seen: [usize; 2],
}

impl Model for Room {
    type Op = Watched;

    fn after(&self, op: &Watched, _: &[&Watched]) -> Option<Room> {
        let mut after = self.clone();
        let possible = match *op {
            Watched::Sent { new, before } => {
                (after.value, after.version) = (new, self.version + 1);
                before == self.value
            }
            Watched::Got(value) => value == self.value,
            Watched::Seen(who, value) => {
                after.seen[who] = self.version;
                value == self.value
            }
            Watched::Changed(who) => {
                after.seen[who] = self.version;
                self.seen[who] != self.version
            }
            Watched::Timeout(who) => self.seen[who] == self.version && self.senders > 0,
            Watched::NoSender(who) => self.seen[who] == self.version && self.senders == 0,
            Watched::Cancelled => true,
            Watched::HasChanged(who, changed) => (self.seen[who] != self.version) == changed,
            Watched::DropSender => {
                after.senders -= 1;
                true
            }
        };
        possible.then_some(after)
    }
}

struct Publishes<'a>(Option<watch::Sender<u32>>, &'a History<Watched>);

impl Drop for Publishes<'_> {
    fn drop(&mut self) {
        self.1.call(|| drop(self.0.take()), |()| Watched::DropSender);
    }
}

fn room(draw: Draw<'_>) {
    const SENDERS: usize = 2;
    let history = History::new(|| Watched::Cancelled);
    let (sender, receiver) = watch::channel(0);
    let mut plan = || (0..1 + draw(4)).map(|_| draw(5)).collect::<Vec<_>>();
    let plans: Vec<_> = (0..SENDERS).map(|_| (plan(), plan())).collect();
    let senders: Vec<_> = plans.iter().map(|_| Publishes(Some(sender.clone()), &history)).collect();
    // The model does not know this one.
    drop(sender);
    scope(|s| {
        for (who, ((sends, receives), sender)) in plans.into_iter().zip(senders).enumerate() {
            let (mut receiver, history) = (receiver.clone(), &history);
            s.spawn(move || {
                for number in 0..sends.len() {
                    let new = (10 * who + number + 1) as u32;
                    let sends = sender.0.as_ref().expect("not dropped");
                    history.call(|| sends.send(new), |before| Watched::Sent { new, before: **before });
                    yield_now();
                }
            });
            s.spawn(move || {
                for kind in receives {
                    watch_once(history, &mut receiver, who, kind);
                }
            });
        }
    });
    assert_linearizable(Room { value: 0, version: 0, senders: SENDERS, seen: [0; 2] }, &history);
}

fn watch_once(history: &History<Watched>, receiver: &mut watch::Receiver<u32>, who: usize, kind: usize) {
    match kind {
        0 => _ = history.call(|| receiver.get(), |value| Watched::Got(**value)),
        1 => _ = history.call(|| receiver.get_and_update(), |value| Watched::Seen(who, **value)),
        2 => drop(history.call(
            || receiver.changed(),
            |changed| if changed.is_ok() { Watched::Changed(who) } else { Watched::NoSender(who) },
        )),
        3 => drop(history.call(
            || receiver.changed_timeout(LIMIT),
            |changed| match changed {
                Ok(()) => Watched::Changed(who),
                Err(RecvTimeoutError::Timeout) => Watched::Timeout(who),
                Err(RecvTimeoutError::Disconnected) => Watched::NoSender(who),
            },
        )),
        _ => _ = history.call(|| receiver.has_changed(), |changed| Watched::HasChanged(who, *changed)),
    }
}

#[test]
fn watched_values() {
    everywhere(room);
}

/// Each wait is cancelled once.
#[test]
fn calls_that_are_cancelled_have_no_effect() {
    let programs: [fn(Draw<'_>); 6] =
        [|draw| messages(Some(1), draw), |draw| messages(Some(0), draw), mutex, rwlock, semaphore, room];
    for program in programs {
        let check = Check::new().runs(if cfg!(debug_assertions) { 20 } else { 200 }).cancel_everywhere();
        check.run(|sim| program(&mut |limit| (sim.random() % limit as u64) as usize));
    }
}

// Broken objects, which the check finds.

/// Looks whether there is a permit, and takes it in a second step.
#[test]
fn a_semaphore_that_looks_before_it_takes_is_found() {
    let failed = Check::new().runs(1_000).try_run(|_| {
        let (history, permits) =
            (Arc::new(History::new(|| Permits::Cancelled)), Arc::new(AtomicUsize::new(1)));
        let all: Vec<_> = (0..2)
            .map(|_| {
                let (history, permits) = (Arc::clone(&history), Arc::clone(&permits));
                sward::spawn(move || {
                    let take = || {
                        if permits.load(Ordering::SeqCst) == 0 {
                            return false;
                        }
                        yield_now();
                        permits.store(0, Ordering::SeqCst);
                        true
                    };
                    history
                        .call(take, |taken| if *taken { Permits::TryAcquired(1) } else { Permits::None(1) });
                })
            })
            .collect();
        all.into_iter().for_each(|one| one.join().unwrap());
        assert_linearizable(Available { permits: 1, closed: false }, &history);
    });
    assert!(failed.expect_err("it is broken").what().contains("not linearizable"));
}

/// Looks at the first message, and removes it in a second step.
#[test]
fn a_queue_that_looks_before_it_removes_is_found() {
    let failed = Check::new().runs(1_000).try_run(|_| {
        let (history, queue) = (Messages::new(|| Message::Cancelled), Mutex::new(VecDeque::from([1, 2])));
        scope(|s| {
            for _ in 0..2 {
                let (history, queue) = (&history, &queue);
                s.spawn(move || {
                    let receive = || {
                        let first = queue.lock().unwrap().front().copied();
                        queue.lock().unwrap().pop_front();
                        first
                    };
                    history.call(receive, |got| got.map_or(Message::Empty, Message::TryReceived));
                });
            }
        });
        let messages = VecDeque::from([1, 2]);
        assert_linearizable(Queue { capacity: 2, messages, senders: 1, receivers: 1 }, &history);
    });
    assert!(failed.expect_err("it is broken").what().contains("not linearizable"));
}
