//! The sending side of a channel.

use super::chan::{Chan, MessageCell, Refused, Side};
use super::error::{SendError, SendTimeoutError, TrySendError};
use super::send_arm::{SendArm, SendWithArm};
use super::shared::Shared;
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::coroutine::{Batch, WaitReason, Why};
use crate::runtime::polled::{ArmFuture, Waits};
use crate::sched::{self, Cancel, Ended, Wait};
use crate::select::WaitLimit;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// The sending side of a channel. Clones are further senders.
pub struct Sender<T> {
    pub(super) chan: Shared<T>,
}

impl<T> Sender<T> {
    /// The first sender.
    pub(super) fn new(chan: Shared<T>) -> Sender<T> {
        Sender { chan }
    }

    /// Sends the message as soon as there is room or a receiver for it. Parks until then. A cancelled
    /// coroutine unwinds out of it, and the message is dropped.
    ///
    /// # Errors
    ///
    /// All receivers are gone; the error holds the message.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        if const { is_large::<T>() } {
            match send_until(self.chan.large(), large_box!(message), WaitLimit::Endless) {
                Ok(()) => Ok(()),
                Err(error) => send_error(error.into_inner()),
            }
        } else {
            send_until(self.chan.small(), message, WaitLimit::Endless)
                .map_err(|error| SendError(error.into_inner()))
        }
    }

    /// As [`send`](Self::send), as a future, for code on any executor. Does not park, and needs no runtime.
    /// The waker is called where the message is received, so it must not block.
    ///
    /// If the future is dropped, the message was sent, or it is dropped as well.
    ///
    /// # Errors
    ///
    /// All receivers are gone; the error holds the message.
    ///
    /// ```
    /// let (sender, receiver) = sward::channel::bounded(0);
    /// let receives = sward::spawn(move || receiver.recv());
    /// assert_eq!(sward::block_on(sender.send_async(7)), Ok(()));
    /// assert_eq!(receives.join().unwrap(), Ok(7));
    /// ```
    pub async fn send_async(&self, message: T) -> Result<(), SendError<T>> {
        // SAFETY: the arm holds the message at most, and refers to the channel.
        let arm = unsafe { ArmFuture::<_, T>::new(self.arm(message), Waits::Offering) };
        arm.await.finish()
    }

    /// Sends the message if that is possible without waiting. Does not park.
    ///
    /// # Errors
    ///
    /// There is no room (with capacity zero: no receiver waits), or all receivers are gone; the error holds
    /// the message.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        if const { is_large::<T>() } {
            match send_until(self.chan.large(), large_box!(message), WaitLimit::None) {
                Ok(()) => Ok(()),
                Err(error) => try_send_error(error),
            }
        } else {
            send_until(self.chan.small(), message, WaitLimit::None).map_err(|error| match error {
                SendTimeoutError::Timeout(message) => TrySendError::Full(message),
                SendTimeoutError::Disconnected(message) => TrySendError::Disconnected(message),
            })
        }
    }

    /// As [`send`](Self::send), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// The time is over, or all receivers are gone; the error holds the message.
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        if const { is_large::<T>() } {
            match send_until(self.chan.large(), large_box!(message), WaitLimit::after(timeout)) {
                Ok(()) => Ok(()),
                Err(error) => send_timeout_error(error),
            }
        } else {
            send_until(self.chan.small(), message, WaitLimit::after(timeout))
        }
    }

    /// As [`send`](Self::send), but waits no longer than until `deadline`.
    ///
    /// # Errors
    ///
    /// The time is over, or all receivers are gone; the error holds the message.
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        if const { is_large::<T>() } {
            match send_until(self.chan.large(), large_box!(message), WaitLimit::Until(deadline)) {
                Ok(()) => Ok(()),
                Err(error) => send_timeout_error(error),
            }
        } else {
            send_until(self.chan.small(), message, WaitLimit::Until(deadline))
        }
    }

    /// A send of that message as one of the alternatives of a [`Select`](crate::select::Select).
    pub fn arm(&self, message: T) -> SendArm<'_, T> {
        SendArm::with_message(&self.chan, message)
    }

    /// As [`arm`](Self::arm). Without a message, the arm never completes.
    pub fn arm_of(&self, message: Option<T>) -> SendArm<'_, T> {
        SendArm::new(&self.chan, message)
    }

    /// As [`arm_of`](Self::arm_of), with the message of that variable. If the message was not sent, dropping
    /// the arm moves it back into the variable, also when the select unwinds.
    ///
    /// ```
    /// use sward::channel::bounded;
    /// use sward::select::Select;
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
        SendArm::from_variable(&self.chan, message)
    }

    /// A send of the message that the closure makes, as one of the alternatives of a
    /// [`Select`](crate::select::Select). The closure is called when there is room or a receiver for the
    /// message, and at most once; see [`SendWithArm`].
    ///
    /// ```
    /// use sward::channel::bounded;
    /// use sward::select::Select;
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
        SendWithArm::new(&self.chan, make)
    }

    /// Whether there is no message in the channel.
    pub fn is_empty(&self) -> bool {
        self.chan.len() == 0
    }

    /// Whether there is no room in the channel. With capacity zero, always.
    pub fn is_full(&self) -> bool {
        self.chan.len() >= self.chan.capacity()
    }

    /// How many messages there are in the channel.
    pub fn len(&self) -> usize {
        self.chan.len()
    }

    /// How many messages the channel has room for; `None` for no limit.
    pub fn capacity(&self) -> Option<usize> {
        self.chan.capacity_limit()
    }

    /// Whether all receivers are gone, so that a send would fail.
    pub fn is_closed(&self) -> bool {
        self.chan.is_closed()
    }

    /// Whether both are senders of one channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.chan.is_same(&other.chan)
    }
}

/// Sends the message within the limit. For messages as the channel holds them: in boxes if they are large.
#[inline]
pub(super) fn send_until<M>(chan: &Chan<M>, message: M, limit: WaitLimit) -> Result<(), SendTimeoutError<M>> {
    if !matches!(limit, WaitLimit::None) {
        sched::consume_budget();
        if chan.seems_blocked(Side::Senders) {
            return send_slow(chan, message, limit);
        }
    }
    match try_send(chan, message) {
        Ok(()) => Ok(()),
        Err((Refused::Disconnected, message)) => Err(SendTimeoutError::Disconnected(message)),
        Err((Refused::WouldBlock, message)) => send_slow(chan, message, limit),
    }
}

/// Sends the message if that is possible without waiting.
#[inline]
fn try_send<M>(chan: &Chan<M>, message: M) -> Result<(), (Refused, M)> {
    let mut batch = Batch::new();
    let sent = chan.try_send(message, &mut batch);
    batch.wake();
    sent
}

/// As [`send_until`], for a message that probably has to wait.
#[cold]
fn send_slow<M>(chan: &Chan<M>, mut message: M, limit: WaitLimit) -> Result<(), SendTimeoutError<M>> {
    if matches!(limit, WaitLimit::None) {
        return Err(SendTimeoutError::Timeout(message));
    }
    loop {
        let cell = MessageCell::new(Some(message));
        // SAFETY: the cell is this frame's, which stays until the node is off the list.
        let enlist = |node: &_| unsafe { chan.enlist_sender(node) };
        let leave = |node: &_| _ = chan.leave_senders(node);
        let how = Wait {
            why: Why::new(WaitReason::Send, chan),
            deadline: limit.deadline(),
            cancel: Cancel::Obey,
            payload: cell.offer(),
        };
        match sched::wait_at(how, enlist, leave) {
            Ended::Handed => return Ok(()),
            Ended::NotListed | Ended::Woken => {}
            Ended::Timeout => return Err(SendTimeoutError::Timeout(cell.into_message())),
            Ended::Cancelled => {
                drop(cell);
                sched::unwind_cancelled();
            }
        }
        match try_send(chan, cell.into_message()) {
            Ok(()) => return Ok(()),
            Err((Refused::Disconnected, message)) => return Err(SendTimeoutError::Disconnected(message)),
            Err((Refused::WouldBlock, back)) => message = back,
        }
    }
}

/// The error of `send`.
#[cold]
fn send_error<T>(boxed: LargeBox<T>) -> Result<(), SendError<T>> {
    Err(SendError(boxed.into_inner()))
}

/// The error of `try_send`.
#[cold]
fn try_send_error<T>(error: SendTimeoutError<LargeBox<T>>) -> Result<(), TrySendError<T>> {
    match error {
        SendTimeoutError::Timeout(boxed) => Err(TrySendError::Full(boxed.into_inner())),
        SendTimeoutError::Disconnected(boxed) => Err(TrySendError::Disconnected(boxed.into_inner())),
    }
}

/// The error of `send_timeout` and `send_deadline`.
#[cold]
fn send_timeout_error<T>(error: SendTimeoutError<LargeBox<T>>) -> Result<(), SendTimeoutError<T>> {
    match error {
        SendTimeoutError::Timeout(boxed) => Err(SendTimeoutError::Timeout(boxed.into_inner())),
        SendTimeoutError::Disconnected(boxed) => Err(SendTimeoutError::Disconnected(boxed.into_inner())),
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

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

// No code of a user runs under the lock, so a panic leaves a channel consistent.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
