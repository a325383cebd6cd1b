//! A channel for one message: an answer, a result.
//!
//! ```
//! sward::run(|| {
//!     let (answer, question) = sward::channel::oneshot::channel();
//!     sward::spawn(move || answer.send(42));
//!     assert_eq!(question.recv(), Ok(42));
//! });
//! ```

use super::sender::send_until;
use super::{RecvArm, RecvError, RecvTimeoutError, TryRecvError};
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::select::WaitLimit;
use std::time::{Duration, Instant};

/// A channel for one message. Sending it does not wait.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = super::bounded(1);
    (Sender(sender), Receiver(receiver))
}

/// Sends the one message.
#[derive(Debug)]
pub struct Sender<T>(super::Sender<T>);

/// Receives the one message.
#[derive(Debug)]
pub struct Receiver<T>(super::Receiver<T>);

impl<T> Sender<T> {
    /// Sends the message. Does not park.
    ///
    /// # Errors
    ///
    /// The receiver is gone; the error is the message.
    pub fn send(self, message: T) -> Result<(), T> {
        if const { is_large::<T>() } {
            match send_until(self.0.chan.large(), large_box!(message), WaitLimit::None) {
                Ok(()) => Ok(()),
                Err(error) => send_error(error.into_inner()),
            }
        } else {
            self.0.try_send(message).map_err(super::TrySendError::into_inner)
        }
    }

    /// Whether the receiver is gone, so that a send would fail.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// The error of a send whose receiver is gone.
#[cold]
fn send_error<T>(boxed: LargeBox<T>) -> Result<(), T> {
    Err(boxed.into_inner())
}

impl<T> Receiver<T> {
    /// Waits for the message. Parks until there is one. A cancelled coroutine unwinds out of it.
    ///
    /// # Errors
    ///
    /// The sender is gone and has sent nothing, or the message was received before.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv()
    }

    /// As [`recv`](Self::recv), as a future: see [`Receiver::recv_async`](super::Receiver::recv_async).
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// ```
    /// let (answer, question) = sward::channel::oneshot::channel();
    /// sward::spawn(move || answer.send(42));
    /// assert_eq!(sward::block_on(question.recv_async()), Ok(42));
    /// ```
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        self.0.recv_async().await
    }

    /// Takes the message if there is one. Does not park, but counts against the
    /// [budget](crate::task#fairness).
    ///
    /// # Errors
    ///
    /// There is no message yet; or there will never be one.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    /// As [`recv`](Self::recv), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// The time is over; or there will never be a message.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }

    /// As [`recv`](Self::recv), but waits no longer than until `deadline`.
    ///
    /// # Errors
    ///
    /// The time is over; or there will never be a message.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.0.recv_deadline(deadline)
    }

    /// The receive as one of the alternatives of a [`select!`](crate::select!), as `recv(receiver)`.
    pub fn arm(&self) -> RecvArm<'_, T> {
        self.0.arm()
    }
}
