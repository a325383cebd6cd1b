//! Why a coroutine has no result.

use super::cancellation::Interruption;
use super::label::{Id, Label, Site};
use std::any::Any;
use std::fmt;
use std::io;
use std::panic::Location;

/// Why a coroutine has no result.
pub enum JoinError {
    /// It panicked. Pass [`Panic::into_payload`] to [`std::panic::resume_unwind`] to go on with the panic.
    Panicked(Panic),
    /// It was cancelled: by its handle, scope or set, or by a token.
    Cancelled,
    /// The time limit under which it was spawned has passed: a coroutine of a scope is under the limit that
    /// the scope's caller is under.
    TimedOut,
    /// Its runtime shut down before it ended, or before it started.
    ShutDown,
    /// There was no stack to run it on, so it never started. If it is detached, a line on stderr reports it,
    /// at most once in ten seconds; [`Metrics::no_stack`](crate::runtime::Metrics::no_stack) counts all such
    /// coroutines.
    NoStack(io::Error),
    /// The join would be a deadlock: it was called in a destructor while unwinding, where a wait blocks the
    /// worker, and the joined coroutine runs on that worker. That coroutine has not ended. It is detached,
    /// and goes on when the caller has unwound.
    Deadlock,
}

impl JoinError {
    /// Whether a cancellation has ended it.
    ///
    /// ```
    /// let waits = sward::spawn(sward::task::park);
    /// waits.cancel();
    /// let error = waits.join().unwrap_err();
    /// assert!(error.is_cancelled() && !error.is_timed_out() && !error.is_shutdown());
    /// assert_eq!(error.to_string(), "the coroutine was cancelled");
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(self, JoinError::Cancelled)
    }

    /// Whether a time limit has ended it.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, JoinError::TimedOut)
    }

    /// Whether the shutdown of its runtime has ended it.
    pub fn is_shutdown(&self) -> bool {
        matches!(self, JoinError::ShutDown)
    }

    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, JoinError::Panicked(_))
    }

    /// What has ended it; `None` if it panicked, found no stack to run on, or has not ended.
    pub fn interruption(&self) -> Option<Interruption> {
        match self {
            JoinError::Cancelled => Some(Interruption::Cancelled),
            JoinError::TimedOut => Some(Interruption::TimedOut),
            JoinError::ShutDown => Some(Interruption::ShutDown),
            JoinError::Panicked(_) | JoinError::NoStack(_) | JoinError::Deadlock => None,
        }
    }
}

impl From<Interruption> for JoinError {
    fn from(why: Interruption) -> JoinError {
        match why {
            Interruption::Cancelled => JoinError::Cancelled,
            Interruption::TimedOut => JoinError::TimedOut,
            Interruption::ShutDown => JoinError::ShutDown,
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(panic) => f.debug_tuple("Panicked").field(panic).finish(),
            JoinError::Cancelled => f.write_str("Cancelled"),
            JoinError::TimedOut => f.write_str("TimedOut"),
            JoinError::ShutDown => f.write_str("ShutDown"),
            JoinError::NoStack(e) => f.debug_tuple("NoStack").field(e).finish(),
            JoinError::Deadlock => f.write_str("Deadlock"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(panic) => panic.fmt(f),
            JoinError::Cancelled => f.write_str("the coroutine was cancelled"),
            JoinError::TimedOut => f.write_str("the coroutine's time limit has passed"),
            JoinError::ShutDown => f.write_str("the coroutine's runtime has shut down"),
            JoinError::NoStack(e) => write!(f, "no stack for the coroutine: {e}"),
            JoinError::Deadlock => f.write_str(
                "the coroutine lives on the worker that this join would block, as it is made while unwinding",
            ),
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

/// The payload of a panic, and which coroutine panicked.
///
/// A payload is not `Sync`, but this type is: it gives shared access to the payload only as a `Sync` type. So
/// [`JoinError`] fits into error types that require `Send + Sync`, such as `Box<dyn Error + Send + Sync>`.
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
pub struct Panic(Box<Inner>);

struct Inner {
    payload: Box<dyn Any + Send + 'static>,
    id: Id,
    name: Option<Box<str>>,
    site: Site,
}

impl Inner {
    fn label(&self) -> Label<'_> {
        Label { id: self.id, name: self.name.as_deref(), site: self.site }
    }
}

// SAFETY: through a shared reference only `downcast_ref` reaches the payload, and returns it as a type that
// is Sync. The type's identity, which it reads, is no part of the payload's data.
unsafe impl Sync for Panic {}

impl Panic {
    /// Wraps what `catch_unwind` caught in the coroutine of the label.
    pub(super) fn new(payload: Box<dyn Any + Send + 'static>, whose: &Label<'_>) -> Panic {
        Panic(Box::new(Inner { payload, id: whose.id, name: whose.name.map(Box::from), site: whose.site }))
    }

    /// The payload, for [`std::panic::resume_unwind`].
    pub fn into_payload(self) -> Box<dyn Any + Send + 'static> {
        self.0.payload
    }

    /// The payload, if it is of type `T`.
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        self.0.payload.downcast_ref()
    }

    /// The message, if the payload is a string, as it is after `panic!`.
    pub fn message(&self) -> Option<&str> {
        self.downcast_ref::<&'static str>().copied().or_else(|| self.downcast_ref().map(String::as_str))
    }

    /// The coroutine's number.
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// The coroutine's name.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The call that spawned the coroutine.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.0.site
    }

    fn text(&self) -> &str {
        self.message().unwrap_or("(non-string payload)")
    }
}

/// As that of [`JoinError::Panicked`]: the coroutine, and the message.
///
/// ```
/// let fails = sward::task::Builder::new().name("parser").spawn(|| -> () { panic!("no digit") }).unwrap();
/// let sward::task::JoinError::Panicked(panic) = fails.join().unwrap_err() else { unreachable!() };
/// assert!(panic.to_string().contains("parser") && panic.to_string().ends_with("panicked: no digit"));
/// ```
impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} panicked: {}", self.0.label(), self.text())
    }
}

impl std::error::Error for Panic {}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Panic");
        text.field("message", &self.text()).field("id", &self.0.id);
        if let Some(name) = self.name() {
            text.field("name", &name);
        }
        text.field("spawned_at", &format_args!("{}", self.0.site)).finish()
    }
}
