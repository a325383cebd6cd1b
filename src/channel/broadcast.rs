//! A channel whose every message goes to every receiver.
//!
//! It keeps the last so many messages. A sender never waits: a receiver that falls behind further than that
//! misses the oldest, and is told how many.
//!
//! ```
//! use sward::channel::broadcast;
//!
//! sward::run(|| {
//!     let (sender, mut one) = broadcast::channel(16);
//!     let mut other = sender.subscribe();
//!     sender.send("to all").unwrap();
//!     assert_eq!(one.recv(), Ok("to all"));
//!     assert_eq!(other.recv(), Ok("to all"));
//! });
//! ```

use super::SendError;
use super::audience::{Audience, Told};
use crate::coroutine::{WaitReason, drop_each};
use crate::sched;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A channel that keeps the last so many messages, with its sender and a first receiver.
///
/// # Panics
///
/// If the capacity is zero.
pub fn channel<T: Clone>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast channel keeps at least one message");
    let audience = Audience::new(State { kept: VecDeque::new(), end: 0, receivers: 1 });
    let shared = Arc::new(Shared { audience, capacity });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, next: 0 })
}

struct State<T> {
    /// The last messages, numbered up to `end`.
    kept: VecDeque<Arc<T>>,
    end: u64,
    receivers: usize,
}

struct Shared<T> {
    audience: Audience<State<T>>,
    capacity: usize,
}

/// Sends to all receivers. Clones are further senders.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Receives every message from its making on. A clone goes on from where the original is.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The number of its next message.
    next: u64,
}

/// There is no message to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// All senders are gone, and all that they sent was received.
    Closed,
    /// So many messages were sent and not kept; the next receive gets the oldest one that is.
    Lagged(u64),
    /// There is none now, or none in time.
    Empty,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Closed => f.write_str("all senders are gone"),
            RecvError::Lagged(missed) => write!(f, "the receiver fell behind and missed {missed} messages"),
            RecvError::Empty => f.write_str("there is no message"),
        }
    }
}

impl Error for RecvError {}

impl<T: Clone> Sender<T> {
    /// Sends a message to all receivers, and gives their number. Does not park.
    ///
    /// # Errors
    ///
    /// There are no receivers; the error holds the message.
    pub fn send(&self, message: T) -> Result<usize, SendError<T>> {
        let mut message = Some(Arc::new(message));
        // Gives the oldest away too, so that its destructor runs without the lock.
        let sent = self.shared.audience.change(|Told { state, .. }| {
            if state.receivers == 0 {
                return None;
            }
            let oldest = if state.kept.len() == self.shared.capacity { state.kept.pop_front() } else { None };
            state.kept.extend(message.take());
            state.end += 1;
            Some((state.receivers, oldest))
        });
        match (sent, message) {
            (Some((receivers, _oldest)), _) => Ok(receivers),
            (None, message) => {
                let message = message.expect("nobody took it");
                Err(SendError(Arc::unwrap_or_clone(message)))
            }
        }
    }

    /// A further receiver, which gets what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        let mut told = self.shared.audience.lock();
        told.state.receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), next: told.state.end }
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.audience.lock().state.receivers
    }
}

impl<T: Clone> Receiver<T> {
    /// Waits for the next message. Parks until there is one. A cancelled coroutine unwinds out of it.
    ///
    /// # Errors
    ///
    /// `Lagged` if messages were missed, `Closed` if there will be none.
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.recv_until(None)
    }

    /// As [`recv`](Self::recv), for that long at most.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv); `Empty` once the time is over.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_until(Instant::now().checked_add(timeout))
    }

    /// Takes the next message if there is one. Does not park, but counts against the
    /// [budget](crate::task#fairness).
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv); `Empty` if there is none now.
    pub fn try_recv(&mut self) -> Result<T, RecvError> {
        sched::consume_budget();
        let told = self.shared.audience.lock();
        let state = &told.state;
        let Some(behind) = state.end.checked_sub(self.next).filter(|&behind| behind > 0) else {
            return Err(if told.closed { RecvError::Closed } else { RecvError::Empty });
        };
        let kept = state.kept.len() as u64;
        if behind > kept {
            self.next = state.end - kept;
            return Err(RecvError::Lagged(behind - kept));
        }
        let message = Arc::clone(&state.kept[(kept - behind) as usize]);
        self.next += 1;
        drop(told);
        Ok(Arc::unwrap_or_clone(message))
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<T, RecvError> {
        loop {
            match self.try_recv() {
                Err(RecvError::Empty) => {}
                other => return other,
            }
            let next = self.next;
            let is_news = |state: &State<T>| state.end != next;
            if !self.shared.audience.wait(WaitReason::Broadcast, deadline, is_news) {
                return Err(RecvError::Empty);
            }
        }
    }

    /// How many messages there are for this receiver, those included that it has missed.
    pub fn len(&self) -> u64 {
        self.shared.audience.lock().state.end - self.next
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.audience.add_sender();
        Sender { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.audience.drop_sender();
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.audience.lock().state.receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), next: self.next }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut told = self.shared.audience.lock();
        told.state.receivers -= 1;
        // With nobody to get them, messages need not be kept.
        let last = told.state.receivers == 0;
        let mut kept = if last { std::mem::take(&mut told.state.kept) } else { VecDeque::new() };
        drop(told);
        drop_each(|| kept.pop_front());
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broadcast::Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broadcast::Receiver { .. }")
    }
}
