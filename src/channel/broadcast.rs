//! A channel whose every message goes to every receiver.
//!
//! It keeps a limited number of messages, its capacity. A sender never waits. A receiver that falls behind by
//! more than the capacity misses the oldest messages: its next receive returns how many.
//!
//! `select!` does not take these receivers. To receive beside other things, let a coroutine receive, and send
//! to a [`bounded`](super::bounded) channel that `select!` takes.
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
use super::topic::{Published, Topic};
use crate::base::clock;
use crate::coroutine::{WaitReason, drop_each};
use crate::runtime::polled::let_others_go_first;
use crate::sched;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A channel that keeps the last `capacity` messages, with its sender and a first receiver.
///
/// # Panics
///
/// If the capacity is zero.
pub fn channel<T: Clone>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast channel keeps at least one message");
    let topic = Topic::new(State { kept: VecDeque::new(), end: 0, receivers: 1 });
    let shared = Arc::new(Shared { topic, capacity });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, next: 0 })
}

struct State<T> {
    /// The last messages. Their numbers end before `end`.
    kept: VecDeque<Arc<T>>,
    end: u64,
    receivers: usize,
}

struct Shared<T> {
    topic: Topic<State<T>>,
    capacity: usize,
}

/// Sends to all receivers. Clones are further senders.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Receives every message that is sent after it was made. A clone continues at the next message of the
/// original.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The number of its next message.
    next: u64,
}

/// Why a receive returned no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// All senders are gone, and all that they sent was received.
    Closed,
    /// The receiver missed that many messages. The next receive returns the oldest message that is kept.
    Lagged(u64),
    /// There is no message now, or there was none in time.
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
    /// Sends a message to all receivers, and returns their number. Does not park.
    ///
    /// # Errors
    ///
    /// There are no receivers; the error holds the message.
    pub fn send(&self, message: T) -> Result<usize, SendError<T>> {
        let mut message = Some(Arc::new(message));
        // Returns the oldest message too, so that its destructor runs without the lock.
        let sent = self.shared.topic.publish(|Published { state, .. }| {
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
                let message = message.expect("it was not sent");
                Err(SendError(Arc::unwrap_or_clone(message)))
            }
        }
    }

    /// Another receiver, which receives what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        let mut published = self.shared.topic.lock();
        published.state.receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), next: published.state.end }
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.topic.lock().state.receivers
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

    /// As [`recv`](Self::recv), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and `Empty` once the time is over.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_until(clock::now().checked_add(timeout))
    }

    /// Takes the next message if there is one. Does not park, but counts against the
    /// [budget](crate::task#fairness).
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and `Empty` if there is none now.
    pub fn try_recv(&mut self) -> Result<T, RecvError> {
        sched::consume_budget();
        self.take()
    }

    /// As [`recv`](Self::recv), as a future, for code on any executor. Does not park, and needs no runtime.
    /// The waker is called where the message is sent. Dropping the future loses no message.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    ///
    /// ```
    /// let (sender, mut receiver) = sward::channel::broadcast::channel(4);
    /// sward::spawn(move || sender.send("to all"));
    /// assert_eq!(sward::block_on(receiver.recv_async()), Ok("to all"));
    /// ```
    pub async fn recv_async(&mut self) -> Result<T, RecvError> {
        let_others_go_first().await;
        loop {
            match self.take() {
                Err(RecvError::Empty) => {}
                other => return other,
            }
            let next = self.next;
            self.shared.topic.changed(|state| state.end != next).await;
        }
    }

    fn take(&mut self) -> Result<T, RecvError> {
        let published = self.shared.topic.lock();
        let state = &published.state;
        let Some(behind) = state.end.checked_sub(self.next).filter(|&behind| behind > 0) else {
            return Err(if published.closed { RecvError::Closed } else { RecvError::Empty });
        };
        let kept = state.kept.len() as u64;
        if behind > kept {
            self.next = state.end - kept;
            return Err(RecvError::Lagged(behind - kept));
        }
        let message = Arc::clone(&state.kept[(kept - behind) as usize]);
        self.next += 1;
        drop(published);
        Ok(Arc::unwrap_or_clone(message))
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<T, RecvError> {
        loop {
            match self.try_recv() {
                Err(RecvError::Empty) => {}
                other => return other,
            }
            let next = self.next;
            let is_new = |state: &State<T>| state.end != next;
            if !self.shared.topic.wait(WaitReason::Broadcast, deadline, is_new) {
                return Err(RecvError::Empty);
            }
        }
    }

    /// How many messages there are for this receiver, including messages that it has missed.
    pub fn len(&self) -> u64 {
        self.shared.topic.lock().state.end - self.next
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.topic.add_sender();
        Sender { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.topic.drop_sender();
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.topic.lock().state.receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), next: self.next }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut published = self.shared.topic.lock();
        published.state.receivers -= 1;
        // Without receivers, no message need be kept.
        let last = published.state.receivers == 0;
        let mut kept = if last { std::mem::take(&mut published.state.kept) } else { VecDeque::new() };
        drop(published);
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
