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
use crate::base::sync::ListLock;
use crate::coroutine::{Batch, WaitList, WaitReason};
use crate::sched::{self, Cancel, Woken};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A channel that keeps the last so many messages, with its sender and a first receiver.
///
/// # Panics
///
/// If the capacity is zero.
pub fn channel<T: Clone>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast channel keeps at least one message");
    let state =
        State { kept: VecDeque::new(), end: 0, receivers: 1, closed: false, waiting: WaitList::new() };
    let shared = Arc::new(Shared { state: ListLock::new(state), capacity, senders: AtomicUsize::new(1) });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, next: 0 })
}

struct State<T> {
    /// The last messages, numbered up to `end`.
    kept: VecDeque<Arc<T>>,
    end: u64,
    receivers: usize,
    /// Whether all senders are gone.
    closed: bool,
    waiting: WaitList,
}

struct Shared<T> {
    state: ListLock<State<T>>,
    capacity: usize,
    senders: AtomicUsize,
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
        let mut batch = Batch::new();
        let message = Arc::new(message);
        let mut state = self.shared.state.lock();
        let receivers = state.receivers;
        if receivers == 0 {
            drop(state);
            return Err(SendError(Arc::unwrap_or_clone(message)));
        }
        let oldest = if state.kept.len() == self.shared.capacity { state.kept.pop_front() } else { None };
        state.kept.push_back(message);
        state.end += 1;
        state.waiting.disturb_all(&mut batch);
        drop(state);
        sched::wake_all(&mut batch);
        // Without the lock, since its destructor runs.
        drop(oldest);
        Ok(receivers)
    }

    /// A further receiver, which gets what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        let mut state = self.shared.state.lock();
        state.receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), next: state.end }
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.state.lock().receivers
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
        sched::spend();
        let state = self.shared.state.lock();
        let Some(behind) = state.end.checked_sub(self.next).filter(|&behind| behind > 0) else {
            return Err(if state.closed { RecvError::Closed } else { RecvError::Empty });
        };
        let kept = state.kept.len() as u64;
        if behind > kept {
            self.next = state.end - kept;
            return Err(RecvError::Lagged(behind - kept));
        }
        let message = Arc::clone(&state.kept[(kept - behind) as usize]);
        self.next += 1;
        drop(state);
        Ok(Arc::unwrap_or_clone(message))
    }

    fn recv_until(&mut self, deadline: Option<Instant>) -> Result<T, RecvError> {
        loop {
            match self.try_recv() {
                Err(RecvError::Empty) => {}
                other => return other,
            }
            let next = self.next;
            let (woken, _) = sched::wait_in(
                &self.shared.state,
                WaitReason::Broadcast,
                deadline,
                Cancel::Obey,
                0,
                |state, place| {
                    let news = state.end != next || state.closed;
                    if !news {
                        // SAFETY: `wait_in` keeps the place until it was told or has left.
                        unsafe { state.waiting.push_back(place) };
                    }
                    !news
                },
                |state, place, _| _ = state.waiting.remove(place),
            );
            match woken {
                Woken::Event => {}
                Woken::Timeout => return Err(RecvError::Empty),
                Woken::Cancelled => sched::raise(),
            }
        }
    }

    /// How many messages there are for this receiver, those included that it has missed.
    pub fn len(&self) -> u64 {
        self.shared.state.lock().end - self.next
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut batch = Batch::new();
            let mut state = self.shared.state.lock();
            state.closed = true;
            state.waiting.disturb_all(&mut batch);
            drop(state);
            sched::wake_all(&mut batch);
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.state.lock().receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), next: self.next }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.receivers -= 1;
        // With nobody to get them, messages need not be kept.
        let kept = if state.receivers == 0 { std::mem::take(&mut state.kept) } else { VecDeque::new() };
        drop(state);
        drop(kept);
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
