//! Channels: messages between coroutines, between threads, and between the two.
//!
//! The API is crossbeam-channel's: many senders, many receivers, each message to one of them.
//! [`bounded`] makes a channel with room for so many messages, [`bounded(0)`](bounded) one on which a
//! sender meets its receiver, [`unbounded`] one without a limit; on [`after`], [`tick`] and [`never()`] time
//! is what sends. [`select!`](crate::select!) waits for the first of several operations. [`oneshot`],
//! [`watch`] and [`broadcast`] are for one message, for the latest value, and for messages to everyone.
//!
//! What waits here parks its coroutine, or blocks its thread if there is no coroutine. A coroutine that is
//! cancelled, or whose [time limit](crate::time) is over, unwinds out of it: then its message was not sent
//! (and is dropped), and none was received. A message that was handed over counts as received: the receiver
//! gets it, and meets its cancellation at the next wait.
//!
//! Messages of more than 1 KiB travel in boxes, so that they are copied twice only:
//! see [large values](crate::task#large-values).
//!
//! The last receiver of a channel drops the messages that nobody has received. If a destructor of one panics,
//! the others are dropped all the same. The first panic then goes on, unless the thread is unwinding already.
//!
//! ```
//! use sward::channel;
//!
//! sward::run(|| {
//!     let (sender, receiver) = channel::bounded(16);
//!     for i in 0..4 {
//!         let sender = sender.clone();
//!         sward::spawn(move || sender.send(i * i).unwrap());
//!     }
//!     drop(sender); // so that the receiver's end comes when the four are done
//!     assert_eq!(receiver.iter().sum::<i32>(), 14);
//! });
//! ```

mod arm;
mod arm_slot;
mod audience;
pub mod broadcast;
mod chan;
mod error;
mod iter;
pub mod oneshot;
mod queue;
mod shared;
mod timed;
pub mod watch;

// They were here before `select` had a module of its own.
#[doc(no_inline)]
pub use crate::select::{EventArm, ReadyTimeoutError, Select, TryReadyError};
pub use arm::{RecvArm, SendArm, SendWithArm};
pub use error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
pub use iter::{IntoIter, Iter, TryIter};

use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::coroutine::{Batch, WaitReason};
use crate::sched::{self, Cancel, Ended, Wait};
use crate::select::{Order, WaitLimit, select};
use chan::{Blocked, Chan, Note, Slot};
use shared::Shared;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};
use timed::{After, Tick, Timed};

/// A channel with room for that many messages. A sender waits while it is full.
///
/// With capacity zero there is no room: a send and a receive take place together, and either waits for
/// the other. Room is taken as it is used and given back as for [`unbounded`], so a large capacity costs
/// nothing by itself.
///
/// ```
/// let (sender, receiver) = sward::channel::bounded(1);
/// sender.send("one").unwrap();
/// assert!(sender.try_send("two").unwrap_err().is_full());
/// assert_eq!(receiver.recv(), Ok("one"));
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let chan = Shared::new(capacity);
    (Sender { chan: chan.share() }, Receiver { flavor: Flavor::Chan(chan) })
}

/// A channel on which a sender never waits. Nothing but memory limits what is queued.
///
/// Messages are queued in chunks of about 4 KiB, and a chunk is freed when its messages have been received.
/// So the memory of a burst is given back: an empty channel holds 8 KiB at most, whatever has gone through
/// it.
///
/// ```
/// let (sender, receiver) = sward::channel::unbounded();
/// sender.send(1).unwrap();
/// sender.send(2).unwrap();
/// drop(sender);
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2]);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

/// A channel that has one message after that time: the instant at which it was due. It is never
/// disconnected. Clones share the message. Nothing runs in the meantime, and nothing is left when it is
/// dropped.
///
/// ```
/// use std::time::Duration;
///
/// let (_sender, receiver) = sward::channel::bounded::<()>(0);
/// sward::select! {
///     recv(receiver) -> _ => unreachable!(),
///     recv(sward::channel::after(Duration::from_millis(1))) -> _ => println!("nothing came"),
/// }
/// ```
pub fn after(duration: Duration) -> Receiver<Instant> {
    let timed = After::new(Instant::now().checked_add(duration));
    Receiver { flavor: Flavor::Timed(Arc::new(timed)) }
}

/// A channel that has one message at that time.
///
/// ```
/// use std::time::Instant;
///
/// let now = Instant::now();
/// assert_eq!(sward::channel::at(now).recv(), Ok(now));
/// ```
pub fn at(instant: Instant) -> Receiver<Instant> {
    Receiver { flavor: Flavor::Timed(Arc::new(After::new(Some(instant)))) }
}

/// A channel that has a message at the end of each period: the instant at which it was due. Periods that
/// pass while nobody receives are left out, so messages do not pile up. With a period of zero there is
/// always a message.
///
/// ```
/// use std::time::Duration;
///
/// let tick = sward::channel::tick(Duration::from_millis(1));
/// let first = tick.recv().unwrap();
/// assert!(tick.recv().unwrap() > first);
/// ```
pub fn tick(period: Duration) -> Receiver<Instant> {
    Receiver { flavor: Flavor::Timed(Arc::new(Tick::new(Instant::now(), period))) }
}

/// A channel that never has a message and is never disconnected: an arm of a
/// [`select!`](crate::select!) that is switched off.
///
/// ```
/// assert!(sward::channel::never::<()>().try_recv().unwrap_err().is_empty());
/// ```
pub fn never<T>() -> Receiver<T> {
    Receiver { flavor: Flavor::Never }
}

/// The sending side of a channel. Clones are further senders.
pub struct Sender<T> {
    chan: Shared<T>,
}

/// The receiving side of a channel. Clones are further receivers: each message goes to one of them.
pub struct Receiver<T> {
    flavor: Flavor<T>,
}

enum Flavor<T> {
    Chan(Shared<T>),
    Timed(Arc<dyn Timed<T>>),
    Never,
}

impl<T> Sender<T> {
    /// Sends the message as soon as there is room or a receiver for it. Parks until then.
    ///
    /// # Errors
    ///
    /// All receivers are gone; the error holds the message.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        if const { is_large::<T>() } {
            match send_until(self.chan.large(), large_box!(message), WaitLimit::Endless) {
                Ok(()) => Ok(()),
                Err(error) => refused(error.into_inner()),
            }
        } else {
            send_until(self.chan.small(), message, WaitLimit::Endless)
                .map_err(|error| SendError(error.into_inner()))
        }
    }

    /// Sends the message if that need not wait. Does not park.
    ///
    /// # Errors
    ///
    /// There is no room (with capacity zero: no receiver waits), or all receivers are gone; the error holds
    /// the message.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        if const { is_large::<T>() } {
            match send_until(self.chan.large(), large_box!(message), WaitLimit::None) {
                Ok(()) => Ok(()),
                Err(error) => not_now(error),
            }
        } else {
            send_until(self.chan.small(), message, WaitLimit::None).map_err(|error| match error {
                SendTimeoutError::Timeout(message) => TrySendError::Full(message),
                SendTimeoutError::Disconnected(message) => TrySendError::Disconnected(message),
            })
        }
    }

    /// Sends the message, but waits for that long at most. Parks until then.
    ///
    /// # Errors
    ///
    /// The time is over, or all receivers are gone; the error holds the message.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        if const { is_large::<T>() } {
            match send_until(self.chan.large(), large_box!(message), WaitLimit::after(timeout)) {
                Ok(()) => Ok(()),
                Err(error) => not_in_time(error),
            }
        } else {
            send_until(self.chan.small(), message, WaitLimit::after(timeout))
        }
    }

    /// Sends the message, but waits until that time at most. Parks until then.
    ///
    /// # Errors
    ///
    /// The time is over, or all receivers are gone; the error holds the message.
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        if const { is_large::<T>() } {
            match send_until(self.chan.large(), large_box!(message), WaitLimit::Until(deadline)) {
                Ok(()) => Ok(()),
                Err(error) => not_in_time(error),
            }
        } else {
            send_until(self.chan.small(), message, WaitLimit::Until(deadline))
        }
    }

    /// A send of that message as one of the alternatives of a [`Select`].
    pub fn arm(&self, message: T) -> SendArm<'_, T> {
        SendArm::of(self, message)
    }

    /// As [`arm`](Self::arm); without a message, an alternative that is never chosen.
    pub fn arm_of(&self, message: Option<T>) -> SendArm<'_, T> {
        SendArm::new(self, message)
    }

    /// As [`arm_of`](Self::arm_of), with the message of that variable, and back into it goes one that was not
    /// sent when the arm is dropped, also when the select unwinds.
    ///
    /// ```
    /// use sward::channel::{Select, bounded};
    ///
    /// let (sender, receiver) = bounded(1);
    /// let mut next = Some("first");
    /// for left in [None, Some("second")] {
    ///     let mut arm = sender.arm_from(&mut next);
    ///     let mut select = Select::new();
    ///     select.send(&mut arm);
    ///     if select.poll().is_some() {
    ///         arm.finish().unwrap();
    ///     } else {
    ///         drop(arm);
    ///     }
    ///     assert_eq!(next, left);
    ///     next = next.or(Some("second"));
    /// }
    /// assert_eq!(receiver.recv(), Ok("first"));
    /// ```
    pub fn arm_from<'a>(&'a self, message: &'a mut Option<T>) -> SendArm<'a, T> {
        SendArm::at_home(self, message)
    }

    /// A send of the message that the closure makes, as one of the alternatives of a [`Select`]. The closure
    /// is called when there is room or a receiver for the message, and at most once; see [`SendWithArm`].
    ///
    /// ```
    /// use sward::channel::{Select, bounded};
    ///
    /// let (sender, receiver) = bounded(1);
    /// let mut made = 0;
    /// for _ in 0..3 {
    ///     let mut arm = sender.arm_with(|| {
    ///         made += 1;
    ///         made
    ///     });
    ///     let mut select = Select::new();
    ///     select.send_with(&mut arm);
    ///     if select.poll().is_some() {
    ///         arm.finish().unwrap();
    ///     }
    /// }
    /// assert_eq!((receiver.recv(), made), (Ok(1), 1));
    /// ```
    pub fn arm_with<'a, F: FnOnce() -> T + 'a>(&'a self, make: F) -> SendWithArm<'a, T, F> {
        SendWithArm::new(self, make)
    }

    /// Whether there is no message in the channel.
    pub fn is_empty(&self) -> bool {
        self.chan.len() == 0
    }

    /// Whether there is no room in the channel; always, with capacity zero.
    pub fn is_full(&self) -> bool {
        self.chan.len() >= self.chan.capacity()
    }

    /// How many messages there are in the channel.
    pub fn len(&self) -> usize {
        self.chan.len()
    }

    /// How many messages there is room for; `None` for no limit.
    pub fn capacity(&self) -> Option<usize> {
        self.chan.limit()
    }

    /// Whether all receivers are gone, so that a send would fail.
    pub fn is_closed(&self) -> bool {
        self.chan.is_closed()
    }

    /// Whether both are senders of one channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.chan.is(&other.chan)
    }
}

impl<T> Receiver<T> {
    /// Waits for a message. Parks until there is one.
    ///
    /// # Errors
    ///
    /// The channel is empty, and all senders are gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_until(WaitLimit::Endless, |_| RecvError)
    }

    /// Takes a message if there is one. Does not park, but counts against the
    /// [budget](crate::task#fairness).
    ///
    /// # Errors
    ///
    /// The channel is empty; or, in addition, all senders are gone.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.recv_until(WaitLimit::None, |error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// Waits for a message for that long at most. Parks until then.
    ///
    /// # Errors
    ///
    /// The time is over; or the channel is empty, and all senders are gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(WaitLimit::after(timeout), |error| error)
    }

    /// Waits for a message until that time at most. Parks until then.
    ///
    /// # Errors
    ///
    /// The time is over; or the channel is empty, and all senders are gone.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(WaitLimit::Until(deadline), |error| error)
    }

    #[inline]
    fn recv_until<E>(&self, limit: WaitLimit, fail: impl FnOnce(RecvTimeoutError) -> E) -> Result<T, E> {
        let Flavor::Chan(chan) = &self.flavor else { return self.recv_timed(limit, fail) };
        if const { is_large::<T>() } {
            match recv_from(chan.large(), limit) {
                Ok(boxed) => Ok(boxed.into_inner()),
                Err(error) => Err(fail(error)),
            }
        } else {
            recv_from(chan.small(), limit).map_err(fail)
        }
    }

    /// For iterators: as `recv` or `try_recv`, without the error.
    fn recv_some(&self, limit: WaitLimit) -> Option<T> {
        let Flavor::Chan(chan) = &self.flavor else { return self.some_timed(limit) };
        if const { is_large::<T>() } {
            let boxed = recv_from(chan.large(), limit).ok()?;
            Some(boxed.into_inner())
        } else {
            recv_from(chan.small(), limit).ok()
        }
    }

    #[cold]
    fn some_timed(&self, limit: WaitLimit) -> Option<T> {
        self.recv_timed(limit, |_| ()).ok()
    }

    // Apart, so that its frame is not part of those of `recv` and the like.
    #[cold]
    #[inline(never)]
    fn recv_timed<E>(&self, limit: WaitLimit, fail: impl FnOnce(RecvTimeoutError) -> E) -> Result<T, E> {
        let mut arm = self.arm();
        match select(&mut [Some(arm.any())], WaitReason::Recv, limit, Order::Given) {
            Some(_) => arm.finish().map_err(|_| fail(RecvTimeoutError::Disconnected)),
            None => Err(fail(RecvTimeoutError::Timeout)),
        }
    }

    /// A receive as one of the alternatives of a [`Select`].
    pub fn arm(&self) -> RecvArm<'_, T> {
        RecvArm::new(self)
    }

    /// Whether there is no message in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room in the channel; always, with capacity zero.
    pub fn is_full(&self) -> bool {
        match &self.flavor {
            Flavor::Chan(chan) => chan.len() >= chan.capacity(),
            Flavor::Timed(_) => !self.is_empty(),
            Flavor::Never => true,
        }
    }

    /// How many messages there are in the channel.
    pub fn len(&self) -> usize {
        match &self.flavor {
            Flavor::Chan(chan) => chan.len(),
            Flavor::Timed(timed) => timed.due().is_some_and(|at| at <= Instant::now()).into(),
            Flavor::Never => 0,
        }
    }

    /// How many messages there is room for; `None` for no limit.
    pub fn capacity(&self) -> Option<usize> {
        match &self.flavor {
            Flavor::Chan(chan) => chan.limit(),
            Flavor::Timed(_) => Some(1),
            Flavor::Never => Some(0),
        }
    }

    /// Whether both are receivers of one channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        match (&self.flavor, &other.flavor) {
            (Flavor::Chan(a), Flavor::Chan(b)) => a.is(b),
            (Flavor::Timed(a), Flavor::Timed(b)) => Arc::ptr_eq(a, b),
            (Flavor::Never, Flavor::Never) => true,
            _ => false,
        }
    }
}

#[inline]
fn send_until<M>(chan: &Chan<M>, message: M, limit: WaitLimit) -> Result<(), SendTimeoutError<M>> {
    if !matches!(limit, WaitLimit::None) {
        sched::consume_budget();
        if chan.says(Note::Senders) {
            return send_slow(chan, message, limit);
        }
    }
    match attempt_send(chan, message) {
        Ok(()) => Ok(()),
        Err((Blocked::Disconnected, message)) => Err(SendTimeoutError::Disconnected(message)),
        Err((Blocked::Waits, message)) => send_slow(chan, message, limit),
    }
}

#[inline]
fn attempt_send<M>(chan: &Chan<M>, message: M) -> Result<(), (Blocked, M)> {
    let mut batch = Batch::new();
    let sent = chan.try_send(message, &mut batch);
    batch.wake();
    sent
}

#[cold]
fn send_slow<M>(chan: &Chan<M>, mut message: M, limit: WaitLimit) -> Result<(), SendTimeoutError<M>> {
    if matches!(limit, WaitLimit::None) {
        return Err(SendTimeoutError::Timeout(message));
    }
    loop {
        let slot = Slot::new(Some(message));
        // SAFETY: the slot is this frame's, which stays until the place is off the list.
        let enlist = |place: &_| unsafe { chan.enlist_sender(place) };
        let leave = |place: &_| _ = chan.leave_senders(place);
        let how = Wait {
            reason: WaitReason::Send,
            deadline: limit.deadline(),
            cancel: Cancel::Obey,
            payload: slot.offer(),
        };
        match sched::wait_at(how, enlist, leave) {
            Ended::Handed => return Ok(()),
            Ended::NotListed | Ended::Woken => {}
            Ended::Timeout => return Err(SendTimeoutError::Timeout(slot.into_message())),
            Ended::Cancelled => {
                drop(slot);
                sched::unwind_cancelled();
            }
        }
        match attempt_send(chan, slot.into_message()) {
            Ok(()) => return Ok(()),
            Err((Blocked::Disconnected, message)) => return Err(SendTimeoutError::Disconnected(message)),
            Err((Blocked::Waits, back)) => message = back,
        }
    }
}

/// The error of a send whose receivers are gone.
#[cold]
fn refused<T>(boxed: LargeBox<T>) -> Result<(), SendError<T>> {
    Err(SendError(boxed.into_inner()))
}

/// The error of a `try_send`.
#[cold]
fn not_now<T>(error: SendTimeoutError<LargeBox<T>>) -> Result<(), TrySendError<T>> {
    match error {
        SendTimeoutError::Timeout(boxed) => Err(TrySendError::Full(boxed.into_inner())),
        SendTimeoutError::Disconnected(boxed) => Err(TrySendError::Disconnected(boxed.into_inner())),
    }
}

/// The error of a send with a time limit.
#[cold]
fn not_in_time<T>(error: SendTimeoutError<LargeBox<T>>) -> Result<(), SendTimeoutError<T>> {
    match error {
        SendTimeoutError::Timeout(boxed) => Err(SendTimeoutError::Timeout(boxed.into_inner())),
        SendTimeoutError::Disconnected(boxed) => Err(SendTimeoutError::Disconnected(boxed.into_inner())),
    }
}

#[inline]
fn recv_from<M>(chan: &Chan<M>, limit: WaitLimit) -> Result<M, RecvTimeoutError> {
    sched::consume_budget();
    if chan.says(Note::Receivers) && !matches!(limit, WaitLimit::None) {
        return recv_slow(chan, limit);
    }
    match attempt(chan) {
        Ok(message) => Ok(message),
        Err(Blocked::Disconnected) => Err(RecvTimeoutError::Disconnected),
        Err(Blocked::Waits) => recv_slow(chan, limit),
    }
}

#[inline]
fn attempt<T>(chan: &Chan<T>) -> Result<T, Blocked> {
    let mut batch = Batch::new();
    let received = chan.try_recv(&mut batch);
    batch.wake();
    received
}

#[cold]
fn recv_slow<T>(chan: &Chan<T>, limit: WaitLimit) -> Result<T, RecvTimeoutError> {
    if matches!(limit, WaitLimit::None) {
        return Err(RecvTimeoutError::Timeout);
    }
    loop {
        let slot = Slot::new(None);
        // SAFETY: the slot is this frame's, which stays until the place is off the list.
        let enlist = |place: &_| unsafe { chan.enlist_receiver(place) };
        let leave = |place: &_| _ = chan.leave_receivers(place);
        let how = Wait {
            reason: WaitReason::Recv,
            deadline: limit.deadline(),
            cancel: Cancel::Obey,
            payload: slot.offer(),
        };
        match sched::wait_at(how, enlist, leave) {
            Ended::Handed => return Ok(slot.into_message()),
            Ended::NotListed | Ended::Woken => {}
            Ended::Timeout => return Err(RecvTimeoutError::Timeout),
            Ended::Cancelled => sched::unwind_cancelled(),
        }
        match attempt(chan) {
            Ok(message) => return Ok(message),
            Err(Blocked::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(Blocked::Waits) => {}
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.chan.add_sender();
        Sender { chan: self.chan.share() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut batch = Batch::new();
        self.chan.drop_sender(&mut batch);
        batch.wake();
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let flavor = match &self.flavor {
            Flavor::Chan(chan) => {
                chan.add_receiver();
                Flavor::Chan(chan.share())
            }
            Flavor::Timed(timed) => Flavor::Timed(Arc::clone(timed)),
            Flavor::Never => Flavor::Never,
        };
        Receiver { flavor }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if let Flavor::Chan(chan) = &self.flavor {
            chan.drop_receiver(Batch::wake);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}

// No code of a user runs under the lock, so a panic leaves a channel as it should be.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}
