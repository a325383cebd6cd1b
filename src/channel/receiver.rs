//! The receiving side of a channel.

use super::chan::{Chan, MessageCell, Refused, Side};
use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::flavor::Flavor;
use super::recv_arm::RecvArm;
use crate::base::clock;
use crate::base::large_box::is_large;
use crate::coroutine::{Batch, WaitReason, Why};
use crate::runtime::polled::{ArmFuture, Waits};
use crate::sched::{self, Cancel, Ended, Wait};
use crate::select::{Order, WaitLimit, select};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The receiving side of a channel. Clones are further receivers: each message goes to one of them.
pub struct Receiver<T> {
    flavor: Flavor<T>,
}

impl<T> Receiver<T> {
    /// The first receiver.
    pub(super) fn new(flavor: Flavor<T>) -> Receiver<T> {
        Receiver { flavor }
    }

    /// Waits for a message. Parks until there is one. A cancelled coroutine unwinds out of it.
    ///
    /// # Errors
    ///
    /// The channel is empty, and all senders are gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_until(WaitLimit::Endless, |_| RecvError)
    }

    /// As [`recv`](Self::recv), as a future, for code on any executor. Does not park, and needs no runtime; a
    /// receiver of [`after`](super::after) or [`tick`](super::tick) uses the timers of the
    /// [default runtime](crate::run) where no worker polls it. The waker is called where the message is sent,
    /// so it must not block.
    ///
    /// Futures, coroutines and threads that receive wait in one queue, and a message wakes its first waiter
    /// alone. Only with capacity zero do futures come after waiters in [`recv`](Self::recv), and a
    /// [`try_send`](super::Sender::try_send) does not serve them; so they make no send ready for a
    /// [`Select::ready`](crate::select::Select::ready).
    ///
    /// Dropping the future loses no message: if it has been woken, the next waiter gets the message. A future
    /// that has been woken should be polled or dropped: until then, or until the next send, the message waits
    /// for it while receivers wait behind it. A later receive takes the message.
    ///
    /// # Errors
    ///
    /// The channel is empty, and all senders are gone.
    ///
    /// ```
    /// let (sender, receiver) = sward::channel::bounded(1);
    /// sward::spawn(move || sender.send("hello").unwrap());
    /// let both = async { (receiver.recv_async().await, receiver.recv_async().await.is_err()) };
    /// assert_eq!(sward::block_on(both), (Ok("hello"), true));
    /// ```
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        // SAFETY: the arm holds a message at most, and refers to the channel.
        let arm = unsafe { ArmFuture::<_, T>::new(self.arm(), Waits::Watching) };
        arm.await.finish()
    }

    /// Takes a message if there is one. Does not park, but counts against the
    /// [budget](crate::task#fairness).
    ///
    /// # Errors
    ///
    /// The channel is empty; or it is empty, and all senders are gone.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.recv_until(WaitLimit::None, |error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// As [`recv`](Self::recv), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// The time is over; or the channel is empty, and all senders are gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(WaitLimit::after(timeout), |error| error)
    }

    /// As [`recv`](Self::recv), but waits no longer than until `deadline`.
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
    pub(super) fn recv_some(&self, limit: WaitLimit) -> Option<T> {
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

    // Never inlined, so that its frame is not part of that of `recv`.
    #[cold]
    #[inline(never)]
    fn recv_timed<E>(&self, limit: WaitLimit, fail: impl FnOnce(RecvTimeoutError) -> E) -> Result<T, E> {
        let mut arm = self.arm();
        match select(&mut [Some(arm.any())], WaitReason::Recv, limit, Order::Given) {
            Some(_) => arm.finish().map_err(|_| fail(RecvTimeoutError::Disconnected)),
            None => Err(fail(RecvTimeoutError::Timeout)),
        }
    }

    /// A receive as one of the alternatives of a [`Select`](crate::select::Select).
    pub fn arm(&self) -> RecvArm<'_, T> {
        RecvArm::new(&self.flavor)
    }

    /// Whether there is no message in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room in the channel. With capacity zero, always.
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
            Flavor::Timed(timed) => timed.due().is_some_and(|at| at <= clock::now()).into(),
            Flavor::Never => 0,
        }
    }

    /// How many messages the channel has room for; `None` for no limit.
    pub fn capacity(&self) -> Option<usize> {
        match &self.flavor {
            Flavor::Chan(chan) => chan.capacity_limit(),
            Flavor::Timed(_) => Some(1),
            Flavor::Never => Some(0),
        }
    }

    /// Whether both are receivers of one channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        match (&self.flavor, &other.flavor) {
            (Flavor::Chan(a), Flavor::Chan(b)) => a.is_same(b),
            (Flavor::Timed(a), Flavor::Timed(b)) => Arc::ptr_eq(a, b),
            (Flavor::Never, Flavor::Never) => true,
            _ => false,
        }
    }
}

/// Receives within the limit. For messages as the channel holds them: in boxes if they are large.
#[inline]
fn recv_from<M>(chan: &Chan<M>, limit: WaitLimit) -> Result<M, RecvTimeoutError> {
    sched::consume_budget();
    if chan.seems_blocked(Side::Receivers) && !matches!(limit, WaitLimit::None) {
        return recv_slow(chan, limit);
    }
    match try_recv(chan) {
        Ok(message) => Ok(message),
        Err(Refused::Disconnected) => Err(RecvTimeoutError::Disconnected),
        Err(Refused::WouldBlock) => recv_slow(chan, limit),
    }
}

/// Receives if that is possible without waiting.
#[inline]
fn try_recv<T>(chan: &Chan<T>) -> Result<T, Refused> {
    let mut batch = Batch::new();
    let received = chan.try_recv(&mut batch);
    batch.wake();
    received
}

/// As [`recv_from`], for a receive that probably has to wait.
#[cold]
fn recv_slow<T>(chan: &Chan<T>, limit: WaitLimit) -> Result<T, RecvTimeoutError> {
    if matches!(limit, WaitLimit::None) {
        return Err(RecvTimeoutError::Timeout);
    }
    loop {
        let cell = MessageCell::new(None);
        // SAFETY: the cell is this frame's, which stays until the node is off the list.
        let enlist = |node: &_| unsafe { chan.enlist_receiver(node) };
        let leave = |node: &_| _ = chan.leave_receivers(node);
        let how = Wait {
            why: Why::new(WaitReason::Recv, chan),
            deadline: limit.deadline(),
            cancel: Cancel::Obey,
            payload: cell.offer(),
        };
        match sched::wait_at(how, enlist, leave) {
            Ended::Handed => return Ok(cell.into_message()),
            Ended::NotListed | Ended::Woken => {}
            Ended::Timeout => return Err(RecvTimeoutError::Timeout),
            Ended::Cancelled => sched::unwind_cancelled(),
        }
        match try_recv(chan) {
            Ok(message) => return Ok(message),
            Err(Refused::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(Refused::WouldBlock) => {}
        }
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

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}

// No code of a user runs under the lock, so a panic leaves a channel consistent.
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}
