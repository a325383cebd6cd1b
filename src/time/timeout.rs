//! Time limits of sections of code.

use super::Deadline;
use crate::base::large_box::{LargeBox, is_large, large_box};
use crate::sched;
use std::fmt;
use std::io;
use std::time::Duration;

/// The time limit of a [`timeout`](timeout()) passed before its closure had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl Elapsed {
    pub(super) fn new() -> Elapsed {
        Elapsed(())
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

/// Runs the closure and ends it when that time has passed: its present wait, or else its next [cancellation
/// point](crate::task#cancellation), unwinds up to here. Destructors run, [and must not
/// panic](crate::task#cancellation); the panic hook prints nothing.
///
/// It works in coroutines and on plain threads, for every wait of this crate, however deep in the closure. It
/// is tokio's `timeout`, or Go's `context.WithTimeout` without a context to pass on. It does not park by
/// itself.
///
/// What it does not do:
///
/// - A closure that only computes is not interrupted, and one that ends late without a wait returns its
///   value. [`checkpoint`](crate::task::checkpoint) and [`yield_now`](crate::yield_now) check the limit.
/// - A call that need not wait, such as a read with data to read, may succeed although the time has passed.
///   The limit ends at least one in 128 of them, before it takes anything ([fairness](crate::task#fairness)).
/// - Name resolution is not interrupted. The limit is checked after it.
/// - A wait in a destructor that runs while its thread unwinds is not ended, since it would have to unwind
///   twice. But operations on sockets, pipes, children and file locks fail there with `TimedOut` instead of
///   waiting ([destructors](crate::task#destructors)).
/// - As with any unwinding, what the closure has changed half-way stays so. A `catch_unwind` in the closure
///   catches this unwinding too; the next wait then unwinds again. std's locks whose guards are dropped are
///   poisoned, those of [`sync`](crate::sync) are not.
///
/// Limits nest, and the earliest one counts. If an outer limit passes first, it unwinds through the inner
/// `timeout`, which does not return. A duration that the clock cannot express is no limit. A cancellation of
/// the coroutine unwinds through `timeout`.
///
/// # Errors
///
/// [`Elapsed`] if the limit ended the closure. It converts into an [`io::Error`] of the kind `TimedOut`.
///
/// # Panics
///
/// If the closure panics. With `panic = "abort"` there is no unwinding, so this panics without running the
/// closure.
///
/// ```
/// use std::io::Read;
/// use std::time::Duration;
/// use sward::net::{TcpListener, TcpStream};
///
/// sward::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let mut silent = TcpStream::connect(listener.local_addr()?)?;
///     let mut line = String::new();
///     let read = sward::time::timeout(Duration::from_millis(5), || silent.read_to_string(&mut line));
///     assert!(read.is_err());
///     Ok::<(), std::io::Error>(())
/// })
/// .unwrap();
/// ```
#[track_caller]
#[doc(alias = "WithTimeout")]
pub fn timeout<T, F: FnOnce() -> T>(duration: Duration, f: F) -> Result<T, Elapsed> {
    if const { is_large::<F>() || is_large::<T>() } {
        let (f, mut value) = (large_box!(f), LargeBox::empty());
        let outcome = within(Deadline::after(duration), || f.call_into(&mut value));
        value.into_inner_if(outcome)
    } else {
        within(Deadline::after(duration), f)
    }
}

/// As [`timeout`](timeout()), with a point in time: an [`Instant`](std::time::Instant) or a [`Deadline`].
///
/// # Errors
///
/// As [`timeout`](timeout()).
///
/// # Panics
///
/// As [`timeout`](timeout()).
///
/// ```
/// use std::time::{Duration, Instant};
/// use sward::time::timeout_at;
///
/// let soon = Instant::now() + Duration::from_millis(5);
/// let outcome = timeout_at(soon, || sward::sleep(Duration::from_secs(3600)));
/// assert_eq!(outcome.unwrap_err().to_string(), "the deadline has elapsed");
/// ```
#[track_caller]
#[doc(alias = "WithDeadline")]
pub fn timeout_at<T, F: FnOnce() -> T>(deadline: impl Into<Deadline>, f: F) -> Result<T, Elapsed> {
    if const { is_large::<F>() || is_large::<T>() } {
        let (f, mut value) = (large_box!(f), LargeBox::empty());
        let outcome = within(deadline.into(), || f.call_into(&mut value));
        value.into_inner_if(outcome)
    } else {
        within(deadline.into(), f)
    }
}

#[track_caller]
fn within<T, F: FnOnce() -> T>(deadline: Deadline, f: F) -> Result<T, Elapsed> {
    if cfg!(panic = "abort") {
        panic!(
            "sward: a timeout ends its closure by unwinding, and this program is built with panic = \"abort\""
        );
    }
    match deadline.instant() {
        Some(at) => sched::limited(at, f).map_err(|_| Elapsed(())),
        None => Ok(f()),
    }
}
