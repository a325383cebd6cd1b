//! A value of which only the latest version matters: settings, a state.
//!
//! Every receiver sees the latest value, and can wait for the next one. A receiver may miss versions that
//! follow one another quickly, but never the last one.
//!
//! To wait for a change beside other things, [`select!`](crate::select!) has the arm `changed(watcher)`.
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

use super::topic::{Follower, Published, TakeArm, Topic, take_async, take_until};
use super::{RecvError, RecvTimeoutError};
use crate::base::clock;
use crate::coroutine::WaitReason;
use crate::select::{AnyArm, Select};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A channel with that value, its sender, and a first receiver, for which the value counts as seen.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let topic = Topic::new(State { value: Arc::new(value), version: 0 });
    let shared = Arc::new(Shared { topic, receivers: AtomicUsize::new(1) });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared, seen: AtomicU64::new(0) })
}

pub(super) struct State<T> {
    value: Arc<T>,
    version: u64,
}

struct Shared<T> {
    topic: Topic<State<T>>,
    receivers: AtomicUsize,
}

/// Sets the value. Clones set the same one.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Sees the latest value. For a clone, the same version counts as seen as for the original.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The version that was seen last. Changed under the lock of the topic by all who share this. A clone
    /// that is made meanwhile takes one or the other.
    seen: AtomicU64,
}

impl<T> Sender<T> {
    /// Sets the value, and wakes all receivers that wait for one. Returns the value before. Does not park.
    pub fn send(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        self.change(|_| Some(value)).expect("there was a value")
    }

    /// Sets the value to what the closure makes of the present one. If another sender sets the value
    /// meanwhile, the closure is called again. Does not park.
    pub fn send_modify(&self, mut modify: impl FnMut(&T) -> T) {
        loop {
            let before = self.get();
            // If another sender was faster, this is dropped at the end of the pass, without the lock: a
            // user's destructor runs.
            let mut after = Some(Arc::new(modify(&before)));
            if self.change(|now| after.take_if(|_| Arc::ptr_eq(now, &before))).is_some() {
                return;
            }
        }
    }

    /// Replaces the value by what `new` returns under the lock, if anything; returns the value before.
    fn change(&self, new: impl FnOnce(&Arc<T>) -> Option<Arc<T>>) -> Option<Arc<T>> {
        self.shared.topic.publish(|Published { state, .. }| {
            let value = new(&state.value)?;
            state.version += 1;
            Some(std::mem::replace(&mut state.value, value))
        })
    }

    /// The value. Does not park.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.shared.topic.lock().state.value)
    }

    /// Another receiver, for which the present value counts as seen.
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        let seen = self.shared.topic.lock().state.version;
        Receiver { shared: Arc::clone(&self.shared), seen: AtomicU64::new(seen) }
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.receivers.load(Ordering::Relaxed)
    }
}

impl<T> Receiver<T> {
    /// The value. It does not count as seen by this. Does not park.
    #[doc(alias = "borrow")]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.shared.topic.lock().state.value)
    }

    /// The value, which counts as seen from now on. Does not park.
    #[doc(alias = "borrow_and_update")]
    pub fn get_and_update(&mut self) -> Arc<T> {
        let published = self.shared.topic.lock();
        *self.seen.get_mut() = published.state.version;
        Arc::clone(&published.state.value)
    }

    /// Whether there is a value that this receiver has not seen.
    pub fn has_changed(&self) -> bool {
        let published = self.shared.topic.lock();
        self.is_new(&published.state)
    }

    /// Waits for a value that this receiver has not seen, which counts as seen from then on. Parks until
    /// there is one; returns at once if there is one already. A cancelled coroutine unwinds out of it.
    ///
    /// # Errors
    ///
    /// All senders are gone, and there is no such value.
    pub fn changed(&mut self) -> Result<(), RecvError> {
        self.changed_until(None).map_err(|_| RecvError)
    }

    /// As [`changed`](Self::changed), but waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// The time is over; or all senders are gone, and there is no value that this receiver has not seen.
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<(), RecvTimeoutError> {
        self.changed_until(clock::now().checked_add(timeout))
    }

    /// As [`changed`](Self::changed), as a future, for code on any executor. Does not park, and needs no
    /// runtime. The waker is called where the value is sent. If the future is dropped before it is ready, no
    /// value counts as seen.
    ///
    /// # Errors
    ///
    /// As [`changed`](Self::changed).
    ///
    /// ```
    /// let (level, mut watcher) = sward::channel::watch::channel(1);
    /// sward::spawn(move || level.send(2));
    /// sward::block_on(watcher.changed_async()).unwrap();
    /// assert_eq!(*watcher.get(), 2);
    /// ```
    pub async fn changed_async(&mut self) -> Result<(), RecvError> {
        take_async(self).await
    }

    /// A change as an alternative of a [`Select`]. [`select!`](crate::select!) makes one by itself. Of
    /// several arms of one receiver, one completes by the change. Does not park.
    ///
    /// ```
    /// use sward::channel::{unbounded, watch};
    ///
    /// let (settings, watcher) = watch::channel("old");
    /// let (_sender, requests) = unbounded::<u32>();
    /// settings.send("new");
    /// sward::select! {
    ///     recv(requests) -> _ => unreachable!(),
    ///     changed(watcher) -> result => assert_eq!((result, *watcher.get()), (Ok(()), "new")),
    /// }
    /// ```
    pub fn arm(&self) -> ChangedArm<'_, T> {
        ChangedArm(TakeArm::new(self))
    }

    fn changed_until(&mut self, deadline: Option<Instant>) -> Result<(), RecvTimeoutError> {
        match take_until(self, WaitReason::Changed, deadline) {
            Some(outcome) => outcome.map_err(|_| RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }
}

/// A change as one of the alternatives of a [`Select`]. Made by [`Receiver::arm`].
pub struct ChangedArm<'a, T>(TakeArm<'a, Receiver<T>>);

impl<T> ChangedArm<'_, T> {
    #[doc(hidden)]
    pub fn any(&mut self) -> AnyArm<'_> {
        AnyArm::new(&mut self.0)
    }

    /// For an arm that has completed: there is a new value, which counts as seen. Does not park.
    ///
    /// # Errors
    ///
    /// All senders are gone, and there is no such value.
    ///
    /// # Panics
    ///
    /// If the arm has not completed.
    pub fn finish(self) -> Result<(), RecvError> {
        self.0.finish()
    }
}

impl<T> Follower for Receiver<T> {
    type State = State<T>;
    type Taken = Result<(), RecvError>;

    fn topic(&self) -> &Topic<State<T>> {
        &self.shared.topic
    }

    fn is_new(&self, state: &State<T>) -> bool {
        state.version != self.seen.load(Ordering::Relaxed)
    }

    /// Sees a new value, or that there will be none.
    fn take(&self) -> Option<Result<(), RecvError>> {
        let published = self.shared.topic.lock();
        if self.is_new(&published.state) {
            self.seen.store(published.state.version, Ordering::Relaxed);
            return Some(Ok(()));
        }
        published.closed.then_some(Err(RecvError))
    }
}

impl<'a> Select<'a> {
    /// Adds a change of a [`watch`](self) channel, and returns its number. Numbers count from zero, in the
    /// order of adding.
    pub fn changed<T>(&mut self, arm: &'a mut ChangedArm<'_, T>) -> usize {
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
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        let seen = AtomicU64::new(self.seen.load(Ordering::Relaxed));
        Receiver { shared: Arc::clone(&self.shared), seen }
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
