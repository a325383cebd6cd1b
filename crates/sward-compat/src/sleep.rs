//! A timer to be awaited.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use sward::task::JoinHandle;

/// A future that is ready after that time. A coroutine sleeps in its place, on the caller's runtime or, on a
/// plain thread, on the default one. Code that need not be a future calls [`sward::sleep`].
///
/// If there is no memory for the stack of that coroutine, or its runtime ends, the future is ready at once.
///
/// ```
/// # use std::time::{Duration, Instant};
/// sward::run(|| {
///     let start = Instant::now();
///     sward::block_on(sward_compat::sleep(Duration::from_millis(2)));
///     assert!(start.elapsed() >= Duration::from_millis(2));
/// });
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep(sward::spawn(move || sward::sleep(duration)))
}

/// A future that is ready at that time; otherwise as [`sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep(sward::spawn(move || sward::time::sleep_until(deadline)))
}

/// The future of [`sleep`]. If it is dropped, its coroutine ends.
pub struct Sleep(JoinHandle<()>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.is_finished() {
            // Also when it is polled again.
            return Poll::Ready(());
        }
        Pin::new(&mut self.0).poll(context).map(drop)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}
