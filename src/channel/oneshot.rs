//! A channel for one message: an answer, a result.
//!
//! ```
//! sward::run(|| {
//!     let (answer, question) = sward::channel::oneshot::channel();
//!     sward::spawn(move || answer.send(42));
//!     assert_eq!(question.recv(), Ok(42));
//! });
//! ```

use super::{RecvArm, RecvError, RecvTimeoutError, TryRecvError};
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::select::WaitLimit;
use std::time::{Duration, Instant};

/// A channel for one message. Sending does not wait.
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
            match super::send_until(self.0.chan.large(), large_box!(message), WaitLimit::None) {
                Ok(()) => Ok(()),
                Err(error) => given_back(error.into_inner()),
            }
        } else {
            self.0.try_send(message).map_err(super::TrySendError::into_inner)
        }
    }

    /// Whether the receiver is gone, so that nobody wants the message any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// The error of a send whose receiver is gone.
#[cold]
fn given_back<T>(boxed: LargeBox<T>) -> Result<(), T> {
    Err(boxed.into_inner())
}

impl<T> Receiver<T> {
    /// Waits for the message. Parks until it is there.
    ///
    /// # Errors
    ///
    /// The sender is gone and has sent nothing, or the message was received before.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.0.recv()
    }

    /// Takes the message if it is there.
    ///
    /// # Errors
    ///
    /// It is not there yet; or it will never be.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    /// Waits for the message for that long at most. Parks until it is there.
    ///
    /// # Errors
    ///
    /// The time is over; or it will never be there.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.0.recv_timeout(timeout)
    }

    /// Waits for the message until then at most. Parks until it is there.
    ///
    /// # Errors
    ///
    /// The time is over; or it will never be there.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.0.recv_deadline(deadline)
    }

    /// The receive as one of the alternatives of a [`select!`](crate::select!), as `recv(receiver)`.
    pub fn arm(&self) -> RecvArm<'_, T> {
        self.0.arm()
    }
}
