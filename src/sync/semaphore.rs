//! The semaphore: permits as guards over the word and queue of [`raw_semaphore`](super::raw_semaphore).

use super::raw_semaphore::{MAX_PERMITS, RawSemaphore, Refused};
use crate::base::clock;
use crate::base::sync::const_fn;
use crate::coroutine::WaitNode;
use crate::runtime::polled::{Registration, lets_others_go_first};
use crate::sched;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomPinned;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A number of permits. A caller acquires some, and releases them by dropping them. The interface is tokio's;
/// std has no semaphore.
///
/// # Fairness
///
/// Waiters are served strictly in FIFO order. A large request does not starve: later requests wait behind it,
/// however small they are. If it is cancelled or times out they go on at once.
///
/// ```
/// use std::sync::Arc;
/// use sward::sync::Semaphore;
///
/// sward::run(|| {
///     let two_at_a_time = Arc::new(Semaphore::new(2));
///     let workers: Vec<_> = (0..10)
///         .map(|_| {
///             let permit = two_at_a_time.acquire_owned().unwrap();
///             sward::spawn(move || {
///                 sward::yield_now();
///                 drop(permit);
///             })
///         })
///         .collect();
///     for worker in workers {
///         worker.join().unwrap();
///     }
///     assert_eq!(two_at_a_time.available_permits(), 2);
/// });
/// ```
#[doc(alias = "weighted")]
pub struct Semaphore {
    raw: RawSemaphore,
}

impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}

/// The semaphore is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquireError;

/// Why permits were not acquired within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcquireTimeoutError {
    /// The time was over first.
    Timeout,
    /// The semaphore is closed.
    Closed,
}

/// Why permits were not acquired at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryAcquireError {
    /// Too few are available, or others wait for them.
    NoPermits,
    /// The semaphore is closed.
    Closed,
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl fmt::Display for AcquireTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AcquireTimeoutError::Timeout => "no permits within the time",
            AcquireTimeoutError::Closed => "the semaphore is closed",
        })
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryAcquireError::NoPermits => "no permits available",
            TryAcquireError::Closed => "the semaphore is closed",
        })
    }
}

impl std::error::Error for AcquireError {}
impl std::error::Error for AcquireTimeoutError {}
impl std::error::Error for TryAcquireError {}

impl Semaphore {
    /// The most permits that a semaphore can hold.
    pub const MAX_PERMITS: usize = MAX_PERMITS;

    const_fn! {
        /// A semaphore with `permits` permits.
        ///
        /// # Panics
        ///
        /// If they are more than [`MAX_PERMITS`](Self::MAX_PERMITS).
        pub fn new(permits: usize) -> Semaphore {
            assert!(permits <= MAX_PERMITS, "more permits than a semaphore can hold");
            Semaphore { raw: RawSemaphore::new(permits) }
        }
    }

    /// Acquires one permit; otherwise as [`acquire_many`](Self::acquire_many).
    ///
    /// # Errors
    ///
    /// The semaphore is closed, or is closed while this waits.
    pub fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many(1)
    }

    /// Acquires `permits` permits together. Parks the coroutine, or blocks the plain thread, until they are
    /// available and all earlier waiters have theirs. If the semaphore has fewer in all, this waits until
    /// some are [added](Self::add_permits). A cancelled coroutine unwinds out of the wait, without permits.
    ///
    /// # Errors
    ///
    /// The semaphore is closed, or is closed while this waits.
    ///
    /// # Panics
    ///
    /// If `permits` is more than [`MAX_PERMITS`](Self::MAX_PERMITS). So do all methods that acquire many.
    ///
    /// ```
    /// let semaphore = sward::sync::Semaphore::new(3);
    /// let permit = semaphore.acquire_many(2)?;
    /// assert_eq!((permit.num_permits(), semaphore.available_permits()), (2, 1));
    /// drop(permit);
    /// assert_eq!(semaphore.available_permits(), 3);
    /// # Ok::<(), sward::sync::AcquireError>(())
    /// ```
    pub fn acquire_many(&self, permits: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.take(permits, None).map_err(|_| AcquireError)?;
        Ok(SemaphorePermit { semaphore: self, permits })
    }

    /// As [`acquire`](Self::acquire), for no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` if the time is over; `Closed` if the semaphore is closed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sward::sync::{AcquireTimeoutError, Semaphore};
    ///
    /// let none = Semaphore::new(0);
    /// let outcome = none.acquire_timeout(Duration::from_millis(1));
    /// assert_eq!(outcome.unwrap_err(), AcquireTimeoutError::Timeout);
    /// ```
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<SemaphorePermit<'_>, AcquireTimeoutError> {
        self.acquire_many_timeout(1, timeout)
    }

    /// As [`acquire_many`](Self::acquire_many), for no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` if the time is over; `Closed` if the semaphore is closed.
    pub fn acquire_many_timeout(
        &self,
        permits: usize,
        timeout: Duration,
    ) -> Result<SemaphorePermit<'_>, AcquireTimeoutError> {
        match self.take(permits, clock::now().checked_add(timeout)) {
            Ok(()) => Ok(SemaphorePermit { semaphore: self, permits }),
            Err(Refused::Short) => Err(AcquireTimeoutError::Timeout),
            Err(Refused::Closed) => Err(AcquireTimeoutError::Closed),
        }
    }

    /// As [`acquire`](Self::acquire), as a future; otherwise as
    /// [`acquire_many_async`](Self::acquire_many_async).
    ///
    /// # Errors
    ///
    /// The semaphore is closed, or is closed while this waits.
    pub async fn acquire_async(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many_async(1).await
    }

    /// As [`acquire_many`](Self::acquire_many), as a future, for code on any executor. It has its place in
    /// the queue from its first poll. Does not park, and needs no runtime. The waker is called where permits
    /// are released.
    ///
    /// Dropping the future gives up its place, and releases permits that it was granted meanwhile. A future
    /// that is neither polled nor dropped keeps the permits that it was granted from others.
    ///
    /// # Errors
    ///
    /// The semaphore is closed, or is closed while this waits.
    ///
    /// ```
    /// let semaphore = sward::sync::Semaphore::new(0);
    /// sward::scope(|s| {
    ///     s.spawn(|| semaphore.add_permits(2));
    ///     let permit = sward::block_on(semaphore.acquire_many_async(2)).unwrap();
    ///     assert_eq!(permit.num_permits(), 2);
    /// });
    /// ```
    pub async fn acquire_many_async(&self, permits: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        Acquire::new(self, permits).await?;
        Ok(SemaphorePermit { semaphore: self, permits })
    }

    /// As [`acquire_async`](Self::acquire_async); the permit keeps the semaphore alive.
    ///
    /// # Errors
    ///
    /// The semaphore is closed, or is closed while this waits.
    pub fn acquire_owned_async(
        self: &Arc<Self>,
    ) -> impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + use<> {
        self.acquire_many_owned_async(1)
    }

    /// As [`acquire_many_async`](Self::acquire_many_async); the permit keeps the semaphore alive, and so does
    /// the future.
    ///
    /// # Errors
    ///
    /// The semaphore is closed, or is closed while this waits.
    pub fn acquire_many_owned_async(
        self: &Arc<Self>,
        permits: usize,
    ) -> impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + use<> {
        let semaphore = Arc::clone(self);
        async move {
            Acquire::new(&semaphore, permits).await?;
            Ok(OwnedSemaphorePermit { semaphore, permits })
        }
    }

    /// Acquires one permit if it is available. Does not park.
    ///
    /// # Errors
    ///
    /// `NoPermits` if there is none, or others wait; `Closed` if the semaphore is closed.
    pub fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// Acquires `permits` permits together if they are available. Does not park.
    ///
    /// # Errors
    ///
    /// `NoPermits` if there are fewer, or others wait; `Closed` if the semaphore is closed.
    pub fn try_acquire_many(&self, permits: usize) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.try_take(permits)?;
        Ok(SemaphorePermit { semaphore: self, permits })
    }

    /// As [`acquire`](Self::acquire); the permit keeps the semaphore alive, so it may move into a coroutine.
    ///
    /// # Errors
    ///
    /// The semaphore is closed, or is closed while this waits.
    pub fn acquire_owned(self: &Arc<Self>) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_many_owned(1)
    }

    /// As [`acquire_many`](Self::acquire_many); the permit keeps the semaphore alive.
    ///
    /// # Errors
    ///
    /// The semaphore is closed, or is closed while this waits.
    pub fn acquire_many_owned(
        self: &Arc<Self>,
        permits: usize,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.take(permits, None).map_err(|_| AcquireError)?;
        Ok(OwnedSemaphorePermit { semaphore: Arc::clone(self), permits })
    }

    /// As [`try_acquire`](Self::try_acquire); the permit keeps the semaphore alive.
    ///
    /// # Errors
    ///
    /// `NoPermits` if there is none, or others wait; `Closed` if the semaphore is closed.
    pub fn try_acquire_owned(self: &Arc<Self>) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// As [`try_acquire_many`](Self::try_acquire_many); the permit keeps the semaphore alive.
    ///
    /// # Errors
    ///
    /// `NoPermits` if there are fewer, or others wait; `Closed` if the semaphore is closed.
    pub fn try_acquire_many_owned(
        self: &Arc<Self>,
        permits: usize,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_take(permits)?;
        Ok(OwnedSemaphorePermit { semaphore: Arc::clone(self), permits })
    }

    /// Adds permits, and grants them to waiters. Does not park.
    ///
    /// # Panics
    ///
    /// If there would be more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// ```
    /// let semaphore = sward::sync::Semaphore::new(0);
    /// semaphore.add_permits(2);
    /// assert!(semaphore.try_acquire_many(2).is_ok());
    /// ```
    pub fn add_permits(&self, permits: usize) {
        self.raw.note_added(permits);
        self.raw.release(permits);
    }

    /// How many permits are available.
    pub fn available_permits(&self) -> usize {
        self.raw.available()
    }

    /// Closes the semaphore: present waiters and all later requests get an error. Acquired permits stay
    /// valid. Does not park.
    ///
    /// ```
    /// let semaphore = sward::sync::Semaphore::new(1);
    /// semaphore.close();
    /// assert!(semaphore.is_closed() && semaphore.acquire().is_err());
    /// ```
    pub fn close(&self) {
        self.raw.close();
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.raw.is_closed()
    }

    fn take(&self, permits: usize, deadline: Option<Instant>) -> Result<(), Refused> {
        assert!(permits <= MAX_PERMITS, "more permits than a semaphore can hold");
        sched::consume_budget();
        self.raw.acquire(permits, deadline)?;
        self.raw.note_taken();
        Ok(())
    }

    fn try_take(&self, permits: usize) -> Result<(), TryAcquireError> {
        assert!(permits <= MAX_PERMITS, "more permits than a semaphore can hold");
        self.raw.try_acquire(permits).map_err(|refused| match refused {
            Refused::Short => TryAcquireError::NoPermits,
            Refused::Closed => TryAcquireError::Closed,
        })?;
        self.raw.note_taken();
        Ok(())
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available_permits", &self.available_permits())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// A future that takes permits.
struct Acquire<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
    registration: Registration,
    /// Its place in the queue, while there is a registration.
    node: Cell<Option<WaitNode<usize>>>,
    _pinned: PhantomPinned,
}

// SAFETY: other threads use a listed node only under the queue's lock, whichever thread owns it.
unsafe impl Send for Acquire<'_> {}

impl<'a> Acquire<'a> {
    fn new(semaphore: &'a Semaphore, permits: usize) -> Acquire<'a> {
        assert!(permits <= MAX_PERMITS, "more permits than a semaphore can hold");
        let registration = Registration::new();
        Acquire { semaphore, permits, registration, node: Cell::new(None), _pinned: PhantomPinned }
    }

    /// Ends the wait, if there is one, and returns what it got.
    fn end(&mut self) -> Result<(), Refused> {
        // SAFETY: only `poll` makes an exclusive reference, and it has returned. Another thread may use the
        // node.
        let listed = unsafe { (*self.node.as_ptr()).as_ref() };
        let outcome = match listed {
            Some(node) => self.semaphore.raw.end_wait(node),
            None => Err(Refused::Short),
        };
        self.registration.end();
        self.node.set(None);
        outcome
    }
}

impl Future for Acquire<'_> {
    type Output = Result<(), AcquireError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the node stays where it is; nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        if lets_others_go_first(context) || this.registration.goes_on(context.waker()) {
            return Poll::Pending;
        }
        let outcome = match this.end() {
            Err(Refused::Short) => this.semaphore.raw.try_acquire(this.permits),
            ended => ended,
        };
        let outcome = match outcome {
            Err(Refused::Short) => {
                let ticket = this.registration.begin(context.waker());
                // A `block_on` in a destructor blocks its worker as a plain `acquire` does.
                let made = WaitNode::new(ticket, this.permits).blocking_thread(sched::blocks_worker());
                // SAFETY: nobody has the address of a former node: `end` took it off.
                let node = unsafe { (*this.node.as_ptr()).insert(made) };
                // SAFETY: the future is pinned, and its drop calls `end_wait`.
                unsafe { this.semaphore.raw.begin_wait(node) }
            }
            ended => ended,
        };
        match outcome {
            Err(Refused::Short) => return Poll::Pending,
            _ if this.registration.exists() => {
                // It was not listed.
                this.registration.end();
                this.node.set(None);
            }
            _ => {}
        }
        Poll::Ready(outcome.map_err(|_| AcquireError))
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if self.end().is_ok() {
            self.semaphore.raw.release(self.permits);
        }
    }
}

/// Permits of a [`Semaphore`]. Dropping this releases them, which does not park.
#[derive(Debug)]
#[must_use = "if unused the permits are released at once"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

impl SemaphorePermit<'_> {
    /// The number of permits.
    pub fn num_permits(&self) -> usize {
        self.permits
    }

    /// Does not release the permits: the semaphore has fewer from now on.
    ///
    /// ```
    /// let semaphore = sward::sync::Semaphore::new(2);
    /// semaphore.try_acquire().unwrap().forget();
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    pub fn forget(self) {
        self.semaphore.raw.note_forgotten(self.permits);
        mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        self.semaphore.raw.release(self.permits);
    }
}

/// Permits of a [`Semaphore`], which keep it alive. Dropping this releases them, which does not park.
#[derive(Debug)]
#[must_use = "if unused the permits are released at once"]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    permits: usize,
}

impl OwnedSemaphorePermit {
    /// The number of permits.
    pub fn num_permits(&self) -> usize {
        self.permits
    }

    /// The semaphore of these permits.
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }

    /// Does not release the permits: the semaphore has fewer from now on.
    pub fn forget(mut self) {
        self.semaphore.raw.note_forgotten(self.permits);
        self.permits = 0;
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.semaphore.raw.release(self.permits);
    }
}
