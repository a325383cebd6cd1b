//! Waiting for a time in futures.

use super::timeout::Elapsed;
use crate::base::clock;
use crate::runtime::polled::{Registration, lets_others_go_first};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A future that is ready after at least that time: [`sleep()`](super::sleep()) for code on any executor.
///
/// On a worker it uses that worker's timers. Elsewhere it uses those of the default runtime, which it starts
/// if there is none. The waker is called on a thread of that runtime, so it must not block. Dropping the
/// future takes the timer back. A duration that the clock cannot express never ends.
///
/// The time begins with this call, not with the first poll. Unlike [`sleep()`](super::sleep()) in the future
/// of a [`block_on`](crate::block_on), which parks the whole coroutine, it lets other futures of the same
/// task run.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sward::time::sleep_async;
///
/// let start = Instant::now();
/// sward::block_on(async {
///     let other = sleep_async(Duration::from_millis(5));
///     sleep_async(Duration::from_millis(5)).await;
///     other.await;
/// });
/// assert!(start.elapsed() >= Duration::from_millis(5));
/// ```
pub fn sleep_async(duration: Duration) -> Sleep {
    Sleep { until: clock::now().checked_add(duration), registration: Registration::new() }
}

/// As [`sleep_async`], until that point in time.
pub fn sleep_until_async(deadline: Instant) -> Sleep {
    Sleep { until: Some(deadline), registration: Registration::new() }
}

/// The future of [`sleep_async`] and [`sleep_until_async`].
///
/// # Panics
///
/// When it is polled on a thread that is no worker, if the default runtime has to be started and cannot be.
#[must_use = "futures do nothing unless they are polled"]
pub struct Sleep {
    /// `None` for never.
    until: Option<Instant>,
    registration: Registration,
}

impl Sleep {
    /// When it ends; `None` if never.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

/// It may be polled again after it was ready, and is ready then.
impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // The ticket is in a timer only, and a timer does not refer to this.
        let this = self.get_mut();
        if lets_others_go_first(context) {
            return Poll::Pending;
        }
        if this.until.is_some_and(|until| until <= clock::now()) {
            this.registration.end();
            return Poll::Ready(());
        }
        if let Some(until) = this.until
            && !this.registration.goes_on(context.waker())
        {
            // It has not begun, or a shutdown has ended it early.
            this.registration.end();
            this.registration.begin(context.waker());
            this.registration.set_timer(until);
        }
        Poll::Pending
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Awaits the future for no longer than that time, and drops it then: [`timeout()`](super::timeout()) for
/// futures. It unwinds nothing.
///
/// # Errors
///
/// [`Elapsed`] if the time is over and the future is not ready.
///
/// ```
/// use std::time::Duration;
/// use sward::time::timeout_async;
///
/// let (_sender, receiver) = sward::channel::bounded::<()>(0);
/// let outcome = sward::block_on(timeout_async(Duration::from_millis(5), receiver.recv_async()));
/// assert!(outcome.is_err());
/// ```
pub async fn timeout_async<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    let mut sleep = sleep_async(duration);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed::new())),
    })
    .await
}
