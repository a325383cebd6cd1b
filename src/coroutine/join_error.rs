//! Why a coroutine gave no result.

use std::any::Any;
use std::fmt;
use std::io;

/// Why a coroutine gave no result.
pub enum JoinError {
    /// It panicked; [`Panic::into_payload`] gives what [`std::panic::resume_unwind`] takes.
    Panicked(Panic),
    /// It was cancelled, its time limit has passed, or its runtime shut down before it ended.
    Cancelled,
    /// There was no stack to run it on; it never started.
    NoStack(io::Error),
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(panic) => f.debug_tuple("Panicked").field(&panic.text()).finish(),
            JoinError::Cancelled => f.write_str("Cancelled"),
            JoinError::NoStack(e) => f.debug_tuple("NoStack").field(e).finish(),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(panic) => write!(f, "the coroutine panicked: {}", panic.text()),
            JoinError::Cancelled => f.write_str("the coroutine was cancelled"),
            JoinError::NoStack(e) => write!(f, "no stack for the coroutine: {e}"),
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JoinError::NoStack(e) => Some(e),
            _ => None,
        }
    }
}

/// The payload of a panic.
///
/// A payload itself is not `Sync`. This is, since what it shows of the payload is, so that
/// [`JoinError`] goes into error types that want `Send + Sync`, such as `Box<dyn Error + Send + Sync>`.
///
/// ```
/// use std::error::Error;
/// use sward::task::JoinError;
///
/// fn answer() -> Result<i32, Box<dyn Error + Send + Sync>> {
///     Ok(sward::spawn(|| 42).join()?)
/// }
/// assert_eq!(answer().unwrap(), 42);
///
/// match sward::spawn(|| -> () { std::panic::resume_unwind(Box::new("no")) }).join() {
///     Err(JoinError::Panicked(panic)) => {
///         assert_eq!(panic.message(), Some("no"));
///         let payload: Box<dyn std::any::Any + Send> = panic.into_payload();
///         assert!(payload.is::<&str>());
///     }
///     _ => unreachable!(),
/// }
/// ```
pub struct Panic(Box<dyn Any + Send + 'static>);

// SAFETY: through a shared reference the payload is reached by `downcast_ref` alone, which gives it out
// as a type that is Sync. The type's identity, which that asks for, is no part of the payload's data.
unsafe impl Sync for Panic {}

impl Panic {
    /// Wraps what `catch_unwind` has caught.
    pub(crate) fn new(payload: Box<dyn Any + Send + 'static>) -> Panic {
        Panic(payload)
    }

    /// The payload, for [`std::panic::resume_unwind`].
    pub fn into_payload(self) -> Box<dyn Any + Send + 'static> {
        self.0
    }

    /// The payload, if it is of that type.
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }

    /// The message, if the payload is a string, as that of `panic!` is.
    pub fn message(&self) -> Option<&str> {
        self.downcast_ref::<&'static str>().copied().or_else(|| self.downcast_ref().map(String::as_str))
    }

    fn text(&self) -> &str {
        self.message().unwrap_or("(non-string payload)")
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.text()).finish()
    }
}
