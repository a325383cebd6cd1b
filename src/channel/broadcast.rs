//! A channel whose every message goes to every receiver.
//!
//! It keeps a limited number of messages, its capacity. A sender never waits. A receiver that falls behind by
//! more than the capacity misses the oldest messages: its next receive returns how many.
//!
//! [`select!`](crate::select!) takes these receivers, too.
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
use super::topic::{Follower, Published, TakeArm, Topic, take_async, take_until};
use crate::base::clock;
use crate::coroutine::{WaitReason, drop_each};
use crate::sched;
use crate::select::{AnyArm, Select};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, next: AtomicU64::new(0) })
}

pub(super) struct State<T> {
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
    /// The number of its next message. Read and changed under the lock of the topic by all who share this.
    next: AtomicU64,
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
        Receiver { shared: Arc::clone(&self.shared), next: AtomicU64::new(published.state.end) }
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
        self.take().unwrap_or(Err(RecvError::Empty)).map(Arc::unwrap_or_clone)
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
        take_async(self).await.map(Arc::unwrap_or_clone)
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<T, RecvError> {
        let received = take_until(self, WaitReason::Broadcast, deadline).unwrap_or(Err(RecvError::Empty));
        received.map(Arc::unwrap_or_clone)
    }

    /// A receive as an alternative of a [`Select`]. [`select!`](crate::select!) makes one by itself. Of
    /// several arms of one receiver, one gets the next message. Does not park.
    ///
    /// ```
    /// use sward::channel::{broadcast, unbounded};
    ///
    /// let (news, receiver) = broadcast::channel(16);
    /// let (_sender, requests) = unbounded::<u32>();
    /// news.send("to all").unwrap();
    /// sward::select! {
    ///     recv(requests) -> _ => unreachable!(),
    ///     recv(receiver) -> message => assert_eq!(message, Ok("to all")),
    /// }
    /// ```
    pub fn arm(&self) -> RecvArm<'_, T> {
        RecvArm(TakeArm::new(self))
    }

    /// How many messages there are for this receiver, including messages that it has missed.
    pub fn len(&self) -> u64 {
        let published = self.shared.topic.lock();
        published.state.end - self.next.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A receive as one of the alternatives of a [`Select`]. Made by [`Receiver::arm`].
///
/// An arm that has completed keeps its message until [`finish`](Self::finish), and receives no other one.
pub struct RecvArm<'a, T>(TakeArm<'a, Receiver<T>>);

impl<T: Clone> RecvArm<'_, T> {
    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm::new(&mut self.0)
    }

    /// What was received. For an arm that has completed. Does not park.
    ///
    /// # Errors
    ///
    /// `Lagged` if messages were missed, `Closed` if there will be none.
    ///
    /// # Panics
    ///
    /// If the arm has not completed.
    pub fn finish(self) -> Result<T, RecvError> {
        self.0.finish().map(Arc::unwrap_or_clone)
    }
}

impl<T> Follower for Receiver<T> {
    type State = State<T>;
    type Taken = Result<Arc<T>, RecvError>;

    fn topic(&self) -> &Topic<State<T>> {
        &self.shared.topic
    }

    fn is_new(&self, state: &State<T>) -> bool {
        state.end != self.next.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<Result<Arc<T>, RecvError>> {
        let published = self.shared.topic.lock();
        let state = &published.state;
        let next = self.next.load(Ordering::Relaxed);
        let Some(behind) = state.end.checked_sub(next).filter(|&behind| behind > 0) else {
            return published.closed.then_some(Err(RecvError::Closed));
        };
        let kept = state.kept.len() as u64;
        if behind > kept {
            self.next.store(state.end - kept, Ordering::Relaxed);
            return Some(Err(RecvError::Lagged(behind - kept)));
        }
        self.next.store(next + 1, Ordering::Relaxed);
        Some(Ok(Arc::clone(&state.kept[(kept - behind) as usize])))
    }
}

impl<'a> Select<'a> {
    /// Adds a receive from a [`broadcast`](self) channel, and returns its number. Numbers count from zero, in
    /// the order of adding.
    pub fn recv_broadcast<T: Clone>(&mut self, arm: &'a mut RecvArm<'_, T>) -> usize {
        self.add(arm.any())
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
        let mut published = self.shared.topic.lock();
        published.state.receivers += 1;
        let next = AtomicU64::new(self.next.load(Ordering::Relaxed));
        Receiver { shared: Arc::clone(&self.shared), next }
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
