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

use super::audience::{Audience, Told};
use super::{RecvError, RecvTimeoutError};
use crate::coroutine::WaitReason;
use crate::sched;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A value to be watched, with its sender and a first receiver, which has seen it.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let audience = Audience::new(State { value: Arc::new(value), version: 0 });
    let shared = Arc::new(Shared { audience, receivers: AtomicUsize::new(1) });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, seen: 0 })
}

struct State<T> {
    value: Arc<T>,
    version: u64,
}

struct Shared<T> {
    audience: Audience<State<T>>,
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
        self.shared.audience.change(|Told { state, .. }| {
            let value = new(&state.value)?;
            state.version += 1;
            Some(std::mem::replace(&mut state.value, value))
        })
    }

    /// The value. Does not park.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.shared.audience.lock().state.value)
    }

    /// A further receiver, which has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        let seen = self.shared.audience.lock().state.version;
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
        Arc::clone(&self.shared.audience.lock().state.value)
    }

    /// The value, which counts as seen. Does not park.
    pub fn get_and_update(&mut self) -> Arc<T> {
        let told = self.shared.audience.lock();
        self.seen = told.state.version;
        Arc::clone(&told.state.value)
    }

    /// Whether there is a value that this receiver has not seen.
    pub fn has_changed(&self) -> bool {
        self.shared.audience.lock().state.version != self.seen
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
        sched::consume_budget();
        loop {
            {
                let told = self.shared.audience.lock();
                if told.state.version != self.seen {
                    self.seen = told.state.version;
                    return Ok(());
                }
                if told.closed {
                    return Err(RecvTimeoutError::Disconnected);
                }
            }
            let seen = self.seen;
            let is_news = |state: &State<T>| state.version != seen;
            if !self.shared.audience.wait(WaitReason::Changed, deadline, is_news) {
                return Err(RecvTimeoutError::Timeout);
            }
        }
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
