//! A value of which only the latest version counts: settings, a state.
//!
//! Every receiver sees the latest value, and is told when there is a new one; versions that
//! come in quick succession may be passed over.
//!
//! ```
//! use sward::channel::watch;
//!
//! sward::run(|| {
//!     let (level, mut watcher) = watch::channel(1);
//!     let follower = sward::spawn(move || {
//!         while *watcher.get() < 3 {
//!             watcher.changed().unwrap();
//!         }
//!     });
//!     level.send(2);
//!     level.send(3);
//!     follower.join().unwrap();
//! });
//! ```

use super::{RecvError, RecvTimeoutError};
use crate::base::sync::ListLock;
use crate::coroutine::{Batch, WaitList, WaitReason};
use crate::sched::{self, Cancel, Woken};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A value to be watched, with its sender and a first receiver, which has seen it.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let state = State { value: Arc::new(value), version: 0, closed: false, waiting: WaitList::new() };
    let shared = Arc::new(Shared {
        state: ListLock::new(state),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, seen: 0 })
}

struct State<T> {
    value: Arc<T>,
    version: u64,
    /// Whether all senders are gone.
    closed: bool,
    waiting: WaitList,
}

struct Shared<T> {
    state: ListLock<State<T>>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// Sets the value. Clones set the same one.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Sees the latest value. A clone has seen what the original has.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Sender<T> {
    /// Sets the value and tells all receivers. Gives the one before. Does not park.
    pub fn send(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        self.change(|_| Some(value)).expect("there was a value")
    }

    /// Sets the value to what the closure makes of the present one. The closure is called again if
    /// another sender was faster. Does not park.
    pub fn send_modify(&self, mut modify: impl FnMut(&T) -> T) {
        loop {
            let before = self.get();
            // What was made in vain is dropped at the end of the turn, where the lock is not held: a user's
            // destructor runs.
            let mut after = Some(Arc::new(modify(&before)));
            if self.change(|now| after.take_if(|_| Arc::ptr_eq(now, &before))).is_some() {
                return;
            }
        }
    }

    /// Replaces the value by what `new` gives under the lock, if it gives any; the one before.
    fn change(&self, new: impl FnOnce(&Arc<T>) -> Option<Arc<T>>) -> Option<Arc<T>> {
        let mut batch = Batch::new();
        let mut state = self.shared.state.lock();
        let before = new(&state.value).map(|new| std::mem::replace(&mut state.value, new));
        if before.is_some() {
            state.version += 1;
            state.waiting.disturb_all(&mut batch);
        }
        drop(state);
        sched::wake_all(&mut batch);
        before
    }

    /// The value. Does not park.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.shared.state.lock().value)
    }

    /// A further receiver, which has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        let seen = self.shared.state.lock().version;
        Receiver { shared: Arc::clone(&self.shared), seen }
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.receivers.load(Ordering::Relaxed)
    }
}

impl<T> Receiver<T> {
    /// The value, which does not count as seen. Does not park.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.shared.state.lock().value)
    }

    /// The value, which counts as seen. Does not park.
    pub fn get_and_update(&mut self) -> Arc<T> {
        let state = self.shared.state.lock();
        self.seen = state.version;
        Arc::clone(&state.value)
    }

    /// Whether there is a value that this receiver has not seen.
    pub fn has_changed(&self) -> bool {
        self.shared.state.lock().version != self.seen
    }

    /// Waits for a value that this receiver has not seen, which then counts as seen. Parks until there is
    /// one; returns at once if there is. A cancelled coroutine unwinds out of it.
    ///
    /// # Errors
    ///
    /// All senders are gone, and there is none.
    pub fn changed(&mut self) -> Result<(), RecvError> {
        self.changed_until(None).map_err(|_| RecvError)
    }

    /// As [`changed`](Self::changed), for that long at most.
    ///
    /// # Errors
    ///
    /// The time is over; or all senders are gone, and there is no value that was not seen.
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<(), RecvTimeoutError> {
        self.changed_until(Instant::now().checked_add(timeout))
    }

    fn changed_until(&mut self, deadline: Option<Instant>) -> Result<(), RecvTimeoutError> {
        sched::spend();
        loop {
            {
                let state = self.shared.state.lock();
                if state.version != self.seen {
                    self.seen = state.version;
                    return Ok(());
                }
                if state.closed {
                    return Err(RecvTimeoutError::Disconnected);
                }
            }
            let seen = self.seen;
            let (woken, _) = sched::wait_in(
                &self.shared.state,
                WaitReason::Changed,
                deadline,
                Cancel::Obey,
                0,
                |state, place| {
                    let news = state.version != seen || state.closed;
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
                Woken::Timeout => return Err(RecvTimeoutError::Timeout),
                Woken::Cancelled => sched::raise(),
            }
        }
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
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Receiver { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watch::Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watch::Receiver { .. }")
    }
}
